//! Requests that a generator makes out of the OpenAPI document, valid ones and broken ones, as
//! everybody: no failure of the controller, and no answer that the document does not describe.

use std::process::Command;

use serde_json::{Value, json};

use super::python;
use crate::support::rest::Rest;

/// Fewest requests in all.
const REQUESTS: usize = 20_000;
/// Left out: they end the token that the requests are made with, whose id the generator finds in lists.
const ENDS_TOKENS: [&str; 3] =
    ["/api/v1/me/token/rotation", "/api/v1/tokens/{id}", "/api/v1/tokens/{id}/rotation"];
/// Chosen once, so that a red run can be repeated; another by EDGEFORMER_TEST_SEED.
const SEED: &str = "20261125";

/// Routes that are not asked: [`ENDS_TOKENS`], and those that can follow a log and then never end.
fn left_out() -> Vec<String> {
    let document = serde_json::to_value(edgeformer_controller::api::document()).unwrap();
    let follows = |item: &Value| {
        let parameters = item["get"]["parameters"].as_array().into_iter().flatten();
        parameters.into_iter().any(|parameter| parameter["name"] == "follow")
    };
    let paths = document["paths"].as_object().unwrap().iter();
    let mut all: Vec<String> =
        paths.filter(|(_, item)| follows(item)).map(|(path, _)| path.clone()).collect();
    assert_eq!(all.len(), 2, "{all:?}");
    all.extend(ENDS_TOKENS.map(str::to_owned));
    all
}

/// Runs the generator as whoever has `token`; returns how many requests it made.
async fn generate(url: &str, token: &str, examples: u32, document: &std::path::Path) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.ndjson");
    let mut run = Command::new(python());
    run.current_dir(folder.path()).args(["-m", "schemathesis.cli", "run"]).arg(document);
    run.args(["--url", url, "--workers", "1", "--phases", "examples,coverage,fuzzing"]);
    run.args(["--max-examples", &examples.to_string(), "--no-shrink", "--continue-on-failure"]);
    run.args(["--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"]);
    run.args(["--suppress-health-check", "all", "--warnings", "off", "--request-timeout", "30"]);
    let seed = std::env::var("EDGEFORMER_TEST_SEED").unwrap_or_else(|_| SEED.to_owned());
    run.args(["--seed", &seed]);
    run.args(["--report", "ndjson", "--report-ndjson-path"]).arg(&report);
    for path in left_out() {
        run.args(["--exclude-path", &path]);
    }
    if !token.is_empty() {
        run.args(["--header", &format!("Authorization: Bearer {token}")]);
    }
    run.env("NO_COLOR", "1").env("COLUMNS", "100");
    let output = tokio::task::spawn_blocking(move || run.output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let events = std::fs::read_to_string(&report).unwrap();
    events.matches("\"status_code\":").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_generated_request_makes_the_controller_fail_or_say_what_it_does_not_document() {
    let rest = Rest::start().await;
    let (_, owner) = rest.tenant("a").await;
    let url = rest.listen().await;
    let folder = tempfile::tempdir().unwrap();
    let document = folder.path().join("openapi.json");
    let text = serde_json::to_vec(&edgeformer_controller::api::document()).unwrap();
    std::fs::write(&document, text).unwrap();
    let body = json!({"name": "generator", "role": "owner"});
    let first = rest.post(&owner, "/api/v1/tokens", body).await.text("token");
    let viewer = rest.token(&owner, "viewer").await;
    // The generator's threads trip over each other; its processes do not.
    let (by_owner, (by_viewer, by_nobody)) =
        tokio::join!(generate(&url, &first, 100, &document), async {
            let viewer = generate(&url, &viewer, 20, &document).await;
            (viewer, generate(&url, "", 10, &document).await)
        });
    // They were made as who they were meant to be, to the end.
    for token in [&first, &viewer] {
        let answer = rest.get(token, "/api/v1/whoami").await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    // Alone: it may suspend the tenant.
    let by_installation = generate(&url, &rest.installation_token, 20, &document).await;
    assert_eq!(rest.get(&rest.installation_token, "/api/v1/tenants").await.status, 200);
    let made = by_owner + by_viewer + by_installation + by_nobody;
    println!("{made} requests: {by_owner} {by_viewer} {by_installation} {by_nobody}");
    assert!(made >= REQUESTS, "only {made} requests");
}
