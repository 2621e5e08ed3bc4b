//! What the controller wants, parsed: past this file every desired state is well-formed and capped.

use std::collections::BTreeMap;

use edgeformer_proto::artifact::Digest;
use edgeformer_proto::ids::VersionId;
use edgeformer_proto::{Generation, v1};
use serde::{Deserialize, Serialize};

use crate::slots::{SlotName, SlotSettings};

/// Most slots of one device: each is a process with a model.
pub const MAX_SLOTS: usize = 64;

/// Longest text (model, version, rollout) in a desired slot, in bytes.
const MAX_TEXT_BYTES: usize = 256;

/// What one slot is to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Model name.
    pub model: String,
    /// Version, for people.
    pub version: String,
    /// The immutable version.
    pub version_id: VersionId,
    /// SHA-256 of its signed manifest.
    pub manifest_sha256: Digest,
    /// The rollout that assigned it.
    pub rollout_id: String,
    /// How to run it.
    pub settings: SlotSettings,
}

impl Target {
    /// Whether both ask for the same bytes run the same way, whichever rollout asks.
    pub fn same_work(&self, other: &Self) -> bool {
        self.version_id == other.version_id
            && self.manifest_sha256 == other.manifest_sha256
            && self.settings == other.settings
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.model, self.version)
    }
}

/// All that this device is to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// Its place in the history of the device.
    pub generation: Generation,
    /// Slots by name.
    pub slots: BTreeMap<SlotName, Target>,
}

/// Why a desired state is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// It is older than what the device holds.
    #[error("generation {offered} is older than {held}, which this device holds")]
    Older {
        /// What was offered.
        offered: Generation,
        /// What is held.
        held: Generation,
    },
    /// It claims the generation that is held, with other content.
    #[error(
        "generation {0} has other content here: a changed desired state needs a newer generation"
    )]
    OtherContent(Generation),
    /// It cannot be read.
    #[error("the desired state is malformed: {0}")]
    Malformed(String),
    /// It is understood, and could not be made durable.
    #[error("the desired state could not be stored: {0}")]
    Storage(String),
}

/// What to do with an acceptable desired state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// It is newer: make it durable and act on it.
    New,
    /// It is held already: say so again.
    Held,
}

/// Compares what is offered with what is held.
pub fn weigh(held: Option<&Desired>, offered: &Desired) -> Result<Offer, Rejection> {
    let Some(held) = held else { return Ok(Offer::New) };
    match offered.generation.cmp(&held.generation) {
        std::cmp::Ordering::Greater => Ok(Offer::New),
        std::cmp::Ordering::Equal if offered == held => Ok(Offer::Held),
        std::cmp::Ordering::Equal => Err(Rejection::OtherContent(held.generation)),
        std::cmp::Ordering::Less => {
            Err(Rejection::Older { offered: offered.generation, held: held.generation })
        }
    }
}

/// Parses the wire form.
pub fn parse(wire: v1::DesiredState) -> Result<Desired, Rejection> {
    let malformed = |what: String| Rejection::Malformed(what);
    let generation =
        wire.generation.ok_or_else(|| malformed("it has no generation".to_owned()))?.into();
    if wire.slots.len() > MAX_SLOTS {
        return Err(malformed(format!("{} slots, at most {MAX_SLOTS}", wire.slots.len())));
    }
    let mut slots = BTreeMap::new();
    for slot in wire.slots {
        let (name, target) = parse_slot(slot).map_err(Rejection::Malformed)?;
        if slots.insert(name.clone(), target).is_some() {
            return Err(malformed(format!("slot {name} twice")));
        }
    }
    Ok(Desired { generation, slots })
}

fn parse_slot(slot: v1::DesiredSlot) -> Result<(SlotName, Target), String> {
    let name: SlotName = slot.slot.parse().map_err(|error| format!("{error}"))?;
    let within = |what: &str, text: String| match text.len() <= MAX_TEXT_BYTES {
        true => Ok(text),
        false => Err(format!("{name}: its {what} is longer than {MAX_TEXT_BYTES} bytes")),
    };
    let settings = slot.settings.unwrap_or_default();
    let target = Target {
        model: within("model", slot.model)?,
        version: within("version", slot.version)?,
        version_id: slot.version_id.parse().map_err(|error| format!("{name}: {error}"))?,
        manifest_sha256: Digest::try_from(&slot.manifest_sha256[..])
            .map_err(|error| format!("{name}: manifest_sha256 is {error}"))?,
        rollout_id: within("rollout", slot.rollout_id)?,
        settings: SlotSettings {
            context_tokens: settings.context_tokens,
            parallel: settings.parallel,
        },
    };
    Ok((name, target))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Version `number` of a model, as a rollout of the same number assigns it.
    pub(crate) fn target(number: u8) -> Target {
        Target {
            model: "m".to_owned(),
            version: format!("{number}.0.0"),
            version_id: VersionId::from_bytes([number; 16]),
            manifest_sha256: Digest::from([number; 32]),
            rollout_id: format!("r{number}"),
            settings: SlotSettings::default(),
        }
    }

    fn desired(epoch: u64, counter: u64, version: u8) -> Desired {
        let slots = [("s".parse().unwrap(), target(version))].into();
        Desired { generation: Generation { epoch, counter }, slots }
    }

    #[test]
    fn only_newer_generations_replace_what_is_held() {
        let held = desired(2, 5, 1);
        let check = |offered: Desired, expected: Result<Offer, Rejection>| {
            assert_eq!(weigh(Some(&held), &offered), expected);
        };
        check(desired(2, 6, 2), Ok(Offer::New));
        check(desired(3, 0, 2), Ok(Offer::New));
        check(desired(2, 5, 1), Ok(Offer::Held));
        check(desired(2, 5, 2), Err(Rejection::OtherContent(held.generation)));
        let older = desired(1, 99, 2);
        let (offered, held_generation) = (older.generation, held.generation);
        check(older, Err(Rejection::Older { offered, held: held_generation }));
        assert_eq!(weigh(None, &held), Ok(Offer::New));
    }

    #[test]
    fn what_is_malformed_is_named() {
        let slot = v1::DesiredSlot {
            slot: "s".to_owned(),
            version_id: VersionId::new().to_string(),
            manifest_sha256: vec![0; 32].into(),
            ..Default::default()
        };
        let check = |slots: Vec<v1::DesiredSlot>, part: &str| {
            let generation = Some(v1::Generation { epoch: 1, counter: 1 });
            let error = parse(v1::DesiredState { generation, slots }).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        };
        check(vec![slot.clone(), slot.clone()], "slot s twice");
        check(vec![v1::DesiredSlot { slot: "../s".to_owned(), ..slot.clone() }], "cannot name");
        check(vec![v1::DesiredSlot { version_id: "7".to_owned(), ..slot.clone() }], "version id");
        check(vec![v1::DesiredSlot { manifest_sha256: vec![1].into(), ..slot.clone() }], "SHA-256");
        check(vec![slot; 65], "at most 64");
        let nothing = v1::DesiredState { generation: None, slots: Vec::new() };
        assert!(parse(nothing).unwrap_err().to_string().contains("no generation"));
    }
}
