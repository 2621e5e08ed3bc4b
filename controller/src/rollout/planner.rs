//! Decides what a rollout does next from what is known of its devices. Pure: no store, no clock.

use edgeformer_proto::Generation;
use edgeformer_proto::ids::{DeviceId, RolloutId, VersionId};

use super::types::{DeviceState, RolloutState};
use super::waiting::{NAMED_DEVICES, Waiting, WaitingDevice, Waits};
use crate::clock::Timestamp;
use crate::session::OFFLINE_AFTER;
use crate::session::report::Phase;

/// A rollout and all its devices, as the store has them.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The rollout.
    pub id: RolloutId,
    /// Where it is.
    pub state: RolloutState,
    /// Its devices, by name.
    pub devices: Vec<Entry>,
}

/// What is known of one device.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The device.
    pub device: DeviceId,
    /// For people.
    pub name: String,
    /// False once it was revoked, and while it gets nothing for another reason.
    pub enrolled: bool,
    /// When it was last heard of.
    pub last_seen: Option<Timestamp>,
    /// Where it is in this rollout.
    pub state: DeviceState,
    /// What its slot is to run; `None` empties it.
    pub version: Option<VersionId>,
    /// The holders of the targets keys have not signed it yet: devices would refuse it.
    pub unsigned: bool,
    /// The generation that carried it to the device; `None` while pending.
    pub assigned: Option<Generation>,
    /// Newest generation that the device made durable.
    pub accepted: Generation,
    /// The rollout that its slot belongs to now.
    pub owner: Option<RolloutId>,
    /// What it last reported of the slot.
    pub observed: Option<Observed>,
}

/// What a device last reported of the slot.
#[derive(Debug, Clone)]
pub struct Observed {
    /// The desired state that it answered to.
    pub generation: Generation,
    /// Where it was.
    pub phase: Phase,
    /// What it was going to.
    pub target: Option<VersionId>,
    /// The rollout that it named.
    pub rollout: Option<RolloutId>,
    /// Of a failure.
    pub reason: String,
    /// The same for people.
    pub message: String,
    /// Bytes fetched.
    pub bytes_done: u64,
    /// Bytes to fetch.
    pub bytes_total: u64,
}

/// One step. Each is idempotent: carried out twice, the second does nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Put the rollout's version into the device's desired state.
    Assign(DeviceId),
    /// Note how far a device came.
    Move {
        /// The device.
        device: DeviceId,
        /// The state it leaves; another one means that somebody else was quicker.
        from: DeviceState,
        /// The state it reaches.
        to: DeviceState,
        /// Machine-readable, of a failure.
        reason: String,
        /// The same for people.
        message: String,
    },
    /// End the rollout.
    Finish {
        /// How.
        state: RolloutState,
        /// In one sentence.
        reason: String,
    },
}

/// What to do, and what the rollout waits for once it is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// In this order.
    pub actions: Vec<Action>,
    /// For operators.
    pub waiting: Waiting,
}

/// The next steps of a rollout that is running, or that was aborted with devices still under way.
pub fn plan(snapshot: &Snapshot, now: Timestamp) -> Plan {
    let running = snapshot.state == RolloutState::Running;
    let mut actions = Vec::new();
    let mut after = Vec::with_capacity(snapshot.devices.len());
    for entry in &snapshot.devices {
        let step = step(snapshot.id, entry, running);
        after.push(match &step {
            Some(Action::Move { to, .. }) => *to,
            _ => entry.state,
        });
        actions.extend(step);
    }
    let waiting = waiting(&snapshot.devices, &after, now);
    if running && waiting == Waiting::Nothing {
        let (state, reason) = verdict(&snapshot.devices, &after);
        actions.push(Action::Finish { state, reason });
    }
    Plan { actions, waiting }
}

fn step(rollout: RolloutId, entry: &Entry, running: bool) -> Option<Action> {
    let to = |to, reason: &str, message: &str| {
        Some(Action::Move {
            device: entry.device,
            from: entry.state,
            to,
            reason: reason.to_owned(),
            message: message.to_owned(),
        })
    };
    if entry.state.is_terminal() {
        return None;
    }
    if !entry.enrolled {
        let why = "the device was revoked, quarantined or decommissioned";
        return to(DeviceState::Failed, "revoked", why);
    }
    let Some(assigned) = entry.assigned.filter(|_| entry.state != DeviceState::Pending) else {
        return (running && !entry.unsigned).then_some(Action::Assign(entry.device));
    };
    if entry.owner != Some(rollout) {
        return to(
            DeviceState::Superseded,
            "superseded",
            "a newer rollout owns this slot of the device",
        );
    }
    let answer = entry.observed.as_ref().filter(|o| answers(o, rollout, entry, assigned));
    match answer.map(|observed| (observed.phase, observed)) {
        Some((Phase::Confirmed | Phase::Removed, _)) => to(DeviceState::Confirmed, "", ""),
        Some((Phase::Reverted, o)) => to(DeviceState::Reverted, &o.reason, &o.message),
        Some((Phase::Failed, o)) => to(DeviceState::Failed, &o.reason, &o.message),
        other => {
            let took_it = entry.accepted >= assigned || other.is_some();
            (took_it && entry.state == DeviceState::Assigned)
                .then(|| to(DeviceState::Accepted, "", ""))
                .flatten()
        }
    }
}

/// Whether a report is about what this rollout assigned, and not about what was there before.
fn answers(observed: &Observed, rollout: RolloutId, entry: &Entry, assigned: Generation) -> bool {
    if observed.generation < assigned {
        return false;
    }
    match entry.version {
        None => observed.phase == Phase::Removed,
        Some(_) if observed.phase == Phase::Removed => false,
        Some(version) => observed.target == Some(version) || observed.rollout == Some(rollout),
    }
}

fn waiting(devices: &[Entry], after: &[DeviceState], now: Timestamp) -> Waiting {
    let mut unfinished = devices.iter().zip(after).filter(|(_, state)| !state.is_terminal());
    let first: Vec<WaitingDevice> = unfinished
        .by_ref()
        .take(NAMED_DEVICES)
        .map(|(entry, &state)| WaitingDevice {
            name: entry.name.clone(),
            waits: waits(entry, state, now),
        })
        .collect();
    if first.is_empty() {
        return Waiting::Nothing;
    }
    Waiting::Devices { waiting: first.len() + unfinished.count(), total: devices.len(), first }
}

fn waits(entry: &Entry, state: DeviceState, now: Timestamp) -> Waits {
    if state == DeviceState::Pending && entry.unsigned {
        return Waits::Signature;
    }
    let online = entry.last_seen.is_some_and(|at| at.plus(OFFLINE_AFTER) >= now);
    if !online {
        return Waits::Offline { since_us: entry.last_seen.map(|at| at.0) };
    }
    if state == DeviceState::Pending {
        return Waits::Assignment;
    }
    if state == DeviceState::Assigned {
        return Waits::Acceptance;
    }
    let current = entry.observed.as_ref().filter(|o| Some(o.generation) >= entry.assigned);
    match current.map(|o| (o.phase, o)) {
        Some((Phase::Fetching, o)) => Waits::Fetching { done: o.bytes_done, total: o.bytes_total },
        Some((Phase::Verifying, _)) => Waits::Verifying,
        Some((Phase::Staged, _)) => Waits::Trial,
        Some((Phase::Trial, _)) => Waits::TrialResult,
        Some((Phase::Active, _)) => Waits::Confirmation,
        _ => Waits::Start,
    }
}

fn verdict(devices: &[Entry], after: &[DeviceState]) -> (RolloutState, String) {
    let count = |state| after.iter().filter(|&&s| s == state).count();
    let total = devices.len();
    let confirmed = count(DeviceState::Confirmed);
    let bad = count(DeviceState::Failed) + count(DeviceState::Reverted);
    let superseded = count(DeviceState::Superseded);
    if bad > 0 {
        let names: Vec<&str> = devices
            .iter()
            .zip(after)
            .filter(|(_, s)| matches!(s, DeviceState::Failed | DeviceState::Reverted))
            .take(NAMED_DEVICES)
            .map(|(entry, _)| entry.name.as_str())
            .collect();
        let more = if bad > names.len() { ", …" } else { "" };
        let reason = format!("{bad} of {total} did not confirm: {}{more}", names.join(", "));
        return (RolloutState::Failed, reason);
    }
    if confirmed == 0 {
        let reason = "every device was taken over by another rollout".to_owned();
        return (RolloutState::Failed, reason);
    }
    let tail = if superseded > 0 { format!(", {superseded} superseded") } else { String::new() };
    (RolloutState::Succeeded, format!("{confirmed} of {total} confirmed{tail}"))
}

#[cfg(test)]
#[path = "planner_tests.rs"]
mod tests;
