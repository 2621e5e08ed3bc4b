//! What a device installs when its controller is not to be trusted: what the tenant's owner signed, and
//! nothing else, whatever is assigned, served, held back or said.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use edgeformer_agent::clock::Clock;
use edgeformer_agent::fetch::trust::FOLDER;
use edgeformer_proto::tuf::TopLevel;
use edgeformer_proto::v1::{self, SlotPhase};

use crate::support::publish::Version;
use crate::support::repo::{DAY_S, Repo};
use crate::support::{Controller, eventually, now_s};
use crate::{Agent, Setup, TOKEN, enroll, phase, system_us};

/// A device, its controller, and a clock that runs ahead as far as it is told.
struct World {
    controller: Controller,
    directory: tempfile::TempDir,
    ahead_us: Arc<AtomicI64>,
}

impl World {
    /// An enrolled device that runs no agent yet. Its certificate outlives every test.
    async fn new() -> Self {
        Self::with(Some(Repo::valid_from(now_s()))).await
    }

    async fn with(owner: Option<Repo>) -> Self {
        let controller = Controller::start().await;
        controller.inner.lifetime_s.store(10 * 365 * 86_400, Ordering::Relaxed);
        *controller.inner.trust.lock().unwrap() = owner;
        let directory = tempfile::tempdir().unwrap();
        let root = controller.inner.root_pem.clone();
        enroll(&controller, &directory.path().join("state"), &root, TOKEN).await.unwrap();
        Self { controller, directory, ahead_us: Arc::default() }
    }

    fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    fn start(&self) -> Agent {
        let (state, ahead) = (self.state(), Arc::clone(&self.ahead_us));
        let clock = Clock::injected(move || system_us() + ahead.load(Ordering::Relaxed));
        Setup { clock, ..Setup::new(&state) }.start()
    }

    fn days_later(&self, days: i64) {
        self.ahead_us.fetch_add(days * DAY_S * 1_000_000, Ordering::Relaxed);
    }

    fn owner<T>(&self, act: impl FnOnce(&mut Repo) -> T) -> T {
        act(self.controller.inner.trust.lock().unwrap().as_mut().unwrap())
    }

    fn publish(&self, number: u64) -> Version {
        self.controller.inner.publisher.publish(number, 5, number as u8)
    }

    async fn installs(&self, counter: u64, version: &Version) {
        self.controller.assign(counter, version);
        phase(&self.controller, version, SlotPhase::Confirmed).await;
    }

    /// What the device says while it does not install `version`.
    async fn waits(&self, version: &Version, reason: &str, part: &str) {
        let id = version.subject.version_id.to_string();
        let status = eventually(&format!("{reason} is reported, with {part:?}"), || {
            let status = self.controller.status("m")?;
            let says = status.reason == reason && status.message.contains(part);
            (status.target_version_id == id && says).then_some(status)
        })
        .await;
        assert_eq!(status.phase(), SlotPhase::Fetching);
    }

    async fn refuses(&self, version: &Version, reason: &str, part: &str) -> v1::SlotStatus {
        let status = phase(&self.controller, version, SlotPhase::Failed).await;
        assert_eq!(status.reason, reason, "{}", status.message);
        assert!(status.message.contains(part), "{}", status.message);
        status
    }

    /// Whether manifest, index or key of a version were asked for.
    fn asked_for(&self, id: &str) -> bool {
        let asked = self.controller.inner.asked.lock().unwrap();
        let calls = ["GetVersionRequest", "WrapDataKeyRequest"];
        let mut asked = asked.iter().filter(|(call, _)| calls.contains(call));
        asked.any(|(_, message)| message.windows(id.len()).any(|part| part == id.as_bytes()))
    }
}

fn trusted_root_version(state: &Path) -> Option<u64> {
    let bytes = std::fs::read(state.join(FOLDER).join("root.json")).ok()?;
    serde_json::from_slice::<serde_json::Value>(&bytes).unwrap()["signed"]["version"].as_u64()
}

#[tokio::test]
async fn a_version_that_its_owner_did_not_release_is_refused_before_a_byte_of_it_is_fetched() {
    let world = World::new().await;
    let agent = world.start();
    let (good, bad) = (world.publish(1), world.publish(2));
    world.installs(1, &good).await;
    let sent = world.controller.inner.chunks_sent.load(Ordering::SeqCst);
    world.controller.assign_only(2, &bad);
    let part =
        "device box: m 2.0.0 is not among what the tenant's owner released (targets version 2)";
    let status = world.refuses(&bad, "unlisted", part).await;
    assert_eq!(status.serving_version_id, good.subject.version_id.to_string());
    assert_eq!(world.controller.inner.chunks_sent.load(Ordering::SeqCst), sent);
    assert!(world.asked_for(&good.subject.version_id.to_string()));
    assert!(!world.asked_for(&bad.subject.version_id.to_string()), "nothing of it was asked for");
    // Released after all, and rolled out again.
    world.installs(3, &bad).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_manifest_other_than_the_released_one_is_refused_though_the_release_key_signed_it() {
    let world = World::new().await;
    let agent = world.start();
    let (good, bad) = (world.publish(1), world.publish(2));
    world.installs(1, &good).await;
    let released = world.publish(2);
    world.controller.release(&bad, &released.envelope);
    world.controller.assign_only(2, &bad);
    let part = "the manifest of m 2.0.0 is not the one that the tenant's owner released";
    world.refuses(&bad, "not_as_listed", part).await;
    // Longer by one byte than what is listed.
    let mut longer = released.envelope.clone();
    longer.push(b'\n');
    let forged = Version { envelope: longer, ..released.clone() };
    world.controller.assign_only(3, &forged);
    eventually("the longer one is refused", || {
        let status = world.controller.status("m")?;
        let id = forged.subject.version_id.to_string();
        (status.target_version_id == id && status.reason == "not_as_listed").then_some(())
    })
    .await;
    assert_eq!(agent.workers.payload("m").unwrap(), good.payload);
    agent.stop().await;
}

#[tokio::test]
async fn older_metadata_and_metadata_of_others_are_not_believed_and_right_ones_are_again() {
    let world = World::new().await;
    let agent = world.start();
    let files = ["timestamp.json", "1.snapshot.json", "1.targets.json"];
    let old = world.owner(|repo| files.map(|name| repo.files[name].clone()));
    let (first, second) = (world.publish(1), world.publish(2));
    world.installs(1, &first).await;
    let forge = |name: &str, bytes: Vec<u8>| {
        world.controller.inner.forged.lock().unwrap().insert(name.to_owned(), bytes);
    };
    // What was served before the first version was released.
    forge("timestamp.json", old[0].clone());
    world.controller.assign(2, &second);
    world.waits(&second, "trust_refused", "older than version").await;
    // The newest timestamp, and the snapshot of then under the newest name.
    world.controller.inner.forged.lock().unwrap().clear();
    let newest = world.owner(|repo| repo.snapshot.as_ref().unwrap().common.version);
    forge(&format!("{newest}.snapshot.json"), old[1].clone());
    world.waits(&second, "trust_refused", "snapshot").await;
    // Another tenant's, signed as it should be.
    let other = Repo::valid_from(now_s());
    world.controller.inner.forged.lock().unwrap().clear();
    forge("timestamp.json", other.files["timestamp.json"].clone());
    world.waits(&second, "trust_refused", "have signed").await;
    forge("timestamp.json", vec![b' '; 17 << 10]);
    world.waits(&second, "interrupted", "timestamp.json").await;
    world.controller.inner.forged.lock().unwrap().clear();
    phase(&world.controller, &second, SlotPhase::Confirmed).await;
    agent.stop().await;
}

#[tokio::test]
async fn when_metadata_expired_what_runs_goes_on_nothing_new_comes_and_newer_metadata_mend_it() {
    let world = World::new().await;
    let (first, second, third) = (world.publish(1), world.publish(2), world.publish(3));
    let agent = world.start();
    world.installs(1, &first).await;
    world.installs(2, &second).await;
    agent.stop().await;
    world.days_later(40);
    let agent = world.start();
    world.controller.assign(3, &third);
    world.waits(&third, "trust_expired", "device box: the trust metadata expired at 20").await;
    world.waits(&third, "trust_expired", "and what runs goes on").await;
    let workers = agent.workers.clone();
    let serving = eventually("the last good version serves", || workers.payload("m")).await;
    assert_eq!(serving, second.payload);
    // What was confirmed here before needs nobody's word: the way back stays open.
    world.controller.assign_only(4, &first);
    phase(&world.controller, &first, SlotPhase::Confirmed).await;
    world.controller.assign_only(5, &third);
    world.waits(&third, "trust_expired", "(root version 1)").await;
    world.owner(|repo| {
        repo.expires_s = now_s() + 80 * DAY_S;
        repo.root.common.expires_s = repo.expires_s;
        repo.publish_root();
        repo.bump_targets();
        repo.publish();
    });
    phase(&world.controller, &third, SlotPhase::Confirmed).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_device_that_was_off_for_a_year_recovers_by_itself() {
    let world = World::new().await;
    let (first, second) = (world.publish(1), world.publish(2));
    let agent = world.start();
    world.installs(1, &first).await;
    agent.stop().await;
    // Every week another root with other keys for everything, each valid for a month.
    world.owner(|repo| {
        for week in 1..=52 {
            repo.expires_s = now_s() + (7 * week + 30) * DAY_S;
            repo.root.common.expires_s = repo.expires_s;
            TopLevel::ALL.into_iter().for_each(|role| repo.rotate(role));
            repo.publish_root();
            let old = repo.signers["root"].len() - 1;
            repo.signers.get_mut("root").unwrap().drain(..old);
            repo.bump_targets();
            repo.publish();
        }
    });
    world.days_later(365);
    let agent = world.start();
    world.installs(2, &second).await;
    assert_eq!(trusted_root_version(&world.state()), Some(53));
    agent.stop().await;
}

#[tokio::test]
async fn an_older_version_that_is_still_listed_is_a_new_generation_and_installs() {
    let world = World::new().await;
    let agent = world.start();
    let (older, newer) = (world.publish(1), world.publish(2));
    world.controller.release(&older, &older.envelope);
    world.installs(1, &newer).await;
    world.controller.assign_only(2, &older);
    phase(&world.controller, &older, SlotPhase::Confirmed).await;
    assert_eq!(agent.workers.payload("m").unwrap(), older.payload);
    // No longer listed: gone back to where it was confirmed, refused where it never was.
    world.owner(|repo| {
        repo.bump_targets();
        repo.targets.targets.clear();
        repo.publish();
    });
    world.controller.assign_only(3, &newer);
    phase(&world.controller, &newer, SlotPhase::Confirmed).await;
    std::fs::remove_dir_all(world.state().join("versions")).unwrap();
    agent.stop().await;
    let other = World { directory: tempfile::tempdir().unwrap(), ..world };
    let root = other.controller.inner.root_pem.clone();
    enroll(&other.controller, &other.state(), &root, TOKEN).await.unwrap();
    other.controller.assign_only(4, &older);
    let agent = other.start();
    other.refuses(&older, "unlisted", "m 1.0.0").await;
    agent.stop().await;
}

#[tokio::test]
async fn a_controller_without_metadata_is_put_up_with_until_a_root_is_pinned_and_never_after() {
    let world = World::with(None).await;
    let versions = [1, 2, 3].map(|number| world.publish(number));
    let agent = world.start();
    world.installs(1, &versions[0]).await;
    assert_eq!(trusted_root_version(&world.state()), None);
    // The controller is updated: the next new version brings the root with it.
    *world.controller.inner.trust.lock().unwrap() = Some(Repo::valid_from(now_s()));
    world.installs(2, &versions[1]).await;
    assert_eq!(trusted_root_version(&world.state()), Some(1));
    let owner = world.controller.inner.trust.lock().unwrap().take();
    world.controller.assign_only(3, &versions[2]);
    world.waits(&versions[2], "trust_withheld", "serves no trust metadata").await;
    // Another repository in its place, from its first root on.
    *world.controller.inner.trust.lock().unwrap() = Some(Repo::valid_from(now_s()));
    world.controller.release(&versions[2], &versions[2].envelope);
    world.waits(&versions[2], "trust_refused", "have signed").await;
    *world.controller.inner.trust.lock().unwrap() = owner;
    world.controller.release(&versions[2], &versions[2].envelope);
    phase(&world.controller, &versions[2], SlotPhase::Confirmed).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_device_enrolled_before_there_were_roots_pins_one_with_its_next_certificate() {
    let world = World::with(None).await;
    assert_eq!(trusted_root_version(&world.state()), None);
    *world.controller.inner.trust.lock().unwrap() = Some(Repo::valid_from(now_s()));
    world.days_later(9 * 365);
    world.controller.inner.lifetime_s.store(20 * 365 * 86_400, Ordering::Relaxed);
    let agent = world.start();
    let state = world.state();
    eventually("the root is pinned", || trusted_root_version(&state)).await;
    assert_eq!(world.controller.inner.renewals.load(Ordering::Relaxed), 1);
    agent.stop().await;
    // The next renewal does not replace it.
    let pinned = std::fs::read(state.join(FOLDER).join("root.json")).unwrap();
    *world.controller.inner.trust.lock().unwrap() = Some(Repo::valid_from(now_s()));
    world.days_later(10 * 365);
    let agent = world.start();
    eventually("it renewed again", || {
        (world.controller.inner.renewals.load(Ordering::Relaxed) == 2).then_some(())
    })
    .await;
    agent.stop().await;
    assert_eq!(std::fs::read(state.join(FOLDER).join("root.json")).unwrap(), pinned);
}

#[tokio::test]
async fn a_root_whose_file_is_gone_or_damaged_is_not_begun_anew() {
    let world = World::new().await;
    let versions = [1, 2, 3].map(|number| world.publish(number));
    let agent = world.start();
    world.installs(1, &versions[0]).await;
    std::fs::remove_file(world.state().join(FOLDER).join("root.json")).unwrap();
    world.installs(2, &versions[1]).await;
    std::fs::write(world.state().join(FOLDER).join("root.json"), b"{").unwrap();
    *world.controller.inner.trust.lock().unwrap() = Some(Repo::valid_from(now_s()));
    world.controller.assign(3, &versions[2]);
    world.waits(&versions[2], "trust_refused", "have signed").await;
    agent.stop().await;
}
