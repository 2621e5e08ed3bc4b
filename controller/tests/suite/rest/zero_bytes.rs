//! Zero bytes in texts, which PostgreSQL takes nowhere: each route refuses them, on both databases.

use http::Method;
use serde_json::json;

use super::access::{call, routes};
use crate::support::db::PostgresDatabase;
use crate::support::rest::Rest;
use edgeformer_controller::policy::{Action, Group};

async fn refuses(rest: &Rest) {
    let (_, owner) = rest.tenant("acme").await;
    for (method, path, action) in routes() {
        // Streams: what their paths hold is checked to be names and ids.
        if matches!(action, Action::VersionPublish | Action::TenantExport) {
            continue;
        }
        let token = match action.group() {
            Group::Public => None,
            Group::Installation => Some(&*rest.installation_token),
            _ => Some(&*owner),
        };
        // Strangers are counted by the minute.
        rest.advance(std::time::Duration::from_secs(60));
        let answer = call(rest, token, &method, &format!("{path}?q=a%00b")).await;
        answer.is_problem(400, "zero_byte");
        if matches!(method, Method::GET | Method::DELETE) {
            continue;
        }
        let bearer = format!("Bearer {}", token.unwrap_or_default());
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let form = [headers[0], ("content-type", "application/x-www-form-urlencoded")];
        let headers = if token.is_some() { &headers[..] } else { &headers[1..] };
        let form = if token.is_some() { &form[..] } else { &form[1..] };
        let path = path.replace(['{', '}'], "");
        for (headers, body) in [
            (headers, r#"{"x": ["a\u0000b"]}"#),
            (headers, r#"{"x\u0000": {}}"#),
            (form, "tenant=a%00b"),
            (form, "tenant=a\0b"),
        ] {
            let answer = rest.send(method.clone(), &path, headers, Some(body)).await;
            answer.is_problem(400, "zero_byte");
        }
    }
    let in_path = rest.get(&owner, "/api/v1/access/policies/a%00b").await;
    in_path.is_problem(400, "zero_byte");
    // What is decoded later, such as a cursor, does not get further.
    let cursor = data_encoding::BASE64URL_NOPAD.encode(b"a\0b");
    let path = format!("/api/v1/telemetry/points?cursor={cursor}");
    let answer = rest.get(&owner, &path).await;
    assert!(answer.status.as_u16() < 500, "{answer:?}");
    // A text that only speaks of it is one.
    let text = json!({"text": r"permit (principal, action, resource) when { \u0000 };"});
    let bearer = format!("Bearer {owner}");
    let headers = [("authorization", bearer.as_str())];
    let path = "/api/v1/access/policies/p";
    let answer = rest.send(Method::PUT, path, &headers, Some(&text.to_string())).await;
    answer.is_problem(422, "invalid");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_text_has_a_zero_byte_on_sqlite() {
    refuses(&Rest::start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_text_has_a_zero_byte_on_postgres() {
    let database = PostgresDatabase::create().await;
    let rest = Rest::start_on(Some(database.url.clone())).await;
    refuses(&rest).await;
    rest.app.store.close().await;
    database.drop_it().await;
}
