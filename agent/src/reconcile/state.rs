//! The durable life of one slot: what was confirmed, which update is on its way, and how each event
//! changes that. Pure: no I/O and no clock. Nothing here may forget what was confirmed last, unless
//! the slot is removed.

use edgeformer_proto::Generation;
use edgeformer_proto::ids::VersionId;
use serde::{Deserialize, Serialize};

use super::desired::Target;
use super::phase::{Confirmed, Failed, Phase, Reverted};
use super::retention::MAX_OLDER;
use crate::clock::UnixMicros;

/// A worker that died this often within [`CRASH_WINDOW_US`] is in a crash loop.
pub const CRASH_LIMIT: usize = 3;

/// Older deaths are forgotten: ten minutes.
pub const CRASH_WINDOW_US: i64 = 600_000_000;

/// How often an update is tried, and how often it is activated, before it is given up.
pub const MAX_ATTEMPTS: u32 = 3;

/// Crash times kept: enough for the longest restart delay.
const MAX_CRASHES: usize = 8;

/// Why an update ended, or why its slot is in trouble.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// For machines, e.g. "crash_loop".
    pub reason: String,
    /// For people.
    pub message: String,
}

impl Failure {
    /// Both texts.
    pub fn new(reason: &str, message: impl Into<String>) -> Self {
        Self { reason: reason.to_owned(), message: message.into() }
    }
}

/// How often an update was begun.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    /// Trials since the last that passed.
    pub trials: u32,
    /// Activations.
    pub activations: u32,
}

impl Attempts {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// What is being done about the newest desired state of a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredUpdate", into = "StoredUpdate")]
pub enum Update {
    /// A version is wanted.
    Install {
        /// Generation that wants it.
        generation: Generation,
        /// What is wanted.
        target: Target,
        /// How far it is.
        phase: Phase,
    },
    /// Nothing is wanted, and the slot is being emptied.
    Removing {
        /// Generation that wants nothing.
        generation: Generation,
    },
    /// The slot is empty, as wanted.
    Removed {
        /// Generation that wants nothing.
        generation: Generation,
    },
}

/// The form in the ledger.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredUpdate {
    Install {
        generation: Generation,
        target: Target,
        phase: Phase,
        /// Files of agents that forgot them lack it, and those agents ignore it.
        #[serde(default, skip_serializing_if = "Attempts::is_none")]
        attempts: Attempts,
    },
    Removing {
        generation: Generation,
    },
    Removed {
        generation: Generation,
    },
}

impl From<StoredUpdate> for Update {
    fn from(stored: StoredUpdate) -> Self {
        match stored {
            StoredUpdate::Install { generation, target, phase, attempts } => {
                let phase = phase.with_before_damage(attempts);
                Self::Install { generation, target, phase }
            }
            StoredUpdate::Removing { generation } => Self::Removing { generation },
            StoredUpdate::Removed { generation } => Self::Removed { generation },
        }
    }
}

impl From<Update> for StoredUpdate {
    fn from(update: Update) -> Self {
        match update {
            Update::Install { generation, target, phase } => {
                let attempts = phase.before_damage();
                Self::Install { generation, target, phase, attempts }
            }
            Update::Removing { generation } => Self::Removing { generation },
            Update::Removed { generation } => Self::Removed { generation },
        }
    }
}

/// Everything durable about one slot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotState {
    /// The version that is started after power loss.
    pub confirmed: Option<Target>,
    /// The one confirmed before it, to go back to when `confirmed` crashes.
    pub previous: Option<Target>,
    /// Those confirmed before that, newest first: going back to them needs no fetch. Files of agents
    /// that kept none lack it, and those agents ignore it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub older: Vec<Target>,
    /// The newest desired state of the slot, and how far it is.
    pub update: Option<Update>,
    /// When the confirmed version died or failed to start, oldest first, within the window.
    pub crashes_us: Vec<UnixMicros>,
    /// When anything here changed last.
    pub changed_at_us: UnixMicros,
}

/// What happened to an installation or to the confirmed version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// All bytes are on disk.
    Fetched,
    /// All bytes have the right hashes.
    Verified,
    /// They have not: fetch again what is missing.
    Incomplete,
    /// A trial is about to begin.
    TrialBegins,
    /// The standby worker ended before it was activated.
    StandbyLost,
    /// Traffic is about to move.
    ActivationBegins,
    /// It served long enough.
    Confirmed,
    /// It cannot be installed.
    Failed(Failure),
    /// Too many attempts.
    GaveUp(Failure),
}

impl SlotState {
    /// The version that should answer requests now.
    pub fn should_serve(&self) -> Option<&Target> {
        match &self.update {
            Some(Update::Install { target, phase: Phase::Active(_), .. }) => Some(target),
            Some(Update::Removing { .. } | Update::Removed { .. }) => None,
            _ => self.confirmed.as_ref(),
        }
    }

    /// Versions that the slot cannot do without: the confirmed one, and one that is being installed.
    pub fn needed_versions(&self) -> impl Iterator<Item = &Target> {
        let target = match &self.update {
            Some(Update::Install { target, phase, .. }) if !phase.is_terminal() => Some(target),
            _ => None,
        };
        self.confirmed.iter().chain(target)
    }

    /// Versions confirmed before the confirmed one, newest first.
    pub fn older_versions(&self) -> impl Iterator<Item = &Target> {
        self.previous.iter().chain(&self.older)
    }

    /// Whether this very version was confirmed here before, and is kept.
    pub fn confirmed_before(&self, wanted: &Target) -> bool {
        self.confirmed.iter().chain(self.older_versions()).any(|one| {
            one.version_id == wanted.version_id && one.manifest_sha256 == wanted.manifest_sha256
        })
    }

    /// This slot without these older versions.
    #[must_use]
    pub fn forget(mut self, versions: &[VersionId]) -> Self {
        let stays = |target: &Target| !versions.contains(&target.version_id);
        self.older.retain(stays);
        if !self.previous.as_ref().is_none_or(stays) {
            self.previous = (!self.older.is_empty()).then(|| self.older.remove(0));
        }
        self
    }

    /// This slot under a newer desired state. A version that failed is tried again only if its entry
    /// changed (a new rollout asks, or other settings), not because another slot's did.
    #[must_use]
    pub fn retarget(
        mut self,
        wanted: Option<&Target>,
        generation: Generation,
        now_us: UnixMicros,
    ) -> Self {
        let update = match (wanted, self.update.take()) {
            (None, Some(Update::Removed { .. })) => Update::Removed { generation },
            (None, _) => Update::Removing { generation },
            (Some(wanted), Some(Update::Install { target, phase, .. })) if target == *wanted => {
                Update::Install { generation, target, phase }
            }
            (Some(wanted), Some(Update::Install { target, phase, .. }))
                if target.same_work(wanted) && !phase.is_terminal() =>
            {
                Update::Install { generation, target: wanted.clone(), phase }
            }
            (Some(wanted), _) => {
                let phase = match &mut self.confirmed {
                    Some(confirmed) if confirmed.same_work(wanted) => {
                        *confirmed = wanted.clone();
                        Phase::Confirmed(Confirmed)
                    }
                    _ => Phase::first(),
                };
                Update::Install { generation, target: wanted.clone(), phase }
            }
        };
        self.update = Some(update);
        self.changed_at_us = now_us;
        self
    }

    /// This slot after the agent died and came back: what was under way is to be done again. The
    /// attempts that had begun stay counted.
    #[must_use]
    pub fn recover(mut self, now_us: UnixMicros) -> Self {
        if let Some(Update::Install { phase, .. }) = &mut self.update
            && matches!(phase, Phase::Trial(_) | Phase::Active(_))
        {
            *phase = phase.clone().interrupted();
            self.changed_at_us = now_us;
        }
        self.forget_old_crashes(now_us);
        self
    }

    /// This slot after `event` in the installation of `of`. Events of an installation that is no
    /// longer wanted change nothing.
    #[must_use]
    pub fn apply(mut self, of: &Target, event: Event, now_us: UnixMicros) -> Self {
        let Some(Update::Install { target, phase, .. }) = &mut self.update else { return self };
        if !target.same_work(of) {
            return self;
        }
        let next = match phase.clone().after(event, now_us) {
            // Nothing takes the place of the first version of a slot.
            Phase::Reverted(Reverted { failure }) if self.confirmed.is_none() => {
                Phase::Failed(Failed { failure })
            }
            next => next,
        };
        if next == *phase {
            return self;
        }
        let confirms = matches!(next, Phase::Confirmed(_));
        *phase = next;
        self.changed_at_us = now_us;
        if confirms {
            let target = target.clone();
            if let Some(before) = self.confirmed.replace(target.clone())
                && !before.same_work(&target)
                && let Some(before) = self.previous.replace(before)
            {
                self.older.insert(0, before);
            }
            self.older.retain(|one| !one.same_work(&target) && self.previous.as_ref() != Some(one));
            self.older.truncate(MAX_OLDER);
            self.crashes_us.clear();
        }
        self
    }

    /// This slot after its serving worker died.
    #[must_use]
    pub fn died(mut self, version: VersionId, now_us: UnixMicros) -> Self {
        if let Some(Update::Install { target, phase, .. }) = &mut self.update
            && let Phase::Active(active) = &*phase
            && target.version_id == version
        {
            *phase = Phase::Staged(active.clone().died());
            self.changed_at_us = now_us;
            return self;
        }
        if self.confirmed.as_ref().is_some_and(|confirmed| confirmed.version_id == version) {
            self.forget_old_crashes(now_us);
            self.crashes_us.push(now_us);
            let surplus = self.crashes_us.len().saturating_sub(MAX_CRASHES);
            self.crashes_us.drain(..surplus);
            self.changed_at_us = now_us;
        }
        self
    }

    /// Whether the confirmed version dies too often.
    pub fn in_crash_loop(&self, now_us: UnixMicros) -> bool {
        let recent = |at: &&UnixMicros| now_us.saturating_sub(**at) < CRASH_WINDOW_US;
        self.crashes_us.iter().filter(recent).count() >= CRASH_LIMIT
    }

    /// Goes back to the version confirmed before. Without one, nothing changes.
    #[must_use]
    pub fn revert_to_previous(mut self, failure: Failure, now_us: UnixMicros) -> Self {
        let Some(previous) = self.previous.take() else { return self };
        self.previous = (!self.older.is_empty()).then(|| self.older.remove(0));
        let Some(crashed) = self.confirmed.replace(previous) else { return self };
        if let Some(Update::Install { target, phase, .. }) = &mut self.update
            && target.same_work(&crashed)
        {
            *phase = Phase::Reverted(Reverted { failure });
        }
        self.crashes_us.clear();
        self.changed_at_us = now_us;
        self
    }

    /// The slot was emptied as wanted.
    #[must_use]
    pub fn removed(mut self, now_us: UnixMicros) -> Self {
        if let Some(Update::Removing { generation }) = self.update {
            let update = Some(Update::Removed { generation });
            self = Self { update, changed_at_us: now_us, ..Self::default() };
        }
        self
    }

    fn forget_old_crashes(&mut self, now_us: UnixMicros) {
        self.crashes_us.retain(|at| now_us.saturating_sub(*at) < CRASH_WINDOW_US);
    }
}
