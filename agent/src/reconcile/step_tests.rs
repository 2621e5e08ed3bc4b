//! Random lives of a slot: desired states, crashes of workers, kills of the agent, failures of every
//! step. What was confirmed must always be what serves or what is started next.

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::super::desired::tests::target;
use super::super::phase::{Failed, Reverted};
use super::super::state::CRASH_LIMIT;
use super::*;
use edgeformer_proto::Generation;

#[derive(Debug, Clone)]
enum Happening {
    /// A newer desired state asks for this version; 0 empties the slot.
    Desire(u8),
    /// The next step is carried out; the outcome is good or bad.
    Step { good: bool },
    /// The serving worker dies.
    WorkerDies,
    /// The agent is killed, perhaps between recording a step and acting.
    AgentDies,
    /// Bytes of the confirmed version are damaged, and its worker dies.
    Damage,
    /// Time passes.
    Pass { us: i64 },
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        2 => (0..4_u8).prop_map(Happening::Desire),
        12 => prop::bool::weighted(0.85).prop_map(|good| Happening::Step { good }),
        2 => Just(Happening::WorkerDies),
        2 => Just(Happening::AgentDies),
        1 => Just(Happening::Damage),
        3 => (0..20_000_000_i64).prop_map(|us| Happening::Pass { us }),
    ]
}

/// A device: the durable state, and what a kill of the agent wipes out.
#[derive(Default)]
struct Device {
    state: SlotState,
    seen: Observation,
    now_us: i64,
    counter: u64,
    ever_confirmed: Vec<VersionId>,
}

impl Device {
    fn happen(&mut self, happening: &Happening) {
        match happening {
            Happening::Desire(version) => {
                self.counter += 1;
                let mut wanted = target(*version);
                wanted.rollout_id = format!("r{}", self.counter);
                let generation = Generation { epoch: 1, counter: self.counter };
                let wanted = (*version > 0).then_some(&wanted);
                self.change(|state, now| state.retarget(wanted, generation, now));
            }
            Happening::Step { good } => self.step(*good),
            Happening::WorkerDies => self.worker_dies(),
            Happening::Damage => {
                self.worker_dies();
                self.seen.damaged = self.state.confirmed.as_ref().map(|one| one.version_id);
            }
            Happening::AgentDies => self.reboot(),
            Happening::Pass { us } => self.now_us += us,
        }
        if let Some(confirmed) = &self.state.confirmed {
            self.ever_confirmed.push(confirmed.version_id);
        }
    }

    fn worker_dies(&mut self) {
        if let Some(version) = self.seen.serving.take() {
            if self.seen.damaged.is_some_and(|damaged| damaged != version) {
                self.seen.unfit.push(version);
            }
            self.change(|state, now| state.died(version, now));
        }
    }

    /// Only what is written survives.
    fn reboot(&mut self) {
        let written = serde_json::to_string(&self.state).unwrap();
        self.state = serde_json::from_str(&written).unwrap();
        self.seen = Observation::default();
        self.change(SlotState::recover);
    }

    fn step(&mut self, good: bool) {
        let bad = || Failure::new("probe", "scripted");
        match next_step(&self.state, &self.seen, self.now_us) {
            Step::Wait { until_us } => self.now_us = until_us.unwrap_or(self.now_us + 1),
            Step::Start(target) if good => self.seen.serving = Some(target.version_id),
            Step::Start(target) => self.change(|state, now| state.died(target.version_id, now)),
            Step::StandIn(target) if good => self.seen.serving = Some(target.version_id),
            Step::StandIn(target) => self.seen.unfit.push(target.version_id),
            Step::Repair(_) if good => self.seen.damaged = None,
            Step::Repair(_) => {
                self.seen.unfit.clear();
                self.seen.fetch_not_before_us = self.now_us + 1_000_000;
            }
            Step::Fetch(target) if good => self.record(&target, Event::Fetched),
            Step::Fetch(target) => self.record(&target, Event::Failed(bad())),
            Step::Verify(target) if good => self.record(&target, Event::Verified),
            Step::Verify(target) => self.record(&target, Event::Incomplete),
            Step::Trial(target) => {
                self.record(&target, Event::TrialBegins);
                match good {
                    true => self.seen.standby = Some(target),
                    false => self.record(&target, Event::Failed(bad())),
                }
            }
            Step::Activate(target) => {
                self.record(&target, Event::ActivationBegins);
                self.seen.standby = None;
                if good {
                    self.seen.serving = Some(target.version_id);
                }
            }
            Step::Record(target, event) => self.record(&target, event),
            Step::RecordDeath(version) => self.change(|state, now| state.died(version, now)),
            Step::Revert(failure) => {
                self.change(|state, now| state.revert_to_previous(failure, now));
            }
            Step::Remove => {
                self.seen.serving = None;
                self.change(SlotState::removed);
            }
            Step::Stop => self.seen.serving = None,
        }
    }

    fn record(&mut self, target: &Target, event: Event) {
        self.change(|state, now| state.apply(target, event, now));
    }

    fn change(&mut self, change: impl FnOnce(SlotState, i64) -> SlotState) {
        self.state = change(std::mem::take(&mut self.state), self.now_us);
    }

    fn removal_wanted(&self) -> bool {
        matches!(self.state.update, Some(Update::Removing { .. } | Update::Removed { .. }))
    }

    /// Steps with good outcomes until something serves.
    fn serve_again(&mut self) {
        for _ in 0..200 {
            if self.seen.serving.is_some() {
                return;
            }
            self.step(true);
        }
        panic!("nothing serves again: {:?} {:?}", self.state, self.seen);
    }

    /// Steps with good outcomes until nothing is left to do.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..200 {
            if next_step(&self.state, &self.seen, self.now_us) == (Step::Wait { until_us: None }) {
                return Ok(());
            }
            self.step(true);
        }
        Err(TestCaseError::fail(format!("never settles: {:?} {:?}", self.state, self.seen)))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_was_confirmed_serves_or_is_started(happenings in prop::collection::vec(happening(), 1..120)) {
        let mut device = Device::default();
        let mut confirmed_before = false;
        for happening in &happenings {
            device.happen(happening);
            if device.removal_wanted() {
                confirmed_before = false;
                continue;
            }
            // Nothing forgets what was confirmed.
            prop_assert!(!confirmed_before || device.state.confirmed.is_some());
            confirmed_before = device.state.confirmed.is_some();
            if let Some(confirmed) = &device.state.confirmed {
                prop_assert!(device.ever_confirmed.contains(&confirmed.version_id));
            }
        }
    }

    #[test]
    fn a_kill_at_any_point_starts_the_last_confirmed_version_again(
        happenings in prop::collection::vec(happening(), 1..120),
    ) {
        let mut device = Device::default();
        for happening in &happenings {
            device.happen(happening);
        }
        device.reboot();
        // Crashes are old by then: nothing delays a start.
        device.now_us += 700_000_000;
        device.reboot();
        if let (Some(confirmed), false) = (device.state.confirmed.clone(), device.removal_wanted()) {
            let step = next_step(&device.state, &device.seen, device.now_us);
            prop_assert_eq!(step, Step::Start(confirmed));
        }
    }

    #[test]
    fn every_update_ends_and_the_right_version_serves(
        happenings in prop::collection::vec(happening(), 1..120),
    ) {
        let mut device = Device::default();
        for happening in &happenings {
            device.happen(happening);
        }
        device.settle()?;
        let confirmed = device.state.confirmed.as_ref().map(|target| target.version_id);
        prop_assert_eq!(device.seen.serving, confirmed);
        match &device.state.update {
            Some(Update::Install { phase, .. }) => prop_assert!(phase.is_terminal(), "{:?}", phase),
            Some(Update::Removing { .. }) => prop_assert!(false, "still removing"),
            Some(Update::Removed { .. }) => prop_assert_eq!(confirmed, None),
            None => {}
        }
    }
}

fn confirmed(versions: &[u8]) -> Device {
    let mut device = Device::default();
    for version in versions {
        device.happen(&Happening::Desire(*version));
        device.settle().unwrap();
    }
    device
}

fn phase(device: &Device) -> &Phase {
    match &device.state.update {
        Some(Update::Install { phase, .. }) => phase,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_crash_loop_of_a_confirmed_version_reverts_to_the_one_before() {
    let mut device = confirmed(&[1, 2]);
    for _ in 0..CRASH_LIMIT {
        device.happen(&Happening::WorkerDies);
        device.serve_again();
    }
    device.settle().unwrap();
    assert_eq!(device.state.confirmed.as_ref().unwrap().version_id, target(1).version_id);
    assert_eq!(device.seen.serving, Some(target(1).version_id));
    let Phase::Reverted(Reverted { failure }) = phase(&device) else {
        panic!("{:?}", phase(&device))
    };
    assert_eq!(failure.reason, "crash_loop");
}

#[test]
fn crashes_far_apart_are_no_loop() {
    let mut device = confirmed(&[1, 2]);
    for _ in 0..10 {
        device.happen(&Happening::WorkerDies);
        device.settle().unwrap();
        device.happen(&Happening::Pass { us: 601_000_000 });
    }
    assert_eq!(device.state.confirmed.as_ref().unwrap().version_id, target(2).version_id);
}

#[test]
fn a_version_that_dies_before_it_is_confirmed_is_given_up_after_three_activations() {
    let check = |before: &[u8], kill: Happening, reverted: bool| {
        let mut device = confirmed(before);
        device.happen(&Happening::Desire(3));
        for _ in 0..200 {
            match phase(&device) {
                Phase::Active(_) if device.seen.serving.is_some() => device.happen(&kill),
                phase if phase.is_terminal() => break,
                _ => device.step(true),
            }
        }
        let failure = match phase(&device) {
            Phase::Reverted(Reverted { failure }) if reverted => failure,
            Phase::Failed(Failed { failure }) if !reverted => failure,
            other => panic!("{other:?}"),
        };
        assert_eq!(failure.reason, "crash_loop");
        device.settle().unwrap();
        let serving = before.last().map(|version| target(*version).version_id);
        assert_eq!(device.seen.serving, serving);
    };
    check(&[1], Happening::WorkerDies, true);
    check(&[1], Happening::AgentDies, true);
    check(&[], Happening::WorkerDies, false);
    check(&[], Happening::AgentDies, false);
}

#[test]
fn a_failed_version_waits_for_a_desired_state_that_asks_for_it_anew() {
    let mut device = confirmed(&[1]);
    device.happen(&Happening::Desire(2));
    device.step(false);
    assert!(matches!(phase(&device), Phase::Failed(_)));
    // A newer generation that says the same of this slot, because another slot changed.
    let Some(Update::Install { target: same, .. }) = device.state.update.clone() else { panic!() };
    let generation = Generation { epoch: 1, counter: 90 };
    device.change(|state, now| state.retarget(Some(&same), generation, now));
    assert!(matches!(phase(&device), Phase::Failed(_)));
    // A new rollout of the same version.
    device.happen(&Happening::Desire(2));
    assert_eq!(phase(&device), &Phase::first());
    device.settle().unwrap();
    assert_eq!(device.seen.serving, Some(target(2).version_id));
}

#[test]
fn with_nothing_to_go_back_to_a_crashing_version_is_started_ever_more_slowly() {
    let mut device = confirmed(&[1]);
    let mut waits = Vec::new();
    for _ in 0..12 {
        device.happen(&Happening::WorkerDies);
        let died_us = device.now_us;
        device.serve_again();
        waits.push((device.now_us - died_us) / 1_000_000);
    }
    assert_eq!(waits[..7], [0, 1, 2, 4, 8, 16, 32]);
    assert!(waits.iter().all(|wait| *wait <= 60), "{waits:?}");
}

#[test]
fn the_version_before_a_damaged_one_serves_until_that_is_repaired() {
    let mut device = confirmed(&[1, 2, 3]);
    device.happen(&Happening::Damage);
    let next = |device: &Device| next_step(&device.state, &device.seen, device.now_us);
    assert_eq!(next(&device), Step::StandIn(device.state.previous.clone().unwrap()));
    device.step(true);
    assert_eq!(device.seen.serving, Some(target(2).version_id));
    // There is no connection; it serves on, and what was confirmed is not forgotten.
    for _ in 0..5 {
        assert!(matches!(next(&device), Step::Repair(_)));
        device.step(false);
        assert!(matches!(next(&device), Step::Wait { .. }));
        assert_eq!(device.seen.serving, Some(target(2).version_id));
        device.step(true);
    }
    assert_eq!(device.state.confirmed.as_ref().unwrap().version_id, target(3).version_id);
    // It dies: the one before it is next, and then nothing until the next try.
    device.happen(&Happening::WorkerDies);
    let Step::StandIn(oldest) = next(&device) else { panic!("{:?}", next(&device)) };
    assert_eq!(oldest.version_id, target(1).version_id);
    device.step(false);
    assert!(matches!(next(&device), Step::Repair(_)));
    device.step(false);
    assert_eq!(next(&device), Step::StandIn(device.state.previous.clone().unwrap()));
    device.step(true);
    device.settle().unwrap();
    assert_eq!(device.seen.serving, Some(target(3).version_id));
}

#[test]
fn a_version_that_is_found_damaged_at_each_trial_is_given_up() {
    let mut device = confirmed(&[1]);
    device.happen(&Happening::Desire(2));
    for _ in 0..200 {
        match next_step(&device.state, &device.seen, device.now_us) {
            Step::Trial(target) => {
                device.record(&target, Event::TrialBegins);
                device.record(&target, Event::Incomplete);
                // What was counted is in the ledger.
                device.reboot();
            }
            _ if phase(&device).is_terminal() => break,
            _ => device.step(true),
        }
    }
    let Phase::Failed(Failed { failure }) = phase(&device) else { panic!("{:?}", phase(&device)) };
    assert_eq!(failure.reason, "trial_interrupted");
    assert!(failure.message.contains("damaged"), "{}", failure.message);
    device.settle().unwrap();
    assert_eq!(device.seen.serving, Some(target(1).version_id));
}
