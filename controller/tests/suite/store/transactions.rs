use edgeformer_controller::audit::{Intent, Outcome, Resource};
use edgeformer_controller::policy::{Action, Role};
use edgeformer_controller::store::api_tokens::{self, ApiToken};
use edgeformer_controller::store::audit_log;

use crate::on_both_databases;

fn token(db: &crate::support::Db, name: &str) -> ApiToken {
    ApiToken::plain(name, Role::Viewer, db.now())
}

fn intent() -> Intent {
    Intent::new(Action::TokenCreate, Resource::new("token", "x"))
}

on_both_databases! {
    async fn an_action_and_its_record_come_together_or_not_at_all(db: Db) {
        let a = db.tenant("a").await;
        let mut write = db.store.write(&a, intent()).await.unwrap();
        api_tokens::insert(&mut write, &token(&db, "dropped"), &[1; 32]).await.unwrap();
        drop(write);
        let mut write = db.store.write(&a, intent()).await.unwrap();
        api_tokens::insert(&mut write, &token(&db, "undone"), &[2; 32]).await.unwrap();
        write.rollback().await.unwrap();
        let mut write = db.store.write(&a, intent()).await.unwrap();
        api_tokens::insert(&mut write, &token(&db, "kept"), &[3; 32]).await.unwrap();
        write.commit(db.now()).await.unwrap();

        let mut read = db.store.read(&a).await.unwrap();
        let tokens = api_tokens::list(&mut read, None, 9).await.unwrap();
        assert_eq!(tokens.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["kept"]);
        let records = audit_log::list(&mut read, None, 9).await.unwrap();
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].record.outcome, Outcome::Success);
        assert_eq!(records[0].record.action, "token:create");
        assert_eq!(records[0].sequence, None);
    }

    async fn many_writers_at_once_all_get_their_turn(db: Db) {
        let a = db.tenant("a").await;
        let mut writers = tokio::task::JoinSet::new();
        for n in 0..40_u8 {
            let (db, a) = (db.clone(), a.clone());
            writers.spawn(async move {
                let mut write = db.store.write(&a, intent()).await.unwrap();
                // A read first: the pattern that makes SQLite fail unless it locks at BEGIN.
                api_tokens::list(&mut write, None, 1).await.unwrap();
                api_tokens::insert(&mut write, &token(&db, "t"), &[n; 32]).await.unwrap();
                write.commit(db.now()).await.unwrap();
            });
        }
        while let Some(done) = writers.join_next().await {
            done.unwrap();
        }
        let mut read = db.store.read(&a).await.unwrap();
        assert_eq!(api_tokens::list(&mut read, None, 99).await.unwrap().len(), 40);
    }

    async fn a_reading_transaction_sees_one_moment(db: Db) {
        let a = db.tenant("a").await;
        let mut read = db.store.read(&a).await.unwrap();
        assert!(api_tokens::list(&mut read, None, 9).await.unwrap().is_empty());
        let mut write = db.store.write(&a, intent()).await.unwrap();
        api_tokens::insert(&mut write, &token(&db, "later"), &[1; 32]).await.unwrap();
        write.commit(db.now()).await.unwrap();
        assert!(api_tokens::list(&mut read, None, 9).await.unwrap().is_empty());
        drop(read);
        let mut read = db.store.read(&a).await.unwrap();
        assert_eq!(api_tokens::list(&mut read, None, 9).await.unwrap().len(), 1);
    }
}
