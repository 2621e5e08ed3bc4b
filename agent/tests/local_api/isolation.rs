//! What a broken worker costs: its own requests, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use crate::support::{
    Device, Payload, chat, chat_stream, config, endless, eventually, kill, process_exists, quick,
    spec,
};
use edgeformer_agent::slots::{
    MemoryNeed, Paging, PayloadError, PayloadPieces, PayloadSource, TrialError, WorkerEvent,
    WorkerRole, Workers,
};
use edgeformer_agent::supervisor::liveness::Patience;
use http::StatusCode;
use rustix::process::Signal;

const CHAT: &str = "/v1/chat/completions";

#[tokio::test]
async fn killing_a_worker_costs_its_requests_a_clear_error_and_other_models_nothing() {
    let device = Device::start(config()).await;
    let (doomed, other) = (spec("doomed", "1"), spec("other", "1"));
    device.run(&doomed, endless()).await;
    device.run(&other, endless()).await;
    let mut events = device.supervisor.events();
    let mut hit = device.stream(CHAT, &chat_stream("doomed", "hello", 1_000_000)).await;
    let mut spared = device.stream(CHAT, &chat_stream("other", "hello", 1_000_000)).await;
    hit.next().await.unwrap();
    spared.next().await.unwrap();

    kill(device.pid(&doomed.slot), Signal::KILL);
    let rest = hit.rest().await;
    let last = rest.last().unwrap();
    assert!(last.contains("worker_gone") && last.contains("SIGKILL"), "{last}");
    assert!(!rest.iter().any(|event| event == "[DONE]"));
    let WorkerEvent::Exited { slot, version_id, was, reason } = events.recv().await.unwrap();
    assert_eq!((slot, version_id, was), (doomed.slot, doomed.version_id, WorkerRole::Serving));
    assert!(reason.starts_with("killed by SIGKILL"), "{reason}");

    let refused = device.post(CHAT, &chat("doomed", "x", 1)).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.message().contains("SIGKILL"), "{}", refused.message());
    assert!(spared.next().await.is_some(), "the other model goes on");
    assert_eq!(device.supervisor.serving().len(), 1);
}

#[tokio::test]
async fn a_worker_that_does_not_answer_is_ended() {
    let ms = Duration::from_millis;
    let patience = Patience { ping_interval: ms(20), silent: ms(300), ..Patience::default() };
    let device =
        Device::start(edgeformer_agent::supervisor::SupervisorConfig { patience, ..config() })
            .await;
    let version = spec("tiny", "1");
    device.run(&version, quick()).await;
    let mut events = device.supervisor.events();
    let pid = device.pid(&version.slot);
    kill(pid, Signal::STOP);
    let WorkerEvent::Exited { reason, .. } = events.recv().await.unwrap();
    assert!(reason.starts_with("hung: it did not answer"), "{reason}");
    eventually("the stopped process is gone", || !process_exists(pid)).await;
}

#[tokio::test]
async fn workers_end_with_their_supervisor_and_hide_their_memory() {
    let device = Device::start(config()).await;
    let version = spec("tiny", "1");
    let report = device.run(&version, quick()).await;
    assert!(report.rss_bytes > 0 && report.probe_tokens > 0);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", report.pid)).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    let score = std::fs::read_to_string(format!("/proc/{}/oom_score_adj", report.pid)).unwrap();
    assert_eq!(score.trim(), "800");
    device.supervisor.stop(&version.slot).await;
    assert!(!process_exists(report.pid));
}

#[tokio::test]
async fn a_trial_says_why_it_failed_and_leaves_what_serves_alone() {
    let device = Device::start(config()).await;
    let good = spec("tiny", "1");
    device.run(&good, quick()).await;

    let bad = spec("tiny", "2");
    let mut cut = quick();
    cut.truncate(cut.len() / 2);
    let error = device.trial(&bad, cut).await.unwrap_err();
    assert!(matches!(error, TrialError::Load(_)), "{error}");
    let error = device.trial(&bad, b"not a model".repeat(100)).await.unwrap_err();
    assert!(matches!(error, TrialError::Load(_)), "{error}");

    struct Missing;
    impl PayloadSource for Missing {
        fn open(&self) -> Result<PayloadPieces, PayloadError> {
            let first = Ok(quick()[..1000].to_vec().into());
            let missing = Err(PayloadError::Missing { id: "abc".into() });
            Ok(Box::new([first, missing].into_iter()))
        }
        fn size_bytes(&self) -> u64 {
            1
        }
    }
    let error = device.supervisor.trial(bad.clone(), Arc::new(Missing)).await.unwrap_err();
    assert_eq!(error, TrialError::Payload(PayloadError::Missing { id: "abc".into() }));
    assert!(device.supervisor.activate(&bad.slot, bad.version_id).await.is_err());
    let answer = device.post(CHAT, &chat("tiny@1", "x", 1)).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn memory_for_one_worker_only_stops_the_old_one_first_and_says_so() {
    const MIB: u64 = 1 << 20;
    let mut limited = config();
    limited.memory_limit_bytes = Some(202 * MIB);
    let device = Device::start(limited).await;
    let sized = |version: &str, mib: u64| {
        let memory = MemoryNeed { weights_bytes: mib * MIB, ..MemoryNeed::default() };
        edgeformer_agent::slots::SlotSpec { memory, ..spec("tiny", version) }
    };
    let first = sized("1", 200);
    assert!(!device.run(&first, quick()).await.stopped_serving_first);
    let large = device.trial(&sized("2", 300), quick()).await.unwrap_err();
    assert!(matches!(large, TrialError::Memory { .. }), "{large}");
    assert_eq!(device.supervisor.serving().len(), 1, "a refused trial stops nothing");

    let second = sized("3", 200);
    let report = device.supervisor.trial(second.clone(), Arc::new(Payload(quick()))).await.unwrap();
    assert!(report.stopped_serving_first);
    let between = device.post(CHAT, &chat("tiny", "x", 1)).await;
    assert!(between.message().contains("memory does not hold both"), "{}", between.message());
    device.supervisor.activate(&second.slot, second.version_id).await.unwrap();
    assert_eq!(device.post(CHAT, &chat("tiny@3", "x", 1)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_discarded_standby_is_gone_and_no_event_is_made_of_it() {
    let device = Device::start(config()).await;
    let version = spec("tiny", "1");
    let mut events = device.supervisor.events();
    let report = device.trial(&version, quick()).await.unwrap();
    device.supervisor.discard(&version.slot, version.version_id).await;
    assert!(!process_exists(report.pid));
    assert!(events.try_recv().is_err());

    let report = device.trial(&version, quick()).await.unwrap();
    kill(report.pid, Signal::ABORT);
    let WorkerEvent::Exited { was, reason, .. } = events.recv().await.unwrap();
    assert_eq!((was, reason.as_str()), (WorkerRole::Standby, "killed by SIGABRT"));
}

#[tokio::test]
async fn opened_weights_are_locked_in_memory_or_it_is_said_why_not() {
    let device = Device::start(config()).await;
    device.run(&spec("tiny", "1"), quick()).await;
    let serving = device.supervisor.serving().remove(0);
    let status = std::fs::read_to_string(format!("/proc/{}/status", serving.pid)).unwrap();
    let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap();
    let locked_kib: u64 = locked.trim().trim_end_matches(" kB").parse().unwrap();
    match serving.paging {
        // The kernel counts what is mapped: at least what the worker holds.
        Paging::Locked => assert!(locked_kib * 1024 >= serving.rss_bytes / 2, "{locked_kib} KiB"),
        Paging::Swappable(reason) => {
            assert_eq!(locked_kib, 0);
            assert!(reason.contains("LimitMEMLOCK") || reason.contains("failed"), "{reason}");
        }
    }
}
