//! The product as real processes on this machine: what an operator and an application see when
//! all goes well, and when something is cut off, full, wrong or killed.

mod backup;
mod bundle;
mod enrolment;
mod identity;
mod interruptions;
mod limits;
mod path;
mod publish;
mod tpm;
mod trust;
mod workers;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use xtask::setup;
use xtask::shell;
use xtask::stack::{Agent, AgentOptions, Answer, Binaries, ControllerOptions, Fleet, wait_for};

/// Slot and model name in all these tests.
const MODEL: &str = "assistant";
/// A rollout to a local device takes seconds; this is where hanging begins.
const LIMIT: Duration = Duration::from_secs(150);
/// The small model knows few things; this it answers in either quantization, token for token as
/// llama.cpp does.
const QUESTION: &str = "What is the opposite of hot?";
/// What a sound answer mentions.
const ANSWER: &str = "cold";
/// A sentence is enough to see that a model answers.
const MAX_TOKENS: u32 = 12;

/// Programs of this build.
fn binaries() -> Binaries {
    let beside_us = Path::new(env!("CARGO_BIN_EXE_xtask")).parent().unwrap().to_path_buf();
    let dir = std::env::var_os("EDGEFORMER_BIN_DIR").map_or(beside_us, PathBuf::from);
    Binaries::in_dir(&dir).unwrap()
}

/// The demonstration model, from the cache when the caller did not name one.
fn model_file() -> PathBuf {
    match std::env::var_os("EDGEFORMER_TEST_MODEL") {
        Some(file) => PathBuf::from(file),
        None => setup::model().unwrap(),
    }
}

fn fleet() -> Fleet {
    Fleet::start(&binaries(), ControllerOptions::default()).unwrap()
}

/// A second version of the same model, in other blocks: `dir/second.gguf`.
fn second_model_file(dir: &Path) -> PathBuf {
    let out = dir.join("second.gguf");
    let mut quantize = Command::new(binaries().agent());
    quantize.arg("quantize").arg(model_file()).arg(&out).args(["--type", "q8_0"]);
    shell::output(&mut quantize).unwrap();
    out
}

/// A fleet with one device that has confirmed `assistant` 1.0.0.
fn fleet_serving_first_version(device: &str) -> (Fleet, Agent) {
    let fleet = fleet();
    fleet.publish(MODEL, "1.0.0", &model_file()).unwrap();
    let agent = fleet.agent(device, AgentOptions::default()).unwrap();
    let rollout = fleet.rollout(MODEL, "1.0.0", &["--all"]).unwrap();
    let ended = fleet.rollout_end(&rollout, LIMIT).unwrap();
    assert_eq!(ended["state"], "succeeded", "{ended}");
    (fleet, agent)
}

/// Asks until an answer comes: after a crash a slot needs a moment.
fn answer_soon(agent: &Agent) -> Answer {
    let mut last = String::new();
    let seen =
        wait_for("an answer", LIMIT, || match agent.chat().answer(MODEL, QUESTION, MAX_TOKENS) {
            Ok(answer) => Ok(Some(answer)),
            Err(error) => {
                last = format!("{error:#}");
                Ok(None)
            }
        });
    seen.unwrap_or_else(|error| panic!("{error:#}; the last refusal was: {last}"))
}

/// Waits until the controller sees the device as connected, or as gone.
fn wait_online(fleet: &Fleet, device: &str, online: bool) {
    let what = format!("{device} to be {}", if online { "online" } else { "offline" });
    wait_for(&what, LIMIT, || Ok((fleet.device(device)?["online"] == online).then_some(())))
        .unwrap();
}

/// The row of one device in a rollout.
fn rollout_device(fleet: &Fleet, rollout: &str, device: &str) -> Value {
    let rows = fleet.tenant.items(&["rollout", "devices", rollout]).unwrap();
    let row = rows.iter().find(|row| row["device_name"] == device);
    row.cloned().unwrap_or_else(|| panic!("{device} is not in the rollout: {rows:?}"))
}

/// `text` has all of `words`, whatever their case.
fn assert_mentions(text: &str, words: &[&str]) {
    let lower = text.to_lowercase();
    for word in words {
        assert!(lower.contains(&word.to_lowercase()), "no `{word}` in: {text}");
    }
}
