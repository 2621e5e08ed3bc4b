use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use super::fixture::Fixture;
use crate::api;
use crate::distribution::testing::model_file;

async fn send(
    fixture: &Fixture,
    token: &str,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> (StatusCode, Value) {
    let request = Request::builder()
        .method(method)
        .uri(format!("/api/v1{path}"))
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .body(Body::from(body))
        .unwrap();
    let answer = api::router(fixture.app.clone()).oneshot(request).await.unwrap();
    let status = answer.status();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap())
}

#[tokio::test]
async fn a_version_is_published_listed_and_shown() {
    let fixture = Fixture::new().await;
    let token = fixture.our_token.clone();
    // Larger than the limit on JSON bodies.
    let file = model_file(1, 4);
    assert!(file.len() > api::MAX_JSON_BYTES);
    let put = async |version: &str, file: Vec<u8>| {
        let path = format!("/models/smollm2/versions/{version}/payload");
        send(&fixture, &token, Method::PUT, &path, file).await
    };
    let get = async |path: &str| send(&fixture, &token, Method::GET, path, Vec::new()).await;

    let (status, created) = put("1.0.0", file.clone()).await;
    assert_eq!(status, StatusCode::CREATED, "{created}");
    assert_eq!(created["model"], "smollm2");
    assert_eq!(created["version"], "1.0.0");
    assert_eq!(created["payload_bytes"], file.len());
    assert_eq!(created["details"]["architecture"], "llama");
    assert_eq!(created["manifest_sha256"].as_str().unwrap().len(), 64);
    let (status, same) = put("1.0.0", file).await;
    assert_eq!((status, &same["id"]), (StatusCode::OK, &created["id"]));
    let (status, problem) = put("1.0.0", model_file(2, 4)).await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &"version_exists".into()));
    let (status, problem) = put("1.x", Vec::new()).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(problem["detail"].as_str().unwrap().contains("semantic version"), "{problem}");
    assert_eq!(put("0.9.0", model_file(3, 4)).await.0, StatusCode::CREATED);

    let (_, shown) = get("/models/smollm2/versions/1.0.0").await;
    assert_eq!(shown, created);
    let (_, models) = get("/models").await;
    assert_eq!(models["items"][0]["name"], "smollm2");
    assert_eq!(models["items"][0]["version_count"], 2);
    assert_eq!(models["items"][0]["latest_version"], "0.9.0", "the one published last");
    let (_, page) = get("/models/smollm2/versions?limit=1").await;
    assert_eq!(page["items"][0]["version"], "1.0.0");
    let next = page["next_cursor"].as_str().unwrap();
    let (_, page) = get(&format!("/models/smollm2/versions?limit=1&cursor={next}")).await;
    assert_eq!(page["items"][0]["version"], "0.9.0");
    assert_eq!(page["next_cursor"], Value::Null);
    for path in ["/models/none", "/models/NONE", "/models/smollm2/versions/2.0.0"] {
        assert_eq!(get(path).await.0, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn another_tenant_sees_nothing_of_it() {
    let fixture = Fixture::new().await;
    fixture.published("1.0.0", &model_file(1, 2)).await;
    let token = fixture.their_token.clone();
    let get = async |path: &str| send(&fixture, &token, Method::GET, path, Vec::new()).await;
    let (_, models) = get("/models").await;
    assert_eq!(models["items"], Value::Array(Vec::new()));
    for path in ["/models/smollm2", "/models/smollm2/versions", "/models/smollm2/versions/1.0.0"] {
        assert_eq!(get(path).await.0, StatusCode::NOT_FOUND, "{path}");
    }
}
