//! What a tenant may use, and that one tenant's storm leaves the others alone.

use std::time::Duration;

use edgeformer_controller::quota;
use edgeformer_controller::quota::gate::Key;
use edgeformer_proto::ids::TenantId;
use futures::FutureExt;
use http::Method;
use serde_json::{Value, json};

use super::isolation::model_file;
use crate::support::rest::{Answer, Rest};

async fn set(rest: &Rest, tenant: &str, quota: Value) -> Answer {
    let bearer = format!("Bearer {}", rest.installation_token);
    let path = format!("/api/v1/tenants/{tenant}/quota");
    rest.send(Method::PUT, &path, &[("authorization", &bearer)], Some(&quota.to_string())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_holds_for_the_whole_tenant_and_for_no_other() {
    let rest = Rest::start().await;
    let (a, owner) = rest.tenant("a").await;
    let (_, other) = rest.tenant("b").await;
    let viewer = rest.token(&owner, "viewer").await;
    set(&rest, &a, json!({"requests_per_second": 0})).await.is_problem(422, "invalid");
    let done = set(&rest, &a, json!({"requests_per_second": 3})).await;
    assert_eq!(done.body["tenant"]["quota"]["requests_per_second"], 3, "{done:?}");
    for token in [&owner, &viewer, &owner] {
        assert_eq!(rest.get(token, "/api/v1/devices").await.status, 200);
    }
    for token in [&owner, &viewer, &viewer] {
        let refused = rest.get(token, "/api/v1/devices").await;
        refused.is_problem(429, "rate_limited");
        assert_eq!(refused.headers["retry-after"], "1");
        assert!(refused.text("detail").contains("3 requests per second"), "{refused:?}");
    }
    for _ in 0..50 {
        assert_eq!(rest.get(&other, "/api/v1/devices").await.status, 200);
    }
    rest.advance(Duration::from_secs(1));
    let audit = rest.get(&owner, "/api/v1/audit").await;
    let items = audit.body["items"].as_array().unwrap();
    let denied = items.iter().filter(|item| item["outcome"] == "denied").count();
    assert_eq!(denied, 1, "said once, not with every request: {audit:?}");
    set(&rest, &a, json!({})).await;
    rest.advance(Duration::from_secs(1));
    for _ in 0..50 {
        assert_eq!(rest.get(&owner, "/api/v1/devices").await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_stores_no_more_than_it_may() {
    let rest = Rest::start().await;
    let (a, owner) = rest.tenant("a").await;
    let publish = async |version: &str| {
        let path = format!("/api/v1/models/m/versions/{version}/payload");
        rest.put(&owner, &path, model_file()).await
    };
    assert_eq!(publish("1.0.0").await.status, 201);
    let path = format!("/api/v1/tenants/{a}");
    let stored =
        rest.get(&rest.installation_token, &path).await.body["usage"]["stored_bytes"].clone();
    let stored = stored.as_u64().unwrap();
    assert!(stored > 0);
    set(&rest, &a, json!({"stored_bytes": stored + 1})).await;
    let refused = publish("1.0.1").await;
    refused.is_problem(409, "quota_stored_bytes");
    assert!(refused.text("detail").contains("edgeformer tenant quota"), "{refused:?}");
    assert_eq!(publish("1.0.0").await.status, 200, "what is there costs nothing");
    set(&rest, &a, json!({"stored_bytes": stored * 100 + 1_000_000})).await;
    assert_eq!(publish("1.0.1").await.status, 201);
}

/// Whoever asks most has no more than its share of the places, and waits in a queue of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_one_tenant_leaves_room_for_another() {
    let rest = Rest::start().await;
    let (a, owner) = rest.tenant("a").await;
    let (_, other) = rest.tenant("b").await;
    let a: TenantId = a.parse().unwrap();
    assert_eq!(rest.get(&owner, "/api/v1/devices").await.status, 200);
    // Requests of the first tenant that take long, as many as it gets through, and more that wait.
    let gate = rest.app.quota().api.clone();
    let mut running = Vec::new();
    for _ in 0..quota::API.per_key {
        running.push(gate.enter(Key::Tenant(a)).await.unwrap());
    }
    let mut one_more = Box::pin(rest.get(&owner, "/api/v1/devices"));
    assert!((&mut one_more).now_or_never().is_none(), "it waits");
    let mut waiting = Vec::new();
    for _ in 1..quota::API.waiting_per_key {
        let mut enter = Box::pin(gate.enter(Key::Tenant(a)));
        assert!((&mut enter).now_or_never().is_none());
        waiting.push(enter);
    }
    let refused = rest.get(&owner, "/api/v1/devices").await;
    refused.is_problem(429, "too_many_waiting");
    assert_eq!(refused.headers["retry-after"], "1");
    for _ in 0..20 {
        assert_eq!(rest.get(&other, "/api/v1/devices").await.status, 200);
    }
    drop(waiting);
    running.pop();
    assert_eq!(one_more.await.status, 200);
}
