//! Texts of records that are deleted, legal holds, the room for records, and the installation's own log.

use std::time::Duration;

use edgeformer_controller::app::AuditLimits;
use edgeformer_controller::audit::sinks::deliver_due;
use edgeformer_controller::audit::{capacity, retention};
use edgeformer_controller::store::Backend;
use edgeformer_controller::tenancy::purge;
use edgeformer_proto::audit::bundle::BundleError;
use http::Method;
use serde_json::{Value, json};

use super::audit_proofs::{Log, attack, verify_with};
use crate::support::db::PostgresDatabase;
use crate::support::rest::{Answer, Rest};
use crate::support::syslog::{Authority, Receiver};

const DAY: Duration = Duration::from_secs(86_400);

impl Log {
    async fn put(&self, token: &str, path: &str, body: &Value) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        let path = format!("/api/v1/audit/{path}");
        self.rest.send(Method::PUT, &path, &headers, Some(&body.to_string())).await
    }

    async fn lift(&self, token: &str) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        self.rest.send(Method::DELETE, "/api/v1/audit/hold", &headers, None).await
    }

    async fn get(&self, path: &str) -> Value {
        let path = format!("/api/v1/audit/{path}");
        let answer = self.rest.get(&self.admin, path.trim_end_matches('/')).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }
}

/// Old texts go, everything that can be proved stays.
async fn deletes(rest: Rest) {
    let log = Log::on(rest).await;
    log.grow(9).await;
    let (whole, kept) = (log.text("bundle").await, log.checkpoint_size().await);
    log.rest.advance(DAY * 40);
    // Ids of records go by the machine's clock: what is made from here on counts as made before too,
    // so the period is what tells them apart.
    assert_eq!(log.get("retention").await["keep_days"], Value::Null, "for ever unless it is said");
    assert_eq!(retention::run_due(&log.rest.app).await.unwrap(), 0);
    let preview = log.get("retention/preview?keep_days=39").await;
    assert_eq!((&preview["records"], &preview["held"]), (&json!(kept), &json!(false)));
    assert_eq!(log.get("retention/preview?keep_days=41").await["records"], 0);
    let set = log.put(&log.admin, "retention", &json!({"keep_days": 39})).await;
    assert_eq!(set.status, 200, "{set:?}");
    log.settle().await;
    let size = log.checkpoint_size().await;
    assert_eq!(retention::run_due(&log.rest.app).await.unwrap(), size);
    assert_eq!(retention::run_due(&log.rest.app).await.unwrap(), 0, "once");
    log.settle().await;

    // The deletion is what the log says now, and that it was allowed.
    let all = log.get("").await;
    let items = all["items"].as_array().unwrap();
    assert_eq!(items.len(), 1, "{items:?}");
    assert_eq!(items[0]["action"], "audit_texts:delete");
    assert_eq!(items[0]["changes"]["before"], json!({"first": 0, "last": size - 1}));
    assert_eq!(log.get("retention").await["deleted_records"], size);
    assert!(!log.text("export").await.contains("token:create"));
    // A bundle says so, and verifies; one from before is of the same history.
    let key = log.key().await;
    let now = log.text("bundle").await;
    let verified = verify_with(&now, &key, &[]).unwrap();
    assert_eq!((verified.deleted, verified.to), (size, size + 1));
    assert_eq!(verify_with(&whole, &key, &[]).unwrap().deleted, 0);
    for sequence in 0..=size {
        log.get(&format!("proofs/inclusion?sequence={sequence}")).await;
    }
    log.get(&format!("proofs/consistency?first={kept}")).await;
    // Nobody can pass an edit off as a deletion.
    let other = now.lines().nth(2).unwrap();
    let leaf: Value = serde_json::from_str(now.lines().nth(1).unwrap()).unwrap();
    let forged = now.replacen(
        leaf["leaf"].as_str().unwrap(),
        serde_json::from_str::<Value>(other).unwrap()["leaf"].as_str().unwrap(),
        1,
    );
    let caught = verify_with(&forged, &key, &[]).unwrap_err();
    assert!(matches!(caught, BundleError::Root { .. }), "{caught}");
    let path = format!("/api/v1/audit/log/tile/entries/000.p/{size}");
    log.rest.get(&log.admin, &path).await.is_problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_texts_are_deleted_and_proofs_stay_on_sqlite() {
    deletes(Rest::start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_texts_are_deleted_and_proofs_stay_on_postgres() {
    let database = PostgresDatabase::create().await;
    let rest = Rest::start_on(Some(database.url.clone())).await;
    let store = rest.app.store.clone();
    assert_eq!(store.backend(), Backend::Postgres);
    deletes(rest).await;
    store.close().await;
    database.drop_it().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_legal_hold_stops_every_deletion_until_an_owner_lifts_it() {
    let log = Log::on(Rest::start().await).await;
    log.rest.app.set_audit_limits(AuditLimits { min_retention_days: 7, record_budget: None });
    log.grow(3).await;
    let admin = log.rest.token(&log.admin, "admin").await;
    let whoami = log.rest.get(&admin, "/api/v1/whoami").await.text("principal_id");
    for days in [0, 6, 36_501] {
        let body = json!({"keep_days": days});
        log.put(&log.admin, "retention", &body).await.is_problem(422, "invalid");
    }
    log.put(&admin, "retention", &json!({"keep_days": 7})).await.is_problem(403, "forbidden");
    assert_eq!(log.put(&log.admin, "retention", &json!({"keep_days": 7})).await.status, 200);
    log.put(&admin, "hold", &json!({"reason": " "})).await.is_problem(422, "invalid");
    let held = log.put(&admin, "hold", &json!({"reason": "case 4 C 12"})).await;
    assert_eq!(held.body["hold"]["by"], format!("token:{whoami}"), "{held:?}");
    let again = log.put(&log.admin, "hold", &json!({"reason": "another"})).await;
    again.is_problem(409, "legal_hold");
    log.settle().await;
    log.rest.advance(DAY * 30);
    assert_eq!(retention::run_due(&log.rest.app).await.unwrap(), 0);

    let subject = json!({"subject": format!("token:{whoami}")});
    let refused = log.rest.post(&log.admin, "/api/v1/audit/erasures", subject.clone()).await;
    refused.is_problem(409, "legal_hold");
    let said = refused.text("detail");
    assert!(said.contains("case 4 C 12") && said.contains("lifts the hold"), "{said}");
    // The end of the tenant waits for it as well.
    let top = log.rest.installation_token.clone();
    let all = log.rest.get(&top, "/api/v1/tenants").await.body;
    let id = all["items"][0]["id"].as_str().unwrap().to_owned();
    let body = json!({"name": "a", "retention_days": 1});
    let path = format!("/api/v1/tenants/{id}");
    let gone = log.rest.post(&top, &format!("{path}/delete"), body).await;
    assert_eq!(gone.status, 200, "{gone:?}");
    log.rest.advance(DAY * 2);
    assert_eq!(purge::run_due(&log.rest.app).await.unwrap(), 0);
    assert_eq!(log.rest.post(&top, &format!("{path}/restore"), json!({})).await.status, 200);

    log.lift(&admin).await.is_problem(403, "forbidden");
    assert_eq!(log.lift(&log.admin).await.body["hold"], Value::Null);
    assert_eq!(log.lift(&log.admin).await.status, 200, "again is no error");
    let erased = log.rest.post(&log.admin, "/api/v1/audit/erasures", subject).await;
    assert_eq!(erased.status, 200, "{erased:?}");
    log.settle().await;
    assert!(retention::run_due(&log.rest.app).await.unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_goes_on_after_texts_that_were_deleted_before_it_came() {
    let log = Log::on(Rest::start_beside_servers(None).await).await;
    let authority = Authority::new();
    let receiver = Receiver::start(&authority, None).await;
    log.grow(5).await;
    let syslog = json!({
        "host": "127.0.0.1", "port": receiver.address.port(), "ca_pem": authority.pem(),
    });
    let body = json!({"name": "late", "format": "rfc5424", "from": 0, "syslog": syslog});
    let made = log.rest.post(&log.admin, "/api/v1/audit/sinks", body).await;
    log.put(&log.admin, "retention", &json!({"keep_days": 1})).await;
    log.settle().await;
    log.rest.advance(DAY * 2);
    retention::run_due(&log.rest.app).await.unwrap();
    assert!(deliver_due(&log.rest.app).await.unwrap() > 0);
    assert!(receiver.sessions().is_empty(), "there was nothing to say");
    log.settle().await;
    assert_eq!(deliver_due(&log.rest.app).await.unwrap(), 1);
    assert!(receiver.messages()[0].contains("audit_texts:delete"));
    let sink = log.get(&format!("sinks/{}", made.text("id"))).await;
    assert_eq!(sink["lag_records"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_threshold_of_the_room_is_reported_once() {
    let log = Log::on(Rest::start().await).await;
    log.rest.app.set_audit_limits(AuditLimits { min_retention_days: 0, record_budget: Some(20) });
    let top = log.rest.installation_token.clone();
    let warnings = async || {
        let all = log.rest.get(&top, "/api/v1/installation/audit?limit=100").await.body;
        let items = all["items"].as_array().unwrap().iter();
        let ours = items.filter(|one| one["action"] == "audit_capacity:warn");
        ours.map(|one| one["changes"]["after"]["threshold"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let look = async |volume| {
        log.settle().await;
        capacity::look(&log.rest.app, volume, "node").await.unwrap()
    };
    assert_eq!(log.get("status").await["capacity"]["state"], "unknown");
    assert!(!look(Some(10)).await.is_short());
    assert_eq!(log.get("status").await["capacity"]["state"], "ok");
    assert_eq!(warnings().await, [0_u64; 0]);
    assert!(look(Some(85)).await.is_short());
    look(Some(86)).await;
    assert_eq!(warnings().await, [80]);
    look(Some(97)).await;
    assert_eq!(warnings().await, [95, 80]);
    // There is room again, and then not.
    look(Some(10)).await;
    look(Some(80)).await;
    assert_eq!(warnings().await, [80, 95, 80]);
    look(Some(10)).await;
    log.grow(20).await;
    let room = look(Some(10)).await;
    assert!(room.records_percent.unwrap() >= 100, "{room:?}");
    assert_eq!(warnings().await[0], 95);
    let status = log.get("status").await;
    assert_eq!(status["capacity"]["state"], "warning");
    assert_eq!(status["records"], log.checkpoint_size().await);
    let ready = log.rest.get("", "/readyz").await;
    assert_eq!((ready.status.as_u16(), &ready.body["audit"]["capacity"]), (200, &json!("warning")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_installation_reads_proves_and_bundles_its_own_log_and_nobody_else_does() {
    let log = Log::on(Rest::start().await).await;
    log.settle().await;
    let top = log.rest.installation_token.clone();
    let of = |path: &str| format!("/api/v1/installation/audit{path}");
    let all = log.rest.get(&top, &of("")).await.body;
    let actions: Vec<_> = all["items"].as_array().unwrap().iter().map(|r| &r["action"]).collect();
    assert_eq!(actions, ["tenant:create", "installation:init"]);
    let key = log.rest.get(&top, &of("/key")).await;
    assert_eq!(key.text("origin"), "test.local/audit");
    let bundle = log.rest.text(&top, &of("/bundle")).await;
    let verified = verify_with(&bundle, &key.text("key").parse().unwrap(), &[]).unwrap();
    assert_eq!((verified.to, verified.withheld), (2, 0));
    let of_tenant = log.text("bundle").await;
    assert!(verify_with(&of_tenant, &key.text("key").parse().unwrap(), &[]).is_err());
    for path in [
        "/head",
        "/status",
        "/checkpoint",
        "/log/checkpoint",
        "/proofs/inclusion?sequence=0",
        "/proofs/consistency?first=1",
        "/export?format=ocsf",
    ] {
        assert!(!log.rest.text(&top, &of(path)).await.is_empty(), "{path}");
        log.rest.get(&log.admin, &of(path)).await.is_problem(403, "forbidden");
    }
}

/// As a full disk would: the record cannot be written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_recorded_does_not_happen() {
    let log = Log::on(Rest::start().await).await;
    log.grow(2).await;
    let url = log.rest.database_url();
    let full = "CREATE TRIGGER no_room BEFORE INSERT ON audit_outbox \
                BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END";
    attack(&url, &[full]).await;
    let tokens = log.rest.get(&log.admin, "/api/v1/tokens").await.body;
    let body = json!({"name": "n", "role": "viewer"});
    let failed = log.rest.post(&log.admin, "/api/v1/tokens", body.clone()).await;
    failed.is_problem(500, "internal");
    assert_eq!(log.rest.get(&log.admin, "/api/v1/tokens").await.body, tokens, "nothing was made");
    let held = log.put(&log.admin, "hold", &json!({"reason": "r"})).await;
    held.is_problem(500, "internal");
    assert_eq!(log.get("retention").await["hold"], Value::Null);
    attack(&url, &["DROP TRIGGER no_room"]).await;
    assert_eq!(log.rest.post(&log.admin, "/api/v1/tokens", body).await.status, 201);
}
