use http::Method;
use serde_json::{Value, json};

use crate::support::rest::{Answer, Rest};

async fn post(rest: &Rest, token: &str, key: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", key)];
    rest.send(Method::POST, "/api/v1/tokens", &headers, Some(&body.to_string())).await
}

async fn tokens(rest: &Rest, admin: &str) -> usize {
    rest.get(admin, "/api/v1/tokens").await.body["items"].as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_gets_the_first_answer_and_makes_nothing() {
    let rest = Rest::start().await;
    let (_, a) = rest.tenant("a").await;
    let (_, b) = rest.tenant("b").await;
    let body = json!({"name": "ci", "role": "viewer"});
    let first = post(&rest, &a, "k1", &body).await;
    assert_eq!(first.status, 201, "{first:?}");
    let again = post(&rest, &a, "k1", &body).await;
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.headers["content-type"], first.headers["content-type"]);
    assert_eq!(tokens(&rest, &a).await, 2);

    let other = json!({"name": "cd", "role": "viewer"});
    post(&rest, &a, "k1", &other).await.is_problem(422, "idempotency_key_reused");
    assert_eq!(post(&rest, &a, "k2", &other).await.status, 201);
    // Keys are each principal's own.
    assert_eq!(post(&rest, &b, "k1", &other).await.status, 201);
    post(&rest, &a, &"k".repeat(201), &other).await.is_problem(422, "invalid");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_request_leaves_its_key_free_and_the_stored_answer_is_sealed() {
    let rest = Rest::start().await;
    let (_, a) = rest.tenant("a").await;
    post(&rest, &a, "k", &json!({"name": "", "role": "viewer"})).await.is_problem(422, "invalid");
    let made = post(&rest, &a, "k", &json!({"name": "x", "role": "viewer"})).await;
    assert_eq!(made.status, 201, "{made:?}");

    use edgeformer_controller::scope::InstallationScope;
    use edgeformer_controller::store::dump;
    let mut read = rest.app.store.read(&InstallationScope::system("test")).await.unwrap();
    assert!(dump::tables(&mut read).await.unwrap().contains(&"idempotency_keys".to_owned()));
    drop(read);
    let files = std::fs::read_dir(rest.data_dir()).unwrap();
    let secret = made.text("token");
    for file in files.map(|file| file.unwrap().path()).filter(|path| path.is_file()) {
        let bytes = std::fs::read(&file).unwrap();
        let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "{} holds the token in the clear", file.display());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_crash_it_is_known_that_the_action_took_effect() {
    let rest = Rest::start().await;
    let (_, a) = rest.tenant("a").await;
    let body = json!({"name": "ci", "role": "viewer"});
    assert_eq!(post(&rest, &a, "k", &body).await.status, 201);
    // As if the controller had died after the commit, before the answer was stored.
    rest.forget_answer("k").await;
    post(&rest, &a, "k", &body).await.is_problem(409, "answer_lost");
    assert_eq!(tokens(&rest, &a).await, 2);
}
