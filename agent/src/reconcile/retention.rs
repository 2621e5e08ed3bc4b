//! Decides which confirmed versions stay on the device beside those that it needs. Pure: the ledger,
//! sizes and limits in, names out. What is needed (the confirmed version of each slot, and what is
//! being installed) is never up for decision here.

use std::collections::BTreeMap;

use edgeformer_proto::ids::VersionId;

use super::ledger::Ledger;
use crate::slots::SlotName;

/// How many older versions a ledger remembers per slot; flags cannot ask for more.
pub const MAX_OLDER: usize = 16;

/// The policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Confirmed versions kept per slot beside the one that serves. The first is the one that a crash
    /// loop goes back to.
    pub versions: usize,
    /// What all of them but those first ones may take together, in bytes.
    pub bytes: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { versions: 2, bytes: u64::MAX }
    }
}

/// An older version on this device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Older {
    /// Its slot.
    pub slot: SlotName,
    /// The version.
    pub version_id: VersionId,
    /// 0 for the one that a crash loop goes back to, then counting into the past.
    pub age: usize,
    /// What is freed when it goes after all that stand before it; none if it cannot be opened.
    pub frees_bytes: Option<u64>,
}

/// All older versions of a ledger, the first to go first: those furthest in the past, of whichever
/// slot. Sizes are not known yet.
pub fn older(ledger: &Ledger) -> Vec<Older> {
    let of_slot = |(slot, state): (&SlotName, &super::state::SlotState)| {
        let slot = slot.clone();
        let versions: Vec<_> = state.older_versions().map(|target| target.version_id).collect();
        versions.into_iter().enumerate().map(move |(age, version_id)| Older {
            slot: slot.clone(),
            version_id,
            age,
            frees_bytes: Some(0),
        })
    };
    let mut all: Vec<_> = ledger.slots.iter().flat_map(of_slot).collect();
    all.sort_by(|a, b| b.age.cmp(&a.age).then_with(|| a.slot.cmp(&b.slot)));
    all
}

/// What the policy gives up: versions beyond the count, those beyond the bytes, and those that cannot
/// be opened any more. The one that a crash loop goes back to goes by the count alone.
pub fn surplus(older: &[Older], policy: &Retention) -> Vec<Older> {
    let counted = |one: &Older| one.age < policy.versions;
    let useful = |one: &&Older| counted(one) && one.age > 0;
    let mut bytes: u64 = older.iter().filter(useful).filter_map(|one| one.frees_bytes).sum();
    let mut going = Vec::new();
    for one in older {
        let too_much = one.age > 0 && (bytes > policy.bytes || one.frees_bytes.is_none());
        if !counted(one) {
            going.push(one.clone());
        } else if too_much {
            bytes = bytes.saturating_sub(one.frees_bytes.unwrap_or(0));
            going.push(one.clone());
        }
    }
    going
}

/// The fewest versions whose going frees `missing_bytes`; none if all of them together do not.
pub fn for_room(older: &[Older], missing_bytes: u64) -> Option<&[Older]> {
    let mut freed = 0_u64;
    let enough = older.iter().position(|one| {
        freed = freed.saturating_add(one.frees_bytes.unwrap_or(0));
        freed >= missing_bytes
    });
    enough.map(|last| &older[..=last])
}

/// Versions to forget, by slot.
pub fn by_slot(going: &[Older]) -> BTreeMap<SlotName, Vec<VersionId>> {
    let mut slots: BTreeMap<SlotName, Vec<VersionId>> = BTreeMap::new();
    for one in going {
        slots.entry(one.slot.clone()).or_default().push(one.version_id);
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Slot, age and bytes, first to go first.
    fn older(all: &[(&str, usize, Option<u64>)]) -> Vec<Older> {
        let one = |(slot, age, frees_bytes): &(&str, usize, Option<u64>)| Older {
            slot: slot.parse().unwrap(),
            version_id: VersionId::from_bytes([*age as u8; 16]),
            age: *age,
            frees_bytes: *frees_bytes,
        };
        all.iter().map(one).collect()
    }

    #[test]
    fn the_policy_takes_the_oldest_by_count_and_by_bytes_and_leaves_the_fallback() {
        let check =
            |all: &[(&str, usize, Option<u64>)], versions, bytes, gone: &[(&str, usize)]| {
                let going = surplus(&older(all), &Retention { versions, bytes });
                let going: Vec<_> = going.iter().map(|one| (one.slot.as_str(), one.age)).collect();
                assert_eq!(going, gone, "{all:?} {versions} {bytes}");
            };
        let all = [("a", 2, Some(5)), ("a", 1, Some(5)), ("b", 1, Some(7)), ("a", 0, Some(9))];
        check(&all, 3, 100, &[]);
        check(&all, 2, 100, &[("a", 2)]);
        check(&all, 3, 12, &[("a", 2)]);
        check(&all, 3, 7, &[("a", 2), ("a", 1)]);
        check(&all, 3, 0, &[("a", 2), ("a", 1), ("b", 1)]);
        check(&all, 0, 100, &[("a", 2), ("a", 1), ("b", 1), ("a", 0)]);
        check(&[("a", 1, None), ("a", 0, None)], 3, 100, &[("a", 1)]);
    }

    #[test]
    fn room_is_made_with_the_fewest_and_never_in_vain() {
        let all = older(&[("a", 2, Some(5)), ("a", 1, None), ("b", 0, Some(7))]);
        let count = |missing| for_room(&all, missing).map(<[Older]>::len);
        assert_eq!(
            (count(1), count(5), count(6), count(12), count(13)),
            (Some(1), Some(1), Some(3), Some(3), None)
        );
        assert_eq!(for_room(&[], 1), None);
    }
}
