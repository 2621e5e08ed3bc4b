//! The folder of a witness: its private key, and what it holds of each log. The state is made together
//! with the key and never made again: a witness that forgot what it cosigned would sign anything.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use edgeformer_proto::audit::note::{KeyKind, SignerKey, VerifierKey, private_text};
use edgeformer_proto::audit::witness::Seen;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

const KEY: &str = "witness.key";
const STATE: &str = "state.json";
const LOCK: &str = "lock";
const FORMAT: &str = "edgeformer-witness/1";
/// Largest file read: a log has some 150 bytes here, and a witness is told which logs it knows.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A file or folder.
    #[error("cannot {doing} {path}: {source}")]
    File { doing: &'static str, path: PathBuf, source: io::Error },
    /// There is a witness already, or something else.
    #[error("{0} is not empty: choose a new folder; a witness's key and state are made once")]
    NotEmpty(PathBuf),
    /// Two processes would each hold their own truth.
    #[error("another witness is using {0}: stop it first")]
    InUse(PathBuf),
    /// Others could sign for the witness.
    #[error("{path} can be read by others (mode {mode:o}): run chmod 600 on it")]
    Readable { path: PathBuf, mode: u32 },
    /// Not what it should be.
    #[error(
        "{path} is damaged: {why}. Restore it from a copy of this moment, or make a new witness with \
         a new key; an older copy would let the witness sign a second history"
    )]
    Damaged { path: PathBuf, why: String },
    /// No name of a key.
    #[error("{0:?} cannot be a witness's name: it is one word without a plus sign")]
    Name(String),
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes: try again")]
    Random,
}

fn at<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> FolderError + 'a {
    move |source| FolderError::File { doing, path: path.to_owned(), source }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredState {
    format: String,
    /// The witness's public key: the state of another is not its own.
    witness: String,
    logs: BTreeMap<String, StoredSeen>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredSeen {
    size: u64,
    /// Base64.
    root: String,
}

/// An open folder: locked until it is dropped.
pub struct Folder {
    path: PathBuf,
    key: SignerKey,
    logs: BTreeMap<String, StoredSeen>,
    _lock: File,
}

impl Folder {
    /// Makes a witness that has seen nothing.
    pub fn make(path: &Path, name: &str) -> Result<VerifierKey, FolderError> {
        let mut seed = Zeroizing::new([0; 32]);
        SystemRandom::new().fill(&mut *seed).map_err(|_| FolderError::Random)?;
        let text = private_text(name, KeyKind::Cosignature, &seed);
        let text = text.ok_or_else(|| FolderError::Name(name.chars().take(200).collect()))?;
        let wrong = || FolderError::Name(name.to_owned());
        let key = SignerKey::from_private_text(&text).map_err(|_| wrong())?;
        DirBuilder::new().mode(0o700).recursive(true).create(path).map_err(at("make", path))?;
        if path.read_dir().map_err(at("read", path))?.next().is_some() {
            return Err(FolderError::NotEmpty(path.to_owned()));
        }
        let state = state_text(key.verifier(), &BTreeMap::new());
        write_durably(path, STATE, state.as_bytes())?;
        // Last: a folder with a key is a whole one.
        write_durably(path, KEY, format!("{}\n", *text).as_bytes())?;
        Ok(key.verifier().clone())
    }

    /// Opens the folder of a witness and keeps others out.
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        let lock_path = path.join(LOCK);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(&lock_path).map_err(at("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(FolderError::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(at("lock", &lock_path)(source)),
        }
        let key_path = path.join(KEY);
        let mode = key_path.metadata().map_err(at("read", &key_path))?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(FolderError::Readable { path: key_path, mode });
        }
        let text = Zeroizing::new(read(&key_path)?);
        let damaged = |path: &Path, why: String| FolderError::Damaged { path: path.into(), why };
        let key = SignerKey::from_private_text(&text)
            .map_err(|error| damaged(&key_path, error.to_string()))?;
        let state_path = path.join(STATE);
        let state: StoredState = serde_json::from_str(&read(&state_path)?)
            .map_err(|error| damaged(&state_path, error.to_string()))?;
        if state.format != FORMAT || state.witness != key.verifier().to_string() {
            return Err(damaged(&state_path, "it is not the state of this witness".to_owned()));
        }
        if let Some((origin, _)) = state.logs.iter().find(|(_, seen)| parse(seen).is_none()) {
            return Err(damaged(&state_path, format!("the root of {origin} is not a hash")));
        }
        Ok(Self { path: path.to_owned(), key, logs: state.logs, _lock: lock })
    }

    /// The witness's key.
    pub fn key(&self) -> &SignerKey {
        &self.key
    }

    /// What the witness holds of a log.
    pub fn seen(&self, origin: &str) -> Seen {
        self.logs.get(origin).and_then(parse).unwrap_or_else(Seen::nothing)
    }

    /// Holds `seen` from now on; durable when this returns. After an error it holds what it held.
    pub fn keep(&mut self, origin: &str, seen: Seen) -> Result<(), FolderError> {
        let mut logs = self.logs.clone();
        let stored = StoredSeen { size: seen.size, root: BASE64.encode(seen.root) };
        logs.insert(origin.to_owned(), stored);
        let text = state_text(self.key.verifier(), &logs);
        write_durably(&self.path, STATE, text.as_bytes())?;
        self.logs = logs;
        Ok(())
    }
}

fn parse(stored: &StoredSeen) -> Option<Seen> {
    let root = BASE64.decode(&stored.root).ok()?.try_into().ok()?;
    Some(Seen { size: stored.size, root })
}

fn state_text(key: &VerifierKey, logs: &BTreeMap<String, StoredSeen>) -> String {
    let state =
        StoredState { format: FORMAT.to_owned(), witness: key.to_string(), logs: logs.clone() };
    serde_json::to_string_pretty(&state).expect("a state has string keys only") + "\n"
}

fn read(path: &Path) -> Result<String, FolderError> {
    let mut text = String::new();
    let file = File::open(path).map_err(at("open", path))?;
    file.take(MAX_FILE_BYTES).read_to_string(&mut text).map_err(at("read", path))?;
    Ok(text)
}

/// Replaces a file, private to its owner, so that a crash leaves the old content or the new one.
fn write_durably(folder: &Path, name: &str, content: &[u8]) -> Result<(), FolderError> {
    let path = folder.join(name);
    let new = folder.join(format!("{name}.new"));
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&new, &path));
    written.map_err(at("write", &path))?;
    File::open(folder).and_then(|dir| dir.sync_all()).map_err(at("sync", folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_witness_remembers_what_it_cosigned_and_is_one_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w");
        let key = Folder::make(&path, "witness.example/1").unwrap();
        assert_eq!((mode(&path), mode(&path.join(KEY))), (0o700, 0o600));
        let mut folder = Folder::open(&path).unwrap();
        assert_eq!(folder.key().verifier(), &key);
        assert_eq!(folder.seen("a/log"), Seen::nothing());
        let seen = Seen { size: 7, root: [3; 32] };
        folder.keep("a/log", seen).unwrap();
        assert!(matches!(Folder::open(&path), Err(FolderError::InUse(_))));
        drop(folder);
        assert_eq!(Folder::open(&path).unwrap().seen("a/log"), seen);
        assert!(matches!(Folder::make(&path, "again"), Err(FolderError::NotEmpty(_))));
    }

    #[test]
    fn a_witness_that_forgot_or_lies_open_does_not_serve() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        Folder::make(&a, "w").unwrap();
        Folder::make(&b, "w").unwrap();
        assert!(matches!(Folder::make(&dir.path().join("c"), "a b"), Err(FolderError::Name(_))));
        let is_damaged = || matches!(Folder::open(&a), Err(FolderError::Damaged { .. }));
        let state = std::fs::read_to_string(a.join(STATE)).unwrap();
        std::fs::copy(b.join(STATE), a.join(STATE)).unwrap();
        assert!(is_damaged(), "the state of another witness");
        let bad = state.replace("{}", "{\"a/log\": {\"size\": 1, \"root\": \"AAAA\"}}");
        for bad in [&bad, &state[..state.len() / 2], ""] {
            std::fs::write(a.join(STATE), bad).unwrap();
            assert!(is_damaged(), "{bad:?}");
        }
        std::fs::remove_file(a.join(STATE)).unwrap();
        assert!(matches!(Folder::open(&a), Err(FolderError::File { .. })), "no state at all");
        std::fs::write(a.join(STATE), state).unwrap();
        let open = std::fs::Permissions::from_mode(0o640);
        std::fs::set_permissions(a.join(KEY), open).unwrap();
        assert!(matches!(Folder::open(&a), Err(FolderError::Readable { mode: 0o640, .. })));
    }

    #[test]
    fn what_cannot_be_made_durable_is_not_held() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w");
        Folder::make(&path, "w").unwrap();
        let mut folder = Folder::open(&path).unwrap();
        // In the way of the file that is renamed.
        std::fs::create_dir(path.join("state.json.new")).unwrap();
        let seen = Seen { size: 7, root: [3; 32] };
        assert!(folder.keep("a/log", seen).is_err());
        assert_eq!(folder.seen("a/log"), Seen::nothing());
    }
}
