//! The end of a device: everything that opens or describes a model is removed, the controller is told, and
//! when it has that on record the device forgets who it is.
//!
//! It begins with a durable note, before anything is removed: an agent that finds the note goes on
//! erasing and does nothing else. Chunks on disk are sealed; what ends them for good is that the keys
//! that open them are gone.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::instance;
use crate::durable;

/// The note.
const FILE: &str = "erase.json";
/// An id in quotes.
const MAX_FILE_BYTES: u64 = 1024;

/// What stays until the controller has it on record: who the device is, and how it proves that.
const KEPT: [&str; 4] = [FILE, "identity.json", instance::FILE, KEYS];
/// What stays for good: nothing in it opens or describes a model.
const HARMLESS: [&str; 4] = ["agent.lock", "time", "logs", "privacy.json"];
/// The folder of keys; those that open models begin with [`MODEL_KEY`].
const KEYS: &str = "keys";
const MODEL_KEY: &str = "hpke";
/// What is removed after that. The note is the last.
const SELF: [&str; 4] = [KEYS, "identity.json", instance::FILE, FILE];

/// The note or a file cannot be written or removed.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct EraseError {
    path: PathBuf,
    source: io::Error,
}

#[derive(Serialize, Deserialize)]
struct Note {
    order: String,
}

/// What was removed, over all attempts of this run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// Sealed chunks.
    pub chunks: u64,
    /// Versions.
    pub versions: u64,
    /// Of all files.
    pub bytes: u64,
    /// Words for what is still there.
    pub left: Vec<String>,
}

/// Notes durably that this device is to be erased.
pub fn begin(state_dir: &Path, order: &str) -> Result<(), EraseError> {
    let path = state_dir.join(FILE);
    let note = Note { order: order.chars().take(64).collect() };
    let bytes = serde_json::to_vec(&note).map_err(io::Error::other);
    bytes
        .and_then(|bytes| durable::write(&path, &bytes))
        .map_err(|source| EraseError { path, source })
}

/// The order under which this device is being erased, if it is.
pub fn under_way(state_dir: &Path) -> Option<String> {
    match durable::read_limited(&state_dir.join(FILE), MAX_FILE_BYTES) {
        Ok(bytes) => {
            let note: Option<Note> = serde_json::from_slice(&bytes).ok();
            // A damaged note still says that there was one.
            Some(note.map(|note| note.order).unwrap_or_default())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(_) => Some(String::new()),
    }
}

/// Removes everything that opens or describes a model, keys first: whatever is here but what is named as
/// staying. What is gone already is no error.
pub fn remove_content(state_dir: &Path) -> Removed {
    let mut removed = Removed {
        chunks: count(&state_dir.join("chunks"), u32::MAX),
        versions: count(&state_dir.join("versions"), 1),
        ..Removed::default()
    };
    let keys = state_dir.join(KEYS);
    for name in names(&keys).into_iter().filter(|name| name.starts_with(MODEL_KEY)) {
        removed.note("model_key", &keys.join(name));
    }
    let stays = |name: &String| [&KEPT[..], &HARMLESS[..]].concat().contains(&name.as_str());
    for name in names(state_dir).into_iter().filter(|name| !stays(name)) {
        let word = match name.as_str() {
            "chunks" | "versions" | "telemetry" => name.as_str(),
            other if other.starts_with("ledger") => "ledger",
            _ => "other",
        };
        removed.note(word, &state_dir.join(&name));
    }
    // Not known to be durable is not gone.
    for directory in [state_dir, &keys] {
        if directory.is_dir() && sync_directory(directory).is_err() {
            removed.left.push("model_key".to_owned());
        }
    }
    removed
}

impl Removed {
    /// Removes `path`, and counts it or says by `word` that it is left.
    fn note(&mut self, word: &str, path: &Path) {
        let bytes = size(path);
        match remove(path) {
            Ok(()) => self.bytes += bytes,
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "cannot be erased");
                if !self.left.iter().any(|known| known == word) {
                    self.left.push(word.to_owned());
                }
            }
        }
    }
}

/// Makes removals in `directory` survive power loss.
fn sync_directory(directory: &Path) -> io::Result<()> {
    fs::File::open(directory)?.sync_all()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Removes who this device was, and the note last.
pub fn remove_self(state_dir: &Path) -> Result<(), EraseError> {
    for place in SELF {
        let path = state_dir.join(place);
        remove(&path)
            .and_then(|()| sync_directory(state_dir))
            .map_err(|source| EraseError { path, source })?;
    }
    Ok(())
}

/// Removes a file or folder. Small files, which may be keys, are overwritten first: that helps on disks
/// that write in place and costs nothing on others.
fn remove(path: &Path) -> io::Result<()> {
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !meta.is_dir() {
        if meta.is_file() && meta.len() <= 64 * 1024 {
            overwrite(path, meta.len());
        }
        return fs::remove_file(path);
    }
    for entry in fs::read_dir(path)? {
        remove(&entry?.path())?;
    }
    fs::remove_dir(path)
}

/// Best effort: the file is removed whether or not this works.
fn overwrite(path: &Path, bytes: u64) {
    let zeros = vec![0; usize::try_from(bytes).unwrap_or(0)];
    let opened = fs::OpenOptions::new().write(true).open(path);
    let _ = opened.and_then(|mut file| file.write_all(&zeros).and_then(|()| file.sync_data()));
}

/// Files and folders below `path`, `depth` levels down: of chunks the files, of versions the folders.
fn count(path: &Path, depth: u32) -> u64 {
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    let below = |entry: fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() && depth > 1 => count(&entry.path(), depth - 1),
        _ => 1,
    };
    entries.flatten().map(below).sum()
}

fn size(path: &Path) -> u64 {
    let Ok(meta) = fs::symlink_metadata(path) else { return 0 };
    if !meta.is_dir() {
        return meta.len();
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| size(&entry.path())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (place, bytes) in [
            ("keys/hpke.key", 32),
            ("keys/device.p8", 138),
            ("chunks/ab/abcd", 1000),
            ("chunks/cd/cdef", 500),
            ("versions/v1/manifest", 10),
            ("ledger.json", 5),
            ("ledger.previous.json", 5),
            ("telemetry/1", 3),
            ("identity.json", 9),
            (instance::FILE, 9),
            ("logs/agent.log", 4),
            ("something-new/x", 2),
        ] {
            let path = directory.path().join(place);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, vec![7; bytes]).unwrap();
        }
        directory
    }

    #[test]
    fn content_goes_first_and_who_it_was_last() {
        let device = device();
        assert_eq!(under_way(device.path()), None);
        begin(device.path(), "order-1").unwrap();
        assert_eq!(names(&device.path().join(KEYS)), ["device.p8", "hpke.key"]);
        assert_eq!(under_way(device.path()).as_deref(), Some("order-1"));
        let removed = remove_content(device.path());
        let expected = Removed { chunks: 2, versions: 1, bytes: 1557, left: Vec::new() };
        assert_eq!(removed, expected);
        assert_eq!(names(device.path()), [FILE, "identity.json", instance::FILE, "keys", "logs"]);
        assert_eq!(names(&device.path().join("keys")), ["device.p8"]);
        // Again, as after a power cut.
        assert_eq!(remove_content(device.path()), Removed::default());
        remove_self(device.path()).unwrap();
        assert_eq!(names(device.path()), ["logs"]);
        assert_eq!(under_way(device.path()), None);
        remove_self(device.path()).unwrap();
    }

    #[test]
    fn a_damaged_note_still_counts() {
        let device = device();
        fs::write(device.path().join(FILE), "{").unwrap();
        assert_eq!(under_way(device.path()).as_deref(), Some(""));
    }
}
