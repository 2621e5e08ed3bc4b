//! Where the private keys of this device are. That is chosen once, at enrolment: a key that was made in a
//! file has been on a disk, and moving it into a TPM would not undo that.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::keys::{self, DeviceKeys, FileKeys, KeyError};
use super::tpm_keys::{self, TpmKeys};
use crate::durable::Folder;
use crate::tpm::{Place, PlaceError};

/// Where private keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyPlace {
    /// In files, which only the agent's user can read.
    File,
    /// In a TPM, which nobody can read.
    Tpm(Place),
}

impl FromStr for KeyPlace {
    type Err = PlaceError;
    fn from_str(text: &str) -> Result<Self, PlaceError> {
        match text {
            "file" => Ok(Self::File),
            other => other.parse().map(Self::Tpm),
        }
    }
}

impl fmt::Display for KeyPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => f.write_str("file"),
            Self::Tpm(place) => place.fmt(f),
        }
    }
}

/// What to do about keys that are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Make them: of a device that is being enrolled, or erased.
    Make,
    /// Say so: other keys would not be those that the device's certificate is for.
    Refuse,
}

/// The keys in `folder`, which are where they were made; `asked` for another kind is refused. New ones
/// are made where `asked` says, else in files. May wait for a TPM.
pub fn open(
    folder: impl Into<Folder>,
    asked: Option<&KeyPlace>,
    missing: Missing,
) -> Result<Arc<dyn DeviceKeys>, KeyError> {
    let folder = folder.into();
    let directory = || folder.path().to_owned();
    let is_there = |name| folder.size(name).is_some();
    let in_files = is_there(keys::SIGNING) || is_there(keys::HPKE);
    let in_tpm = is_there(tpm_keys::SIGNING) || is_there(tpm_keys::HPKE);
    if missing == Missing::Refuse {
        let names = if in_tpm { tpm_keys::NAMES } else { keys::NAMES };
        if let Some(name) = names.into_iter().find(|name| !is_there(name)) {
            return Err(KeyError::Missing { path: folder.join(name) });
        }
    }
    match (in_files, in_tpm, asked) {
        (true, true, _) => Err(KeyError::Both { directory: directory() }),
        (true, _, Some(KeyPlace::Tpm(_))) => Err(KeyError::InFiles { directory: directory() }),
        (_, true, Some(KeyPlace::File)) => Err(KeyError::InTpm { directory: directory() }),
        (_, _, Some(KeyPlace::Tpm(place))) => {
            Ok(Arc::new(TpmKeys::open_or_create(&folder, Some(place.clone()))?))
        }
        (_, true, None) => Ok(Arc::new(TpmKeys::open_or_create(&folder, None)?)),
        (_, false, _) => Ok(Arc::new(FileKeys::open_or_create(&folder)?)),
    }
}
