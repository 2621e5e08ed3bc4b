use edgeformer_controller::audit::seal::{Subject, commit};
use edgeformer_controller::audit::sequencer::{sequence, sequence_all};
use edgeformer_controller::audit::{Intent, Outcome, Record, Resource};
use edgeformer_controller::policy::Action;
use edgeformer_controller::scope::{InstallationScope, Scope};
use edgeformer_controller::store::{audit_log, audit_subjects};
use edgeformer_proto::audit::merkle::{Tree, leaf_hash};
use serde_json::json;

use crate::on_both_databases;
use crate::support::Db;

async fn record<S: Scope>(db: &Db, scope: &S, count: usize) {
    for n in 0..count {
        let intent = Intent::new(Action::DeviceUpdate, Resource::new("device", n));
        db.store.record(scope, intent, Outcome::Denied, db.now()).await.unwrap();
    }
}

/// The log must be what its head says, without gaps.
async fn check_log<S: Scope>(db: &Db, scope: &S, expected: u64) {
    let mut read = db.store.read(scope).await.unwrap();
    let head = audit_log::head(&mut read).await.unwrap();
    let mut entries = audit_log::list(&mut read, None, 1000).await.unwrap();
    entries.reverse();
    let mut tree = Tree::default();
    for (place, entry) in entries.iter().enumerate() {
        assert_eq!(entry.sequence, Some(place as u64));
        tree.append(leaf_hash(serde_json::to_string(&entry.record).unwrap().as_bytes()));
    }
    assert_eq!(head.size(), expected);
    assert_eq!((head.size(), head.root()), (tree.size(), tree.root()));
}

/// Names of the resources, oldest first.
async fn names<S: Scope>(db: &Db, scope: &S) -> Vec<Option<String>> {
    let mut read = db.store.read(scope).await.unwrap();
    let mut events = audit_log::list(&mut read, None, 100).await.unwrap();
    events.reverse();
    events.iter().map(|event| event.resource_name().map(str::to_owned)).collect()
}

async fn leaf_of<S: Scope>(db: &Db, scope: &S, sequence: u64) -> Record {
    let mut read = db.store.read(scope).await.unwrap();
    audit_log::from(&mut read, sequence, 1).await.unwrap().remove(0).record
}

on_both_databases! {
    async fn records_become_leaves_in_order_and_only_once(db: Db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        record(&db, &a, 5).await;
        record(&db, &b, 2).await;
        record(&db, &InstallationScope::system("test"), 1).await;
        assert_eq!(sequence_all(&db.store, db.now()).await.unwrap(), 8);
        assert_eq!(sequence_all(&db.store, db.now()).await.unwrap(), 0);
        record(&db, &a, 4).await;
        assert_eq!(sequence_all(&db.store, db.now()).await.unwrap(), 4);
        check_log(&db, &a, 9).await;
        check_log(&db, &b, 2).await;
        check_log(&db, &InstallationScope::system("test"), 1).await;
    }

    async fn erasing_a_person_takes_values_and_salt_and_leaves_the_leaves(db: Db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let about = |id: &str| {
            let person = Resource::new("user", id).named("Ada");
            Intent::new(Action::TokenCreate, person).changes(json!(null), json!({"mail": "ada@x"}))
        };
        for scope in [&a, &b] {
            for id in ["1", "1", "2"] {
                db.store.record(scope, about(id), Outcome::Success, db.now()).await.unwrap();
            }
            sequence(&db.store, scope, db.now()).await.unwrap();
            // Waits while the erasure runs.
            db.store.record(scope, about("1"), Outcome::Success, db.now()).await.unwrap();
        }
        let subject = Subject::of("user", "1");
        let mut read = db.store.read(&a).await.unwrap();
        let salts = audit_subjects::salts(&mut read, [subject.clone()]).await.unwrap();
        let salt = salts[&subject];
        drop(read);
        let clear = names(&db, &a).await;
        assert_eq!(clear, [Some("Ada"); 4].map(|name| name.map(str::to_owned)));
        let sealed = leaf_of(&db, &a, 0).await.sealed["resource.name"].hash.clone();
        assert_eq!(sealed, commit(Some(&salt), "resource.name", "Ada"));
        let head = audit_log::head(&mut *db.store.read(&a).await.unwrap()).await.unwrap();

        let mut write = db.store.write_observation(&a).await.unwrap();
        assert!(audit_subjects::erase(&mut write, &subject, db.now()).await.unwrap());
        write.commit(db.now()).await.unwrap();
        let after = audit_log::head(&mut *db.store.read(&a).await.unwrap()).await.unwrap();
        assert_eq!((after.size(), after.root()), (head.size(), head.root()));
        sequence(&db.store, &a, db.now()).await.unwrap();
        // Oldest first: the two of user 1, the one of user 2, the one that waited.
        let left = names(&db, &a).await;
        assert_eq!(left, [None, None, Some("Ada".to_owned()), None]);
        assert!(names(&db, &b).await.iter().all(Option::is_some), "another tenant's are its own");
        check_log(&db, &a, 4).await;
        let mut write = db.store.write_observation(&a).await.unwrap();
        assert!(!audit_subjects::erase(&mut write, &subject, db.now()).await.unwrap());
        write.commit(db.now()).await.unwrap();
    }

    async fn several_sequencers_at_once_make_one_log(db: Db) {
        let a = db.tenant("a").await;
        record(&db, &a, 30).await;
        let mut runs = tokio::task::JoinSet::new();
        for _ in 0..6 {
            let (db, a) = (db.clone(), a.clone());
            // A loser of the race may fail; it must not add anything.
            runs.spawn(async move { sequence(&db.store, &a, db.now()).await.unwrap_or(0) });
        }
        let mut leaves = 0;
        while let Some(run) = runs.join_next().await {
            leaves += run.unwrap();
        }
        leaves += sequence(&db.store, &a, db.now()).await.unwrap();
        assert_eq!(leaves, 30);
        check_log(&db, &a, 30).await;
    }

    async fn pages_go_back_in_time_across_log_and_outbox(db: Db) {
        let a = db.tenant("a").await;
        record(&db, &a, 3).await;
        sequence(&db.store, &a, db.now()).await.unwrap();
        record(&db, &a, 2).await;
        let mut read = db.store.read(&a).await.unwrap();
        let first = audit_log::list(&mut read, None, 3).await.unwrap();
        let ids: Vec<_> = first.iter().map(|entry| entry.record.resource.id.clone()).collect();
        assert_eq!(ids, ["1", "0", "2"]);
        assert_eq!(first[1].sequence, None);
        assert_eq!(first[2].sequence, Some(2));
        let rest = audit_log::list(&mut read, Some(first[2].record.id), 3).await.unwrap();
        assert_eq!(rest.len(), 2);
    }
}
