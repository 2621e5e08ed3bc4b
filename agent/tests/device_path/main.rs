//! The whole path on the device against a controller over real TLS: enrol, connect, fetch, open,
//! activate, and everything that can go wrong on the way.

mod cuts;
mod direct;
mod sent;
#[path = "../support/mod.rs"]
mod support;
mod tpm;
mod trust;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use edgeformer_agent::clock::Clock;
use edgeformer_agent::durable::Folder;
use edgeformer_agent::fetch::budget::Budget;
use edgeformer_agent::fetch::direct::Direct;
use edgeformer_agent::fetch::remote::Remote;
use edgeformer_agent::fetch::trust::Trust;
use edgeformer_agent::fetch::versions::Opening;
use edgeformer_agent::fetch::{Limits, Store};
use edgeformer_agent::identity::Identity;
use edgeformer_agent::identity::enroll::{self, EnrolError, Enrolled};
use edgeformer_agent::identity::instance::InstanceStore;
use edgeformer_agent::identity::key_place::{self, KeyPlace, Missing};
use edgeformer_agent::reconcile::Handle;
use edgeformer_agent::reconcile::ledger::LedgerStore;
use edgeformer_agent::reconcile::report::Board;
use edgeformer_agent::reconcile::retention::Retention;
use edgeformer_agent::session::{self, Connection, Links, Parts};
use edgeformer_proto::artifact::{Memory, ReleaseKey};
use edgeformer_proto::ids::VersionId;
use edgeformer_proto::protocol::PROTOCOL;
use edgeformer_proto::v1::{self, SlotPhase};
use support::full_disk::FullDisk;
use support::publish::Version;
use support::workers::Scripted;
use support::{Controller, eventually};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Channel;

const TOKEN: &str = "efe_000000000000000000000000000000000000";

fn system_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64
}

/// An agent without its HTTP server and worker processes.
struct Agent {
    workers: Scripted,
    connection: watch::Receiver<Connection>,
    board: watch::Receiver<Board>,
    channel: watch::Receiver<Option<Channel>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

struct Setup<'a> {
    state_dir: &'a Path,
    folder: Folder,
    clock: Clock,
    memory_bytes: Option<u64>,
    /// Bytes per second of all downloads together.
    rate: Option<u64>,
}

impl<'a> Setup<'a> {
    fn new(state_dir: &'a Path) -> Self {
        let (folder, clock) = (Folder::from(state_dir), Clock::injected(system_us));
        Self { state_dir, folder, clock, memory_bytes: Some(1 << 30), rate: None }
    }

    fn start(self) -> Agent {
        let identity = Identity::load(self.state_dir).unwrap();
        let keys = key_place::open(self.state_dir.join("keys"), None, Missing::Refuse).unwrap();
        let (ledger, _) = LedgerStore::open(&self.folder).unwrap();
        ledger.recover(self.clock.now_us());
        let reconcile = Handle::new(Arc::new(ledger), self.clock.clone(), Retention::default());
        let away = Connection::Away {
            since_unix_us: 0,
            failures: 0,
            error: String::new(),
            next_attempt_unix_us: 0,
        };
        let opening = Opening {
            tenant_id: identity.tenant_id,
            device_id: identity.device_id,
            release_public: identity.release_public,
            keys: Arc::clone(&keys),
        };
        let links = Links {
            channel: watch::channel(None).0,
            sessions: watch::channel(0).0,
            connection: watch::channel(away).0,
            identity: watch::channel(identity).0,
        };
        let limits = Limits { memory_bytes: self.memory_bytes };
        let channel = links.channel.subscribe();
        let sends = channel.clone();
        let trust = Trust::open(&self.folder, self.clock.clone(), "box");
        let budget = self.rate.map_or_else(Budget::default, Budget::of);
        let direct = Direct::new(self.clock.clone(), true, budget.clone());
        let origin = Arc::new(Remote::new(channel).within(budget).reading(direct));
        let store = Store::new(&self.folder, opening, origin, trust.clone(), limits);
        let (sessions, connection) = (links.sessions.subscribe(), links.connection.subscribe());
        let (workers, stop, tasks) =
            (Scripted::new(), CancellationToken::new(), TaskTracker::new());
        let (slots, slot_workers, until) = (reconcile.clone(), workers.clone(), stop.clone());
        tasks.spawn(async move { slots.run(slot_workers, store, sessions, until).await });
        let board = reconcile.board();
        let parts = Parts {
            instance: Arc::new(InstanceStore::open(&self.folder).unwrap()),
            retire: CancellationToken::new(),
            state_dir: self.state_dir.to_owned(),
            keys,
            clock: self.clock,
            boot_id: "boot".to_owned(),
            trust,
            reconcile,
            links,
        };
        tasks.spawn(session::run(parts, stop.clone()));
        Agent { workers, connection, board, channel: sends, stop, tasks }
    }
}

impl Agent {
    async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

async fn enroll(
    controller: &Controller,
    state_dir: &Path,
    ca: &str,
    token: &str,
) -> Result<Enrolled, EnrolError> {
    enroll_keeping(controller, state_dir, ca, token, None).await
}

async fn enroll_keeping(
    controller: &Controller,
    state_dir: &Path,
    ca: &str,
    token: &str,
    keys: Option<&KeyPlace>,
) -> Result<Enrolled, EnrolError> {
    let ca_path = state_dir.with_extension("pem");
    std::fs::write(&ca_path, ca).unwrap();
    let request = enroll::Request {
        controller: controller.url.clone(),
        ca: ca_path,
        way: enroll::Way::Token(token.to_owned()),
        name: Some("box".to_owned()),
        labels: HashMap::new(),
        keys: keys.cloned(),
    };
    enroll::enroll(state_dir, request, &Clock::injected(system_us)).await
}

/// A controller, and the state directory of a device that is enrolled there.
async fn enrolled() -> (Controller, tempfile::TempDir) {
    let controller = Controller::start().await;
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let root = controller.inner.root_pem.clone();
    enroll(&controller, &state, &root, TOKEN).await.unwrap();
    (controller, directory)
}

async fn phase(controller: &Controller, version: &Version, phase: SlotPhase) -> v1::SlotStatus {
    let id = version.subject.version_id.to_string();
    eventually(&format!("{phase:?} of {}", version.subject.version), || {
        let status = controller.status("m")?;
        (status.target_version_id == id && status.phase() == phase).then_some(status)
    })
    .await
}

#[tokio::test]
async fn enrolment_is_idempotent_and_each_refusal_says_what_is_wrong() {
    let controller = Controller::start().await;
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let root = controller.inner.root_pem.clone();
    let check = |outcome: Result<Enrolled, EnrolError>, part: &str| {
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    check(enroll(&controller, &state, &root, "efe_short").await, "40 characters");
    check(enroll(&controller, &state, &root, "efp_00").await, "starts with efe_");
    let used = format!("{}1", &TOKEN[..39]);
    check(enroll(&controller, &state, &root, &used).await, "used up");
    let stranger = Controller::start().await.inner.root_pem.clone();
    check(enroll(&controller, &state, &stranger, TOKEN).await, "does not come from the root");
    check(enroll(&controller, &state, "rubbish", TOKEN).await, "holds no certificate");
    let nobody = Controller { url: "https://127.0.0.1:1".to_owned(), ..controller.clone() };
    check(enroll(&nobody, &state, &root, TOKEN).await, "not reachable");

    let first = enroll(&controller, &state, &root, TOKEN).await.unwrap();
    assert!(matches!(first, Enrolled::Now(_)));
    let again = enroll(&controller, &state, &root, TOKEN).await.unwrap();
    assert!(matches!(again, Enrolled::Already(_)));
    assert_eq!(controller.inner.enrolments.load(Ordering::Relaxed), 1);
    let elsewhere = Controller { url: "https://127.0.0.1:2".to_owned(), ..controller.clone() };
    check(enroll(&elsewhere, &state, &root, TOKEN).await, "already enrolled at");
}

#[tokio::test]
async fn a_controller_one_version_ahead_works_and_one_further_away_is_named() {
    let (controller, directory) = enrolled().await;
    let state = directory.path().join("state");
    controller.inner.protocol.store(PROTOCOL + 1, Ordering::Relaxed);
    let agent = Setup::new(&state).start();
    let version = controller.inner.publisher.publish(1, 10, 1);
    controller.assign(1, &version);
    phase(&controller, &version, SlotPhase::Confirmed).await;
    agent.stop().await;

    controller.inner.protocol.store(PROTOCOL + 2, Ordering::Relaxed);
    let agent = Setup::new(&state).start();
    eventually("the agent says which side is old", || match &*agent.connection.borrow() {
        Connection::Away { error, .. } => error.contains("update the agent first").then_some(()),
        _ => None,
    })
    .await;
    eventually("it serves all the same", || {
        (agent.workers.payload("m").as_ref() == Some(&version.payload)).then_some(())
    })
    .await;
    agent.stop().await;
}

#[tokio::test]
async fn a_version_is_fetched_opened_activated_confirmed_and_replaced() {
    let (controller, directory) = enrolled().await;
    let state = directory.path().join("state");
    let agent = Setup::new(&state).start();
    let first = controller.inner.publisher.publish(1, 100, 1);
    controller.assign(1, &first);
    let status = phase(&controller, &first, SlotPhase::Confirmed).await;
    assert_eq!(status.serving_version_id, first.subject.version_id.to_string());
    assert_eq!(status.rollout_id, "rollout-1");
    assert!(status.bytes_total > 0 && status.bytes_done == status.bytes_total);
    assert_eq!(agent.workers.payload("m").unwrap(), first.payload);
    let accepted = controller.heard(|kind| match kind {
        v1::agent_message::Kind::Accepted(accepted) => accepted.generation,
        _ => None,
    });
    assert_eq!(accepted, [v1::Generation { epoch: 1, counter: 1 }]);

    let second = controller.inner.publisher.publish(2, 30, 2);
    controller.assign(2, &second);
    phase(&controller, &second, SlotPhase::Confirmed).await;
    assert_eq!(agent.workers.payload("m").unwrap(), second.payload);
    agent.stop().await;

    // Nothing of the plaintext is on disk.
    let needle = b"piece 3 of 1. piece 3 of 1.";
    let mut files = vec![state.clone()];
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            assert!(!bytes.windows(needle.len()).any(|part| part == needle), "{path:?}");
        }
    }

    // Without a controller, what was confirmed is started from disk.
    let unreachable = Setup::new(&state);
    let text = std::fs::read_to_string(state.join("identity.json")).unwrap();
    std::fs::write(
        state.join("identity.json"),
        text.replace(&controller.url, "https://127.0.0.1:1"),
    )
    .unwrap();
    let agent = unreachable.start();
    let workers = agent.workers.clone();
    let payload = eventually("the confirmed version serves again", || workers.payload("m")).await;
    assert_eq!(payload, second.payload);
    agent.stop().await;
}

#[tokio::test]
async fn a_cut_fetch_goes_on_with_what_is_missing() {
    let (controller, directory) = enrolled().await;
    let agent = Setup::new(&directory.path().join("state")).start();
    let version = controller.inner.publisher.publish(1, 100, 1);
    controller.inner.cut_after.store(40, Ordering::SeqCst);
    controller.assign(1, &version);
    phase(&controller, &version, SlotPhase::Confirmed).await;
    assert_eq!(controller.inner.cut_after.load(Ordering::SeqCst), 0, "it was cut");
    // The calls that ran beside the one that was cut may have had chunks on the way.
    let sent = controller.inner.chunks_sent.load(Ordering::SeqCst);
    assert!((100..170).contains(&sent), "{sent} chunks were sent for {}", version.chunks);
    assert_eq!(agent.workers.payload("m").unwrap(), version.payload);
    agent.stop().await;
}

#[tokio::test]
async fn a_full_disk_makes_the_fetch_wait_and_go_on() {
    let (controller, directory) = enrolled().await;
    let state = directory.path().join("state");
    let (folder, full) = FullDisk::folder(&state);
    let agent = Setup { folder, ..Setup::new(&state) }.start();
    let version = controller.inner.publisher.publish(1, 10, 1);
    controller.assign(1, &version);
    let status = eventually("the status says that the disk is full", || {
        controller.status("m").filter(|status| status.reason == "disk_full")
    })
    .await;
    assert_eq!(status.phase(), SlotPhase::Fetching);
    assert!(status.message.contains("goes on when there is space"), "{}", status.message);
    full.store(false, Ordering::SeqCst);
    phase(&controller, &version, SlotPhase::Confirmed).await;
    assert_eq!(agent.workers.payload("m").unwrap(), version.payload);
    agent.stop().await;
}

/// Assigns `bad` to a device that runs a good version; it must fail with `reason` and change nothing.
async fn refuses(
    bad: impl FnOnce(&Controller) -> Version,
    memory_bytes: Option<u64>,
    reason: &str,
    part: &str,
) {
    let (controller, directory) = enrolled().await;
    let state = directory.path().join("state");
    let agent = Setup { memory_bytes, ..Setup::new(&state) }.start();
    let good = controller.inner.publisher.publish(1, 5, 1);
    controller.assign(1, &good);
    phase(&controller, &good, SlotPhase::Confirmed).await;
    let bad = bad(&controller);
    controller.assign(2, &bad);
    let status = phase(&controller, &bad, SlotPhase::Failed).await;
    assert_eq!(status.reason, reason, "{}", status.message);
    assert!(status.message.contains(part), "{}", status.message);
    assert_eq!(status.serving_version_id, good.subject.version_id.to_string());
    assert_eq!(agent.workers.payload("m").unwrap(), good.payload);
    agent.stop().await;
}

#[tokio::test]
async fn a_manifest_signed_by_somebody_else_is_refused() {
    let bad = |controller: &Controller| {
        let pkcs8 = ReleaseKey::generate_pkcs8(&ring::rand::SystemRandom::new()).unwrap();
        let stranger = ReleaseKey::from_pkcs8(&pkcs8).unwrap();
        controller.inner.publisher.publish_signed(2, 5, 2, Memory::default(), &stranger)
    };
    refuses(bad, None, "signature", "release key").await;
}

#[tokio::test]
async fn a_data_key_for_another_version_is_refused() {
    let bad = |controller: &Controller| {
        let version = controller.inner.publisher.publish(2, 5, 2);
        Version { wrap_for: VersionId::new(), ..version }
    };
    refuses(bad, None, "key", "does not open").await;
}

#[tokio::test]
async fn a_tampered_index_is_refused() {
    let bad = |controller: &Controller| {
        let mut version = controller.inner.publisher.publish(2, 5, 2);
        version.sealed_index[40] ^= 1;
        version
    };
    refuses(bad, None, "index", "not the one that the manifest names").await;
}

#[tokio::test]
async fn tampered_chunks_are_refused_after_a_few_attempts() {
    let bad = |controller: &Controller| {
        controller.inner.tamper_chunks.store(1, Ordering::SeqCst);
        controller.inner.publisher.publish(2, 5, 2)
    };
    refuses(bad, None, "chunk", "not what was signed").await;
}

#[tokio::test]
async fn a_model_that_can_never_fit_is_refused_before_a_byte_of_it_is_fetched() {
    let bad = |controller: &Controller| {
        controller.inner.chunks_sent.store(0, Ordering::SeqCst);
        let memory = Memory { weight_bytes: Some(1_200_000_000) };
        let publisher = &controller.inner.publisher;
        publisher.publish_signed(2, 5, 2, memory, &publisher.release)
    };
    refuses(bad, Some(800_000_000), "memory", "needs 1.2 GB of memory, 800 MB available").await;
}

#[tokio::test]
async fn an_older_generation_and_other_content_are_rejected() {
    let (controller, directory) = enrolled().await;
    let agent = Setup::new(&directory.path().join("state")).start();
    let (first, second) =
        (controller.inner.publisher.publish(1, 3, 1), controller.inner.publisher.publish(2, 3, 2));
    controller.assign(5, &first);
    phase(&controller, &first, SlotPhase::Confirmed).await;
    let rejections = || {
        controller.heard(|kind| match kind {
            v1::agent_message::Kind::Rejected(rejected) => Some(rejected.clone()),
            _ => None,
        })
    };
    for (counter, part) in [(4, "older than 1.5"), (5, "other content")] {
        let before = rejections().len();
        controller.assign(counter, &second);
        let rejected = eventually("a rejection", || rejections().get(before).cloned()).await;
        assert!(rejected.reason.contains(part), "{}", rejected.reason);
        assert_eq!(rejected.held, Some(v1::Generation { epoch: 1, counter: 5 }));
    }
    assert_eq!(agent.workers.payload("m").unwrap(), first.payload);
    agent.stop().await;
}

#[tokio::test]
async fn an_expired_device_renews_and_connects() {
    let (controller, directory) = enrolled().await;
    // A year later by the device's clock and by its certificate.
    let ahead = Arc::new(AtomicI64::new(0));
    let offset = Arc::clone(&ahead);
    let clock = Clock::injected(move || system_us() + offset.load(Ordering::Relaxed));
    let state = directory.path().join("state");
    let expired = Identity::load(&state).unwrap();
    ahead.store(expired.certificate.not_after_us - system_us() + 1_000_000, Ordering::Relaxed);
    controller.inner.lifetime_s.store(100_000, Ordering::Relaxed);
    let agent = Setup { clock, ..Setup::new(&state) }.start();
    let connection = agent.connection.clone();
    eventually("connected", || {
        matches!(&*connection.borrow(), Connection::Connected { .. }).then_some(())
    })
    .await;
    assert_eq!(controller.inner.renewals.load(Ordering::Relaxed), 1);
    let renewed = Identity::load(&state).unwrap();
    assert!(renewed.certificate.not_after_us > expired.certificate.not_after_us);
    agent.stop().await;
}

#[tokio::test]
async fn a_crash_loop_reverts_without_the_controller_asking() {
    let (controller, directory) = enrolled().await;
    let agent = Setup::new(&directory.path().join("state")).start();
    let versions = [1, 2].map(|number| controller.inner.publisher.publish(number, 3, number as u8));
    for (counter, version) in (1..).zip(&versions) {
        controller.assign(counter, version);
        phase(&controller, version, SlotPhase::Confirmed).await;
    }
    for _ in 0..3 {
        let workers = agent.workers.clone();
        let expected = versions[1].payload.clone();
        eventually("version 2 serves", || workers.payload("m").filter(|now| *now == expected))
            .await;
        agent.workers.kill("m");
    }
    let status = phase(&controller, &versions[1], SlotPhase::Reverted).await;
    assert_eq!(status.reason, "crash_loop");
    let workers = agent.workers.clone();
    let expected = versions[0].payload.clone();
    eventually("version 1 serves", || workers.payload("m").filter(|now| *now == expected)).await;
    agent.stop().await;
}
