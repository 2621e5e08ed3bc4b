//! One agent per state directory: two would overwrite each other's ledger and fight for the models.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::durable;

const FILE: &str = "agent.lock";

/// Why the state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error(
        "{directory}: in use by another agent (process {pid}): stop it first, or use another --state-dir"
    )]
    Held {
        /// The state directory.
        directory: PathBuf,
        /// The other process.
        pid: String,
    },
    /// The lock file cannot be made.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Holds the state directory until it is dropped, or the process ends however it ends.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

/// Takes the state directory, creating it if it is not there.
pub fn acquire(directory: &Path) -> Result<StateLock, LockError> {
    let path = directory.join(FILE);
    let failed = |source| LockError::File { path: path.clone(), source };
    durable::create_private_directory(directory).map_err(failed)?;
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(durable::PRIVATE)
        .open(&path)
        .map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let mut pid = String::new();
            // Only for the message.
            let _ = file.take(20).read_to_string(&mut pid);
            return Err(LockError::Held { directory: directory.to_owned(), pid });
        }
        Err(errno) => return Err(failed(errno.into())),
    }
    // Only for the message: a device whose disk is full must serve all the same.
    let _ = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| write!(file, "{}", std::process::id()));
    Ok(StateLock { _file: file })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_agent_is_told_who_holds_the_directory() {
        let directory = tempfile::tempdir().unwrap();
        let first = acquire(directory.path()).unwrap();
        let error = acquire(directory.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        acquire(directory.path()).unwrap();
    }
}
