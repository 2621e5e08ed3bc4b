//! The official OpenAI client for Python against a real model behind the local API. The interpreter
//! comes in `EDGEFORMER_TEST_PYTHON` and the model in `EDGEFORMER_TEST_MODEL`; `cargo xtask test`
//! fetches both and sets them.

#[path = "local_api/support.rs"]
#[allow(dead_code)]
mod support;

use std::path::PathBuf;
use std::time::SystemTime;

use edgeformer_agent::local_keys::LocalKeys;
use support::{Device, config, spec};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_official_client_works_against_a_real_model() {
    let needed = |name: &str| {
        let value = std::env::var_os(name);
        PathBuf::from(value.unwrap_or_else(|| panic!("{name} is not set: run `cargo xtask test`")))
    };
    let python = needed("EDGEFORMER_TEST_PYTHON");
    let model = needed("EDGEFORMER_TEST_MODEL");
    let device = Device::start(config()).await;
    let mut version = spec("smollm2", "1.0.0");
    version.settings.context_tokens = 512;
    device.run(&version, std::fs::read(&model).unwrap()).await;
    let mut keys = LocalKeys::default();
    let key = keys.create("python", SystemTime::now()).unwrap();
    keys.save(device.state_dir.path()).unwrap();

    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/openai/client.py");
    let output = tokio::process::Command::new(&python)
        .arg(&script)
        .arg(format!("http://{}/v1", device.address))
        .arg(key.reveal())
        .env_remove("OPENAI_API_KEY")
        .output()
        .await
        .unwrap_or_else(|error| panic!("{}: {error}", python.display()));
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
