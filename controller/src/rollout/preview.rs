//! Says beforehand what a rollout would do: to which devices, whether it fits, and what is in the way.

use std::collections::{BTreeMap, BTreeSet};

use edgeformer_proto::ids::{DeviceId, VersionId};

use super::types::Selector;
use crate::clock::Timestamp;
use crate::session::OFFLINE_AFTER;
use crate::store::candidates::Candidate;

/// Working memory of a model beside its weights, at the least: buffers and a small context.
const WORKING_MEMORY_BYTES: u64 = 64 << 20;

/// What a rollout brings.
#[derive(Debug, Clone)]
pub struct Payload {
    /// The version.
    pub id: VersionId,
    /// Length of its file.
    pub payload_bytes: u64,
}

/// What a rollout would do to one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreviewDevice {
    /// The device.
    pub id: DeviceId,
    /// For people.
    pub name: String,
    /// What it serves now.
    pub from_version: Option<String>,
    /// Whether it was heard of lately.
    pub online: bool,
    /// Why it cannot run the version; `None`: nothing known speaks against it.
    pub why_not: Option<String>,
}

/// What a rollout would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// By name.
    pub devices: Vec<PreviewDevice>,
    /// At most, over all devices: those that have the version already fetch nothing.
    pub bytes_to_move: u64,
    /// Each is a sentence; a rollout with conflicts is refused.
    pub conflicts: Vec<String>,
}

/// The enrolled devices that a selector means, and the ids in it that are no enrolled device.
pub fn select(candidates: Vec<Candidate>, selector: &Selector) -> (Vec<Candidate>, Vec<DeviceId>) {
    let selected: Vec<Candidate> = candidates
        .into_iter()
        .filter(|device| selector.matches(device.id, &device.labels))
        .collect();
    let found: BTreeSet<DeviceId> = selected.iter().map(|device| device.id).collect();
    let missing = match selector {
        Selector::Devices(ids) => ids.difference(&found).copied().collect(),
        Selector::All(_) | Selector::Labels(_) => Vec::new(),
    };
    (selected, missing)
}

/// What bringing `version` to `selected` would do.
pub fn preview(
    selected: &[Candidate],
    version: &Payload,
    owned: &BTreeMap<DeviceId, String>,
    now: Timestamp,
) -> Preview {
    let to_fetch = selected.iter().filter(|device| !serves(device, version.id)).count();
    Preview {
        devices: selected
            .iter()
            .map(|device| PreviewDevice {
                id: device.id,
                name: device.name.clone(),
                from_version: device.serving_version.clone(),
                online: device.last_seen.is_some_and(|at| at.plus(OFFLINE_AFTER) >= now),
                why_not: why_not(device, version),
            })
            .collect(),
        bytes_to_move: version.payload_bytes.saturating_mul(to_fetch as u64),
        conflicts: conflicts(selected, owned),
    }
}

fn serves(device: &Candidate, version: VersionId) -> bool {
    device.serving.version == Some(version)
}

/// Facts are what the device last said, 0 where it could not say; the device itself has the last
/// word.
fn why_not(device: &Candidate, version: &Payload) -> Option<String> {
    let needs = version.payload_bytes.saturating_add(WORKING_MEMORY_BYTES);
    let memory = device.facts.memory_bytes;
    if memory > 0 && needs > memory {
        return Some(format!(
            "needs {} of memory at least, the device has {}",
            megabytes(needs),
            megabytes(memory)
        ));
    }
    let free = device.disk_free_bytes.unwrap_or(device.facts.disk_free_bytes);
    if free > 0 && version.payload_bytes > free && !serves(device, version.id) {
        return Some(format!(
            "needs {} of disk, the device has {} free",
            megabytes(version.payload_bytes),
            megabytes(free)
        ));
    }
    None
}

/// One sentence per rollout in the way.
fn conflicts(selected: &[Candidate], owned: &BTreeMap<DeviceId, String>) -> Vec<String> {
    let mut by_rollout: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for device in selected {
        if let Some(rollout) = owned.get(&device.id) {
            by_rollout.entry(rollout).or_default().push(&device.name);
        }
    }
    by_rollout
        .into_iter()
        .map(|(rollout, names)| {
            let first = names.first().copied().unwrap_or_default();
            let whom = match names.len() {
                1 => first.to_owned(),
                more => format!("{first} and {} more of these devices", more - 1),
            };
            format!("rollout {rollout} is running on {whom}: wait for it or abort it")
        })
        .collect()
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes.div_ceil(1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::facts::Facts;
    use crate::store::rollout_devices::Target;

    const NOW: Timestamp = Timestamp(1_767_272_400_000_000);

    fn device(name: &str, memory_mb: u64, disk_mb: u64) -> Candidate {
        let facts = Facts { memory_bytes: memory_mb * 1_000_000, ..Facts::default() };
        Candidate {
            id: DeviceId::new(),
            name: name.to_owned(),
            labels: BTreeMap::new(),
            facts: Facts { disk_free_bytes: disk_mb * 1_000_000, ..facts },
            disk_free_bytes: None,
            last_seen: Some(NOW),
            serving: Target::default(),
            serving_version: None,
        }
    }

    fn version() -> Payload {
        Payload { id: VersionId::new(), payload_bytes: 100_000_000 }
    }

    #[test]
    fn what_does_not_fit_says_what_is_missing() {
        let check = |device: Candidate, expected: Option<&str>| {
            let preview = preview(&[device], &version(), &BTreeMap::new(), NOW);
            assert_eq!(preview.devices[0].why_not.as_deref(), expected);
        };
        check(device("a", 1000, 1000), None);
        check(device("a", 0, 0), None);
        check(
            device("a", 150, 1000),
            Some("needs 168 MB of memory at least, the device has 150 MB"),
        );
        check(device("a", 1000, 99), Some("needs 100 MB of disk, the device has 99 MB free"));
        let fuller = Candidate { disk_free_bytes: Some(5_000_000), ..device("a", 1000, 1000) };
        check(fuller, Some("needs 100 MB of disk, the device has 5 MB free"));
    }

    #[test]
    fn a_device_that_has_the_version_fetches_nothing() {
        let version = version();
        let mut has = device("a", 1000, 1);
        has.serving.version = Some(version.id);
        let seen = NOW.minus(OFFLINE_AFTER + std::time::Duration::from_secs(1));
        let lacks = Candidate { last_seen: Some(seen), ..device("b", 1000, 1000) };
        let preview = preview(&[has, lacks], &version, &BTreeMap::new(), NOW);
        assert_eq!(preview.bytes_to_move, 100_000_000);
        assert_eq!(preview.devices[0].why_not, None);
        assert!(preview.devices[0].online && !preview.devices[1].online);
    }

    #[test]
    fn conflicts_are_named_by_rollout_and_device() {
        let devices = [device("a", 0, 0), device("b", 0, 0), device("c", 0, 0)];
        let owned = devices[..2].iter().map(|d| (d.id, "r1".to_owned())).collect();
        let preview = preview(&devices, &version(), &owned, NOW);
        assert_eq!(
            preview.conflicts,
            ["rollout r1 is running on a and 1 more of these devices: wait for it or abort it"]
        );
    }

    #[test]
    fn an_id_that_is_no_enrolled_device_is_reported() {
        let (here, gone) = (device("a", 0, 0), DeviceId::new());
        let selector = Selector::Devices([here.id, gone].into());
        let (selected, missing) = select(vec![here.clone(), device("b", 0, 0)], &selector);
        assert_eq!(selected.iter().map(|d| d.id).collect::<Vec<_>>(), [here.id]);
        assert_eq!(missing, [gone]);
    }
}
