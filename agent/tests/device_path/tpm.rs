//! The whole path of a device whose keys are in a TPM.

// The tests of the keys alone ask more of it.
#[allow(dead_code)]
#[path = "../support/swtpm.rs"]
mod swtpm;

use std::sync::atomic::Ordering;

use edgeformer_agent::identity::enroll::{EnrolError, Enrolled};
use edgeformer_agent::identity::{KeyError, KeyPlace};
use edgeformer_agent::session::Connection;
use edgeformer_proto::v1::SlotPhase;

use crate::support::{Controller, eventually};
use crate::{Setup, TOKEN, enroll, enroll_keeping, phase};
use swtpm::Swtpm;

/// A controller, a TPM, and the state directory of a device with its keys in it.
async fn enrolled() -> (Controller, Swtpm, tempfile::TempDir) {
    let (controller, tpm) = (Controller::start().await, Swtpm::start());
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let root = controller.inner.root_pem.clone();
    let place = KeyPlace::Tpm(tpm.place());
    let done = enroll_keeping(&controller, &state, &root, TOKEN, Some(&place)).await.unwrap();
    assert!(matches!(done, Enrolled::Now(_)));
    (controller, tpm, directory)
}

#[tokio::test]
async fn a_device_with_its_keys_in_a_tpm_connects_renews_and_runs_versions() {
    let (controller, tpm, directory) = enrolled().await;
    let state = directory.path().join("state");
    // Two thirds of such a certificate are over within the test.
    controller.inner.lifetime_s.store(2, Ordering::Relaxed);
    let agent = Setup::new(&state).start();
    let version = controller.inner.publisher.publish(1, 20, 1);
    controller.assign(1, &version);
    phase(&controller, &version, SlotPhase::Confirmed).await;
    assert_eq!(agent.workers.payload("m").unwrap(), version.payload);
    agent.stop().await;

    // Its first certificate lived for an hour; the next for seconds.
    let clock = edgeformer_agent::clock::Clock::injected(|| crate::system_us() + 3_500_000_000);
    controller.inner.lifetime_s.store(7200, Ordering::Relaxed);
    let agent = Setup { clock, ..Setup::new(&state) }.start();
    let connection = agent.connection.clone();
    eventually("it renewed its certificate and is connected", || {
        let is_up = matches!(&*connection.borrow(), Connection::Connected { .. });
        (is_up && controller.inner.renewals.load(Ordering::Relaxed) > 0).then_some(())
    })
    .await;
    let second = controller.inner.publisher.publish(2, 20, 2);
    controller.assign(2, &second);
    phase(&controller, &second, SlotPhase::Confirmed).await;
    agent.stop().await;
    assert_eq!(tpm.loaded(), 0);
    let mut keys: Vec<_> = std::fs::read_dir(state.join("keys"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    keys.sort();
    assert_eq!(keys, ["device.tpm", "hpke.tpm"], "no key is kept otherwise");
}

#[tokio::test]
async fn a_tpm_that_goes_away_makes_updates_wait_and_stops_no_model() {
    let (controller, mut tpm, directory) = enrolled().await;
    let state = directory.path().join("state");
    let agent = Setup::new(&state).start();
    let first = controller.inner.publisher.publish(1, 5, 1);
    controller.assign(1, &first);
    phase(&controller, &first, SlotPhase::Confirmed).await;
    tpm.stop();
    let second = controller.inner.publisher.publish(2, 5, 2);
    controller.assign(2, &second);
    let status = eventually("the status says that the TPM does not answer", || {
        controller.status("m").filter(|status| status.reason == "key_holder")
    })
    .await;
    assert!(status.message.contains(&tpm.place().to_string()), "{}", status.message);
    assert_eq!(agent.workers.payload("m").unwrap(), first.payload);
    tpm.restart();
    phase(&controller, &second, SlotPhase::Confirmed).await;
    assert_eq!(agent.workers.payload("m").unwrap(), second.payload);
    agent.stop().await;
}

#[tokio::test]
async fn a_device_stays_with_the_keys_that_it_was_enrolled_with() {
    let (controller, tpm) = (Controller::start().await, Swtpm::start());
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let root = controller.inner.root_pem.clone();
    enroll(&controller, &state, &root, TOKEN).await.unwrap();
    let place = KeyPlace::Tpm(tpm.place());
    let error = enroll_keeping(&controller, &state, &root, TOKEN, Some(&place)).await.unwrap_err();
    assert!(matches!(error, EnrolError::Key(KeyError::InFiles { .. })), "{error}");
    assert!(error.to_string().contains("then enrol it again with"), "{error}");
    let same = enroll_keeping(&controller, &state, &root, TOKEN, Some(&KeyPlace::File)).await;
    assert!(matches!(same.unwrap(), Enrolled::Already(_)));
}

#[tokio::test]
async fn a_tpm_that_does_not_answer_at_the_start_is_waited_for_and_no_reason_to_go_back() {
    let (controller, mut tpm, directory) = enrolled().await;
    let state = directory.path().join("state");
    let agent = Setup::new(&state).start();
    let versions = [1, 2].map(|number| controller.inner.publisher.publish(number, 5, number as u8));
    for (counter, version) in (1..).zip(&versions) {
        controller.assign(counter, version);
        phase(&controller, version, SlotPhase::Confirmed).await;
    }
    agent.stop().await;
    controller.inner.heard.lock().unwrap().clear();
    let agent = Setup::new(&state).start();
    // Before any of its tasks has begun.
    tpm.stop();
    let board = agent.board.clone();
    eventually("what it waits for is said", || {
        let report = board.borrow().get(&"m".parse().unwrap()).cloned()?;
        (report.reason == "key_holder").then_some(())
    })
    .await;
    assert_eq!(agent.workers.payload("m"), None);
    tpm.restart();
    let workers = agent.workers.clone();
    let payload = eventually("the confirmed version serves", || workers.payload("m")).await;
    assert_eq!(payload, versions[1].payload);
    agent.stop().await;
}
