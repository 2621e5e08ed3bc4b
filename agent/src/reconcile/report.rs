//! What is said about a slot, to the controller and to people on the device: derived from its state
//! and from what is true now, never kept.

use std::collections::BTreeMap;

use edgeformer_proto::ids::VersionId;
use edgeformer_proto::{Generation, v1};
use serde::Serialize;

use super::desired::Target;
use super::phase::Phase;
use super::state::{Failure, SlotState, Update};
use crate::clock::UnixMicros;
use crate::slots::SlotName;

/// All slots of the device.
pub type Board = BTreeMap<SlotName, SlotReport>;

/// Phase of a slot as reported; see `SlotPhase` on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Stage {
    Fetching,
    Verifying,
    Staged,
    Trial,
    Active,
    Confirmed,
    Reverted,
    Failed,
    Removing,
    Removed,
}

/// What is true about a slot now and not durable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Live {
    /// The version that answers requests.
    pub serving: Option<VersionId>,
    /// What the slot waits for or has trouble with.
    pub waiting: Option<Failure>,
    /// Sealed bytes on disk.
    pub bytes_done: u64,
    /// Sealed bytes in all; 0 before the index is known.
    pub bytes_total: u64,
}

/// One slot, as reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SlotReport {
    /// Generation that this answers to.
    pub generation: String,
    #[serde(skip)]
    answers_to: Generation,
    /// How far the update is.
    pub stage: Stage,
    /// Model wanted.
    pub model: String,
    /// Version wanted.
    pub version: String,
    /// Version wanted, for machines.
    pub target_version_id: Option<VersionId>,
    /// Version that answers requests, for people.
    pub serving_version: String,
    /// Version that answers requests.
    pub serving_version_id: Option<VersionId>,
    /// For machines.
    pub reason: String,
    /// For people.
    pub message: String,
    /// Sealed bytes in all.
    pub bytes_total: u64,
    /// Sealed bytes on disk.
    pub bytes_done: u64,
    /// The rollout that wants it.
    pub rollout_id: String,
    /// When the state changed last.
    pub at_unix_us: UnixMicros,
}

/// The report on one slot; none before anything was wanted of it.
pub fn report(state: &SlotState, live: &Live) -> Option<SlotReport> {
    let update = state.update.as_ref()?;
    let (generation, stage, target, failure) = match update {
        Update::Install { generation, target, phase } => {
            let (stage, failure) = stage(phase);
            (*generation, stage, Some(target), failure)
        }
        Update::Removing { generation } => (*generation, Stage::Removing, None, None),
        Update::Removed { generation } => (*generation, Stage::Removed, None, None),
    };
    let trouble = failure.or(live.waiting.as_ref());
    let serving = live.serving.and_then(|id| named(state, id));
    Some(SlotReport {
        generation: generation.to_string(),
        answers_to: generation,
        stage,
        model: target.map(|target| target.model.clone()).unwrap_or_default(),
        version: target.map(|target| target.version.clone()).unwrap_or_default(),
        target_version_id: target.map(|target| target.version_id),
        serving_version: serving.map(|target| target.version.clone()).unwrap_or_default(),
        serving_version_id: live.serving,
        reason: trouble.map(|failure| failure.reason.clone()).unwrap_or_default(),
        message: trouble.map(|failure| failure.message.clone()).unwrap_or_default(),
        bytes_total: live.bytes_total,
        bytes_done: live.bytes_done,
        rollout_id: target.map(|target| target.rollout_id.clone()).unwrap_or_default(),
        at_unix_us: state.changed_at_us,
    })
}

impl SlotReport {
    /// The wire form.
    pub fn to_wire(&self, slot: &SlotName) -> v1::SlotStatus {
        let id = |id: Option<VersionId>| id.map(|id| id.to_string()).unwrap_or_default();
        v1::SlotStatus {
            slot: slot.to_string(),
            generation: Some(self.answers_to.into()),
            phase: self.stage.to_wire().into(),
            target_version_id: id(self.target_version_id),
            serving_version_id: id(self.serving_version_id),
            reason: self.reason.clone(),
            message: self.message.clone(),
            bytes_total: self.bytes_total,
            bytes_done: self.bytes_done,
            rollout_id: self.rollout_id.clone(),
            at_unix_us: self.at_unix_us,
        }
    }
}

impl Stage {
    fn to_wire(self) -> v1::SlotPhase {
        match self {
            Self::Fetching => v1::SlotPhase::Fetching,
            Self::Verifying => v1::SlotPhase::Verifying,
            Self::Staged => v1::SlotPhase::Staged,
            Self::Trial => v1::SlotPhase::Trial,
            Self::Active => v1::SlotPhase::Active,
            Self::Confirmed => v1::SlotPhase::Confirmed,
            Self::Reverted => v1::SlotPhase::Reverted,
            Self::Failed => v1::SlotPhase::Failed,
            // The wire has no name for a slot that still drains.
            Self::Removing => v1::SlotPhase::Unspecified,
            Self::Removed => v1::SlotPhase::Removed,
        }
    }

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fetching => "fetching",
            Self::Verifying => "verifying",
            Self::Staged => "staged",
            Self::Trial => "trial",
            Self::Active => "active",
            Self::Confirmed => "confirmed",
            Self::Reverted => "reverted",
            Self::Failed => "failed",
            Self::Removing => "removing",
            Self::Removed => "removed",
        }
    }
}

fn stage(phase: &Phase) -> (Stage, Option<&Failure>) {
    match phase {
        Phase::Fetching(_) => (Stage::Fetching, None),
        Phase::Verifying(_) => (Stage::Verifying, None),
        Phase::Staged(_) => (Stage::Staged, None),
        Phase::Trial(_) => (Stage::Trial, None),
        Phase::Active(_) => (Stage::Active, None),
        Phase::Confirmed(_) => (Stage::Confirmed, None),
        Phase::Reverted(state) => (Stage::Reverted, Some(&state.failure)),
        Phase::Failed(state) => (Stage::Failed, Some(&state.failure)),
    }
}

fn named(state: &SlotState, id: VersionId) -> Option<&Target> {
    let target = match &state.update {
        Some(Update::Install { target, .. }) => Some(target),
        _ => None,
    };
    let mut all = target.into_iter().chain(&state.confirmed).chain(state.older_versions());
    all.find(|target| target.version_id == id)
}
