//! The bill of materials of a version, judged by the validator of CycloneDX's own library. It comes in
//! `EDGEFORMER_TEST_PYTHON` and the model in `EDGEFORMER_TEST_MODEL`; `cargo xtask test` installs both.

use std::process::Command;

use serde_json::{Value, json};

use super::Controller;
use super::signature::needed;

/// What the validator says of these files, one line each.
fn validate(controller: &Controller, names: &[&str]) -> Vec<String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bom/validate.py");
    let mut validate = Command::new(needed("EDGEFORMER_TEST_PYTHON"));
    validate.arg(script).args(names.iter().map(|name| controller.path(name)));
    let output = validate.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn read(controller: &Controller, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(controller.path(name)).unwrap()).unwrap()
}

/// What a person says of a version.
fn said(quiz: &str) -> [&str; 18] {
    [
        "--license",
        "apache-2.0",
        "--author",
        "Ada Lovelace",
        "--organization",
        "Acme",
        "--source-url",
        "https://example.com/model?x=1#y",
        "--description",
        "Answers questions.",
        "--base-model",
        "SmolLM2=https://example.com/base",
        "--base-model",
        "other",
        "--dataset",
        "cases=https://example.com/cases",
        "--evaluation",
        quiz,
    ]
}

/// What that person said, and what the file says.
fn shows_what_is_known(good: &Value) {
    let component = &good["metadata"]["component"];
    assert_eq!(component["licenses"][0]["license"]["id"], "Apache-2.0");
    assert_eq!(component["pedigree"]["ancestors"][1]["name"], "other");
    let metrics = &component["modelCard"]["quantitativeAnalysis"]["performanceMetrics"];
    assert_eq!(metrics[0]["confidenceInterval"]["upperBound"], "0.63");
    let property = |name: &str| {
        let all = component["properties"].as_array().unwrap().iter();
        let mut all = all.filter(|one| one["name"] == name).map(|one| one["value"].clone());
        all.next().unwrap_or_default()
    };
    assert_eq!(property("edgeformer:attention"), "grouped-query");
    assert_eq!(property("edgeformer:context_length"), "8192");
    assert_eq!(property("edgeformer:quantization"), "Q4_1");
    assert_eq!(property("gguf:tokenizer.ggml.model"), "gpt2");
}

#[test]
fn the_bill_of_materials_of_a_version_is_one_for_the_official_validator() {
    let controller = Controller::start().with_tenant();
    let model = needed("EDGEFORMER_TEST_MODEL");
    let publish = |version: &str, more: &[&str]| {
        let head = ["model", "publish", "assistant", version, model.to_str().unwrap()];
        [&head[..], more].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let figures = json!([{"name": "accuracy", "value": 0.61, "dataset": "quiz", "interval": [0.59, 0.63]},
        {"name": "perplexity", "value": 45}]);
    std::fs::write(controller.path("quiz.json"), figures.to_string()).unwrap();
    let quiz = controller.path("quiz.json");
    let said = said(&quiz);
    let first = publish("1.0.0", &said);
    let words: Vec<&str> = first.iter().map(String::as_str).collect();
    controller.ok(&words);
    // Published again as it is, and with something else said of it.
    assert!(controller.ok(&words).contains("published already"));
    let other = publish("1.0.0", &["--license", "MIT"]);
    let other: Vec<&str> = other.iter().map(String::as_str).collect();
    controller.fails(&other, 1, "something else was said of it");
    let silent = publish("1.1.0", &[]);
    controller.ok(&silent.iter().map(String::as_str).collect::<Vec<_>>());

    let bom = |version: &str, name: &str| {
        controller.ok(&["model", "bom", "assistant", version, "--file", &controller.path(name)]);
    };
    bom("1.0.0", "said.json");
    bom("1.1.0", "silent.json");
    let good = read(&controller, "said.json");
    shows_what_is_known(&good);
    // What the compliance report reads.
    let records = controller.json(&["audit", "list"]);
    let told = |record: &&Value| {
        let text = record.to_string();
        record["action"] == "version:publish"
            && text.contains("evaluation")
            && text.contains("0.61")
    };
    assert_eq!(records.as_array().unwrap().iter().filter(told).count(), 1, "{records}");
    // The same each time.
    bom("1.0.0", "again.json");
    let bytes = |name: &str| std::fs::read(controller.path(name)).unwrap();
    assert_eq!(bytes("said.json"), bytes("again.json"));

    judge(&controller, &good);
}

#[test]
fn what_is_said_of_a_version_is_checked_before_anything_is_sent() {
    let controller = Controller::start().with_tenant();
    let file = controller.path("model.gguf");
    std::fs::write(&file, b"GGUF").unwrap();
    let fails = |more: &[&str], message: &str| {
        let head = ["model", "publish", "assistant", "1.0.0", &file];
        controller.fails(&[&head[..], more].concat(), 2, message);
    };
    fails(&["--source-url", "file:///etc/passwd"], "source_url");
    fails(&["--license", ""], "license");
    fails(&["--base-model", "=x"], "NAME or NAME=URL");
    fails(&["--evaluation", &controller.path("absent.json")], "absent.json");
    std::fs::write(controller.path("bad.json"), r#"[{"name":"a","value":"high"}]"#).unwrap();
    fails(&["--evaluation", &controller.path("bad.json")], "bad.json");
}

/// What was made is accepted, and what is broken of it is not.
fn judge(controller: &Controller, good: &Value) {
    let broken = [
        ("/metadata/component/type", json!("machine")),
        ("/metadata/component/licenses/0/license/id", json!("Apache")),
        ("/metadata/component/hashes/0/content", json!("12")),
        ("/specVersion", json!(1.6)),
        ("/serialNumber", json!("urn:uuid:1")),
        ("/metadata/component/modelCard/modelParameters/unknown", json!(1)),
    ];
    let mut names = vec!["said.json".to_owned(), "silent.json".to_owned()];
    for (number, (place, value)) in broken.into_iter().enumerate() {
        let mut bad = good.clone();
        let (parent, field) = place.rsplit_once('/').unwrap();
        bad.pointer_mut(parent).unwrap()[field] = value;
        let name = format!("broken-{number}.json");
        std::fs::write(controller.path(&name), bad.to_string()).unwrap();
        names.push(name);
    }
    let said = validate(controller, &names.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(said.len(), names.len());
    assert_eq!(said[..2], ["ok", "ok"]);
    assert!(said[2..].iter().all(|said| said != "ok"), "{said:?}");
}
