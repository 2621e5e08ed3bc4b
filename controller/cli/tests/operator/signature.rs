//! The signature of a version, verified by the reference implementation of OpenSSF Model Signing. It
//! comes in `EDGEFORMER_TEST_PYTHON` and the model in `EDGEFORMER_TEST_MODEL`; `cargo xtask test`
//! installs both.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;
use std::process::Command;

use super::Controller;

pub(super) fn needed(name: &str) -> PathBuf {
    std::env::var_os(name)
        .unwrap_or_else(|| panic!("{name} is not set: run the tests with `cargo xtask test`"))
        .into()
}

/// What the reference implementation says of the folder `model`.
fn verify(controller: &Controller, signature: &str, key: &str) -> Result<(), String> {
    let mut verify = Command::new(needed("EDGEFORMER_TEST_PYTHON"));
    verify.args(["-m", "model_signing", "verify", "key", &controller.path("model")]);
    verify.args(["--signature", &controller.path(signature)]);
    let output = verify.args(["--public_key", &controller.path(key)]).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    if output.status.success() { Ok(()) } else { Err(said) }
}

#[test]
fn others_verify_a_version_with_the_tenants_public_key_alone() {
    let controller = Controller::start().with_tenant();
    let model = needed("EDGEFORMER_TEST_MODEL");
    let given = model.to_str().unwrap();
    controller.ok(&["model", "publish", "assistant", "1.0.0", given]);
    let signature = ["model", "signature", "assistant", "1.0.0", "--file"];
    controller.ok(&[&signature[..], &[&controller.path("sig")]].concat());
    controller.fails(&[&signature[..], &[&controller.path("sig")]].concat(), 2, "cannot be made");
    controller.ok(&["model", "signing-key", "--file", &controller.path("acme.pem")]);
    let absent = ["model", "signature", "assistant", "2.0.0"];
    controller.fails(&absent, 3, "assistant@2.0.0");

    let file = controller.path("model/assistant-1.0.0.gguf");
    std::fs::create_dir(controller.path("model")).unwrap();
    std::fs::copy(&model, &file).unwrap();
    verify(&controller, "sig", "acme.pem").unwrap();

    // Another tenant's key is another key.
    let other = controller.path("other.token");
    let admin = std::fs::read_to_string(controller.path("data/admin.token")).unwrap();
    let create = ["tenant", "create", "other", "--token-file", &other, "--token", admin.trim()];
    controller.ok(&create);
    let token = std::fs::read_to_string(&other).unwrap();
    let path = controller.path("other.pem");
    controller.ok(&["model", "signing-key", "--file", &path, "--token", token.trim()]);
    let refused = verify(&controller, "sig", "other.pem").unwrap_err();
    assert!(refused.contains("Key mismatch"), "{refused}");

    // One byte, with the length as it was.
    let mut changed = std::fs::OpenOptions::new().write(true).open(&file).unwrap();
    changed.seek(SeekFrom::End(-1)).unwrap();
    let last = *std::fs::read(&model).unwrap().last().unwrap();
    changed.write_all(&[last ^ 1]).unwrap();
    drop(changed);
    let refused = verify(&controller, "sig", "acme.pem").unwrap_err();
    assert!(refused.contains("Hash mismatch"), "{refused}");

    // The key was made once, and that is on record.
    let records = controller.json(&["audit", "list"]);
    let made = |r: &&serde_json::Value| r["action"] == "model_signing_key:create";
    assert_eq!(records.as_array().unwrap().iter().filter(made).count(), 1, "{records}");
}
