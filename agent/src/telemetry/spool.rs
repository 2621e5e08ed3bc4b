//! Batches that wait for the controller, on disk, so that a restart or a week in a tunnel loses as
//! little as the bound allows. The oldest goes first when the bound is reached, and is counted.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Batches kept at most: at one a minute about four days.
pub const MAX_BATCHES: usize = 6_000;
/// Bytes kept at most: telemetry must never be what fills a device's disk.
pub const MAX_BYTES: u64 = 16 << 20;
const SUFFIX: &str = ".otlp";
/// Extension of a batch that is being written.
const PARTIAL: &str = "partial";

/// The spool cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// A file operation failed.
    #[error("telemetry spool: cannot {doing} {path}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
}

fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> SpoolError + use<> {
    let path = path.to_owned();
    move |source| SpoolError::Io { doing, path, source }
}

/// A bounded queue of encoded batches in one folder.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
    /// Sequence number and size of each batch, oldest first.
    batches: std::collections::VecDeque<(u64, u64)>,
    next: u64,
    dropped: u64,
    max_batches: usize,
    max_bytes: u64,
}

impl Spool {
    /// Opens the folder, making it if it is not there. A batch that was being written when the agent
    /// ended is removed; what is neither is left alone.
    pub fn open(folder: &Path) -> Result<Self, SpoolError> {
        Self::with_bounds(folder, MAX_BATCHES, MAX_BYTES)
    }

    fn with_bounds(folder: &Path, max_batches: usize, max_bytes: u64) -> Result<Self, SpoolError> {
        fs::create_dir_all(folder).map_err(io("create", folder))?;
        let mut batches = Vec::new();
        for entry in fs::read_dir(folder).map_err(io("read", folder))? {
            let entry = entry.map_err(io("read", folder))?;
            let name = entry.file_name();
            if entry.path().extension().is_some_and(|extension| extension == PARTIAL) {
                fs::remove_file(entry.path()).map_err(io("remove", &entry.path()))?;
                continue;
            }
            let number = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
            if let Some(number) = number.and_then(|digits| digits.parse().ok()) {
                let size = entry.metadata().map_err(io("read", &entry.path()))?.len();
                batches.push((number, size));
            }
        }
        batches.sort_unstable();
        let next = batches.last().map_or(0, |(number, _)| number + 1);
        Ok(Self {
            folder: folder.to_owned(),
            batches: batches.into(),
            next,
            dropped: 0,
            max_batches,
            max_bytes,
        })
    }

    /// How many batches were dropped since the agent started.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// How many batches wait.
    pub fn len(&self) -> usize {
        self.batches.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Appends a batch, dropping the oldest ones that no longer fit.
    pub fn push(&mut self, batch: &[u8]) -> Result<(), SpoolError> {
        let path = self.path(self.next);
        let partial = path.with_extension(PARTIAL);
        let written = fs::File::create(&partial)
            .and_then(|mut file| file.write_all(batch))
            .and_then(|()| fs::rename(&partial, &path));
        if let Err(source) = written {
            let _ = fs::remove_file(&partial);
            self.dropped += 1;
            return Err(SpoolError::Io { doing: "write", path, source });
        }
        self.batches.push_back((self.next, batch.len() as u64));
        self.next += 1;
        while self.batches.len() > self.max_batches
            || self.batches.iter().map(|(_, size)| size).sum::<u64>() > self.max_bytes
        {
            self.dropped += 1;
            self.remove_oldest()?;
        }
        Ok(())
    }

    /// The oldest batch, still in the spool; none if the spool is empty.
    pub fn oldest(&self) -> Result<Option<Vec<u8>>, SpoolError> {
        let Some((number, _)) = self.batches.front() else { return Ok(None) };
        let path = self.path(*number);
        fs::read(&path).map(Some).map_err(io("read", &path))
    }

    /// Removes the oldest batch: it was confirmed, or can never be sent.
    pub fn remove_oldest(&mut self) -> Result<(), SpoolError> {
        let Some((number, _)) = self.batches.pop_front() else { return Ok(()) };
        let path = self.path(number);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(io("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:020}{SUFFIX}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_leave_in_order_and_survive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(folder.path()).unwrap();
        for batch in [b"one", b"two"] {
            spool.push(batch).unwrap();
        }
        drop(spool);
        let mut spool = Spool::open(folder.path()).unwrap();
        assert_eq!(spool.oldest().unwrap().unwrap(), b"one");
        spool.remove_oldest().unwrap();
        spool.push(b"three").unwrap();
        assert_eq!(spool.oldest().unwrap().unwrap(), b"two");
        assert_eq!(spool.len(), 2);
    }

    #[test]
    fn the_oldest_go_when_the_bound_is_reached_and_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::with_bounds(folder.path(), 100, 10).unwrap();
        for batch in [b"aaaa", b"bbbb", b"cccc"] {
            spool.push(batch).unwrap();
        }
        assert_eq!((spool.len(), spool.dropped()), (2, 1));
        assert_eq!(spool.oldest().unwrap().unwrap(), b"bbbb");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_half_written_batch_is_not_one() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("00000000000000000009.partial"), b"x").unwrap();
        assert!(Spool::open(folder.path()).unwrap().is_empty());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "and it does not stay");
    }
}
