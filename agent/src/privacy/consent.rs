//! The owner's choices, in one file of the state directory. A file that cannot be read means the
//! least: whoever damaged it did not consent to more.

use std::collections::BTreeMap;
use std::path::PathBuf;

use edgeformer_proto::privacy::Group;
use serde::{Deserialize, Serialize};

use crate::durable::Folder;

/// In the state directory.
pub(super) const FILE_NAME: &str = "privacy.json";
/// Five words, with much room.
const MAX_FILE_BYTES: u64 = 4 << 10;

/// Why the choices cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum ConsentError {
    /// Reading or writing failed.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        error: std::io::Error,
    },
    /// The file is not what this program wrote.
    #[error("{path} is damaged ({reason}): remove it and choose anew; until then the least leaves")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// There is no such group, or it cannot be switched.
    #[error("{0:?} cannot be switched: `edgeformer-agent privacy show` lists what can")]
    Unknown(String),
}

/// What may leave.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Consent {
    /// What somebody chose, by group; the rest is as declared.
    chosen: BTreeMap<String, bool>,
}

impl Consent {
    /// Only what the device cannot do without.
    pub fn least() -> Self {
        let off = |group: Group| (group.as_str().to_owned(), false);
        Self { chosen: Group::OPTIONAL.into_iter().map(off).collect() }
    }

    /// Reads the choices; without a file nothing was chosen.
    pub fn load(state_dir: impl Into<Folder>) -> Result<Self, ConsentError> {
        let folder = state_dir.into();
        let path = folder.join(FILE_NAME);
        let bytes = match folder.read(FILE_NAME, MAX_FILE_BYTES) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => return Err(ConsentError::Io { path, error }),
            Ok(bytes) => bytes,
        };
        let damaged = |reason| ConsentError::Damaged { path: path.clone(), reason };
        let read: Self =
            serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        match read.chosen.keys().find(|name| Group::parse(name).is_none()) {
            Some(name) => Err(damaged(format!("there is no group {name:?}"))),
            None => Ok(read),
        }
    }

    /// Keeps the choices.
    pub fn save(&self, state_dir: impl Into<Folder>) -> Result<(), ConsentError> {
        let folder = state_dir.into();
        let text = serde_json::to_vec_pretty(self).expect("choices have string keys");
        folder
            .write(FILE_NAME, &text)
            .map_err(|error| ConsentError::Io { path: folder.join(FILE_NAME), error })
    }

    /// Chooses for one group.
    pub fn set(&mut self, group: &str, on: bool) -> Result<Group, ConsentError> {
        let known = Group::parse(group).ok_or_else(|| ConsentError::Unknown(group.to_owned()))?;
        self.chosen.insert(known.as_str().to_owned(), on);
        Ok(known)
    }

    /// Whether what belongs to `group` may leave.
    pub fn allows(&self, group: Group) -> bool {
        let chosen = self.chosen.get(group.as_str()).copied();
        group == Group::Required || chosen.unwrap_or_else(|| group.default_on())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_kept_and_the_rest_is_as_declared() {
        let dir = tempfile::tempdir().unwrap();
        let mut consent = Consent::load(dir.path()).unwrap();
        assert!(!consent.allows(Group::Hostname) && consent.allows(Group::Metrics));
        consent.set("metrics", false).unwrap();
        consent.set("hostname", true).unwrap();
        consent.save(dir.path()).unwrap();
        let read = Consent::load(dir.path()).unwrap();
        assert_eq!(read, consent);
        assert!(read.allows(Group::Hostname) && !read.allows(Group::Metrics));
        assert!(read.allows(Group::Hardware) && read.allows(Group::Required));
        assert!(consent.set("required", false).is_err(), "what is required cannot be switched");
    }

    #[test]
    fn a_file_that_is_not_understood_is_an_error_and_the_least_is_required_only() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["{", "[]", r#"{"prompts":true}"#, r#"{"metrics":"yes"}"#] {
            std::fs::write(dir.path().join(FILE_NAME), text).unwrap();
            assert!(Consent::load(dir.path()).is_err(), "{text}");
        }
        let least = Consent::least();
        assert!(Group::OPTIONAL.into_iter().all(|group| !least.allows(group)));
        assert!(least.allows(Group::Required));
    }
}
