//! Takes the power away from an agent, or its disk, at every operation of every kind of update: the
//! ledger, the chunks, the workers and the controller's answers are counted, and each count is a place
//! to die. Whatever happens, a confirmed version serves again without a controller, the update ends
//! the way it ends without the fault, generations never go back, and nothing is left on the disk that
//! nothing needs.
//!
//! A failure names the scenario, the count, the fault and the seed; `EDGEFORMER_CRASH=count,seed` runs
//! the scenarios with that count and seed alone.

mod disk;
mod life;
// Other tests ask more of it.
#[allow(dead_code)]
#[path = "../support/publish.rs"]
mod publish;
#[path = "../../../proto/tests/tuf/repo.rs"]
mod repo;
mod world;

use std::collections::{BTreeSet, HashMap};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use edgeformer_agent::reconcile::report::Stage;
use edgeformer_proto::artifact::target_path;
use edgeformer_proto::ids::{TenantId, VersionId};

use disk::{Fault, SimDisk};
use life::{Device, End, Fleet, Wish};
use publish::Publisher;
use repo::Repo;
use world::{Behaviour, Model, START_US};

/// More than all versions take: these tests fill the disk by order.
const CAPACITY: u64 = 1600 << 20;

/// Power losses tried at each count: what survives of what was not synced follows from the seed.
const SEEDS: u64 = 2;

static FLEET: LazyLock<(Fleet, [VersionId; 8])> = LazyLock::new(|| {
    let publisher = Publisher::new(TenantId::from_bytes([7; 16]));
    let dies = |seconds| Behaviour::DiesAfter(Duration::from_secs(seconds));
    let kinds = [
        Behaviour::Good,
        Behaviour::Good,
        Behaviour::Good,
        Behaviour::Good,
        Behaviour::FailsTrial,
        dies(1),
        dies(5),
        Behaviour::Good,
    ];
    let mut models = HashMap::new();
    let mut owner = Repo::valid_from(START_US / 1_000_000);
    let ids = std::array::from_fn(|number| {
        // Every second version has the pieces of the one before it.
        let pieces = if number < 6 { 4 } else { 12 };
        let version = publisher.publish(number as u64 + 1, pieces, 1 + number as u8 / 2);
        let id = version.subject.version_id;
        let path = target_path("m", &version.subject.version.to_string());
        owner.add_target("targets", &path, &version.envelope);
        models.insert(id, Model { version, behaviour: kinds[number] });
        id
    });
    owner.bump_targets();
    owner.publish();
    let mut metadata = owner.files;
    metadata.insert("root.json".to_owned(), metadata["1.root.json"].clone());
    let fleet = Fleet {
        publisher: Arc::new(publisher),
        models: Arc::new(models),
        metadata: Arc::new(metadata),
    };
    (fleet, ids)
});

fn confirmed(version: usize) -> Wish {
    let id = FLEET.1[version];
    Wish { wants: Some(id), ends: Stage::Confirmed, serves: Some(id) }
}

fn ends(version: usize, ends: Stage, serves: Option<usize>) -> Wish {
    Wish { wants: Some(FLEET.1[version]), ends, serves: serves.map(|one| FLEET.1[one]) }
}

const FAILS_TRIAL: usize = 4;
const DIES_SOON: usize = 5;
const DIES_LATER: usize = 6;
const REMOVED: Wish = Wish { wants: None, ends: Stage::Removed, serves: None };

/// Runs a scenario with every fault at every count.
fn survives(name: &str, wishes: &[Wish]) {
    let (steps, installed) = run(name, wishes, None, 0);
    // The first of several updates is the one that the scenario of one update goes through.
    let begins = if wishes.len() > 1 { installed } else { 0 };
    let only = std::env::var("EDGEFORMER_CRASH").ok().map(|text| {
        let (count, seed) = text.split_once(',').expect("EDGEFORMER_CRASH=count,seed");
        (count.parse::<usize>().unwrap(), seed.parse::<u64>().unwrap())
    });
    for (count, step) in steps.iter().enumerate().skip(begins) {
        if only.is_some_and(|(only, _)| only != count) {
            continue;
        }
        for fault in step.faults() {
            let seeds = if *fault == Fault::PowerLoss { SEEDS } else { 1 };
            for seed in only.map_or(0..seeds, |(_, seed)| seed..seed + 1) {
                let run = AssertUnwindSafe(|| run(name, wishes, Some((count, *fault)), seed));
                if let Err(panic) = std::panic::catch_unwind(run) {
                    eprintln!("{name}: {fault:?} at {count} of {}, seed {seed}", steps.len());
                    eprintln!("again: EDGEFORMER_CRASH={count},{seed} with this test's name");
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }
    assert!(steps.len() - begins > 50, "{name} has only {} steps", steps.len());
}

/// One device through a scenario; at the end power is lost once more. Returns what was counted in the
/// first life, and how much of that until the first wish was fulfilled.
fn run(
    name: &str,
    wishes: &[Wish],
    fault: Option<(usize, Fault)>,
    seed: u64,
) -> (Vec<disk::Step>, usize) {
    let disk = SimDisk::new(CAPACITY, fault);
    let mut device = Device::new(&FLEET.0, disk.clone(), wishes, seed);
    let mut end = device.live(false);
    let steps = disk.steps();
    let mut lives = 1;
    while end == End::PowerLoss {
        disk.power_cycle(seed);
        end = device.live(true);
        lives += 1;
        assert!(lives < 3, "{name}: power was lost once");
    }
    only_what_is_needed_is_left(&disk, wishes);
    disk.power_cycle(seed + 1);
    device.live_offline();
    (steps, device.first_fulfilled_at)
}

/// Files after the last wish: the ledger, and what the slot serves and may go back to.
fn only_what_is_needed_is_left(disk: &SimDisk, wishes: &[Wish]) {
    let (fleet, _) = &*FLEET;
    let mut kept: Vec<VersionId> = Vec::new();
    for wish in wishes {
        match (wish.ends, wish.serves) {
            (Stage::Removed, _) => kept.clear(),
            (_, Some(serves)) => {
                kept.retain(|one| *one != serves);
                kept.insert(0, serves);
                kept.truncate(3);
            }
            _ => {}
        }
    }
    let root = PathBuf::from("/state");
    let mut expected: BTreeSet<PathBuf> = ["ledger.json", "ledger.previous.json", "reserve"]
        .iter()
        .map(|name| root.join(name))
        .collect();
    let trust = ["root", "timestamp", "snapshot", "targets", "root_history/1.root"];
    expected.extend(trust.map(|name| root.join("trust").join(format!("{name}.json"))));
    for id in &kept {
        let folder = root.join("versions").join(id.to_string());
        expected
            .extend(["manifest.dsse", "index.sealed", "key.wrapped"].map(|name| folder.join(name)));
        for chunk in &fleet.models[id].version.chunk_ids {
            expected.insert(root.join("chunks").join(&chunk[..2]).join(chunk));
        }
    }
    let found: BTreeSet<PathBuf> = disk.files().into_iter().collect();
    let surplus: Vec<_> = found.difference(&expected).collect();
    let lacking: Vec<_> = expected.difference(&found).collect();
    assert!(surplus.is_empty() && lacking.is_empty(), "surplus {surplus:?}, lacking {lacking:?}");
}

#[test]
fn an_install_survives_every_fault() {
    survives("install", &[confirmed(0)]);
}

#[test]
fn an_update_survives_every_fault() {
    survives("update", &[confirmed(0), confirmed(1)]);
}

#[test]
fn a_first_version_that_fails_its_trial_leaves_nothing() {
    survives("failed install", &[ends(FAILS_TRIAL, Stage::Failed, None)]);
}

#[test]
fn a_failed_trial_survives_every_fault() {
    survives("failed trial", &[confirmed(0), ends(FAILS_TRIAL, Stage::Failed, Some(0))]);
}

#[test]
fn a_revert_survives_every_fault() {
    survives("revert", &[confirmed(0), ends(DIES_SOON, Stage::Reverted, Some(0))]);
}

#[test]
fn a_crash_loop_survives_every_fault() {
    survives("crash loop", &[confirmed(0), ends(DIES_LATER, Stage::Reverted, Some(0))]);
}

#[test]
fn a_removal_survives_every_fault() {
    survives("removal", &[confirmed(0), REMOVED, confirmed(1)]);
}

#[test]
fn old_versions_go_by_the_policy_whatever_fails() {
    survives("retention", &[confirmed(0), confirmed(1), confirmed(2), confirmed(3)]);
}

/// A device that serves one version and holds another to go back to gets a third one, while others
/// have filled its disk but for what a fetch leaves free and `spare_bytes`.
fn with_little_room(spare_bytes: u64, third: Wish, kept: &[usize]) {
    const RESERVE_BYTES: u64 = 64 << 20;
    let wishes = [confirmed(0), confirmed(2), third];
    let disk = SimDisk::new(CAPACITY, None);
    let mut device = Device::new(&FLEET.0, disk.clone(), &wishes[..2], 0);
    assert_eq!(device.live(false), End::Done);
    assert_eq!(disk.leave_free(RESERVE_BYTES + spare_bytes), 4, "percent");
    device.wishes = &wishes;
    disk.power_cycle(0);
    assert_eq!(device.live(true), End::Done);
    let versions = PathBuf::from("/state/versions");
    let found: BTreeSet<PathBuf> = disk
        .files()
        .into_iter()
        .filter_map(|path| path.parent().map(PathBuf::from))
        .filter(|path| path.starts_with(&versions))
        .collect();
    let expected = kept.iter().map(|one| versions.join(FLEET.1[*one].to_string())).collect();
    assert_eq!(found, expected);
}

#[test]
fn with_four_percent_of_the_disk_free_older_versions_make_room_before_a_download_is_refused() {
    let third = &FLEET.0.models[&FLEET.1[7]].version;
    let files = (third.envelope.len() + third.sealed_index.len() + 65 + 48) as u64;
    with_little_room(files + third.chunk_bytes - 100, confirmed(7), &[7, 2]);
}

#[test]
fn a_download_that_no_older_version_makes_room_for_is_refused_and_takes_none_with_it() {
    with_little_room(0, ends(7, Stage::Failed, Some(2)), &[2, 0]);
}

/// A device that serves version 2 and keeps version 0 finds a chunk of 2 damaged: first without its
/// controller, then with it. Returns what was counted, and how much of that before the damage.
fn with_damage(fault: Option<(usize, Fault)>, seed: u64) -> (Vec<disk::Step>, usize) {
    let wishes = [confirmed(0), confirmed(2), confirmed(2)];
    let (fleet, ids) = &*FLEET;
    let disk = SimDisk::new(CAPACITY, fault);
    let mut device = Device::new(fleet, disk.clone(), &wishes[..2], seed);
    assert_eq!(device.live(false), End::Done);
    let before = disk.count();
    let chunks = |version: usize| fleet.models[&ids[version]].version.chunk_ids.clone();
    let own = chunks(2).into_iter().find(|chunk| !chunks(0).contains(chunk)).unwrap();
    disk.damage(&PathBuf::from("/state/chunks").join(&own[..2]).join(&own));
    device.stands_in = Some(ids[0]);
    let mut lives = 0;
    // The service manager starts it again, and once the power is back.
    device.live_offline();
    while !disk.has_power() {
        disk.power_cycle(seed);
        device.live_offline();
        lives += 1;
    }
    device.stands_in = None;
    device.wishes = &wishes;
    while device.live_online() == End::PowerLoss {
        disk.power_cycle(seed);
        lives += 1;
    }
    assert!(lives < 2, "power was lost once");
    let steps = disk.steps();
    only_what_is_needed_is_left(&disk, &wishes);
    disk.power_cycle(seed + 1);
    device.live_offline();
    (steps, before)
}

#[test]
fn the_version_before_a_damaged_one_serves_until_that_is_fetched_again_whatever_fails() {
    let (steps, before) = with_damage(None, 0);
    for (count, step) in steps.iter().enumerate().skip(before) {
        for fault in step.faults() {
            let run = AssertUnwindSafe(|| with_damage(Some((count, *fault)), 0));
            if let Err(panic) = std::panic::catch_unwind(run) {
                eprintln!("damage: {fault:?} at {count} of {}", steps.len());
                std::panic::resume_unwind(panic);
            }
        }
    }
    assert!(steps.len() - before > 20, "only {} steps", steps.len() - before);
}

#[test]
fn a_device_whose_disk_is_full_starts_serves_and_records_what_it_is_told() {
    let wishes = [confirmed(0), REMOVED];
    let disk = SimDisk::new(CAPACITY, None);
    let mut device = Device::new(&FLEET.0, disk.clone(), &wishes[..1], 0);
    assert_eq!(device.live(false), End::Done);
    assert_eq!(disk.leave_free(0), 0);
    disk.power_cycle(0);
    device.live_offline();
    device.wishes = &wishes;
    disk.power_cycle(1);
    assert_eq!(device.live(true), End::Done);
}
