//! What a download costs the agent in memory: the real program fetches, stores and verifies a model
//! that is several times as large as what it may take, from a controller in this process.

#[allow(dead_code)]
mod support;

use std::collections::HashMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use edgeformer_agent::clock::Clock;
use edgeformer_agent::identity::enroll;
use edgeformer_proto::v1::SlotPhase;
use support::{Controller, eventually};

/// What the agent may take above idle while it downloads, whatever the size of the model.
const MAX_ABOVE_IDLE_KIB: u64 = 64 << 10;

/// The model, in pieces of 1 MiB that do not compress.
const PIECES: usize = 192;

struct Agent(Child);

impl Agent {
    fn start(state: &Path) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_edgeformer-agent"))
            .args(["run", "--listen", "127.0.0.1:0", "--state-dir"])
            .arg(state)
            .stderr(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }

    /// A line of /proc/<pid>/status, in KiB.
    fn memory_kib(&self, name: &str) -> u64 {
        let path = format!("/proc/{}/status", self.0.id());
        let text = std::fs::read_to_string(path).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_takes_the_same_memory_whatever_the_size_of_the_model() {
    let controller = Controller::start().await;
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let ca = directory.path().join("root.pem");
    std::fs::write(&ca, &controller.inner.root_pem).unwrap();
    let request = enroll::Request {
        controller: controller.url.clone(),
        ca,
        way: enroll::Way::Token("efe_000000000000000000000000000000000000".to_owned()),
        name: Some("box".to_owned()),
        labels: HashMap::new(),
        keys: None,
    };
    enroll::enroll(&state, request, &Clock::open(&state)).await.unwrap();
    let publishing = controller.clone();
    let version = tokio::task::spawn_blocking(move || {
        publishing.inner.publisher.publish_random(1, PIECES, 1 << 20)
    });
    let version = version.await.unwrap();

    let agent = Agent::start(&state);
    eventually("a session", || controller.heard(|_| Some(())).pop()).await;
    let idle_kib = agent.memory_kib("VmRSS");
    controller.assign(1, &version);
    let status = eventually("the end of the update", || {
        // Random bytes are no model: it is all fetched and verified, and fails its trial.
        controller.status("m").filter(|status| status.phase() == SlotPhase::Failed)
    })
    .await;
    assert_eq!(status.reason, "load", "{}", status.message);
    assert_eq!(status.bytes_done, version.chunk_bytes);
    let above_kib = agent.memory_kib("VmHWM") - idle_kib;
    println!("{PIECES} MiB downloaded with {} MiB above idle ({idle_kib} KiB)", above_kib >> 10);
    assert!(above_kib < MAX_ABOVE_IDLE_KIB, "{above_kib} KiB above idle");
}
