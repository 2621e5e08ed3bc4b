//! Moving traffic from one version to the next.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::{
    Device, chat, chat_stream, config, endless, eventually, process_exists, quick, spec,
};
use edgeformer_agent::supervisor::SupervisorConfig;
use http::StatusCode;

const CHAT: &str = "/v1/chat/completions";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn switching_versions_drops_no_request() {
    let device = Arc::new(Device::start(config()).await);
    device.run(&spec("tiny", "v0"), quick()).await;
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let (device, stop) = (device.clone(), stop.clone());
            tokio::spawn(async move {
                let mut versions = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let answer = device.post(CHAT, &chat("tiny", "hello", 4)).await;
                    assert_eq!(answer.status, StatusCode::OK, "{}", answer.json);
                    let version = answer.headers["x-edgeformer-version"].to_str().unwrap();
                    versions.push(version.to_owned());
                }
                versions
            })
        })
        .collect();
    for version in ["v1", "v2", "v3"] {
        device.run(&spec("tiny", version), quick()).await;
    }
    device.post(CHAT, &chat("tiny@v3", "hello", 1)).await;
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        let versions = client.await.unwrap();
        assert!(!versions.is_empty());
        assert!(versions.is_sorted(), "a request went back to an older version: {versions:?}");
    }
}

#[tokio::test]
async fn a_request_in_flight_keeps_its_worker_until_it_ends() {
    let device = Device::start(config()).await;
    let first = spec("tiny", "1");
    let old = device.run(&first, endless()).await;
    let mut running = device.stream(CHAT, &chat_stream("tiny", "hello", 1_000_000)).await;
    running.next().await.unwrap();
    device.run(&spec("tiny", "2"), quick()).await;
    let answer = device.post(CHAT, &chat("tiny", "x", 1)).await;
    assert_eq!(answer.headers["x-edgeformer-version"], "2");
    for _ in 0..3 {
        assert!(!running.next().await.unwrap().contains("error"));
    }
    assert!(process_exists(old.pid));
    drop(running);
    eventually("the old worker has ended", || !process_exists(old.pid)).await;
}

#[tokio::test]
async fn a_request_that_outlives_the_drain_is_told_why_it_ends() {
    let drain_timeout = Duration::from_millis(200);
    let device = Device::start(SupervisorConfig { drain_timeout, ..config() }).await;
    device.run(&spec("tiny", "1"), endless()).await;
    let mut running = device.stream(CHAT, &chat_stream("tiny", "hello", 1_000_000)).await;
    running.next().await.unwrap();
    device.run(&spec("tiny", "2"), quick()).await;
    let rest = running.rest().await;
    let last = rest.last().unwrap();
    assert!(last.contains("worker_gone") && last.contains("its version was replaced"), "{last}");
}
