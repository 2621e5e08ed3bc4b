//! Keys of local applications (`efl_…`). Only the SHA-256 of a key is kept; a key is shown once, when
//! it is made. Must never log or store a key.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use edgeformer_proto::token::{Kind, Token};
use serde::{Deserialize, Serialize};

use crate::durable::Folder;

/// In the state directory.
const FILE_NAME: &str = "local-keys.json";

/// One per application; more is a script that makes keys in a loop.
const MAX_KEYS: usize = 100;

/// [`MAX_KEYS`] entries with the longest names, with room to spare.
const MAX_FILE_BYTES: u64 = 64 << 10;

const MAX_NAME_CHARS: usize = 64;

/// Why keys cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Reading or writing failed.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        error: std::io::Error,
    },
    /// The file is not what this program wrote.
    #[error("{path} is damaged ({reason}): remove it and make the keys anew")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where it does not parse.
        reason: String,
    },
    /// Two keys of one name could not be told apart.
    #[error("a key named {0:?} exists: revoke it first or choose another name")]
    Exists(String),
    /// Nothing to revoke.
    #[error("no key is named {0:?}: `edgeformer-agent key list` shows the names")]
    Unknown(String),
    /// Not a name.
    #[error("a key's name has 1 to {MAX_NAME_CHARS} printable characters")]
    Name,
    /// Too many.
    #[error("there are {MAX_KEYS} keys already: revoke those that are not used any more")]
    TooMany,
}

/// One key, without the secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalKey {
    /// Chosen by the operator.
    pub name: String,
    /// Of the whole key, hex.
    sha256: String,
    /// Seconds since the Unix epoch.
    pub created_at_unix_s: u64,
}

/// All keys of a device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalKeys {
    keys: Vec<LocalKey>,
    /// Stays true when the last key is revoked: that must lock the door, not open it.
    required: bool,
}

/// What a presented key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyCheck {
    /// It belongs to this name.
    Known(String),
    /// Its checksum is wrong: cut off or mistyped.
    Mistyped,
    /// It is well formed, but not one of ours: revoked, or of another device.
    Unknown,
}

impl LocalKeys {
    /// Reads the keys; none if there is no file.
    pub fn load(state_dir: impl Into<Folder>) -> Result<Self, KeyError> {
        let folder = state_dir.into();
        let path = folder.join(FILE_NAME);
        let damaged = |reason: String| KeyError::Damaged { path: path.clone(), reason };
        match folder.read(FILE_NAME, MAX_FILE_BYTES) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| damaged(error.to_string())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) if error.kind() == ErrorKind::InvalidData => Err(damaged(error.to_string())),
            Err(error) => Err(KeyError::Io { path, error }),
        }
    }

    /// Writes the keys: whole or not at all, readable by the owner only.
    pub fn save(&self, state_dir: impl Into<Folder>) -> Result<(), KeyError> {
        let folder = state_dir.into();
        let text = serde_json::to_vec_pretty(self).expect("strings and numbers");
        folder
            .write(FILE_NAME, &text)
            .map_err(|error| KeyError::Io { path: folder.join(FILE_NAME), error })
    }

    /// Adds a key and returns it: the only time it is seen.
    pub fn create(&mut self, name: &str, now: SystemTime) -> Result<Token, KeyError> {
        let length = name.chars().count();
        if length == 0 || length > MAX_NAME_CHARS || name.chars().any(char::is_control) {
            return Err(KeyError::Name);
        }
        if self.keys.iter().any(|key| key.name == name) {
            return Err(KeyError::Exists(name.to_owned()));
        }
        if self.keys.len() >= MAX_KEYS {
            return Err(KeyError::TooMany);
        }
        let key = Token::mint(Kind::Local);
        self.required = true;
        let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.keys.push(LocalKey {
            name: name.to_owned(),
            sha256: hex(&key),
            created_at_unix_s: since_epoch.as_secs(),
        });
        Ok(key)
    }

    /// Makes a key stop working.
    pub fn revoke(&mut self, name: &str) -> Result<(), KeyError> {
        let before = self.keys.len();
        self.keys.retain(|key| key.name != name);
        if self.keys.len() == before { Err(KeyError::Unknown(name.to_owned())) } else { Ok(()) }
    }

    /// Whether requests need a key: from the first one made on.
    pub fn required(&self) -> bool {
        self.required
    }

    /// The keys, oldest first.
    pub fn list(&self) -> &[LocalKey] {
        &self.keys
    }

    /// Judges a presented key. Comparing hashes tells a guesser nothing about the key.
    pub fn check(&self, presented: &str) -> KeyCheck {
        let Ok(presented) = Token::parse(Kind::Local, presented) else {
            return KeyCheck::Mistyped;
        };
        let sha256 = hex(&presented);
        let found = self.keys.iter().find(|key| key.sha256 == sha256);
        found.map_or(KeyCheck::Unknown, |key| KeyCheck::Known(key.name.clone()))
    }
}

fn hex(key: &Token) -> String {
    key.sha256().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_works_until_it_is_revoked_and_is_not_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut keys = LocalKeys::load(dir.path()).unwrap();
        assert!(keys.list().is_empty() && !keys.required());
        let key = keys.create("chat", SystemTime::now()).unwrap();
        assert!(matches!(keys.create("chat", SystemTime::now()), Err(KeyError::Exists(_))));
        keys.save(dir.path()).unwrap();

        let path = dir.path().join(FILE_NAME);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!std::fs::read_to_string(&path).unwrap().contains(key.reveal()));

        let mut read = LocalKeys::load(dir.path()).unwrap();
        assert_eq!(read.check(key.reveal()), KeyCheck::Known("chat".into()));
        read.revoke("chat").unwrap();
        assert_eq!(read.check(key.reveal()), KeyCheck::Unknown);
        assert!(matches!(read.revoke("chat"), Err(KeyError::Unknown(_))));
        assert!(read.list().is_empty() && read.required());
    }

    #[test]
    fn a_typing_error_is_told_from_a_foreign_key() {
        let mut keys = LocalKeys::default();
        let key = keys.create("a", SystemTime::now()).unwrap();
        assert_eq!(keys.check(&key.reveal()[..39]), KeyCheck::Mistyped);
        assert_eq!(keys.check("ü"), KeyCheck::Mistyped);
        assert_eq!(keys.check(Token::mint(Kind::Local).reveal()), KeyCheck::Unknown);
    }

    #[test]
    fn a_damaged_file_is_an_error_and_not_an_open_door() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE_NAME), "{").unwrap();
        assert!(matches!(LocalKeys::load(dir.path()), Err(KeyError::Damaged { .. })));
    }
}
