//! The OpenAPI document is part of the repository, so that a change of the API shows in review.

use edgeformer_controller::api;
use serde_json::Value;

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

/// Bodies whose standards say that unknown fields are ignored.
const OPEN_BY_STANDARD: [&str; 1] = ["/api/v1/token-exchange"];

/// Nobody sets what a route does not offer: every JSON body that is read refuses fields it does not
/// know, at every depth.
#[test]
fn no_body_takes_fields_that_it_does_not_name() {
    let document = serde_json::to_value(api::document()).unwrap();
    let mut seen = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let body = &operation["requestBody"]["content"]["application/json"]["schema"];
            if !body.is_null() && !OPEN_BY_STANDARD.contains(&path.as_str()) {
                closed(&document, body, &format!("{method} {path}"), 0);
                seen += 1;
            }
        }
    }
    assert!(seen > 30, "only {seen} bodies");
}

fn closed(document: &Value, schema: &Value, place: &str, depth: usize) {
    assert!(depth < 20, "{place} is nested without end");
    if let Some(reference) = schema["$ref"].as_str() {
        let schema = document.pointer(reference.trim_start_matches('#')).unwrap();
        return closed(document, schema, place, depth + 1);
    }
    if let Some(properties) = schema["properties"].as_object() {
        assert_eq!(schema["additionalProperties"], false, "{place} takes any field");
        for (name, property) in properties {
            closed(document, property, &format!("{place} {name}"), depth + 1);
        }
    }
    for several in ["oneOf", "anyOf", "allOf"] {
        for one in schema[several].as_array().into_iter().flatten() {
            closed(document, one, place, depth + 1);
        }
    }
    if schema["items"].is_object() {
        closed(document, &schema["items"], place, depth + 1);
    }
}
