use edgeformer_gguf::{Array, Header, Limits, Strings, TensorSpec, TensorType, Value, Writer};
use edgeformer_proto::artifact::{
    Details, Digest, Expected, IndexRef, Manifest, Memory, PayloadRef,
};
use edgeformer_proto::ids::{TenantId, VersionId};
use edgeformer_proto::model_card::ModelCard;
use serde_json::Value as Json;

use super::{Sources, make, share};
use crate::distribution::facts::ModelFacts;

fn text(key: &str, value: &str) -> (String, Value) {
    (key.to_owned(), Value::String(value.to_owned()))
}

fn number(key: &str, value: u32) -> (String, Value) {
    (key.to_owned(), Value::U32(value))
}

fn list(key: &str, values: &[&str]) -> (String, Value) {
    (key.to_owned(), Value::Array(Array::String(values.iter().collect::<Strings>())))
}

/// What the header of a file with these entries says.
fn facts(metadata: &[(String, Value)]) -> ModelFacts {
    let tensor = |name: &str, dims: Vec<u64>, ty| TensorSpec { name: name.to_owned(), dims, ty };
    let tensors = [
        tensor("blk.0.attn_q.weight", vec![32, 3], TensorType::Q4_1),
        tensor("output_norm.weight", vec![32], TensorType::F32),
    ];
    let file = Writer::new(Vec::new(), metadata, &tensors);
    let mut file = file.unwrap();
    file.write_data(&[0; 3 * 20]).unwrap();
    file.write_data(&[0; 32 * 4]).unwrap();
    let file = file.finish().unwrap();
    ModelFacts::of(&Header::read(&mut file.as_slice(), &Limits::DEFAULT).unwrap(), "llama")
}

fn manifest() -> Manifest {
    let subject = Expected {
        tenant: TenantId::from_bytes([1; 16]),
        model: "assistant".parse().unwrap(),
        version: "1.0.0".parse().unwrap(),
        version_id: VersionId::from_bytes([2; 16]),
    };
    Manifest::new(
        subject,
        "2026-11-25T22:00:00Z".to_owned(),
        PayloadRef { size_bytes: 999, sha256: Digest::of(b"payload") },
        IndexRef { sealed_bytes: 1, sha256: Digest::of(b"index"), chunks: 1 },
        Details {
            architecture: "llama".to_owned(),
            quantization: "Q4_1".to_owned(),
            parameters: 128,
            context_length: 2048,
        },
        Memory { weight_bytes: Some(188) },
    )
}

fn bom(facts: &ModelFacts, card: &str) -> Json {
    let (manifest, card) = (manifest(), ModelCard::from_json(card.as_bytes()).unwrap());
    let sources = Sources { manifest: &manifest, facts, card: &card, tool: Some("1.0.0") };
    let made = make(sources);
    assert_eq!(made, make(sources), "the same facts give the same bytes");
    serde_json::from_slice(&made).unwrap()
}

fn property<'a>(bom: &'a Json, name: &str) -> Option<&'a str> {
    let all = bom["metadata"]["component"]["properties"].as_array().unwrap();
    let values: Vec<_> = all.iter().filter(|one| one["name"] == name).collect();
    assert!(values.len() <= 1, "{name}: {values:?}");
    values.first().map(|one| one["value"].as_str().unwrap())
}

fn told() -> Vec<(String, Value)> {
    vec![
        text("general.architecture", "llama"),
        text("general.name", "SmolLM2 135M"),
        text("general.author", "Grace"),
        text("general.organization", "HuggingFaceTB"),
        text("general.license", "apache-2.0"),
        text("general.source.url", "https://example.com/source"),
        number("general.base_model.count", 2),
        text("general.base_model.0.name", "SmolLM2 135M"),
        text("general.base_model.0.organization", "HuggingFaceTB"),
        text("general.base_model.0.repo_url", "https://example.com/base"),
        text("general.base_model.1.name", "Other"),
        list("general.datasets", &["text", "more text"]),
        list("general.tags", &["chat"]),
        number("llama.attention.head_count", 9),
        number("llama.attention.head_count_kv", 3),
        number("llama.block_count", 30),
        text("tokenizer.ggml.model", "gpt2"),
        list("tokenizer.ggml.tokens", &["a", "b"]),
    ]
}

#[test]
fn what_the_file_says_is_in_the_document() {
    let bom = bom(&facts(&told()), "{}");
    assert_eq!(bom["serialNumber"], "urn:uuid:02020202-0202-0202-0202-020202020202");
    let model = &bom["metadata"]["component"];
    assert_eq!(model["type"], "machine-learning-model");
    assert_eq!((&model["name"], &model["version"]), (&"assistant".into(), &"1.0.0".into()));
    assert_eq!(model["hashes"][0]["content"], Digest::of(b"payload").to_string());
    assert_eq!(model["licenses"][0]["license"]["id"], "Apache-2.0");
    assert_eq!(model["authors"][0]["name"], "Grace");
    assert_eq!(model["manufacturer"]["name"], "HuggingFaceTB");
    let ancestors = model["pedigree"]["ancestors"].as_array().unwrap();
    assert_eq!(ancestors[0]["name"], "HuggingFaceTB/SmolLM2 135M");
    assert_eq!(ancestors[0]["externalReferences"][0]["url"], "https://example.com/base");
    assert_eq!(ancestors[1]["name"], "Other");
    let parameters = &model["modelCard"]["modelParameters"];
    assert_eq!(parameters["architectureFamily"], "llama");
    assert_eq!(parameters["datasets"][1]["name"], "more text");
    for (name, value) in [
        ("edgeformer:parameters", "128"),
        ("edgeformer:context_length", "2048"),
        ("edgeformer:attention", "grouped-query"),
        ("edgeformer:quantization.Q4_1.share", "0.7500"),
        ("edgeformer:quantization.F32.share", "0.2500"),
        ("edgeformer:quantization.Q4_1.bytes", "60"),
        ("gguf:llama.block_count", "30"),
        ("gguf:tokenizer.ggml.model", "gpt2"),
        ("edgeformer:tokenizer.tokens", "2"),
    ] {
        assert_eq!(property(&bom, name), Some(value), "{name}");
    }
}

#[test]
fn what_people_say_stands_above_what_the_file_says() {
    let card = r#"{"license":"My own licence","authors":["Ada","Eva"],"organization":"Acme",
        "source_url":"https://example.com/ours","base_models":[{"name":"ours"}],
        "evaluations":[{"name":"accuracy","value":0.61,"dataset":"quiz","interval":[0.59,0.63]}]}"#;
    let bom = bom(&facts(&told()), card);
    let model = &bom["metadata"]["component"];
    assert_eq!(model["licenses"][0]["license"]["name"], "My own licence");
    assert_eq!(model["licenses"][0]["license"]["id"], Json::Null);
    assert_eq!(model["authors"].as_array().unwrap().len(), 2);
    assert_eq!(model["manufacturer"]["name"], "Acme");
    assert_eq!(model["pedigree"]["ancestors"].as_array().unwrap().len(), 1);
    let references = model["externalReferences"].as_array().unwrap();
    assert_eq!(references[0]["url"], "https://example.com/ours");
    assert_eq!(references[1]["url"], "https://example.com/source");
    let metric = &model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"][0];
    assert_eq!((&metric["type"], &metric["value"]), (&"accuracy".into(), &"0.61".into()));
    assert_eq!(metric["slice"], "quiz");
    assert_eq!(metric["confidenceInterval"]["lowerBound"], "0.59");
}

#[test]
fn what_nobody_says_and_what_is_no_text_or_address_is_left_out() {
    let hostile = [
        text("general.architecture", "llama"),
        text("general.author", "\u{1b}[31mred"),
        text("general.name", &"x".repeat(10_000)),
        text("general.license.link", "javascript:alert(1)"),
        text("general.source.url", "https://example.com/<script>"),
        number("general.base_model.count", u32::MAX),
        number("general.license", 7),
        text("general.organization", "  "),
        list("llama.attention.head_count_kv", &["3"]),
        number("llama.attention.head_count", 9),
    ];
    for metadata in [&hostile[..], &[text("general.architecture", "llama")]] {
        let bom = bom(&facts(metadata), "{}");
        let model = bom["metadata"]["component"].as_object().unwrap();
        let known = ["bom-ref", "hashes", "modelCard", "name", "properties", "type", "version"];
        let mut found: Vec<&str> = model.keys().map(String::as_str).collect();
        found.sort_unstable();
        assert_eq!(found, known);
        let parameters = model["modelCard"]["modelParameters"].as_object().unwrap();
        assert_eq!(parameters.keys().collect::<Vec<_>>(), ["architectureFamily"]);
        assert_eq!(property(&bom, "edgeformer:attention"), None);
    }
}

#[test]
fn the_form_of_attention_is_that_of_its_heads() {
    let form = |entries: &[(&str, u32)]| {
        let entries = entries.iter().map(|(key, value)| number(&format!("llama.{key}"), *value));
        let all: Vec<_> =
            [text("general.architecture", "llama")].into_iter().chain(entries).collect();
        facts(&all).attention
    };
    let heads = ("attention.head_count", 8);
    assert_eq!(form(&[]), None);
    assert_eq!(form(&[heads]), Some("multi-head"));
    assert_eq!(form(&[heads, ("attention.head_count_kv", 8)]), Some("multi-head"));
    assert_eq!(form(&[heads, ("attention.head_count_kv", 2)]), Some("grouped-query"));
    assert_eq!(form(&[heads, ("attention.head_count_kv", 1)]), Some("multi-query"));
    assert_eq!(form(&[heads, ("attention.kv_lora_rank", 512)]), Some("multi-head latent"));
}

#[test]
fn shares_are_rounded_down_and_never_divide_by_nothing() {
    assert_eq!(share(1, 3), "0.3333");
    assert_eq!(share(u64::MAX, u64::MAX), "1.0000");
    assert_eq!(share(0, 0), "0.0000");
}
