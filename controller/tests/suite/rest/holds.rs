//! Legal holds against what is going on when they are set: once a hold is answered, nothing goes.

use std::time::Duration;

use edgeformer_controller::audit::{Intent, Resource, retention};
use edgeformer_controller::clock::Clock;
use edgeformer_controller::policy::Action;
use edgeformer_controller::scope::TenantScope;
use edgeformer_controller::store::Write;
use edgeformer_controller::store::audit_retention::{self, Hold};
use http::Method;
use serde_json::{Value, json};
use sqlx::Connection;
use tokio::task::JoinHandle;

use super::audit_proofs::Log;
use crate::support::db::PostgresDatabase;
use crate::support::rest::{Answer, Rest};

const DAY: Duration = Duration::from_secs(86_400);

async fn put(log: &Log, path: &str, body: Value) -> Answer {
    let bearer = format!("Bearer {}", log.admin);
    let headers = [("authorization", bearer.as_str())];
    log.rest.send(Method::PUT, path, &headers, Some(&body.to_string())).await
}

/// A hold that is set and not committed yet.
async fn being_set(log: &Log) -> Write<TenantScope> {
    let tenant = log.rest.get(&log.admin, "/api/v1/whoami").await.text("tenant_id");
    let scope = TenantScope::system(tenant.parse().unwrap(), "test");
    let intent = Intent::new(Action::LegalHoldCreate, Resource::new("audit_log", &tenant));
    let mut write = log.rest.app.store.write(&scope, intent).await.unwrap();
    let mut retention = audit_retention::get(&mut write).await.unwrap();
    let at = log.rest.clock.now();
    retention.hold = Some(Hold { reason: "case 1".into(), by: "user:x".into(), at });
    audit_retention::put(&mut write, &retention).await.unwrap();
    write
}

/// Until `task` is over or waits for a lock: then whatever it read before the hold, it has read.
async fn under_way<T>(task: &JoinHandle<T>, postgres: Option<&str>) {
    let Some(url) = postgres else {
        // The embedded database has one writer, who is the hold.
        return;
    };
    let mut connection = sqlx::AnyConnection::connect(url).await.unwrap();
    let waiting = "SELECT count(*) FROM pg_stat_activity \
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    loop {
        let count: i64 = sqlx::query_scalar(waiting).fetch_one(&mut connection).await.unwrap();
        if count > 0 || task.is_finished() {
            break;
        }
        tokio::task::yield_now().await;
    }
    connection.close().await.unwrap();
}

async fn held(log: &Log) -> bool {
    let answer = log.rest.get(&log.admin, "/api/v1/audit/retention").await;
    answer.body["hold"]["reason"] == "case 1"
}

async fn lift(log: &Log) {
    let bearer = format!("Bearer {}", log.admin);
    let headers = [("authorization", bearer.as_str())];
    let lifted = log.rest.send(Method::DELETE, "/api/v1/audit/hold", &headers, None).await;
    assert_eq!(lifted.status, 200, "{lifted:?}");
}

async fn races(rest: Rest, postgres: Option<&str>) {
    let log = std::sync::Arc::new(Log::on(rest).await);
    log.grow(3).await;

    // A period that is set at the same time does not wipe the hold out.
    let hold = being_set(&log).await;
    let other = log.clone();
    let body = json!({"keep_days": 7});
    let period = tokio::spawn(async move { put(&other, "/api/v1/audit/retention", body).await });
    under_way(&period, postgres).await;
    hold.commit(log.rest.clock.now()).await.unwrap();
    assert_eq!(period.await.unwrap().body["hold"]["reason"], "case 1");
    assert!(held(&log).await);
    lift(&log).await;

    // Nobody is erased under it.
    let ada = log.rest.post(&log.admin, "/api/v1/users", json!({"user_name": "ada"})).await;
    let subject = json!({"subject": format!("user:{}", ada.text("id"))});
    let hold = being_set(&log).await;
    let other = log.clone();
    let erasure = tokio::spawn(async move {
        other.rest.post(&other.admin, "/api/v1/audit/erasures", subject).await
    });
    under_way(&erasure, postgres).await;
    hold.commit(log.rest.clock.now()).await.unwrap();
    erasure.await.unwrap().is_problem(409, "legal_hold");
    let still = log.rest.get(&log.admin, &format!("/api/v1/users/{}", ada.text("id"))).await;
    assert_eq!(still.status, 200, "{still:?}");
    lift(&log).await;

    // And no text goes that is due.
    log.settle().await;
    log.rest.advance(DAY * 30);
    let hold = being_set(&log).await;
    let other = log.clone();
    let due = tokio::spawn(async move { retention::run_due(&other.rest.app).await.unwrap() });
    under_way(&due, postgres).await;
    hold.commit(log.rest.clock.now()).await.unwrap();
    assert_eq!(due.await.unwrap(), 0);
    lift(&log).await;
    assert!(retention::run_due(&log.rest.app).await.unwrap() > 0, "it was due");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_under_way_when_a_hold_is_set_takes_nothing_after_it_on_sqlite() {
    races(Rest::start().await, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_under_way_when_a_hold_is_set_takes_nothing_after_it_on_postgres() {
    let database = PostgresDatabase::create().await;
    let rest = Rest::start_on(Some(database.url.clone())).await;
    let store = rest.app.store.clone();
    races(rest, Some(&database.url)).await;
    store.close().await;
    database.drop_it().await;
}
