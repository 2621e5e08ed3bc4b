//! Why a version is not on this device yet: what ends the update, and what only makes it wait.

use std::io;

use edgeformer_proto::artifact::{ArtifactError, ChunkId};
use edgeformer_proto::keywrap::{HpkeError, KeyWrapError};

use super::chunks::StoreError;
use super::trust::TrustError;
use crate::facts::human_bytes;

/// Why a version cannot be fetched or opened.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// There is no session.
    #[error("not connected to the controller: fetching goes on when it is back")]
    Offline,
    /// The connection broke or the controller failed.
    #[error("fetching was interrupted ({0}): what was received is kept")]
    Interrupted(String),
    /// The controller will not hand it out.
    #[error("the controller refuses the version: {0}: roll it out again")]
    Refused(String),
    /// The tenant's owner does not say that it may be installed.
    #[error(transparent)]
    Trust(Box<TrustError>),
    /// Manifest, index or chunk is not what was signed.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// The data key does not open.
    #[error(transparent)]
    Key(#[from] KeyWrapError),
    /// The desired state names the version in a way that no manifest can match.
    #[error("the assignment names {what} {text:?}, which no manifest can carry: roll it out again")]
    Assignment {
        /// Which field.
        what: &'static str,
        /// Its text.
        text: String,
    },
    /// The model can never fit.
    #[error(
        "needs {} of memory, {} available: raise --memory-limit-mb, use a smaller context or a \
         smaller model", human_bytes(*.needs_bytes), human_bytes(*.available_bytes)
    )]
    Memory {
        /// What it needs.
        needs_bytes: u64,
        /// What models may use here.
        available_bytes: u64,
    },
    /// The chunks do not fit.
    #[error(
        "needs {} of disk, {} available, and the older versions on this device do not make up for it: \
         free {} where the state directory is, or use a smaller model; then roll it out again",
        human_bytes(*.needs_bytes), human_bytes(*.available_bytes),
        human_bytes(.needs_bytes.saturating_sub(*.available_bytes))
    )]
    Disk {
        /// What is still to be stored, with a reserve.
        needs_bytes: u64,
        /// What is free.
        available_bytes: u64,
    },
    /// The disk filled up on the way.
    #[error("the disk is full: fetching goes on when there is space; what was received is kept")]
    DiskFull,
    /// The controller sent bytes that are not the chunk asked for.
    #[error("chunk {id}: what was received is not what was signed ({found}): fetching again")]
    WrongChunk {
        /// The id asked for.
        id: ChunkId,
        /// What came.
        found: String,
    },
    /// A file operation failed.
    #[error("{path}: {source}: check the disk")]
    Storage {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// Something of the version is not on disk, or is damaged.
    #[error("{0} of the version is missing or damaged on disk: it will be fetched again")]
    Incomplete(String),
}

/// What an error means for the update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It ends.
    Fail,
    /// It goes on later by itself.
    Wait,
    /// Bytes on disk must be fetched again.
    Refetch,
}

impl FetchError {
    /// One word for machines.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Interrupted(_) => "interrupted",
            Self::Refused(_) => "refused",
            Self::Trust(error) => error.reason(),
            Self::Artifact(error) => error.reason(),
            Self::Key(_) if self.is_of_key_holder() => "key_holder",
            Self::Key(_) => "key",
            Self::Assignment { .. } => "manifest",
            Self::Memory { .. } => "memory",
            Self::Disk { .. } => "disk",
            Self::DiskFull => "disk_full",
            Self::WrongChunk { .. } => "chunk",
            Self::Storage { .. } => "storage",
            Self::Incomplete(_) => "incomplete",
        }
    }

    /// Whether what holds this device's key, a TPM, failed, and not what was to be opened.
    pub fn is_of_key_holder(&self) -> bool {
        matches!(self, Self::Key(KeyWrapError::Hpke(HpkeError::Agreement(_))))
    }

    /// What it means for the update.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Offline
            | Self::Interrupted(_)
            | Self::DiskFull
            | Self::Storage { .. }
            | Self::WrongChunk { .. } => Verdict::Wait,
            Self::Key(_) if self.is_of_key_holder() => Verdict::Wait,
            Self::Incomplete(_) => Verdict::Refetch,
            Self::Trust(error) => error.verdict(),
            Self::Refused(_)
            | Self::Artifact(_)
            | Self::Key(_)
            | Self::Assignment { .. }
            | Self::Memory { .. }
            | Self::Disk { .. } => Verdict::Fail,
        }
    }
}

impl From<TrustError> for FetchError {
    fn from(error: TrustError) -> Self {
        Self::Trust(Box::new(error))
    }
}

impl From<StoreError> for FetchError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::WrongHash { id, found } => {
                Self::WrongChunk { id, found: found.to_string() }
            }
            StoreError::Full { .. } => Self::DiskFull,
            StoreError::Write { path, source } => {
                Self::Storage { path: path.display().to_string(), source }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_memory_says_how_much_and_ends_the_update() {
        let error = FetchError::Memory { needs_bytes: 1_200_000_000, available_bytes: 800_000_000 };
        assert!(error.to_string().starts_with("needs 1.2 GB of memory, 800 MB available"));
        assert_eq!((error.reason(), error.verdict()), ("memory", Verdict::Fail));
    }

    #[test]
    fn a_tpm_that_does_not_answer_makes_the_update_wait_and_a_key_that_does_not_open_ends_it() {
        let holder = HpkeError::Agreement("the TPM at tpm:/dev/tpmrm0: …".to_owned());
        let error = FetchError::Key(holder.into());
        assert_eq!((error.reason(), error.verdict()), ("key_holder", Verdict::Wait));
        let error = FetchError::Key(HpkeError::Open.into());
        assert_eq!((error.reason(), error.verdict()), ("key", Verdict::Fail));
    }
}
