//! The OpenAPI document is part of the repository, so that a change of the API shows in review.

use edgeformer_controller::api;

use crate::support::rest::Rest;

const REWRITE: &str = "EDGEFORMER_REWRITE_OPENAPI";

#[test]
fn the_committed_document_is_the_one_the_code_makes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
    let made = format!("{}\n", api::document().to_pretty_json().unwrap());
    if std::env::var_os(REWRITE).is_some() {
        std::fs::write(path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == made,
        "controller/openapi.json is not what the code makes. If the change is meant, run \
         `{REWRITE}=1 cargo test -p edgeformer-controller --test suite the_committed_document` \
         and commit the file"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_document_is_served_to_everybody_and_answers_of_lists_fit_it() {
    let rest = Rest::start().await;
    let answer = rest.send(http::Method::GET, "/api/v1/openapi.json", &[], None).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body["paths"]["/api/v1/devices"]["get"]["x-action"] == "device:read");
    for path in ["/healthz", "/readyz"] {
        assert_eq!(rest.send(http::Method::GET, path, &[], None).await.status, 200);
    }
}
