//! What a device says of a slot, parsed: no string of a device reaches the store unchecked.

use std::fmt;

use edgeformer_proto::Generation;
use edgeformer_proto::ids::{RolloutId, VersionId};
use edgeformer_proto::v1;

use super::facts::clip;

/// A sentence or two; what is longer belongs into a support bundle.
const MAX_MESSAGE_CHARS: usize = 1000;
/// Reasons are words such as `crash_loop`.
const MAX_REASON_CHARS: usize = 64;
/// As long as a model's name may be.
const MAX_SLOT_BYTES: usize = 63;

/// Where a slot is on its way to the desired version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Chunks are being fetched.
    Fetching,
    /// Signature and hashes are being checked.
    Verifying,
    /// Complete on the device.
    Staged,
    /// Loaded for a probe.
    Trial,
    /// Serving, not confirmed yet.
    Active,
    /// Terminal: the update succeeded.
    Confirmed,
    /// Terminal: an earlier version serves again.
    Reverted,
    /// Terminal: refused before it was activated.
    Failed,
    /// Terminal: empty, as desired.
    Removed,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Self; 9] = [
        Self::Fetching,
        Self::Verifying,
        Self::Staged,
        Self::Trial,
        Self::Active,
        Self::Confirmed,
        Self::Reverted,
        Self::Failed,
        Self::Removed,
    ];

    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fetching => "fetching",
            Self::Verifying => "verifying",
            Self::Staged => "staged",
            Self::Trial => "trial",
            Self::Active => "active",
            Self::Confirmed => "confirmed",
            Self::Reverted => "reverted",
            Self::Failed => "failed",
            Self::Removed => "removed",
        }
    }

    /// The phase of this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == text)
    }

    fn from_wire(wire: v1::SlotPhase) -> Option<Self> {
        Some(match wire {
            v1::SlotPhase::Unspecified => return None,
            v1::SlotPhase::Fetching => Self::Fetching,
            v1::SlotPhase::Verifying => Self::Verifying,
            v1::SlotPhase::Staged => Self::Staged,
            v1::SlotPhase::Trial => Self::Trial,
            v1::SlotPhase::Active => Self::Active,
            v1::SlotPhase::Confirmed => Self::Confirmed,
            v1::SlotPhase::Reverted => Self::Reverted,
            v1::SlotPhase::Failed => Self::Failed,
            v1::SlotPhase::Removed => Self::Removed,
        })
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One slot, as a device reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotReport {
    /// Name of the slot.
    pub slot: String,
    /// The desired state that this answers to.
    pub generation: Generation,
    /// Where it is.
    pub phase: Phase,
    /// What it is going to.
    pub target: Option<VersionId>,
    /// What answers requests now.
    pub serving: Option<VersionId>,
    /// The rollout that assigned the target.
    pub rollout: Option<RolloutId>,
    /// Machine-readable, of a failure.
    pub reason: String,
    /// The same for people.
    pub message: String,
    /// Bytes to fetch.
    pub bytes_total: u64,
    /// Bytes fetched.
    pub bytes_done: u64,
    /// The device's clock, microseconds since the Unix epoch.
    pub device_time_us: i64,
}

/// Why a status was not taken. The stream goes on: one bad status must not cut a device off.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// The slot's name is empty or too long.
    #[error("slot name of {0} bytes")]
    Slot(usize),
    /// A kind of phase this controller does not know.
    #[error("unknown phase {0}")]
    Phase(i32),
    /// An id is not one.
    #[error("{0} is not an id")]
    Id(&'static str),
}

impl SlotReport {
    /// From the wire.
    pub fn from_wire(wire: v1::SlotStatus) -> Result<Self, ReportError> {
        if wire.slot.is_empty() || wire.slot.len() > MAX_SLOT_BYTES {
            return Err(ReportError::Slot(wire.slot.len()));
        }
        let phase = v1::SlotPhase::try_from(wire.phase)
            .ok()
            .and_then(Phase::from_wire)
            .ok_or(ReportError::Phase(wire.phase))?;
        Ok(Self {
            slot: clip(&wire.slot, MAX_SLOT_BYTES),
            generation: wire.generation.map(Generation::from).unwrap_or_else(origin),
            phase,
            target: id("target_version_id", &wire.target_version_id)?,
            serving: id("serving_version_id", &wire.serving_version_id)?,
            rollout: id("rollout_id", &wire.rollout_id)?,
            reason: clip(&wire.reason, MAX_REASON_CHARS),
            message: clip(&wire.message, MAX_MESSAGE_CHARS),
            bytes_total: wire.bytes_total,
            bytes_done: wire.bytes_done,
            device_time_us: wire.at_unix_us,
        })
    }

    /// Whether this differs from `older` only in progress, which may be noted a little later.
    pub fn is_progress_on(&self, older: &Self) -> bool {
        let still = Self {
            bytes_done: older.bytes_done,
            bytes_total: older.bytes_total,
            device_time_us: older.device_time_us,
            ..self.clone()
        };
        still == *older
    }
}

/// The generation before any.
pub fn origin() -> Generation {
    Generation { epoch: 0, counter: 0 }
}

fn id<T: std::str::FromStr>(field: &'static str, text: &str) -> Result<Option<T>, ReportError> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| ReportError::Id(field))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire() -> v1::SlotStatus {
        v1::SlotStatus {
            slot: "chat".into(),
            generation: Some(v1::Generation { epoch: 1, counter: 7 }),
            phase: v1::SlotPhase::Fetching.into(),
            target_version_id: VersionId::new().to_string(),
            bytes_total: 10,
            ..Default::default()
        }
    }

    #[test]
    fn what_is_not_a_status_is_refused_by_name() {
        let check = |change: fn(&mut v1::SlotStatus), expected: ReportError| {
            let mut wire = wire();
            change(&mut wire);
            assert_eq!(SlotReport::from_wire(wire).unwrap_err(), expected);
        };
        check(|w| w.slot.clear(), ReportError::Slot(0));
        check(|w| w.slot = "x".repeat(64), ReportError::Slot(64));
        check(|w| w.phase = 0, ReportError::Phase(0));
        check(|w| w.phase = 99, ReportError::Phase(99));
        check(|w| w.rollout_id = "no".into(), ReportError::Id("rollout_id"));
        assert_eq!(SlotReport::from_wire(wire()).unwrap().generation.to_string(), "1.7");
    }

    #[test]
    fn progress_may_wait_and_a_new_phase_may_not() {
        let first = SlotReport::from_wire(wire()).unwrap();
        let further = SlotReport { bytes_done: 5, ..first.clone() };
        let verifying = SlotReport { phase: Phase::Verifying, ..further.clone() };
        assert!(further.is_progress_on(&first));
        assert!(!verifying.is_progress_on(&further));
    }

    #[test]
    fn names_of_phases_read_back() {
        for phase in Phase::ALL {
            assert_eq!(Phase::parse(phase.as_str()), Some(phase));
        }
    }
}
