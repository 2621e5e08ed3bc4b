//! The life of a tenant, on both databases: who is let in, what is exported, what is left.

use std::time::Duration;

use edgeformer_controller::audit::{checkpointer, sequencer};
use edgeformer_controller::clock::Clock;
use edgeformer_controller::store::Backend;
use edgeformer_controller::tenancy::purge;
use http::Method;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Row};

use super::isolation::one_of_everything;
use crate::support::db::PostgresDatabase;
use crate::support::rest::{Answer, Rest};
use crate::support::tables::tables;

const DAY: Duration = Duration::from_secs(86_400);

async fn on_both<F: Future<Output = ()>>(check: impl Fn(Rest, String, Backend) -> F) {
    let rest = Rest::start().await;
    let url = rest.database_url();
    check(rest, url, Backend::Sqlite).await;
    let database = PostgresDatabase::create().await;
    let rest = Rest::start_on(Some(database.url.clone())).await;
    let store = rest.app.store.clone();
    check(rest, database.url.clone(), Backend::Postgres).await;
    store.close().await;
    database.drop_it().await;
}

async fn act(rest: &Rest, tenant: &str, what: &str, body: Value) -> Answer {
    rest.post(&rest.installation_token, &format!("/api/v1/tenants/{tenant}/{what}"), body).await
}

async fn settle(rest: &Rest) {
    sequencer::sequence_all(&rest.app.store, rest.clock.now()).await.unwrap();
    checkpointer::sign_all(&rest.app).await.unwrap();
}

async fn actions(rest: &Rest, token: &str) -> Vec<String> {
    let audit = rest.get(token, "/api/v1/audit?limit=200").await;
    let items = audit.body["items"].as_array().unwrap();
    let one = |item: &Value| format!("{} {}", item["action"], item["outcome"]).replace('"', "");
    items.iter().map(one).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_tenant_is_told_why_and_another_notices_nothing() {
    on_both(|rest, _, _| async move {
        let (a, owner) = rest.tenant("a").await;
        let (_, other) = rest.tenant("b").await;
        let reason = "invoice 17 is unpaid: call +49 30 1234";
        act(&rest, &a, "suspend", json!({"reason": " "})).await.is_problem(422, "invalid");
        let done = act(&rest, &a, "suspend", json!({"reason": reason})).await;
        assert_eq!(done.body["tenant"]["state"], "suspended", "{done:?}");
        assert_eq!(done.body["tenant"]["suspended_reason"], reason);
        for (method, path) in
            [(Method::GET, "devices"), (Method::POST, "tokens"), (Method::GET, "whoami")]
        {
            let bearer = format!("Bearer {owner}");
            let headers = [("authorization", bearer.as_str())];
            let refused = rest.send(method, &format!("/api/v1/{path}"), &headers, Some("{}")).await;
            refused.is_problem(403, "tenant_suspended");
            assert!(refused.text("detail").contains(reason), "{refused:?}");
        }
        assert_eq!(rest.get(&other, "/api/v1/devices").await.status, 200);
        act(&rest, &a, "suspend", json!({"reason": "again"})).await.is_problem(409, "wrong_state");
        act(&rest, &a, "resume", json!({})).await;
        act(&rest, &a, "resume", json!({})).await.is_problem(409, "wrong_state");
        assert_eq!(rest.get(&owner, "/api/v1/devices").await.status, 200);
        let own = actions(&rest, &owner).await;
        for expected in ["tenant:suspend success", "tenant:resume success", "device:read denied"] {
            assert!(own.iter().any(|action| action == expected), "{expected}: {own:?}");
        }
        let nobody = "01a205d4-02c0-7092-a95b-4f862b0ac47f";
        act(&rest, nobody, "suspend", json!({"reason": "x"})).await.is_problem(404, "not_found");
        let path = format!("/api/v1/tenants/{a}/suspend");
        rest.post(&other, &path, json!({"reason": "x"})).await.is_problem(403, "forbidden");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_has_every_row_and_no_secret() {
    on_both(|rest, url, backend| async move {
        let (a, owner) = rest.tenant("a").await;
        let (b, stranger) = rest.tenant("b").await;
        one_of_everything(&rest, &a, &owner).await;
        rest.token(&stranger, "viewer").await;
        settle(&rest).await;
        let mut db = AnyConnection::connect(&url).await.unwrap();
        let all = tables(&mut db, backend).await;
        for table in all.iter().filter(|table| table.is_tenants()) {
            if table.content(&mut db, &a).await.is_empty() {
                let row = table.insert(backend, &a, "marker");
                sqlx::raw_sql(AssertSqlSafe(row)).execute(&mut db).await.unwrap();
            }
        }
        let text =
            rest.text(&rest.installation_token, &format!("/api/v1/tenants/{a}/export")).await;
        let lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["format"], "edgeformer-tenant-export");
        assert_eq!(lines[0]["tenant"]["id"], a);
        let end = lines.last().unwrap();
        assert_eq!(end["rows"], lines.len() - 2);
        let before = text.trim_end().rsplit_once('\n').unwrap().0.to_owned() + "\n";
        let hash = data_encoding::HEXLOWER.encode(digest(&SHA256, before.as_bytes()).as_ref());
        assert_eq!(end["sha256"], hash);
        for table in all.iter().filter(|table| table.is_tenants()) {
            let sql = format!("SELECT count(*) AS n FROM {} WHERE tenant_id = '{a}'", table.name);
            let n: i64 = sqlx::query(AssertSqlSafe(sql)).fetch_one(&mut db).await.unwrap().get("n");
            let exported = lines.iter().filter(|line| line["table"] == table.name.as_str()).count();
            match table.name.as_str() {
                // What passes: answers to be repeated, log-ins under way.
                "device_logins" | "foreign_token_uses" | "idempotency_keys" | "sso_logins" => {
                    assert_eq!(exported, 0);
                }
                // Exporting is itself recorded, after what is exported.
                "audit_outbox" => {}
                name => assert_eq!(exported as i64, n, "{name}"),
            }
        }
        for hidden in [&b, "wrapped", "secret_sha256", "password", "salt", "marker-key"] {
            assert!(!text.contains(hidden), "the export shows {hidden}");
        }
        for log in [a.as_str(), ""] {
            let sql = format!("SELECT record FROM audit_outbox WHERE tenant_id = '{log}'");
            let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut db).await.unwrap();
            let records: String = rows.iter().map(|row| row.get::<String, _>("record")).collect();
            assert!(records.contains("tenant:export"), "not in the log of {log:?}: {records}");
        }
        db.close().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_tenant_can_be_restored_until_it_is_purged_and_leaves_nothing() {
    on_both(|rest, url, backend| async move {
        let (a, owner) = rest.tenant("a").await;
        let (b, stranger) = rest.tenant("b").await;
        one_of_everything(&rest, &a, &owner).await;
        rest.token(&stranger, "viewer").await;
        settle(&rest).await;
        let path = format!("/api/v1/tenants/{a}/deletion-preview");
        let preview = rest.get(&rest.installation_token, &path).await;
        assert_eq!(preview.body["usage"]["devices"], 2, "{preview:?}");
        assert_eq!(preview.body["rows"]["versions"], 1);
        let body = |name: &str, days: u32| json!({"name": name, "retention_days": days});
        act(&rest, &a, "delete", body("b", 7)).await.is_problem(422, "invalid");
        act(&rest, &a, "delete", body("a", 0)).await.is_problem(422, "invalid");

        let deleted = act(&rest, &a, "delete", body("a", 7)).await;
        assert_eq!(deleted.body["tenant"]["state"], "deleted", "{deleted:?}");
        rest.get(&owner, "/api/v1/devices").await.is_problem(403, "tenant_deleted");
        rest.advance(6 * DAY);
        assert_eq!(purge::run_due(&rest.app).await.unwrap(), 0);
        act(&rest, &a, "restore", json!({})).await;
        assert_eq!(rest.get(&owner, "/api/v1/devices").await.status, 200);

        act(&rest, &a, "delete", body("a", 7)).await;
        rest.advance(7 * DAY);
        assert_eq!(purge::run_due(&rest.app).await.unwrap(), 1);
        assert_eq!(purge::run_due(&rest.app).await.unwrap(), 0);
        act(&rest, &a, "restore", json!({})).await.is_problem(404, "not_found");
        rest.get(&owner, "/api/v1/devices").await.is_problem(401, "unauthenticated");
        settle(&rest).await;

        let mut db = AnyConnection::connect(&url).await.unwrap();
        for table in tables(&mut db, backend).await {
            if table.is_tenants() {
                assert!(
                    table.content(&mut db, &a).await.is_empty(),
                    "{} has rows left",
                    table.name
                );
            }
        }
        let sql = "SELECT record FROM audit_log WHERE tenant_id = '' ORDER BY sequence";
        let rows = sqlx::query(sql).fetch_all(&mut db).await.unwrap();
        let log: String = rows.iter().map(|row| row.get::<String, _>("record")).collect();
        for expected in ["tenant:delete", "tenant:restore", "tenant:purge"] {
            assert!(log.contains(expected), "{expected} is not in the installation's log");
        }
        db.close().await.unwrap();
        let objects = rest.data_dir().join(format!("objects/tenants/{a}"));
        let files = |folder| walk(folder).into_iter().filter(|path| path.is_file()).count();
        assert_eq!(files(objects), 0);
        assert_eq!(rest.get(&stranger, "/api/v1/whoami").await.text("tenant_id"), b);
        let (again, _) = rest.tenant("a").await;
        assert_ne!(again, a);
    })
    .await;
}

fn walk(folder: std::path::PathBuf) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(&folder) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(walk(path.clone()));
        }
        found.push(path);
    }
    found
}
