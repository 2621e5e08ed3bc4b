//! Which of its sessions this device was in last, kept durably, so that a copy of the state folder shows
//! itself (`edgeformer_proto::instance`). What is held in memory is on disk; what is on disk and not in
//! memory is the next value, which the controller knows of.

use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use edgeformer_proto::instance::{Instance, VALUE_BYTES};
use serde::{Deserialize, Serialize};

use crate::durable::Folder;

/// Beside the identity.
pub const FILE: &str = "instance.json";
/// Two short fields.
const MAX_FILE_BYTES: u64 = 1024;

/// The file cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct InstanceError {
    path: PathBuf,
    source: io::Error,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    counter: u64,
    value: String,
}

/// See the module.
#[derive(Debug)]
pub struct InstanceStore {
    folder: Folder,
    /// Locked while it is written, so that nothing older is shown meanwhile.
    held: Mutex<Instance>,
}

impl InstanceStore {
    /// Reads what is kept in `state_dir`. A file that cannot be read is an error: to begin anew would
    /// look like a copy.
    pub fn open(state_dir: impl Into<Folder>) -> Result<Self, InstanceError> {
        let folder = state_dir.into();
        let held = match folder.read(FILE, MAX_FILE_BYTES) {
            Ok(bytes) => parse(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Instance::default()),
            Err(error) => Err(error),
        };
        let held = held.map_err(|source| InstanceError { path: folder.join(FILE), source })?;
        Ok(Self { folder, held: Mutex::new(held) })
    }

    /// What is kept.
    pub fn held(&self) -> Instance {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps `offer` if it is newer. What is kept then is the answer.
    pub fn take(&self, offer: Instance) -> Result<Instance, InstanceError> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.takes(&offer) {
            let stored = Stored { counter: offer.counter, value: BASE64.encode(offer.value) };
            let text = serde_json::to_vec(&stored).map_err(io::Error::other);
            text.and_then(|bytes| self.folder.write(FILE, &bytes))
                .map_err(|source| InstanceError { path: self.folder.join(FILE), source })?;
            *held = offer;
        }
        Ok(*held)
    }
}

fn parse(bytes: &[u8]) -> io::Result<Instance> {
    let stored: Stored = serde_json::from_slice(bytes)?;
    let value = BASE64.decode(&stored.value).map_err(io::Error::other)?;
    let value = <[u8; VALUE_BYTES]>::try_from(value)
        .map_err(|_| io::Error::other("its value is not 16 bytes"))?;
    Ok(Instance { counter: stored.counter, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_there_after_a_restart_and_nothing_older_replaces_it() {
        let directory = tempfile::tempdir().unwrap();
        let store = InstanceStore::open(directory.path()).unwrap();
        assert_eq!(store.held(), Instance::default());
        let third = Instance { counter: 3, value: [7; 16] };
        assert_eq!(store.take(third).unwrap(), third);
        assert_eq!(store.take(Instance { counter: 2, value: [9; 16] }).unwrap(), third);
        assert_eq!(InstanceStore::open(directory.path()).unwrap().held(), third);
    }

    #[test]
    fn what_could_not_be_written_is_not_held() {
        let directory = tempfile::tempdir().unwrap();
        let taken = directory.path().join("taken");
        let store = InstanceStore::open(&taken).unwrap();
        std::fs::write(&taken, "a file in the place of the folder").unwrap();
        assert!(store.take(Instance { counter: 1, value: [1; 16] }).is_err());
        assert_eq!(store.held(), Instance::default());
        std::fs::write(directory.path().join(FILE), "{}").unwrap();
        assert!(InstanceStore::open(directory.path()).is_err(), "rubbish is no beginning");
    }
}
