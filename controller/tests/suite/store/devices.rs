use std::collections::BTreeMap;

use edgeformer_controller::scope::TenantScope;
use edgeformer_controller::store::devices::{self, DeviceState, Filter};
use edgeformer_controller::store::enrolments::{self, NewDevice};
use edgeformer_proto::ids::{DeviceId, TokenId};

use crate::on_both_databases;
use crate::support::Db;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

async fn enrol(db: &Db, scope: &TenantScope, name: &str, with: &[(&str, &str)]) -> DeviceId {
    let device = NewDevice {
        id: DeviceId::new(),
        name: name.to_owned(),
        labels: labels(with),
        facts: serde_json::json!({"os": "linux", "cpus": 4}),
        public_key: name.as_bytes().to_vec(),
        hpke_public: vec![4; 65],
        credential: TokenId::new().to_string(),
        cert_expires_at_us: db.now().0,
        ca_id: String::new(),
    };
    let mut write = db.store.write_observation(scope).await.unwrap();
    enrolments::insert_device(&mut write, &device, db.now()).await.unwrap();
    write.commit(db.now()).await.unwrap();
    device.id
}

async fn names(db: &Db, scope: &TenantScope, filter: &Filter) -> Vec<String> {
    let mut read = db.store.read(scope).await.unwrap();
    let rows = devices::list(&mut read, filter, None, 50).await.unwrap();
    rows.into_iter().map(|device| device.name).collect()
}

on_both_databases! {
    async fn a_list_is_narrowed_by_exact_labels_and_name(db: Db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        enrol(&db, &a, "one", &[("site", "berlin"), ("line", "3")]).await;
        enrol(&db, &a, "two", &[("site", "berlin-2"), ("sites", "berlin")]).await;
        enrol(&db, &a, "three", &[("site", "Berlin"), ("note", "site:berlin")]).await;
        enrol(&db, &b, "other", &[("site", "berlin")]).await;

        let by = |pairs: &[(&str, &str)]| Filter { labels: labels(pairs), name: None };
        assert_eq!(names(&db, &a, &Filter::default()).await, ["one", "two", "three"]);
        assert_eq!(names(&db, &a, &by(&[("site", "berlin")])).await, ["one"]);
        assert_eq!(names(&db, &a, &by(&[("site", "berlin"), ("line", "3")])).await, ["one"]);
        assert!(names(&db, &a, &by(&[("site", "berlin"), ("line", "4")])).await.is_empty());
        assert!(names(&db, &a, &by(&[("site", "%")])).await.is_empty());
        assert!(names(&db, &a, &by(&[("x", "\" OR 1=1 --")])).await.is_empty());
        let named = Filter { labels: BTreeMap::new(), name: Some("two".into()) };
        assert_eq!(names(&db, &a, &named).await, ["two"]);
        assert_eq!(names(&db, &b, &Filter::default()).await, ["other"]);
    }

    async fn an_edit_needs_the_current_revision(db: Db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let id = enrol(&db, &a, "one", &[]).await;
        let new = labels(&[("k", "v")]);
        let mut write = db.store.write_observation(&b).await.unwrap();
        assert!(!devices::update(&mut write, id, 1, "stolen", &new).await.unwrap());
        assert!(!devices::revoke(&mut write, id, "", db.now()).await.unwrap());
        assert!(devices::get(&mut write, id).await.unwrap().is_none());
        write.rollback().await.unwrap();

        let mut write = db.store.write_observation(&a).await.unwrap();
        assert!(devices::update(&mut write, id, 1, "renamed", &new).await.unwrap());
        assert!(!devices::update(&mut write, id, 1, "late", &new).await.unwrap());
        assert!(devices::revoke(&mut write, id, "", db.now()).await.unwrap());
        assert!(!devices::revoke(&mut write, id, "", db.now()).await.unwrap());
        let device = devices::get(&mut write, id).await.unwrap().unwrap();
        write.commit(db.now()).await.unwrap();
        assert_eq!((device.name.as_str(), device.revision), ("renamed", 3));
        assert_eq!((device.state, device.labels), (DeviceState::Revoked, new));
        assert_eq!(device.facts["cpus"], 4);
        assert_eq!(device.last_seen_at, None);
    }

    async fn slots_of_no_device_and_of_one_without_any_are_empty(db: Db) {
        let a = db.tenant("a").await;
        let id = enrol(&db, &a, "one", &[]).await;
        let mut read = db.store.read(&a).await.unwrap();
        assert!(devices::slots(&mut read, &[]).await.unwrap().is_empty());
        assert!(devices::slots(&mut read, &[id, DeviceId::new()]).await.unwrap().is_empty());
    }
}
