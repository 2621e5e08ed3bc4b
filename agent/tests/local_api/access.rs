//! Who may talk to the local API.

use std::time::SystemTime;

use crate::support::{Device, chat, config, quick, spec, whole};
use bytes::Bytes;
use edgeformer_agent::local_keys::LocalKeys;
use http::{Request, StatusCode, header};
use http_body_util::Full;

const CHAT: &str = "/v1/chat/completions";

async fn check(device: &Device, request: Request<Full<Bytes>>, expected: StatusCode, code: &str) {
    let answer = whole(device.send(request).await).await;
    assert_eq!((answer.status, answer.code()), (expected, code), "{}", answer.json);
}

#[tokio::test]
async fn web_pages_are_kept_out_by_host_and_origin() {
    let allowed = "http://localhost:3000";
    let device = Device::start_with(config(), vec![allowed.to_owned()]).await;
    device.run(&spec("tiny", "1"), quick()).await;
    let request = || device.request(CHAT, &chat("tiny", "x", 1));

    let mut rebound = request();
    rebound.headers_mut().insert(header::HOST, "evil.example:8080".parse().unwrap());
    check(&device, rebound, StatusCode::FORBIDDEN, "host_not_allowed").await;
    for origin in ["https://evil.example", "null", "http://localhost:3001"] {
        let mut foreign = request();
        foreign.headers_mut().insert(header::ORIGIN, origin.parse().unwrap());
        check(&device, foreign, StatusCode::FORBIDDEN, "origin_not_allowed").await;
    }
    let mut page = request();
    page.headers_mut().insert(header::ORIGIN, allowed.parse().unwrap());
    let answer = whole(device.send(page).await).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], allowed);
}

#[tokio::test]
async fn the_first_key_closes_the_door_and_its_revocation_does_not_open_it() {
    let device = Device::start(config()).await;
    device.run(&spec("tiny", "1"), quick()).await;
    let with = |key: Option<&str>| {
        let mut request = device.request(CHAT, &chat("tiny", "x", 1));
        if let Some(key) = key {
            let value = format!("Bearer {key}").parse().unwrap();
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        request
    };
    check(&device, with(None), StatusCode::OK, "no error").await;
    check(&device, with(Some("sk-anything")), StatusCode::OK, "no error").await;

    let mut keys = LocalKeys::default();
    let key = keys.create("app", SystemTime::now()).unwrap();
    keys.save(device.state_dir.path()).unwrap();
    let (no, bad) = (StatusCode::UNAUTHORIZED, "invalid_api_key");
    check(&device, with(None), no, bad).await;
    check(&device, with(Some("sk-anything")), no, bad).await;
    check(&device, with(Some(key.reveal())), StatusCode::OK, "no error").await;
    assert_eq!(device.get("/v1/models").await.status, no);
    assert_eq!(device.get("/healthz").await.status, StatusCode::OK);

    keys.revoke("app").unwrap();
    keys.save(device.state_dir.path()).unwrap();
    check(&device, with(Some(key.reveal())), no, bad).await;
    check(&device, with(None), no, bad).await;

    std::fs::write(device.state_dir.path().join("local-keys.json"), "{").unwrap();
    check(&device, with(Some(key.reveal())), StatusCode::INTERNAL_SERVER_ERROR, "engine_error")
        .await;
}
