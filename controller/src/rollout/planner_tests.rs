use super::*;

const NOW: Timestamp = Timestamp(1_767_272_400_000_000);

fn generation(counter: u64) -> Generation {
    Generation { epoch: 1, counter }
}

struct World {
    rollout: RolloutId,
    version: VersionId,
}

impl World {
    fn new() -> Self {
        Self { rollout: RolloutId::new(), version: VersionId::new() }
    }

    fn pending(&self, name: &str) -> Entry {
        Entry {
            device: DeviceId::new(),
            name: name.to_owned(),
            enrolled: true,
            last_seen: Some(NOW),
            state: DeviceState::Pending,
            version: Some(self.version),
            unsigned: false,
            assigned: None,
            accepted: generation(0),
            owner: None,
            observed: None,
        }
    }

    /// In `state`, assigned at 1.5.
    fn assigned(&self, name: &str, state: DeviceState) -> Entry {
        Entry {
            state,
            assigned: Some(generation(5)),
            owner: Some(self.rollout),
            ..self.pending(name)
        }
    }

    fn observed(&self, counter: u64, phase: Phase) -> Option<Observed> {
        Some(Observed {
            generation: generation(counter),
            phase,
            target: Some(self.version),
            rollout: Some(self.rollout),
            reason: "memory".into(),
            message: "too large".into(),
            bytes_done: 1,
            bytes_total: 2,
        })
    }

    fn plan(&self, state: RolloutState, devices: Vec<Entry>) -> Plan {
        plan(&Snapshot { id: self.rollout, state, devices }, NOW)
    }

    /// The state that one device of a running rollout moves to.
    fn check(&self, entry: Entry, expected: Option<DeviceState>) {
        let shown = format!("{entry:?}");
        let plan = self.plan(RolloutState::Running, vec![entry]);
        let moved = plan.actions.iter().find_map(|action| match action {
            Action::Move { to, .. } => Some(*to),
            _ => None,
        });
        assert_eq!(moved, expected, "{shown}");
    }
}

#[test]
fn a_device_moves_by_what_it_reports_of_this_assignment_and_nothing_else() {
    let w = World::new();
    let assigned = || w.assigned("a", DeviceState::Assigned);
    let with = |observed| Entry { observed, ..assigned() };
    use DeviceState as S;
    w.check(assigned(), None);
    w.check(Entry { accepted: generation(4), ..assigned() }, None);
    w.check(Entry { accepted: generation(5), ..assigned() }, Some(S::Accepted));
    w.check(with(w.observed(5, Phase::Fetching)), Some(S::Accepted));
    w.check(with(w.observed(5, Phase::Confirmed)), Some(S::Confirmed));
    w.check(with(w.observed(9, Phase::Confirmed)), Some(S::Confirmed));
    w.check(with(w.observed(5, Phase::Reverted)), Some(S::Reverted));
    w.check(with(w.observed(5, Phase::Failed)), Some(S::Failed));
    // Of the generation before.
    w.check(with(w.observed(4, Phase::Confirmed)), None);
    // Of another version.
    let other = w.observed(5, Phase::Confirmed).map(|o| Observed {
        target: Some(VersionId::new()),
        rollout: Some(RolloutId::new()),
        ..o
    });
    w.check(with(other), None);
    // An emptied slot is no answer to a version.
    w.check(with(w.observed(5, Phase::Removed)), None);
    let emptied = Entry { version: None, ..with(w.observed(5, Phase::Removed)) };
    w.check(emptied, Some(S::Confirmed));
    let kept = Entry { version: None, ..with(w.observed(5, Phase::Confirmed)) };
    w.check(kept, None);
    w.check(Entry { owner: Some(RolloutId::new()), ..assigned() }, Some(S::Superseded));
    w.check(Entry { enrolled: false, ..assigned() }, Some(S::Failed));
    w.check(Entry { enrolled: false, ..w.pending("a") }, Some(S::Failed));
    // What ended stays ended.
    w.check(Entry { enrolled: false, ..w.assigned("a", S::Confirmed) }, None);
}

#[test]
fn pending_devices_are_assigned_only_while_the_rollout_runs() {
    let w = World::new();
    let device = w.pending("a");
    let plan = w.plan(RolloutState::Running, vec![device.clone()]);
    assert_eq!(plan.actions, [Action::Assign(device.device)]);
    let aborted = w.plan(RolloutState::Aborted, vec![device]);
    assert_eq!(aborted.actions, []);
}

#[test]
fn an_aborted_rollout_still_notes_how_its_devices_end_and_never_finishes_again() {
    let w = World::new();
    let mut device = w.assigned("a", DeviceState::Accepted);
    device.observed = w.observed(5, Phase::Confirmed);
    let plan = w.plan(RolloutState::Aborted, vec![device]);
    let [Action::Move { to: DeviceState::Confirmed, .. }] = plan.actions[..] else {
        panic!("{plan:?}")
    };
}

#[test]
fn a_rollout_ends_when_all_devices_have() {
    let w = World::new();
    let check = |states: &[DeviceState], expected: Option<(RolloutState, &str)>| {
        let devices =
            states.iter().enumerate().map(|(n, &state)| w.assigned(&format!("d{n}"), state));
        let plan = w.plan(RolloutState::Running, devices.collect());
        let finish = plan.actions.iter().find_map(|action| match action {
            Action::Finish { state, reason } => Some((*state, reason.as_str())),
            _ => None,
        });
        assert_eq!(finish, expected, "{states:?}");
    };
    use DeviceState as S;
    use RolloutState as R;
    check(&[S::Confirmed, S::Accepted], None);
    check(&[S::Confirmed, S::Confirmed], Some((R::Succeeded, "2 of 2 confirmed")));
    check(&[S::Confirmed, S::Superseded], Some((R::Succeeded, "1 of 2 confirmed, 1 superseded")));
    check(
        &[S::Confirmed, S::Reverted, S::Failed],
        Some((R::Failed, "2 of 3 did not confirm: d1, d2")),
    );
    check(&[S::Superseded], Some((R::Failed, "every device was taken over by another rollout")));
}

#[test]
fn a_last_confirmation_ends_the_rollout_in_the_same_plan() {
    let w = World::new();
    let mut device = w.assigned("a", DeviceState::Accepted);
    device.observed = w.observed(5, Phase::Confirmed);
    let plan = w.plan(RolloutState::Running, vec![device]);
    assert_eq!(plan.waiting, Waiting::Nothing);
    assert!(
        matches!(
            plan.actions[..],
            [
                Action::Move { to: DeviceState::Confirmed, .. },
                Action::Finish { state: RolloutState::Succeeded, .. }
            ]
        ),
        "{plan:?}"
    );
}

#[test]
fn the_report_says_what_each_device_waits_for() {
    let w = World::new();
    let check = |entry: Entry, expected: &str| {
        let done = w.assigned("done", DeviceState::Confirmed);
        let plan = w.plan(RolloutState::Running, vec![done, entry]);
        let sentence = plan.waiting.sentence(NOW);
        assert_eq!(sentence, format!("waiting for 1 of 2 devices: a ({expected})"));
    };
    let accepted = || w.assigned("a", DeviceState::Accepted);
    let at = |phase| Entry { observed: w.observed(5, phase), ..accepted() };
    let gone = Some(NOW.minus(std::time::Duration::from_secs(57 * 60)));
    check(w.pending("a"), "to be assigned");
    check(Entry { last_seen: None, ..w.pending("a") }, "never connected");
    check(Entry { last_seen: gone, ..accepted() }, "offline since 12:03 UTC");
    check(w.assigned("a", DeviceState::Assigned), "has not accepted yet");
    check(accepted(), "accepted, not begun yet");
    check(at(Phase::Fetching), "fetching, 0 of 1 MB");
    check(at(Phase::Verifying), "verifying");
    check(at(Phase::Staged), "staged, its trial has not begun");
    check(at(Phase::Trial), "in its trial");
    check(at(Phase::Active), "serving, not confirmed yet");
    let before = Entry { observed: w.observed(4, Phase::Active), ..accepted() };
    check(before, "accepted, not begun yet");
}
