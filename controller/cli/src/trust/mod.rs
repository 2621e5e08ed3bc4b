//! The offline side of a tenant's TUF repository: root and targets, whose keys people hold. Works on
//! files in a folder, without a connection; key holders exchange the folder and each adds what
//! their key can say. Private keys are never in that folder.

mod change;
mod exchange;
mod folder;
mod keys;

pub use change::{Roles, first_root, following_root, next_root};
pub use exchange::Outgoing;
pub use folder::{Folder, Need, State};
pub use keys::{Protection, make_key, private_key, public_key};

use std::io;
use std::path::PathBuf;

use edgeformer_proto::tuf::{EditError, FormError, SignError, TufError};

use crate::failure::{Exit, Failure};

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A file or folder.
    #[error("cannot {doing} {path}: {source}")]
    File { doing: &'static str, path: PathBuf, source: io::Error },
    /// Metadata or a public key that cannot be read.
    #[error("{path}: {source}")]
    Form { path: PathBuf, source: FormError },
    /// Metadata that is not to be believed.
    #[error("{path}: {source}")]
    Refused { path: PathBuf, source: Box<TufError> },
    /// A root that clients could not follow.
    #[error("this change cannot be made: {0}")]
    Edit(#[from] Box<EditError>),
    /// A private key that cannot be used.
    #[error("{path}: {why}")]
    Key { path: PathBuf, why: String },
    /// It did not sign.
    #[error("{0}")]
    Sign(#[from] SignError),
    /// Others could sign.
    #[error("{path} can be read by others (mode {mode:o}): run chmod 600 on it")]
    Readable { path: PathBuf, mode: u32 },
    /// Would lose something.
    #[error("{0} is there already: choose another place")]
    Exists(PathBuf),
    /// Not a folder of this kind.
    #[error("{0} holds no repository: make one with `edgeformer trust init`")]
    Empty(PathBuf),
    /// Another change is under way.
    #[error(
        "version {0} of root still waits for signatures: sign it first, or begin again by removing \
         staged/root.json"
    )]
    Waiting(u64),
    /// The copy of another holder does not belong to this one.
    #[error("{0}: this is not a copy of what waits here: it has other content")]
    OtherContent(PathBuf),
    /// The folder does not come from the root that its user trusts.
    #[error(
        "{path}: it does not lead to the root in the folder ({why}): do not sign; ask the other holders \
         which root is right"
    )]
    OtherHistory { path: PathBuf, why: String },
    /// No such key.
    #[error("no key of {role} has an id that begins with {id:?}")]
    NoSuchKey { role: &'static str, id: String },
}

impl From<TrustError> for Failure {
    fn from(error: TrustError) -> Self {
        let exit = match error {
            TrustError::Refused { .. }
            | TrustError::OtherContent(_)
            | TrustError::OtherHistory { .. } => Exit::Failed,
            _ => Exit::Usage,
        };
        Failure::new(exit, error.to_string())
    }
}
