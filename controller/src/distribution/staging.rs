//! Receives an upload into a private folder, capped in size, in time and in number. Whatever goes
//! wrong, the file goes: it holds a model in the clear.

use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use edgeformer_proto::artifact::Digest;
use futures::{Stream, StreamExt};
use ring::digest;
use tempfile::TempPath;
use tokio::io::{AsyncWriteExt, BufWriter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Largest upload unless configured: more than any model that a device of today can run.
pub const DEFAULT_MAX_PAYLOAD_BYTES: u64 = 32 << 30;

/// Uploads at a time: each may take a payload's size of disk.
const MAX_UPLOADS: usize = 4;

/// Exports of tenants at a time: each may take as much disk as the database.
const MAX_EXPORTS: usize = 1;

/// An upload that sends nothing for this long is given up, so that its file does not stay.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes of an upload that are written at a time: each write changes threads, and parts are small.
const WRITE_BYTES: usize = 1 << 20;

/// Names of files in the folder begin with it; leftovers of a crash are known by it.
const PREFIX: &str = "upload-";

/// Why an upload was not received.
#[derive(Debug, thiserror::Error)]
pub enum StagingError {
    /// The folder cannot be used.
    #[error("cannot use {folder} for uploads: {source}")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Too many at a time.
    #[error("{MAX_UPLOADS} uploads are running: try again when one is done")]
    Busy,
    /// Over the limit.
    #[error("the file is larger than {max} bytes, the most that this controller accepts")]
    TooLarge {
        /// The limit.
        max: u64,
    },
    /// No space left.
    #[error(
        "the controller's disk is full after {received} bytes of the upload, at {folder}: free some space, then publish again"
    )]
    DiskFull {
        /// Bytes received so far.
        received: u64,
        /// Where.
        folder: PathBuf,
    },
    /// The sender went away.
    #[error("the upload broke off after {received} bytes: publish again")]
    Interrupted {
        /// Bytes received so far.
        received: u64,
    },
    /// The sender went silent.
    #[error("the upload stopped after {received} bytes and sent nothing more: publish again")]
    Stalled {
        /// Bytes received so far.
        received: u64,
    },
    /// It is not what the sender said it is.
    #[error(
        "the file arrived with SHA-256 {found}, the Digest header says {expected}: publish again"
    )]
    Digest {
        /// What arrived.
        found: Digest,
        /// What was announced.
        expected: Digest,
    },
    /// Anything else.
    #[error("cannot write the upload to {folder}: {source}")]
    Write {
        /// Where.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Where uploads are received.
#[derive(Debug, Clone)]
pub struct Staging {
    folder: PathBuf,
    max_bytes: u64,
    stall_timeout: Duration,
    places: Arc<Semaphore>,
    exports: Arc<Semaphore>,
}

/// A file for an export while it is written and sent. Dropping it removes the file.
#[derive(Debug)]
pub struct Scratch {
    /// Opened for writing and reading.
    pub file: File,
    _path: TempPath,
    _place: OwnedSemaphorePermit,
}

/// An upload that is all there. Dropping it removes the file.
#[derive(Debug)]
pub struct Staged {
    path: TempPath,
    size_bytes: u64,
    sha256: Digest,
    _place: OwnedSemaphorePermit,
}

impl Staging {
    /// In this folder: made (0700) if it is not there, emptied of what a crash left.
    pub fn open(folder: &Path, max_bytes: u64) -> Result<Self, StagingError> {
        let fails = |source| StagingError::Folder { folder: folder.to_owned(), source };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(fails)?;
        for entry in std::fs::read_dir(folder).map_err(fails)? {
            let entry = entry.map_err(fails)?;
            if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                std::fs::remove_file(entry.path()).map_err(fails)?;
            }
        }
        let places = Arc::new(Semaphore::new(MAX_UPLOADS));
        let stall_timeout = STALL_TIMEOUT;
        let exports = Arc::new(Semaphore::new(MAX_EXPORTS));
        Ok(Self { folder: folder.to_owned(), max_bytes, stall_timeout, places, exports })
    }

    /// A file for an export; none while another runs.
    pub fn scratch(&self) -> Result<Option<Scratch>, StagingError> {
        let Ok(place) = self.exports.clone().try_acquire_owned() else { return Ok(None) };
        let (file, path) = self.private_file()?;
        Ok(Some(Scratch { file, _path: path, _place: place }))
    }

    fn private_file(&self) -> Result<(File, TempPath), StagingError> {
        let made = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(std::fs::Permissions::from_mode(0o600))
            .tempfile_in(&self.folder);
        Ok(made.map_err(|source| self.write_error(0, source))?.into_parts())
    }

    /// Receives `body`; if `expected` is given, what arrives must have that SHA-256.
    pub async fn receive<E>(
        &self,
        body: impl Stream<Item = Result<Bytes, E>>,
        expected: Option<Digest>,
    ) -> Result<Staged, StagingError> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| StagingError::Busy)?;
        let (file, path) = self.private_file()?;
        let (size_bytes, sha256) = self.copy(body, file).await?;
        if let Some(expected) = expected.filter(|expected| *expected != sha256) {
            return Err(StagingError::Digest { found: sha256, expected });
        }
        Ok(Staged { path, size_bytes, sha256, _place: place })
    }

    async fn copy<E>(
        &self,
        body: impl Stream<Item = Result<Bytes, E>>,
        file: File,
    ) -> Result<(u64, Digest), StagingError> {
        let file = tokio::fs::File::from_std(file);
        let mut file = BufWriter::with_capacity(WRITE_BYTES, file);
        let mut hash = digest::Context::new(&digest::SHA256);
        let mut received = 0u64;
        let mut body = std::pin::pin!(body);
        loop {
            let next = timeout(self.stall_timeout, body.next()).await;
            let bytes = match next.map_err(|_| StagingError::Stalled { received })? {
                None => break,
                Some(Ok(bytes)) => bytes,
                Some(Err(_)) => return Err(StagingError::Interrupted { received }),
            };
            received = received.saturating_add(bytes.len() as u64);
            if received > self.max_bytes {
                return Err(StagingError::TooLarge { max: self.max_bytes });
            }
            hash.update(&bytes);
            file.write_all(&bytes).await.map_err(|e| self.write_error(received, e))?;
        }
        file.flush().await.map_err(|e| self.write_error(received, e))?;
        Ok((received, Digest::from_ring(hash.finish())))
    }

    fn write_error(&self, received: u64, source: io::Error) -> StagingError {
        let folder = self.folder.clone();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                StagingError::DiskFull { received, folder }
            }
            _ => StagingError::Write { folder, source },
        }
    }
}

impl Staged {
    /// Where it is, until this is dropped.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Its SHA-256.
    pub fn sha256(&self) -> Digest {
        self.sha256
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream;

    type Part = Result<Bytes, &'static str>;

    fn part(bytes: &'static [u8]) -> Part {
        Ok(Bytes::from_static(bytes))
    }

    fn files(folder: &Path) -> usize {
        std::fs::read_dir(folder).unwrap().count()
    }

    #[tokio::test]
    async fn an_upload_is_all_there_and_gone_when_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let staging = Staging::open(folder.path(), 100).unwrap();
        let body = stream::iter([part(b"a model"), part(b" file")]);
        let staged = staging.receive(body, None).await.unwrap();
        assert_eq!(std::fs::read(staged.path()).unwrap(), b"a model file");
        assert_eq!(staged.size_bytes(), 12);
        assert_eq!(staged.sha256(), Digest::of(b"a model file"));
        let mode = std::fs::metadata(staged.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(staged);
        assert_eq!(files(folder.path()), 0);
    }

    #[tokio::test]
    async fn what_cannot_be_received_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let staging = Staging::open(folder.path(), 10).unwrap();
        let check = async |parts: Vec<Part>, expected: Option<Digest>, says: &str| {
            let error = staging.receive(stream::iter(parts), expected).await.unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
            assert_eq!(files(folder.path()), 0);
        };
        check(vec![part(b"12345"), part(b"678901")], None, "larger than 10 bytes").await;
        check(vec![part(b"12345"), Err("gone")], None, "broke off after 5 bytes").await;
        check(vec![part(b"12345")], Some(Digest::of(b"54321")), "Digest header").await;
    }

    #[tokio::test]
    async fn a_silent_upload_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let mut staging = Staging::open(folder.path(), 10).unwrap();
        staging.stall_timeout = Duration::from_millis(1);
        let body = stream::iter([part(b"12345")]).chain(stream::pending());
        let error = staging.receive(body, None).await.unwrap_err();
        assert!(error.to_string().contains("stopped after 5 bytes"), "{error}");
        assert_eq!(files(folder.path()), 0);
    }

    #[tokio::test]
    async fn only_so_many_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let staging = Staging::open(folder.path(), 10).unwrap();
        let mut held = Vec::new();
        for _ in 0..MAX_UPLOADS {
            held.push(staging.receive(stream::iter([part(b"x")]), None).await.unwrap());
        }
        let error = staging.receive(stream::iter([part(b"x")]), None).await.unwrap_err();
        assert!(matches!(error, StagingError::Busy));
        held.pop();
        assert!(staging.receive(stream::iter([part(b"x")]), None).await.is_ok());
    }

    #[test]
    fn leftovers_of_a_crash_are_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("upload-abc"), b"half").unwrap();
        std::fs::write(folder.path().join("keep"), b"not ours").unwrap();
        Staging::open(folder.path(), 10).unwrap();
        assert_eq!(files(folder.path()), 1);
    }

    #[test]
    fn a_full_disk_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let staging = Staging::open(folder.path(), 10).unwrap();
        let error = staging.write_error(7, io::Error::from(io::ErrorKind::StorageFull));
        assert!(error.to_string().contains("disk is full after 7 bytes"), "{error}");
    }
}
