//! How long data is kept, everything that is held about somebody, and taking somebody out of it.

use edgeformer_controller::audit::{checkpointer, sequencer};
use edgeformer_controller::clock::Clock;
use edgeformer_controller::housekeeping;
use edgeformer_controller::scope::TenantScope;
use edgeformer_controller::store::telemetry;
use edgeformer_controller::telemetry::Point;
use edgeformer_proto::audit::bundle::Verifier;
use edgeformer_proto::audit::note::VerifierKey;
use edgeformer_proto::ids::{AuditId, DeviceId, TenantId};
use http::Method;
use serde_json::{Value, json};
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Row};

use super::resources::device;
use crate::support::rest::{Answer, Rest};
use crate::support::tables::tables;
use edgeformer_controller::store::Backend;

const SETTINGS: &str = "/api/v1/privacy/settings";

async fn put(rest: &Rest, token: &str, path: &str, body: Value) -> Answer {
    let bearer = format!("Bearer {token}");
    rest.send(Method::PUT, path, &[("authorization", &bearer)], Some(&body.to_string())).await
}

/// A measurement of `device` with one attribute.
async fn measured(rest: &Rest, tenant: &str, device: DeviceId, attribute: &str) {
    let scope = TenantScope::system(tenant.parse::<TenantId>().unwrap(), "test");
    let now = rest.clock.now();
    let point = Point {
        id: AuditId::new().to_string(),
        device_id: device,
        metric: "app.answers".to_owned(),
        slot: String::new(),
        version_id: String::new(),
        rollout_id: String::new(),
        at: now,
        received_at: now,
        count: 1,
        sum: 1.0,
        min: None,
        max: None,
        buckets: None,
        attributes: [("app.user".to_owned(), attribute.to_owned())].into(),
    };
    let mut write = rest.app.store.write_observation(&scope).await.unwrap();
    telemetry::insert(&mut write, &[point]).await.unwrap();
    write.commit(now).await.unwrap();
}

async fn points(rest: &Rest, token: &str) -> usize {
    let answer = rest.get(token, "/api/v1/telemetry/points").await;
    answer.body["items"].as_array().unwrap().len()
}

/// Tables whose rows of the tenant hold one of `words` anywhere.
async fn tables_with(rest: &Rest, tenant: &str, words: &[&str]) -> Vec<String> {
    let mut db = AnyConnection::connect(&rest.database_url()).await.unwrap();
    let mut found = Vec::new();
    for table in tables(&mut db, Backend::Sqlite).await.iter().filter(|t| t.is_tenants()) {
        let rows = table.content(&mut db, tenant).await;
        if rows.iter().any(|row| words.iter().any(|word| row.contains(word))) {
            found.push(table.name.clone());
        }
    }
    db.close().await.unwrap();
    found
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn tables_of(lines: &[Value]) -> Vec<&str> {
    let mut names: Vec<&str> = lines.iter().filter_map(|line| line["table"].as_str()).collect();
    names.dedup();
    names
}

/// A person who did something, with everything that hangs on them.
async fn person(rest: &Rest, owner: &str, tenant: &str) -> String {
    let body = json!({"user_name": "lovelace", "display_name": "Ada Lovelace",
        "email": "ada@lovelace.example", "roles": ["viewer"]});
    let made = rest.post(owner, "/api/v1/users", body).await;
    let (id, invitation) = (made.text("id"), made.text("invitation"));
    let password = "a lengthy pass phrase";
    let body = json!({"tenant": "a", "invitation": invitation, "password": password});
    let set = rest.send(Method::POST, "/api/v1/login/password", &[], Some(&body.to_string())).await;
    assert!(set.status.is_success(), "{set:?}");
    let body = json!({"tenant": "a", "user_name": "lovelace", "password": password});
    let login = rest.send(Method::POST, "/api/v1/login", &[], Some(&body.to_string())).await;
    let access = login.text("access_token");
    // A refusal is a record of theirs.
    rest.post(&access, "/api/v1/tokens", json!({"name": "x", "role": "viewer"})).await;
    measured(rest, tenant, DeviceId::new(), "Ada Lovelace").await;
    measured(rest, tenant, DeviceId::new(), "Grace Hopper").await;
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_sets_how_long_its_data_is_kept() {
    let rest = Rest::start().await;
    let (tenant, owner) = rest.tenant("a").await;
    let (other, _) = rest.tenant("b").await;
    let viewer = rest.token(&owner, "viewer").await;
    let defaults = rest.get(&viewer, SETTINGS).await.body;
    assert_eq!((&defaults["telemetry_days"], &defaults["answers_hours"]), (&json!(30), &json!(24)));
    let mut wanted = defaults.clone();
    wanted["telemetry_days"] = json!(2);
    wanted["telemetry_names"] = json!(["app.answers"]);
    put(&rest, &viewer, SETTINGS, wanted.clone()).await.is_problem(403, "forbidden");
    let set = put(&rest, &owner, SETTINGS, wanted.clone()).await;
    assert_eq!((set.status.as_u16(), &set.body), (200, &wanted));
    let mut wrong = wanted.clone();
    wrong["telemetry_days"] = json!(0);
    put(&rest, &owner, SETTINGS, wrong).await.is_problem(422, "invalid");
    assert_eq!(rest.get(&viewer, SETTINGS).await.body, wanted, "what is refused changes nothing");

    for tenant in [&tenant, &other] {
        measured(&rest, tenant, DeviceId::new(), "x").await;
    }
    assert_eq!(points(&rest, &owner).await, 1);
    rest.advance(std::time::Duration::from_secs(3 * 86_400));
    let gone = housekeeping::tidy(&rest.app.store, rest.clock.now()).await.unwrap();
    assert!(gone >= 1);
    assert_eq!(points(&rest, &owner).await, 0);
    let kept = tables_with(&rest, &other, &["app.answers"]).await;
    assert_eq!(kept, ["telemetry_points"], "the other tenant keeps its own for longer");
    let newest = rest.get(&owner, "/api/v1/audit?limit=50").await.body;
    let changed = newest["items"].as_array().unwrap().iter();
    let mut changed = changed.filter(|r| r["action"] == "privacy_settings:update");
    let done = changed.find(|r| r["outcome"] == "success").unwrap();
    assert_eq!(done["changes"]["after"]["telemetry_days"], 2);
    assert_eq!(done["changes"]["before"]["telemetry_days"], 30);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_about_a_person_is_given_out_without_secrets_and_without_others() {
    let rest = Rest::start().await;
    let (tenant, owner) = rest.tenant("a").await;
    let id = person(&rest, &owner, &tenant).await;
    sequencer::sequence_all(&rest.app.store, rest.clock.now()).await.unwrap();
    let path = format!("/api/v1/privacy/export?subject=user:{id}");
    let viewer = rest.token(&owner, "viewer").await;
    rest.get(&viewer, &path).await.is_problem(403, "forbidden");
    let text = rest.text(&owner, &path).await;
    let all = lines(&text);
    let found = tables_of(&all);
    for table in [
        "audit_beside",
        "audit_log",
        "audit_subjects",
        "login_sessions",
        "telemetry_points",
        "users",
    ] {
        assert!(found.contains(&table), "{table} is not in {found:?}");
    }
    let end = all.last().unwrap();
    assert_eq!((&end["end"], &end["rows"]), (&json!(true), &json!(all.len() - 2)));
    for secret in ["$argon2", "password_hash", "secret_sha256", "salt", "Grace Hopper"] {
        assert!(!text.contains(secret), "{secret}");
    }
    for known in ["Ada Lovelace", "ada@lovelace.example"] {
        assert!(text.contains(known), "{known}");
    }
    for wrong in ["user:1", "user:%25", "user:", "nobody"] {
        let path = format!("/api/v1/privacy/export?subject={wrong}");
        rest.get(&owner, &path).await.is_problem(422, "invalid");
    }
    let (_, stranger) = rest.tenant("b").await;
    rest.get(&stranger, &path).await.is_problem(404, "not_found");
    let newest = rest.get(&owner, "/api/v1/audit?limit=5").await.body;
    let actions: Vec<_> =
        newest["items"].as_array().unwrap().iter().map(|r| r["action"].clone()).collect();
    assert!(actions.contains(&json!("privacy:export")), "{actions:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erased_person_is_in_no_table_and_the_log_verifies_all_the_same() {
    let rest = Rest::start().await;
    let (tenant, owner) = rest.tenant("a").await;
    let id = person(&rest, &owner, &tenant).await;
    let settle = || async {
        sequencer::sequence_all(&rest.app.store, rest.clock.now()).await.unwrap();
        checkpointer::sign_all(&rest.app).await.unwrap();
    };
    settle().await;
    let words = ["lovelace", "Lovelace"];
    let before = tables_with(&rest, &tenant, &words).await;
    for table in ["users", "audit_beside", "telemetry_points"] {
        assert!(before.contains(&table.to_owned()), "{before:?}");
    }
    let preview = format!("/api/v1/audit/erasures/preview?subject=user:{id}");
    let shown = rest.get(&owner, &preview).await.body;
    assert_eq!(
        (&shown["rows"]["users"], &shown["rows"]["telemetry_points"]),
        (&json!(1), &json!(1))
    );
    assert!(shown["rows"]["login_sessions"].as_u64() >= Some(1), "{shown}");
    assert_eq!(tables_with(&rest, &tenant, &words).await, before, "a preview changes nothing");

    let body = json!({"subject": format!("user:{id}")});
    let erased = rest.post(&owner, "/api/v1/audit/erasures", body.clone()).await;
    assert!(erased.body["erased_at"].is_string(), "{erased:?}");
    settle().await;
    assert_eq!(tables_with(&rest, &tenant, &words).await, Vec::<String>::new());
    assert_eq!(points(&rest, &owner).await, 1, "somebody else's stays");
    let login =
        json!({"tenant": "a", "user_name": "lovelace", "password": "a lengthy pass phrase"});
    let login = rest.send(Method::POST, "/api/v1/login", &[], Some(&login.to_string())).await;
    assert_eq!(login.status, 401, "{login:?}");
    let again = rest.post(&owner, "/api/v1/audit/erasures", body).await;
    assert_eq!((again.status.as_u16(), &again.body["rows"]), (200, &json!({})));

    settle().await;
    let key: VerifierKey = rest.get(&owner, "/api/v1/audit/key").await.text("key").parse().unwrap();
    let bundle = rest.text(&owner, "/api/v1/audit/bundle").await;
    let mut bundle = bundle.lines();
    let mut verifier = Verifier::new(bundle.next().unwrap(), &key, &[], Vec::new()).unwrap();
    bundle.for_each(|line| verifier.record(line).unwrap());
    assert!(verifier.finish().unwrap().withheld > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_is_erased_after_it_was_revoked_and_its_facts_go_in_time() {
    let rest = Rest::start().await;
    let (tenant, owner) = rest.tenant("a").await;
    let press = device(&rest, &tenant, "adas-press").await;
    measured(&rest, &tenant, press.parse().unwrap(), "x").await;
    let body = json!({"subject": format!("device:{press}")});
    let early = rest.post(&owner, "/api/v1/audit/erasures", body.clone()).await;
    early.is_problem(409, "device_enrolled");
    rest.post(&owner, &format!("/api/v1/devices/{press}/revoke"), json!({})).await;
    let erased = rest.post(&owner, "/api/v1/audit/erasures", body).await;
    assert_eq!(
        (erased.status.as_u16(), &erased.body["rows"]["telemetry_points"]),
        (200, &json!(1))
    );
    let shown = rest.get(&owner, &format!("/api/v1/devices/{press}")).await;
    assert_eq!((shown.text("name").as_str(), shown.text("state").as_str()), ("erased", "revoked"));
    assert_eq!(points(&rest, &owner).await, 0);

    let lathe = device(&rest, &tenant, "lathe").await;
    let mill = device(&rest, &tenant, "mill").await;
    let mut db = AnyConnection::connect(&rest.database_url()).await.unwrap();
    let facts = "UPDATE devices SET facts = '{\"hostname\":\"adas-pc\"}'";
    sqlx::query(facts).execute(&mut db).await.unwrap();
    rest.post(&owner, &format!("/api/v1/devices/{lathe}/revoke"), json!({})).await;
    for (days, left) in [(89, 3), (2, 1)] {
        rest.advance(std::time::Duration::from_secs(days * 86_400));
        housekeeping::tidy(&rest.app.store, rest.clock.now()).await.unwrap();
        let sql = "SELECT count(*) AS n FROM devices WHERE facts LIKE '%adas-pc%'";
        let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(&mut db).await.unwrap();
        assert_eq!(row.get::<i64, _>("n"), left, "after {days} more days");
    }
    let sql = format!("SELECT facts FROM devices WHERE id = '{mill}'");
    let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(&mut db).await.unwrap();
    assert!(row.get::<String, _>("facts").contains("adas-pc"), "an enrolled one keeps its facts");
    db.close().await.unwrap();
}
