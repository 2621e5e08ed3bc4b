use std::time::Duration;

use edgeformer_controller::audit::{Intent, Resource};
use edgeformer_controller::policy::Action;
use edgeformer_controller::scope::{IdempotencyClaim, InstallationScope, Scope};
use edgeformer_controller::store::idempotency::{self, Claim, KEEP, RUNNING_LEASE};

use crate::on_both_databases;
use crate::support::Db;

async fn claim(db: &Db, hash: u8) -> Claim {
    let scope = InstallationScope::system("test");
    let mut write = db.store.write_observation(&scope).await.unwrap();
    let claim = idempotency::claim(&mut write, "me", "k", &[hash; 32], db.now()).await.unwrap();
    write.commit(db.now()).await.unwrap();
    claim
}

async fn settle(db: &Db, answer: Option<(u16, String)>) {
    let scope = InstallationScope::system("test");
    let mut write = db.store.write_observation(&scope).await.unwrap();
    idempotency::settle(&mut write, "me", "k", answer).await.unwrap();
    write.commit(db.now()).await.unwrap();
}

on_both_databases! {
    async fn a_key_answers_the_same_request_and_no_other(db: Db) {
        assert_eq!(claim(&db, 1).await, Claim::Ours);
        assert_eq!(claim(&db, 1).await, Claim::Running);
        assert_eq!(claim(&db, 2).await, Claim::OtherRequest);
        settle(&db, Some((201, "sealed".into()))).await;
        assert_eq!(claim(&db, 1).await, Claim::Answered(201, "sealed".into()));
        assert_eq!(claim(&db, 2).await, Claim::OtherRequest);
    }

    async fn a_failed_request_frees_its_key(db: Db) {
        assert_eq!(claim(&db, 1).await, Claim::Ours);
        settle(&db, None).await;
        assert_eq!(claim(&db, 2).await, Claim::Ours);
    }

    async fn a_request_that_died_does_not_wedge_its_key(db: Db) {
        assert_eq!(claim(&db, 1).await, Claim::Ours);
        db.advance(RUNNING_LEASE);
        assert_eq!(claim(&db, 1).await, Claim::Running);
        db.advance(Duration::from_micros(1));
        assert_eq!(claim(&db, 1).await, Claim::Ours);
    }

    async fn an_effect_without_a_stored_answer_is_remembered_as_an_effect(db: Db) {
        assert_eq!(claim(&db, 1).await, Claim::Ours);
        let held = IdempotencyClaim::new("me", "k");
        let scope = InstallationScope::system("test").with_idempotency(held);
        let intent = Intent::new(Action::TenantCreate, Resource::new("tenant", "x"));
        let undone = db.store.write(&scope, intent.clone()).await.unwrap();
        undone.rollback().await.unwrap();
        assert_eq!(claim(&db, 1).await, Claim::Running, "nothing took effect yet");
        db.store.write(&scope, intent).await.unwrap().commit(db.now()).await.unwrap();
        // The controller dies here: no answer, no lease that would free the key.
        db.advance(RUNNING_LEASE * 2);
        assert_eq!(claim(&db, 1).await, Claim::AnswerLost);
        settle(&db, None).await;
        assert_eq!(claim(&db, 1).await, Claim::AnswerLost, "an effect is not freed");
    }

    async fn answers_are_forgotten_after_a_day(db: Db) {
        assert_eq!(claim(&db, 1).await, Claim::Ours);
        settle(&db, Some((200, String::new()))).await;
        db.advance(KEEP + Duration::from_secs(1));
        let scope = InstallationScope::system("test");
        let mut write = db.store.write_observation(&scope).await.unwrap();
        assert_eq!(idempotency::sweep(&mut write, db.now().minus(idempotency::KEEP)).await.unwrap(), 1);
        write.commit(db.now()).await.unwrap();
        assert_eq!(claim(&db, 2).await, Claim::Ours);
    }
}
