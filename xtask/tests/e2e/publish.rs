//! What the controller takes as a version, and what it refuses.

use std::fs;

use super::{MODEL, assert_mentions, fleet, model_file};

#[test]
fn half_a_model_file_is_refused_and_leaves_nothing() {
    let fleet = fleet();
    let whole = fs::read(model_file()).unwrap();
    let half = fleet.path().join("half.gguf");
    fs::write(&half, &whole[..whole.len() / 2]).unwrap();
    let words = ["model", "publish", MODEL, "1.0.0", &half.to_string_lossy()];
    let refusal = fleet.tenant.refused(&words).unwrap();
    assert_eq!(refusal.code, 1, "{}", refusal.message);
    assert_mentions(&refusal.message, &["half a model file", &(whole.len() / 2).to_string()]);
    let missing = fleet.tenant.refused(&["model", "versions", MODEL]).unwrap();
    assert_eq!(missing.code, 3, "the refused model exists all the same: {}", missing.message);

    let text = fleet.path().join("notes.gguf");
    fs::write(&text, "not a model\n".repeat(100)).unwrap();
    let words = ["model", "publish", MODEL, "1.0.0", &text.to_string_lossy()];
    let refusal = fleet.tenant.refused(&words).unwrap();
    assert_mentions(&refusal.message, &["GGUF"]);

    fleet.publish(MODEL, "1.0.0", &model_file()).unwrap();
}

#[test]
fn a_version_never_changes() {
    let fleet = fleet();
    let first = fleet.publish(MODEL, "1.0.0", &model_file()).unwrap();
    let again = fleet.publish(MODEL, "1.0.0", &model_file()).unwrap();
    assert_eq!(first["id"], again["id"], "the same file under the same version is the same");
    let other = super::second_model_file(fleet.path());
    let words = ["model", "publish", MODEL, "1.0.0", &other.to_string_lossy()];
    let refusal = fleet.tenant.refused(&words).unwrap();
    assert_mentions(&refusal.message, &["1.0.0"]);
    let kept = fleet.tenant.json(&["model", "show", MODEL, "1.0.0"]).unwrap();
    assert_eq!(kept["payload_sha256"], first["payload_sha256"]);
}
