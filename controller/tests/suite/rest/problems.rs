use http::Method;
use serde_json::json;

use crate::support::rest::Rest;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_wrong_request_gets_a_problem() {
    let rest = Rest::start().await;
    let (_, admin) = rest.tenant("a").await;
    let bearer = format!("Bearer {admin}");
    let auth = ("authorization", bearer.as_str());
    let send = async |method: Method, path: &str, body: Option<&str>| {
        rest.send(method, path, &[auth], body).await
    };
    send(Method::GET, "/nope", None).await.is_problem(404, "no_such_route");
    send(Method::GET, "/api/v1/nope", None).await.is_problem(404, "no_such_route");
    send(Method::PUT, "/api/v1/tokens", None).await.is_problem(405, "method_not_allowed");
    send(Method::POST, "/api/v1/tokens", Some("{")).await.is_problem(400, "bad_json");
    send(Method::POST, "/api/v1/tokens", Some("{}")).await.is_problem(422, "invalid");
    let unknown = json!({"name": "x", "role": "viewer", "expire": 1}).to_string();
    send(Method::POST, "/api/v1/tokens", Some(&unknown)).await.is_problem(422, "invalid");
    send(Method::POST, "/api/v1/tokens", None).await.is_problem(415, "unsupported_media_type");
    let large = format!("\"{}\"", "x".repeat(2 << 20));
    send(Method::POST, "/api/v1/tokens", Some(&large)).await.is_problem(413, "too_large");
    send(Method::GET, "/api/v1/devices/berlin", None).await.is_problem(404, "not_found");
    send(Method::GET, "/api/v1/tokens?limit=x", None).await.is_problem(400, "bad_query");
    send(Method::GET, "/api/v1/tokens?limit=201", None).await.is_problem(422, "invalid");
    send(Method::GET, "/api/v1/tokens?cursor=x", None).await.is_problem(422, "invalid");
    send(Method::GET, "/api/v1/devices?label=x", None).await.is_problem(422, "invalid");

    let role = json!({"name": "x", "role": "installation"});
    let answer = rest.post(&admin, "/api/v1/tokens", role).await;
    answer.is_problem(422, "invalid");
    assert_eq!(answer.body["errors"][0]["field"], "role");
}
