use std::collections::BTreeMap;
use std::time::Duration;

use edgeformer_controller::audit::{Intent, Resource};
use edgeformer_controller::policy::{Action, Role};
use edgeformer_controller::scope::{InstallationScope, Scope};
use edgeformer_controller::store::api_tokens::{self, ApiToken, StandsFor};
use edgeformer_controller::store::enrolment_tokens::{self, EnrolmentToken};
use edgeformer_proto::ids::TokenId;

use crate::on_both_databases;
use crate::support::Db;

async fn add<S: Scope>(db: &Db, scope: &S, role: Role, secret: u8) -> ApiToken {
    let token = ApiToken {
        expires_at: (secret == 2).then(|| db.now().plus(Duration::from_secs(60))),
        ..ApiToken::plain(&format!("token {secret}"), role, db.now())
    };
    let intent = Intent::new(Action::TokenCreate, Resource::new("token", token.id));
    let mut write = db.store.write(scope, intent).await.unwrap();
    api_tokens::insert(&mut write, &token, &[secret; 32]).await.unwrap();
    write.commit(db.now()).await.unwrap();
    token
}

on_both_databases! {
    async fn a_token_is_found_by_its_secret_and_belongs_to_its_scope(db: Db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let root = InstallationScope::system("test");
        let first = add(&db, &a, Role::Admin, 1).await;
        let second = add(&db, &a, Role::Viewer, 2).await;
        let top = add(&db, &root, Role::Installation, 3).await;

        let mut read = db.store.read_presented(&root, &[2; 32]).await.unwrap();
        let found = api_tokens::find_by_secret(&mut read, &[2; 32]).await.unwrap().unwrap();
        assert_eq!((found.token.id, found.tenant), (second.id, Some(a.tenant())));
        assert_eq!(found.token.expires_at, second.expires_at);
        let mut read = db.store.read_presented(&root, &[3; 32]).await.unwrap();
        let found = api_tokens::find_by_secret(&mut read, &[3; 32]).await.unwrap().unwrap();
        assert_eq!((found.token.id, found.tenant), (top.id, None));
        assert_eq!(found.token.stands_for, StandsFor::Itself(Role::Installation));
        assert!(api_tokens::find_by_secret(&mut read, &[9; 32]).await.unwrap().is_none());

        let mut read = db.store.read(&a).await.unwrap();
        let listed = api_tokens::list(&mut read, None, 10).await.unwrap();
        assert_eq!(listed.iter().map(|t| t.id).collect::<Vec<_>>(), [first.id, second.id]);
        let rest = api_tokens::list(&mut read, Some(first.id), 10).await.unwrap();
        assert_eq!(rest.iter().map(|t| t.id).collect::<Vec<_>>(), [second.id]);

        let mut read = db.store.read(&b).await.unwrap();
        assert!(api_tokens::list(&mut read, None, 10).await.unwrap().is_empty());
        assert!(api_tokens::get(&mut read, first.id).await.unwrap().is_none());
        let mut write = db.store.write_observation(&b).await.unwrap();
        assert!(!api_tokens::revoke(&mut write, first.id, db.now()).await.unwrap());
    }

    async fn the_same_secret_twice_is_a_conflict(db: Db) {
        let a = db.tenant("a").await;
        let token = add(&db, &a, Role::Admin, 1).await;
        let again = ApiToken { id: TokenId::new(), ..token };
        let mut write = db.store.write_observation(&a).await.unwrap();
        let error = api_tokens::insert(&mut write, &again, &[1; 32]).await.unwrap_err();
        assert!(error.is_conflict(), "{error}");
    }

    async fn revoking_and_use_are_noted_once(db: Db) {
        let a = db.tenant("a").await;
        let token = add(&db, &a, Role::Admin, 1).await;
        let touch = async || {
            let mut write = db.store.write_observation(&a).await.unwrap();
            api_tokens::touch(&mut write, token.id, db.now()).await.unwrap();
            write.commit(db.now()).await.unwrap();
            let mut read = db.store.read(&a).await.unwrap();
            api_tokens::get(&mut read, token.id).await.unwrap().unwrap().last_used_at.unwrap()
        };
        let first = db.now();
        assert_eq!(touch().await, first);
        db.advance(Duration::from_secs(59));
        assert_eq!(touch().await, first, "within a minute nothing is written");
        db.advance(Duration::from_secs(1));
        assert_eq!(touch().await, db.now());

        let mut write = db.store.write_observation(&a).await.unwrap();
        assert!(api_tokens::revoke(&mut write, token.id, db.now()).await.unwrap());
        assert!(!api_tokens::revoke(&mut write, token.id, db.now()).await.unwrap());
        write.commit(db.now()).await.unwrap();
    }

    async fn an_enrolment_token_keeps_its_labels_and_its_tenant(db: Db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let token = EnrolmentToken {
            replaces: None,
            id: TokenId::new(),
            uses_left: 3,
            labels: BTreeMap::from([("site".into(), "berlin".into())]),
            created_at: db.now(),
            expires_at: db.now().plus(Duration::from_secs(60)),
            revoked_at: None,
        };
        let mut write = db.store.write_observation(&a).await.unwrap();
        enrolment_tokens::insert(&mut write, &token, &[7; 32]).await.unwrap();
        write.commit(db.now()).await.unwrap();

        let mut read = db.store.read(&a).await.unwrap();
        let found = enrolment_tokens::get(&mut read, token.id).await.unwrap().unwrap();
        assert_eq!((found.uses_left, found.labels), (3, token.labels));
        let mut read = db.store.read(&b).await.unwrap();
        assert!(enrolment_tokens::get(&mut read, token.id).await.unwrap().is_none());
        assert!(enrolment_tokens::list(&mut read, None, 9).await.unwrap().is_empty());
    }
}
