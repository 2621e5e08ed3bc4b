//! Backup and restore of a whole installation: one file in, one installation out.
//!
//! A backup is a tar archive: `backup.json` (what it is), `tables/<name>.jsonl` (all rows, of one
//! consistent moment), `data/…` (keys, certificates, sealed objects) and, last, `SHA256SUMS` over
//! everything before it, so that half a file is recognised. It does not depend on the database: what
//! was SQLite can come back as PostgreSQL.
//!
//! It holds the installation's key: whoever has the file has the installation. It is written 0600
//! and never over another file.

mod archive;
mod restore;
mod save;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::store::StoreError;
use crate::store::dump::{DumpError, Table};

pub use restore::{Restored, restore};
pub use save::{Saved, save};

/// Format of the archive; raised when an older program could not read a newer one.
const FORMAT: u32 = 1;
const META: &str = "backup.json";
const SUMS: &str = "SHA256SUMS";
const TABLES: &str = "tables";
const DATA: &str = "data";

/// The first entry of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Meta {
    format: u32,
    /// RFC 3339.
    created_at: String,
    /// Version of the program that made it.
    program: String,
    /// Newest migration of the schema it was made from.
    schema: i64,
    tables: Vec<Table>,
}

/// A backup or restore that did not work. Nothing is left half done.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The target is there already.
    #[error("{0} exists: backups are never written over another file")]
    Exists(PathBuf),
    /// Restoring would mix two installations.
    #[error("{what} is not empty: restore only into a new, empty installation")]
    NotEmpty {
        /// A folder or the database.
        what: String,
    },
    /// A file operation failed.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The archive is damaged or was cut off.
    #[error("{path} is not a complete backup: {why}")]
    Damaged {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A newer program made it.
    #[error(
        "the backup was made by version {program} in format {format}; this program reads format {FORMAT}: restore with that version"
    )]
    Newer {
        /// The version that made it.
        program: String,
        /// Its format.
        format: u32,
    },
    /// The rows could not be dumped or restored.
    #[error(transparent)]
    Dump(#[from] DumpError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn io(
    doing: &'static str,
    path: &std::path::Path,
) -> impl FnOnce(std::io::Error) -> BackupError + use<> {
    let path = path.to_owned();
    move |source| BackupError::Io { doing, path, source }
}

#[cfg(test)]
mod tests;
