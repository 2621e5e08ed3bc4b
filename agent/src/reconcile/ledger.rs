//! The durable record of what this device accepted and how far it is: one small file, replaced as a
//! whole, with a checksum and the copy before it. A damaged file costs the last change at most, and
//! that is said.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;

use edgeformer_proto::Generation;
use edgeformer_proto::artifact::Digest;
use edgeformer_proto::ids::VersionId;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::desired::{Desired, MAX_SLOTS, Offer, Rejection, Target, weigh};
use super::state::SlotState;
use crate::clock::UnixMicros;
use crate::durable::{self, Folder};
use crate::slots::SlotName;

const FILE: &str = "ledger.json";
const PREVIOUS: &str = "ledger.previous.json";
const RESERVE: &str = "reserve";
const FORMAT: u32 = 1;

/// Room for both files of a ledger with many slots and for the part files that replace them.
const RESERVE_BYTES: usize = 512 << 10;

/// 64 slots with three targets and messages each take about 200 KiB.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// Why the ledger cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// A file operation failed.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Neither the ledger nor its previous copy can be read.
    #[error(
        "{path}: {what}, and its previous copy is of no use either: restore it, or remove both; the device then waits for its controller"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

/// What is durable about this device's slots.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// The newest desired state that was accepted.
    pub desired: Option<Desired>,
    /// Every slot that is or was wanted.
    pub slots: BTreeMap<SlotName, SlotState>,
    /// A version that is being brought by a file, whose desired state is not accepted yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub importing: Option<Importing>,
    /// Versions of the desired state that files brought whole, with their owner's word: nobody else has
    /// to be asked before they are installed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub imported: Vec<Brought>,
}

/// A version that a file brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Brought {
    version_id: VersionId,
    manifest_sha256: Digest,
}

impl From<&Target> for Brought {
    fn from(target: &Target) -> Self {
        Self { version_id: target.version_id, manifest_sha256: target.manifest_sha256 }
    }
}

/// What a file brings. Kept until its desired state, or one as new, is accepted, or another file comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Importing {
    /// Of the desired state that the file carries.
    pub generation: Generation,
    /// The version.
    pub target: Target,
}

impl Ledger {
    /// This ledger under a newer desired state.
    #[must_use]
    pub fn accept(mut self, desired: Desired, now_us: UnixMicros) -> Self {
        let generation = desired.generation;
        self.importing = self.importing.filter(|one| one.generation > generation);
        self.imported.clear();
        // Slots that are empty as wanted have nothing more to say once a newer state says so too.
        self.slots.retain(|name, state| {
            desired.slots.contains_key(name)
                || !matches!(state.update, Some(super::state::Update::Removed { .. }))
        });
        for name in desired.slots.keys() {
            self.slots.entry(name.clone()).or_default();
        }
        for (name, state) in &mut self.slots {
            let wanted = desired.slots.get(name);
            *state = std::mem::take(state).retarget(wanted, generation, now_us);
        }
        self.desired = Some(desired);
        self
    }

    /// This ledger with a version of its desired state that a file brought.
    #[must_use]
    fn brought(mut self, target: &Target) -> Self {
        let brought = Brought::from(target);
        self.importing = None;
        if !self.imported.contains(&brought) && self.imported.len() < MAX_SLOTS {
            self.imported.push(brought);
        }
        self
    }

    /// Whether a file brought this very version.
    pub fn was_brought(&self, target: &Target) -> bool {
        self.imported.contains(&target.into())
    }

    /// Versions that the device must have: confirmed, or being installed.
    pub fn needed(&self) -> Vec<Target> {
        self.slots.values().flat_map(SlotState::needed_versions).cloned().collect()
    }

    /// All versions whose bytes stay on disk.
    pub fn wanted(&self) -> Vec<Target> {
        let of_slot = |state: &SlotState| {
            state.needed_versions().chain(state.older_versions()).cloned().collect::<Vec<_>>()
        };
        let importing = self.importing.iter().map(|one| one.target.clone());
        self.slots.values().flat_map(of_slot).chain(importing).collect()
    }

    /// This ledger without these older versions.
    #[must_use]
    pub fn forget(mut self, going: &BTreeMap<SlotName, Vec<VersionId>>) -> Self {
        for (slot, versions) in going {
            if let Some(state) = self.slots.get_mut(slot) {
                *state = std::mem::take(state).forget(versions);
            }
        }
        self
    }

    /// This ledger after the agent came back.
    #[must_use]
    pub fn recover(mut self, now_us: UnixMicros) -> Self {
        for state in self.slots.values_mut() {
            *state = std::mem::take(state).recover(now_us);
        }
        self
    }
}

/// Where the content came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// There was none: a new device.
    New,
    /// The file.
    Current,
    /// The copy before, because the file was damaged in this way.
    Previous(String),
}

#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    format: u32,
    /// Of the exact text in `ledger`.
    sha256: Digest,
    #[serde(borrow)]
    ledger: &'a serde_json::value::RawValue,
}

/// The ledger and its file. Every change is durable before it is visible.
#[derive(Debug)]
pub struct LedgerStore {
    folder: Folder,
    write: Mutex<()>,
    visible: watch::Sender<Ledger>,
}

impl LedgerStore {
    /// Reads the ledger in `folder`, or its previous copy.
    pub fn open(folder: impl Into<Folder>) -> Result<(Self, Source), LedgerError> {
        let folder = folder.into();
        let current = folder.join(FILE);
        let (ledger, source) = match read(&folder, FILE)? {
            Ok(Some(ledger)) => (ledger, Source::Current),
            Ok(None) => match read(&folder, PREVIOUS)? {
                Ok(Some(ledger)) => (ledger, Source::Previous("it is missing".to_owned())),
                Ok(None) => (Ledger::default(), Source::New),
                Err(what) => return Err(LedgerError::Damaged { path: current, what }),
            },
            Err(what) => match read(&folder, PREVIOUS)? {
                Ok(Some(ledger)) => (ledger, Source::Previous(what)),
                _ => return Err(LedgerError::Damaged { path: current, what }),
            },
        };
        let visible = watch::channel(ledger).0;
        Ok((Self { folder, write: Mutex::new(()), visible }, source))
    }

    /// What was under way when the agent ended is to be done again. Not written: the file says the
    /// same after every restart, and a device with a full disk must serve all the same.
    pub fn recover(&self, now_us: UnixMicros) {
        let _one_writer = self.write.lock().expect("no panic while the ledger is written");
        self.visible.send_modify(|ledger| *ledger = std::mem::take(ledger).recover(now_us));
    }

    /// Holds some room back, for the ledger alone, when there is some. A device whose disk is full can
    /// then still record what it is about to do. False if there is none to hold.
    pub fn hold_reserve(&self) -> bool {
        self.folder.size(RESERVE) == Some(RESERVE_BYTES as u64)
            || self.folder.write(RESERVE, &[0x5a; RESERVE_BYTES]).is_ok()
    }

    /// The content now.
    pub fn snapshot(&self) -> Ledger {
        self.visible.borrow().clone()
    }

    /// One slot now.
    pub fn slot(&self, name: &SlotName) -> SlotState {
        self.visible.borrow().slots.get(name).cloned().unwrap_or_default()
    }

    /// Sees every later content.
    pub fn watch(&self) -> watch::Receiver<Ledger> {
        self.visible.subscribe()
    }

    /// Takes a desired state, if it may be taken.
    pub fn offer(&self, offered: Desired, now_us: UnixMicros) -> Result<Offer, Rejection> {
        let _one_writer = self.write.lock().expect("no panic while the ledger is written");
        let held = self.snapshot();
        let offer = weigh(held.desired.as_ref(), &offered)?;
        if offer == Offer::New {
            self.replace(held.accept(offered, now_us))
                .map_err(|error| Rejection::Storage(error.to_string()))?;
        }
        Ok(offer)
    }

    /// Takes a desired state, if it may be taken, with a version of it that a file brought.
    pub fn offer_brought(
        &self,
        offered: Desired,
        target: &Target,
        now_us: UnixMicros,
    ) -> Result<Offer, Rejection> {
        let _one_writer = self.write.lock().expect("no panic while the ledger is written");
        let held = self.snapshot();
        let offer = weigh(held.desired.as_ref(), &offered)?;
        let next = match offer {
            Offer::New => held.accept(offered, now_us),
            Offer::Held => held,
        };
        self.replace(next.brought(target))
            .map_err(|error| Rejection::Storage(error.to_string()))?;
        Ok(offer)
    }

    /// Changes the whole ledger.
    pub fn change(&self, change: impl FnOnce(Ledger) -> Ledger) -> Result<(), LedgerError> {
        let _one_writer = self.write.lock().expect("no panic while the ledger is written");
        self.replace(change(self.snapshot()))
    }

    /// Changes one slot.
    pub fn change_slot(
        &self,
        name: &SlotName,
        change: impl FnOnce(SlotState) -> SlotState,
    ) -> Result<(), LedgerError> {
        self.change(|mut ledger| {
            if let Some(state) = ledger.slots.get_mut(name) {
                *state = change(std::mem::take(state));
            }
            ledger
        })
    }

    fn replace(&self, next: Ledger) -> Result<(), LedgerError> {
        if *self.visible.borrow() == next {
            return Ok(());
        }
        match self.write_files(&next) {
            Err(LedgerError::File { source, .. })
                if durable::is_full(&source) && self.folder.size(RESERVE).is_some() =>
            {
                tracing::warn!("the disk is full: the ledger takes what was held back for it");
                let path = self.folder.join(RESERVE);
                let freed = self.folder.remove(RESERVE);
                freed.map_err(|source| LedgerError::File { path, source })?;
                self.write_files(&next)?;
            }
            written => written?,
        }
        self.visible.send_replace(next);
        Ok(())
    }

    fn write_files(&self, next: &Ledger) -> Result<(), LedgerError> {
        let failed = |name| {
            let path = self.folder.join(name);
            |source| LedgerError::File { path, source }
        };
        let bytes = encode(next).map_err(failed(FILE))?;
        // The file that is there was whole when it was written: it becomes the copy.
        match self.folder.read(FILE, MAX_FILE_BYTES) {
            Ok(old) => self.folder.write(PREVIOUS, &old).map_err(failed(PREVIOUS))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(FILE)(error)),
        }
        self.folder.write(FILE, &bytes).map_err(failed(FILE))
    }
}

fn encode(ledger: &Ledger) -> io::Result<Vec<u8>> {
    let text = serde_json::to_string(ledger)?;
    let sha256 = Digest::of(text.as_bytes());
    let ledger = serde_json::value::RawValue::from_string(text)?;
    Ok(serde_json::to_vec(&Stored { format: FORMAT, sha256, ledger: &ledger })?)
}

/// Outer error: the system's. Inner: the content's. `None`: there is no file.
fn read(folder: &Folder, name: &str) -> Result<Result<Option<Ledger>, String>, LedgerError> {
    match folder.read(name, MAX_FILE_BYTES) {
        Ok(bytes) => Ok(decode(&bytes).map(Some)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Ok(None)),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Err(error.to_string())),
        Err(source) => Err(LedgerError::File { path: folder.join(name), source }),
    }
}

fn decode(bytes: &[u8]) -> Result<Ledger, String> {
    let stored: Stored<'_> =
        serde_json::from_slice(bytes).map_err(|error| format!("it cannot be read ({error})"))?;
    if stored.format != FORMAT {
        return Err(format!("format {} is not known to this agent", stored.format));
    }
    if Digest::of(stored.ledger.get().as_bytes()) != stored.sha256 {
        return Err("its checksum does not match".to_owned());
    }
    serde_json::from_str(stored.ledger.get()).map_err(|error| format!("it is malformed ({error})"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    use crate::reconcile::desired::tests::target;

    fn desired(counter: u64) -> Desired {
        let slots = [("s".parse().unwrap(), target(1))].into();
        Desired { generation: Generation { epoch: 1, counter }, slots }
    }

    fn two_changes(directory: &Path) {
        let (store, source) = LedgerStore::open(directory).unwrap();
        assert_eq!(source, Source::New);
        assert_eq!(store.offer(desired(1), 10), Ok(Offer::New));
        assert_eq!(store.offer(desired(2), 20), Ok(Offer::New));
    }

    #[test]
    fn a_change_is_there_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        two_changes(directory.path());
        let (store, source) = LedgerStore::open(directory.path()).unwrap();
        assert_eq!(source, Source::Current);
        assert_eq!(store.snapshot().desired, Some(desired(2)));
        assert!(matches!(store.offer(desired(1), 30), Err(Rejection::Older { .. })));
        assert_eq!(store.offer(desired(2), 30), Ok(Offer::Held));
    }

    #[test]
    fn what_a_file_brings_stays_until_a_desired_state_as_new_is_accepted() {
        let directory = tempfile::tempdir().unwrap();
        let (store, _) = LedgerStore::open(directory.path()).unwrap();
        store.offer(desired(1), 10).unwrap();
        let generation = Generation { epoch: 1, counter: 3 };
        let importing = Some(Importing { generation, target: target(9) });
        store.change(|ledger| Ledger { importing, ..ledger }).unwrap();
        store.offer(desired(2), 20).unwrap();
        let (store, _) = LedgerStore::open(directory.path()).unwrap();
        assert!(store.snapshot().wanted().contains(&target(9)));
        store.offer(desired(3), 30).unwrap();
        assert!(!store.snapshot().wanted().contains(&target(9)));
    }

    #[test]
    fn any_damage_falls_back_to_the_copy_before_and_says_so() {
        let check = |damage: &dyn Fn(Vec<u8>) -> Vec<u8>, said: &str| {
            let directory = tempfile::tempdir().unwrap();
            two_changes(directory.path());
            let path = directory.path().join(FILE);
            std::fs::write(&path, damage(std::fs::read(&path).unwrap())).unwrap();
            let (store, source) = LedgerStore::open(directory.path()).unwrap();
            assert_eq!(store.snapshot().desired, Some(desired(1)));
            let Source::Previous(what) = source else { panic!("{source:?}") };
            assert!(what.contains(said), "{what}");
        };
        check(&|_| Vec::new(), "cannot be read");
        check(&|bytes| bytes[..bytes.len() / 2].to_vec(), "cannot be read");
        check(
            &|bytes| {
                let text = String::from_utf8(bytes).unwrap();
                text.replace("\"counter\":2", "\"counter\":9").into_bytes()
            },
            "checksum",
        );
    }

    #[test]
    fn two_damaged_files_are_an_error_and_not_a_new_device() {
        let directory = tempfile::tempdir().unwrap();
        two_changes(directory.path());
        for file in [FILE, PREVIOUS] {
            std::fs::write(directory.path().join(file), b"{").unwrap();
        }
        assert!(matches!(LedgerStore::open(directory.path()), Err(LedgerError::Damaged { .. })));
    }
}
