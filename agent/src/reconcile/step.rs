//! Decides what to do next about one slot. Pure: state, observation and time in, one step out.
//! Serving what was confirmed comes before every update.

use edgeformer_proto::ids::VersionId;

use super::desired::Target;
use super::phase::{Active, Phase, Staged};
use super::state::{Event, Failure, MAX_ATTEMPTS, SlotState, Update};
use crate::clock::UnixMicros;

/// How long a version must serve without dying before it is confirmed: 3 seconds.
pub const CONFIRM_AFTER_US: i64 = 3_000_000;

/// Longest wait before a crashing version, with nothing to go back to, is started again.
const LONGEST_RESTART_US: i64 = 60_000_000;

/// What is true now and is not durable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observation {
    /// The version that answers requests.
    pub serving: Option<VersionId>,
    /// The installation whose trial passed, with its worker waiting.
    pub standby: Option<Target>,
    /// The confirmed version, if it cannot be opened from disk: its bytes must be fetched again.
    pub damaged: Option<VersionId>,
    /// Older versions that could not take its place since that was last tried.
    pub unfit: Vec<VersionId>,
    /// What starts a version must wait until then (the holder of the device's key does not answer).
    pub start_not_before_us: UnixMicros,
    /// Fetching must wait until then (no connection, no space).
    pub fetch_not_before_us: UnixMicros,
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing, until something happens or until the time.
    Wait {
        /// Look again then, even if nothing happens.
        until_us: Option<UnixMicros>,
    },
    /// Start the confirmed version: trial from disk, then activate.
    Start(Target),
    /// Start this older version in the place of the confirmed one, which is damaged, until that is
    /// fetched again. Nothing durable changes: the confirmed version stays what is to serve.
    StandIn(Target),
    /// Fetch what is missing of the confirmed version.
    Repair(Target),
    /// Fetch manifest, index, key and missing chunks.
    Fetch(Target),
    /// Check the hashes of all that is on disk.
    Verify(Target),
    /// Load and probe in a standby worker.
    Trial(Target),
    /// Move traffic to the standby worker.
    Activate(Target),
    /// Only record this.
    Record(Target, Event),
    /// The worker of the active version is gone.
    RecordDeath(VersionId),
    /// The confirmed version is in a crash loop: go back to the one before.
    Revert(Failure),
    /// Stop what runs and record the removal.
    Remove,
    /// Stop what runs: nothing here may.
    Stop,
}

/// The next step of one slot.
pub fn next_step(state: &SlotState, seen: &Observation, now_us: UnixMicros) -> Step {
    match &state.update {
        Some(Update::Removing { .. }) => return Step::Remove,
        Some(Update::Removed { .. }) | None if state.confirmed.is_none() => {
            return match seen.serving {
                Some(_) => Step::Stop,
                None => Step::Wait { until_us: None },
            };
        }
        _ => {}
    }
    if state.previous.is_some() && state.in_crash_loop(now_us) {
        return Step::Revert(crash_loop(state));
    }
    let update = update_step(state, seen, now_us);
    // A passed trial goes first: where memory is short, it stopped the old worker.
    if matches!(update, Step::Activate(_)) {
        return update;
    }
    match serve_step(state, seen, now_us) {
        Some(Step::Wait { until_us }) => match update {
            Step::Wait { until_us: other } => Step::Wait { until_us: earlier(until_us, other) },
            // A version that cannot be kept running must not keep its replacement away.
            update => update,
        },
        Some(step) => step,
        None => update,
    }
}

/// What keeps the right version serving; none if it serves.
fn serve_step(state: &SlotState, seen: &Observation, now_us: UnixMicros) -> Option<Step> {
    let Some(target) = state.should_serve() else {
        return seen.serving.is_some().then_some(Step::Stop);
    };
    if seen.serving == Some(target.version_id) {
        return None;
    }
    if let Some(Update::Install { phase: Phase::Active(_), .. }) = &state.update {
        return Some(Step::RecordDeath(target.version_id));
    }
    if seen.damaged == Some(target.version_id) {
        let mut older = state.older_versions().filter(|one| !seen.unfit.contains(&one.version_id));
        if let (None, Some(stand_in)) = (seen.serving, older.next()) {
            return Some(match seen.start_not_before_us > now_us {
                true => Step::Wait { until_us: Some(seen.start_not_before_us) },
                false => Step::StandIn(stand_in.clone()),
            });
        }
        return Some(match seen.fetch_not_before_us > now_us {
            true => Step::Wait { until_us: Some(seen.fetch_not_before_us) },
            false => Step::Repair(target.clone()),
        });
    }
    let restart_us = restart_at_us(state).max(seen.start_not_before_us);
    Some(match restart_us > now_us {
        true => Step::Wait { until_us: Some(restart_us) },
        false => Step::Start(target.clone()),
    })
}

fn update_step(state: &SlotState, seen: &Observation, now_us: UnixMicros) -> Step {
    let Some(Update::Install { target, phase, .. }) = &state.update else {
        return Step::Wait { until_us: None };
    };
    match phase {
        Phase::Fetching(_) if seen.fetch_not_before_us > now_us => {
            Step::Wait { until_us: Some(seen.fetch_not_before_us) }
        }
        Phase::Fetching(_) => Step::Fetch(target.clone()),
        Phase::Verifying(_) => Step::Verify(target.clone()),
        Phase::Staged(Staged { attempts }) if attempts.activations >= MAX_ATTEMPTS => {
            let failure = Failure::new("crash_loop", update_crash_loop(state, target));
            Step::Record(target.clone(), Event::GaveUp(failure))
        }
        Phase::Staged(Staged { attempts }) if attempts.trials >= MAX_ATTEMPTS => {
            let message = format!(
                "{target} was tried {MAX_ATTEMPTS} times, and each time the agent or the worker ended \
                 or its bytes were damaged: check the device's memory, power and disk, then roll it \
                 out again"
            );
            Step::Record(target.clone(), Event::GaveUp(Failure::new("trial_interrupted", message)))
        }
        Phase::Staged(_) => Step::Trial(target.clone()),
        Phase::Trial(_) => match &seen.standby {
            Some(standby) if standby.same_work(target) => Step::Activate(target.clone()),
            _ => Step::Record(target.clone(), Event::StandbyLost),
        },
        Phase::Active(Active { since_us, .. }) => {
            let confirm_us = since_us.saturating_add(CONFIRM_AFTER_US);
            match now_us >= confirm_us && seen.serving == Some(target.version_id) {
                true => Step::Record(target.clone(), Event::Confirmed),
                false => Step::Wait { until_us: Some(confirm_us) },
            }
        }
        Phase::Confirmed(_) | Phase::Reverted(_) | Phase::Failed(_) => {
            Step::Wait { until_us: None }
        }
    }
}

/// When the confirmed version may be started again: at once after its first death, then after 1, 2,
/// 4 … seconds.
fn restart_at_us(state: &SlotState) -> UnixMicros {
    match state.crashes_us.as_slice() {
        [] | [_] => UnixMicros::MIN,
        [.., last] => {
            let doublings = u32::try_from(state.crashes_us.len() - 2).unwrap_or(0).min(16);
            let wait_us = (1_000_000_i64 << doublings).min(LONGEST_RESTART_US);
            last.saturating_add(wait_us)
        }
    }
}

fn crash_loop(state: &SlotState) -> Failure {
    let name = |target: &Option<Target>| target.as_ref().map(ToString::to_string);
    let crashed = name(&state.confirmed).unwrap_or_default();
    let previous = name(&state.previous).unwrap_or_default();
    let message = format!(
        "{crashed} died {} times within ten minutes: {previous} serves again; look at the worker's \
         log lines in a support bundle",
        state.crashes_us.len()
    );
    Failure::new("crash_loop", message)
}

fn update_crash_loop(state: &SlotState, target: &Target) -> String {
    let instead = match &state.confirmed {
        Some(confirmed) => format!("{confirmed} serves again"),
        None => "the slot is empty, because nothing was confirmed before".to_owned(),
    };
    format!(
        "{target} died after each of {MAX_ATTEMPTS} activations, before it could be confirmed: \
         {instead}; look at the worker's log lines in a support bundle"
    )
}

fn earlier(a: Option<UnixMicros>, b: Option<UnixMicros>) -> Option<UnixMicros> {
    a.into_iter().chain(b).min()
}

#[cfg(test)]
#[path = "step_tests.rs"]
mod tests;
