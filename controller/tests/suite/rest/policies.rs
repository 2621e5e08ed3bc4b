//! A tenant's own policies: saved, in force at once, explained, tested, and recorded.

use edgeformer_controller::audit::sequencer;
use edgeformer_controller::clock::Clock;
use http::Method;
use serde_json::{Value, json};

use super::resources::device;
use crate::support::rest::{Answer, Rest};

const BERLIN: &str = r#"@description("operators look after Berlin only")
forbid (
    principal in Role::"operator",
    action in [Action::"device:update", Action::"device:revoke"],
    resource
) unless { resource.hasTag("site") && resource.getTag("site") == "berlin" };"#;

async fn put(rest: &Rest, token: &str, name: &str, text: &str, etag: Option<&str>) -> Answer {
    let bearer = format!("Bearer {token}");
    let mut headers = vec![("authorization", bearer.as_str())];
    if let Some(etag) = etag {
        headers.push(("if-match", etag));
    }
    let path = format!("/api/v1/access/policies/{name}");
    let body = json!({ "text": text }).to_string();
    rest.send(Method::PUT, &path, &headers, Some(&body)).await
}

async fn relabel(rest: &Rest, token: &str, device: &str, labels: Value) -> Answer {
    let bearer = format!("Bearer {token}");
    let path = format!("/api/v1/devices/{device}");
    let revision = rest.get(token, &path).await.headers["etag"].to_str().unwrap().to_owned();
    let headers = [("authorization", bearer.as_str()), ("if-match", revision.as_str())];
    let body = json!({ "labels": labels }).to_string();
    rest.send(Method::PATCH, &path, &headers, Some(&body)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_holds_from_the_moment_it_is_saved_and_for_its_tenant_alone() {
    let rest = Rest::start().await;
    let (tenant, owner) = rest.tenant("a").await;
    let operator = rest.token(&owner, "operator").await;
    let press = device(&rest, &tenant, "press").await;
    let before = relabel(&rest, &operator, &press, json!({"site": "paris"})).await;
    assert_eq!(before.status, 200, "{before:?}");

    let saved = put(&rest, &owner, "berlin", BERLIN, None).await;
    assert_eq!((saved.status.as_u16(), &saved.headers["etag"]), (200, &"\"1\"".parse().unwrap()));
    let refused = relabel(&rest, &operator, &press, json!({"site": "berlin"})).await;
    refused.is_problem(403, "forbidden");
    let detail = refused.text("detail");
    for part in
        ["device:update", "device press", "tenant/berlin", "operators look after Berlin only"]
    {
        assert!(detail.contains(part), "{part}: {detail}");
    }
    // The owner may, and then the operator may, but not move it away again.
    let moved = relabel(&rest, &owner, &press, json!({"site": "berlin"})).await;
    assert_eq!(moved.status, 200, "{moved:?}");
    let named = relabel(&rest, &operator, &press, json!({"site": "berlin", "line": "1"})).await;
    assert_eq!(named.status, 200, "{named:?}");
    relabel(&rest, &operator, &press, json!({"line": "1"})).await.is_problem(403, "forbidden");

    // Nothing of it in another tenant.
    let (other, stranger) = rest.tenant("b").await;
    let elsewhere = rest.token(&stranger, "operator").await;
    let lathe = device(&rest, &other, "lathe").await;
    let free = relabel(&rest, &elsewhere, &lathe, json!({"site": "rome"})).await;
    assert_eq!(free.status, 200, "{free:?}");

    // Every refusal is recorded, with what decided and which policies were in force.
    sequencer::sequence_all(&rest.app.store, rest.clock.now()).await.unwrap();
    let page = rest.get(&owner, "/api/v1/audit?limit=100").await;
    let all = page.body["items"].as_array().unwrap();
    let denied: Vec<_> = all.iter().filter(|r| r["outcome"] == "denied").collect();
    assert_eq!(denied.len(), 2, "{denied:?}");
    assert_eq!(denied[0]["resource"]["id"], press);
    assert!(denied[0]["reason"].as_str().unwrap().contains("tenant/berlin"), "{}", denied[0]);
    let done = all.iter().filter(|r| r["action"] == "device:update" && r["outcome"] == "success");
    let policies: Vec<_> = done.map(|r| r["reason"].as_str().unwrap()).collect();
    assert!(
        policies.contains(&"allowed by role-operator")
            && policies.contains(&"allowed by role-owner"),
        "{policies:?}"
    );
    let versions: std::collections::BTreeSet<_> =
        all.iter().filter_map(|r| r["policy_version"].as_str()).filter(|v| !v.is_empty()).collect();
    assert_eq!(versions.len(), 2, "before and after: {versions:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_valid_is_never_saved_and_nobodys_change_is_lost() {
    let rest = Rest::start().await;
    let (_, owner) = rest.tenant("a").await;
    let wrong =
        put(&rest, &owner, "x", "forbid (principal, action, resource) when { 1 };", None).await;
    wrong.is_problem(422, "invalid");
    assert_eq!(wrong.body["errors"][0]["field"], "text");
    put(&rest, &owner, "x", "allow everything", None).await.is_problem(422, "invalid");
    put(&rest, &owner, "X!", BERLIN, None).await.is_problem(422, "invalid");
    let long = format!("// {}\n{BERLIN}", "x".repeat(40_000));
    put(&rest, &owner, "x", &long, None).await.is_problem(422, "invalid");
    assert_eq!(rest.get(&owner, "/api/v1/access/policies").await.body["items"], json!([]));

    assert_eq!(put(&rest, &owner, "x", BERLIN, None).await.status, 200);
    put(&rest, &owner, "x", BERLIN, None).await.is_problem(409, "policy_exists");
    put(&rest, &owner, "y", BERLIN, Some("\"1\"")).await.is_problem(404, "not_found");
    assert_eq!(put(&rest, &owner, "x", BERLIN, Some("\"1\"")).await.body["revision"], 2);
    put(&rest, &owner, "x", BERLIN, Some("\"1\"")).await.is_problem(412, "stale");
    // A change that is not valid leaves what was.
    put(&rest, &owner, "x", "forbid", Some("\"2\"")).await.is_problem(422, "invalid");
    assert_eq!(rest.get(&owner, "/api/v1/access/policies/x").await.text("text"), BERLIN);

    let bearer = format!("Bearer {owner}");
    let gone = [("authorization", bearer.as_str())];
    let path = "/api/v1/access/policies/x";
    assert_eq!(rest.send(Method::DELETE, path, &gone, None).await.status, 204);
    rest.send(Method::DELETE, path, &gone, None).await.is_problem(404, "not_found");
    let put_zone = |zone: &'static str| {
        let body = json!({ "time_zone": zone }).to_string();
        let (rest, gone) = (&rest, &gone);
        async move { rest.send(Method::PUT, "/api/v1/access/settings", gone, Some(&body)).await }
    };
    put_zone("Berlin").await.is_problem(422, "invalid");
    assert_eq!(put_zone("Europe/Berlin").await.text("time_zone"), "Europe/Berlin");
    assert_eq!(
        rest.get(&owner, "/api/v1/access/settings").await.text("time_zone"),
        "Europe/Berlin"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explaining_says_what_acting_would_say() {
    let rest = Rest::start().await;
    let (tenant, owner) = rest.tenant("a").await;
    let body = json!({"name": "op", "role": "operator"});
    let made = rest.post(&owner, "/api/v1/tokens", body).await;
    let (operator, operator_id) = (made.text("token"), made.text("id"));
    device(&rest, &tenant, "press").await;
    put(&rest, &owner, "berlin", BERLIN, None).await;

    let explain = async |question: Value| {
        let answer = rest.post(&owner, "/api/v1/access/explain", question).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer
    };
    let about = |site: &str| {
        json!({"as": {"token_id": operator_id}, "action": "device:update",
               "on": {"name": "press", "labels": {"site": site}}})
    };
    let yes = explain(about("berlin")).await;
    assert_eq!(
        (yes.text("decision"), yes.body["statements"][0]["id"].clone()),
        ("allow".to_owned(), json!("role-operator"))
    );
    let no = explain(about("paris")).await;
    assert_eq!(no.text("decision"), "deny");
    assert_eq!(no.body["statements"][0]["id"], "tenant/berlin");
    assert!(no.body["statements"][0]["text"].as_str().unwrap().contains("getTag"));
    // Oneself, and a role that nobody has yet.
    let own = json!({"action": "policy:update"});
    assert_eq!(explain(own.clone()).await.text("decision"), "allow");
    assert_eq!(rest.post(&operator, "/api/v1/access/explain", own).await.text("decision"), "deny");
    let auditor = json!({"as": {"roles": ["auditor"]}, "action": "token:create"});
    let answer = explain(auditor).await;
    assert_eq!(
        (answer.text("decision"), answer.text("why")),
        ("deny".into(), "role auditor does not permit it".into())
    );

    let who = rest.get(&owner, "/api/v1/access/who?action=device:update&labels=site=paris").await;
    let all: Vec<_> = who.body["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["name"].as_str().unwrap(), one["decision"].as_str().unwrap()))
        .collect();
    assert_eq!(all, [("first owner", "allow"), ("op", "deny")]);

    let wrong = async |question: Value, field: &str| {
        let answer = rest.post(&owner, "/api/v1/access/explain", question).await;
        answer.is_problem(422, "invalid");
        assert_eq!(answer.body["errors"][0]["field"], field);
    };
    wrong(json!({"action": "device:fly"}), "action").await;
    wrong(json!({"action": "device:read", "at": "noon"}), "at").await;
    wrong(json!({"action": "device:read", "source": "here"}), "source").await;
    wrong(json!({"action": "device:read", "as": {"roles": ["installation"]}}), "roles").await;
    wrong(json!({"action": "device:read", "approvals": 99}), "approvals").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tests_of_policies_run_without_saving_anything() {
    let rest = Rest::start().await;
    let (_, owner) = rest.tenant("a").await;
    let limit = r#"forbid (principal, action == Action::"rollout:create", resource)
        when { resource.devices > 1000 && context.approvals < 1 };
        forbid (principal, action == Action::"rollout:create", resource)
        when { context.time.hour >= 9 && context.time.hour < 17 };"#;
    let case = |name: &str, devices: u64, at: &str, expect: &str| {
        json!({"name": name, "expect": expect, "question": {"as": {"roles": ["admin"]},
               "action": "rollout:create", "on": {"model": "m", "devices": devices}, "at": at}})
    };
    let run = json!({
        "policies": [{"name": "limit", "text": limit}], "time_zone": "Europe/Berlin",
        "cases": [
            case("small at night", 10, "2026-11-23T20:00:00Z", "allow"),
            case("large at night", 5000, "2026-11-23T20:00:00Z", "approval_required"),
            case("by day in Berlin", 10, "2026-11-23T08:30:00Z", "deny"),
            case("wrongly expected", 10, "2026-11-23T08:30:00Z", "allow"),
        ]
    });
    let result = rest.post(&owner, "/api/v1/access/test", run).await;
    assert_eq!(result.status, 200, "{result:?}");
    assert_eq!(
        (result.body["passed"].clone(), result.body["failed"].clone()),
        (json!(3), json!(1))
    );
    assert_eq!(result.body["cases"][3]["decision"], "deny");
    assert_eq!(rest.get(&owner, "/api/v1/access/policies").await.body["items"], json!([]));
    let wrong = json!({"policies": [{"name": "x", "text": "permit"}]});
    rest.post(&owner, "/api/v1/access/test", wrong).await.is_problem(422, "invalid");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_of_the_tenant_can_give_what_no_role_gives_and_take_what_roles_give() {
    let rest = Rest::start().await;
    let (tenant, owner) = rest.tenant("a").await;
    let viewer = rest.token(&owner, "viewer").await;
    let press = device(&rest, &tenant, "press").await;
    let path = format!("/api/v1/devices/{press}/revoke");
    rest.post(&viewer, &path, json!({})).await.is_problem(403, "forbidden");
    let text = r#"permit (principal is Token, action == Action::"device:revoke", resource)
        when { principal.name == "viewer" && resource.name == "press" };"#;
    put(&rest, &owner, "exception", text, None).await;
    let done = rest.post(&viewer, &path, json!({})).await;
    assert_eq!((done.status.as_u16(), done.text("state")), (200, "revoked".into()));

    let closed = r#"forbid (principal, action == Action::"device:read", resource)
        unless { context has source && context.source.isInRange(ip("10.0.0.0/8")) };"#;
    assert_eq!(put(&rest, &owner, "network", closed, None).await.status, 200);
    rest.get(&owner, "/api/v1/devices").await.is_problem(403, "forbidden");
    assert_eq!(rest.get(&owner, "/api/v1/models").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_makes_no_owners() {
    let rest = Rest::start().await;
    let (_, owner) = rest.tenant("a").await;
    let admin = rest.token(&owner, "admin").await;
    let body = json!({"name": "x", "role": "owner"});
    rest.post(&admin, "/api/v1/tokens", body.clone()).await.is_problem(403, "forbidden");
    assert_eq!(rest.post(&owner, "/api/v1/tokens", body).await.status, 201);
    put(&rest, &admin, "mine", "permit (principal, action, resource);", None)
        .await
        .is_problem(403, "forbidden");
}
