//! Every route, as everybody.

use edgeformer_controller::api;
use edgeformer_controller::policy::{Action, Group};
use edgeformer_proto::ids::DeviceId;
use http::Method;
use serde_json::Value;

use crate::support::rest::{Answer, Rest};

/// Method, path with parameters filled in, action.
pub(super) fn routes() -> Vec<(Method, String, Action)> {
    let document = serde_json::to_value(api::document()).unwrap();
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let Ok(method) = method.to_uppercase().parse::<Method>() else { continue };
            let name =
                operation["x-action"].as_str().unwrap_or_else(|| panic!("{path}: no action"));
            let action = Action::ALL.iter().find(|action| action.as_str() == name).unwrap();
            // An id, so that a handler that is reached answers 404 or works on nothing.
            let path: String = path
                .split('/')
                .map(|part| match part {
                    "{id}" | "{user}" => DeviceId::new().to_string(),
                    "{name}" => "no-such-model".to_owned(),
                    "{version}" => "1.0.0".to_owned(),
                    "{rule}" => DeviceId::new().to_string(),
                    "{tenant}" => DeviceId::new().to_string(),
                    "{path}" => "checkpoint".to_owned(),
                    part => part.to_owned(),
                })
                .collect::<Vec<_>>()
                .join("/");
            assert!(!path.contains('{'), "{path}: fill in its parameters here");
            routes.push((method, path, *action));
        }
    }
    assert!(routes.len() > 12, "only {} routes", routes.len());
    routes
}

pub(super) async fn call(rest: &Rest, token: Option<&str>, method: &Method, path: &str) -> Answer {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let mut headers = vec![("if-match", "\"1\"")];
    if let Some(bearer) = &bearer {
        headers.push(("authorization", bearer));
    }
    let body = (*method != Method::GET).then_some("{}");
    rest.send(method.clone(), path, &headers, body).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_answers_each_role_as_policy_says() {
    let rest = Rest::start().await;
    let (_, owner) = rest.tenant("a").await;
    let admin = rest.token(&owner, "admin").await;
    let viewer = rest.token(&owner, "viewer").await;
    for (method, path, action) in routes() {
        if action.group() == Group::Public {
            continue;
        }
        let anonymous = call(&rest, None, &method, &path).await;
        anonymous.is_problem(401, "unauthenticated");
        assert!(anonymous.headers.contains_key("www-authenticate"));
        let unknown = edgeformer_proto::token::Token::mint(edgeformer_proto::token::Kind::Api);
        call(&rest, Some(unknown.reveal()), &method, &path)
            .await
            .is_problem(401, "unauthenticated");

        let (as_viewer, as_admin, as_owner, as_installation) = match action.group() {
            Group::Own if matches!(action, Action::Whoami | Action::SelfRotate) => {
                (true, true, true, true)
            }
            // These are for people, and a token is none.
            Group::Own => (false, false, false, false),
            Group::Read => (true, true, true, false),
            Group::Audit | Group::Write => (false, true, true, false),
            Group::Govern => (false, false, true, false),
            Group::Installation => (false, false, false, true),
            Group::Public | Group::Internal => panic!("{path} is not for principals"),
        };
        for (token, allowed) in [
            (&viewer, as_viewer),
            (&admin, as_admin),
            (&owner, as_owner),
            (&rest.installation_token, as_installation),
        ] {
            let answer = call(&rest, Some(token), &method, &path).await;
            if allowed {
                assert!(
                    !matches!(answer.status.as_u16(), 401 | 403 | 500..),
                    "{method} {path}: {answer:?}"
                );
            } else {
                let taken = matches!(answer.status.as_u16(), 403 | 422);
                assert!(taken, "{method} {path}: {answer:?}");
                let detail = answer.text("detail");
                let own = action.group() == Group::Own;
                assert!(own || detail.contains(action.as_str()), "{answer:?}");
            }
        }
    }
}

/// What a tenant has, by path.
async fn things(rest: &Rest, admin: &str) -> Vec<String> {
    let mut paths = Vec::new();
    let body = serde_json::json!({"name": "t", "role": "viewer"});
    let token = rest.post(admin, "/api/v1/tokens", body).await.text("id");
    paths.push(format!("/api/v1/tokens/{token}"));
    let token =
        rest.post(admin, "/api/v1/enrolment-tokens", serde_json::json!({})).await.text("id");
    paths.push(format!("/api/v1/enrolment-tokens/{token}"));
    paths
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_belongs_to_another_tenant_is_not_there() {
    let rest = Rest::start().await;
    let (_, a) = rest.tenant("a").await;
    let (_, b) = rest.tenant("b").await;
    for path in things(&rest, &a).await {
        let bearer = format!("Bearer {b}");
        let answer = rest.send(Method::DELETE, &path, &[("authorization", &bearer)], None).await;
        answer.is_problem(404, "not_found");
        // It was there all along, for its own tenant.
        let bearer = format!("Bearer {a}");
        let answer = rest.send(Method::DELETE, &path, &[("authorization", &bearer)], None).await;
        assert_eq!(answer.status, 204, "{path}");
    }
    for list in ["/api/v1/tokens", "/api/v1/enrolment-tokens", "/api/v1/devices"] {
        let answer = rest.get(&b, list).await;
        let items = answer.body["items"].as_array().unwrap();
        assert!(items.iter().all(|item| item["name"] == "first owner"), "{list}: {items:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_recorded_in_the_callers_log() {
    let rest = Rest::start().await;
    let (_, admin) = rest.tenant("a").await;
    let viewer = rest.token(&admin, "viewer").await;
    let body = serde_json::json!({"name": "x", "role": "admin"});
    let refused = rest.post(&viewer, "/api/v1/tokens", body).await;
    refused.is_problem(403, "forbidden");
    let audit = rest.get(&admin, "/api/v1/audit").await;
    let newest = &audit.body["items"][0];
    assert_eq!(newest["outcome"], "denied");
    assert_eq!(newest["action"], "token:create");
    assert_eq!(newest["actor"]["name"], "viewer");
    let request = refused.headers["x-request-id"].to_str().unwrap();
    assert_eq!(newest["request_id"], Value::from(request));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_stops_working_when_it_expires_or_is_revoked() {
    let rest = Rest::start().await;
    let (_, admin) = rest.tenant("a").await;
    let body = serde_json::json!({"name": "short", "role": "viewer", "expires_in_s": 60});
    let made = rest.post(&admin, "/api/v1/tokens", body).await;
    let (short, id) = (made.text("token"), made.text("id"));
    assert_eq!(rest.get(&short, "/api/v1/whoami").await.text("role"), "viewer");
    rest.advance(std::time::Duration::from_secs(60));
    rest.get(&short, "/api/v1/whoami").await.is_problem(401, "unauthenticated");

    let viewer =
        rest.post(&admin, "/api/v1/tokens", serde_json::json!({"name": "v", "role": "viewer"}));
    let viewer = viewer.await;
    let bearer = format!("Bearer {admin}");
    let path = format!("/api/v1/tokens/{}", viewer.text("id"));
    for _ in 0..2 {
        let gone = rest.send(Method::DELETE, &path, &[("authorization", &bearer)], None).await;
        assert_eq!(gone.status, 204);
    }
    rest.get(&viewer.text("token"), "/api/v1/whoami").await.is_problem(401, "unauthenticated");
    assert_ne!(id, viewer.text("id"));

    let mut typo = admin.clone();
    typo.pop();
    let short = rest.get(&typo, "/api/v1/whoami").await;
    assert!(short.text("detail").contains("part of it was not copied"), "{short:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_is_none_is_not_found_in_plain_words() {
    let rest = Rest::start().await;
    let (_, admin) = rest.tenant("a").await;
    let answer = rest.get(&admin, "/api/v1/devices/berlin-1").await;
    answer.is_problem(404, "not_found");
    let detail = answer.text("detail");
    assert!(detail.contains("/devices/berlin-1: a part of it is not an id"), "{detail}");
}
