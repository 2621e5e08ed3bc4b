//! Files that survive power loss: written beside their place, synced, renamed, directory synced.
//! A reader sees the old content or the new, never a part. Everything that the agent must still know
//! after a crash goes through a [`Folder`], so that tests can put a failing disk under all of it.

mod file_system;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use tokio::task::JoinError;

pub use self::file_system::{Entry, FileSystem, RealFileSystem, Space, Sync};

/// Suffix of files that are being written. Leftovers of a crash carry it and may be deleted.
pub const PART_SUFFIX: &str = ".part";

/// Mode of files that hold secrets or name what runs here.
pub const PRIVATE: u32 = 0o600;

/// Folders below a state directory in which files are replaced: versions/<id>.
const LEFTOVER_DEPTH: u32 = 2;

static NEXT_PART: AtomicU64 = AtomicU64::new(0);

/// A directory on a disk. A path alone is one on the system's disk.
#[derive(Debug, Clone)]
pub struct Folder {
    disk: Arc<dyn FileSystem>,
    path: PathBuf,
}

impl<P: AsRef<Path>> From<P> for Folder {
    fn from(path: P) -> Self {
        Self::on(Arc::new(RealFileSystem), path.as_ref())
    }
}

impl From<&Folder> for Folder {
    fn from(folder: &Folder) -> Self {
        folder.clone()
    }
}

impl Folder {
    /// `path` on this disk.
    pub fn on(disk: Arc<dyn FileSystem>, path: &Path) -> Self {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Self { disk, path }
    }

    /// A folder in this one; it need not exist.
    pub fn folder(&self, name: &str) -> Self {
        Self { disk: Arc::clone(&self.disk), path: self.path.join(name) }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a file in it is, for messages.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Replaces a file with `bytes`, durably, in a folder that is made if it is not there. On failure
    /// the file has its old content or the new, and the part file is gone.
    pub fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.replace(name, bytes, Sync::Now)?;
        self.disk.sync_directory(&self.path)
    }

    /// As [`Self::write`], without the syncs: for many files that one [`Self::sync_all`] makes durable
    /// together.
    pub fn write_later(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.replace(name, bytes, Sync::Later)
    }

    /// Makes everything durable that was written to the file system of this folder.
    pub fn sync_all(&self) -> io::Result<()> {
        self.disk.sync_all(&self.path)
    }

    /// Reads a file of at most `limit` bytes; longer ones are refused.
    pub fn read(&self, name: &str, limit: u64) -> io::Result<Vec<u8>> {
        self.disk.read(&self.join(name), limit)
    }

    /// As [`Self::read`], from the medium where the system allows that.
    pub fn read_back(&self, name: &str, limit: u64) -> io::Result<Vec<u8>> {
        self.disk.read_back(&self.join(name), limit)
    }

    /// Length of a file; none if it is not there.
    pub fn size(&self, name: &str) -> Option<u64> {
        self.disk.size(&self.join(name)).ok()
    }

    /// What is in it; nothing if it is not there.
    pub fn list(&self) -> io::Result<Vec<Entry>> {
        match self.disk.list(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            listed => listed,
        }
    }

    /// Removes a file. One that is not there is no error.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        gone(self.disk.remove_file(&self.join(name)))
    }

    /// Removes this folder and all that is in it.
    pub fn remove_all(&self) -> io::Result<()> {
        for entry in self.list()? {
            match entry.is_directory {
                true => self.folder(&entry.name).remove_all()?,
                false => self.remove(&entry.name)?,
            }
        }
        gone(self.disk.remove_directory(&self.path))
    }

    /// Room where it lies.
    pub fn space(&self) -> io::Result<Space> {
        let existing = self.path.ancestors().find(|path| self.disk.size(path).is_ok());
        self.disk.space(existing.unwrap_or(&self.path))
    }

    /// Makes it and its parents, durably, readable by this user alone.
    pub fn create(&self) -> io::Result<()> {
        create_directories(&*self.disk, &self.path, Sync::Now)
    }

    /// Removes what interrupted writes left here and below, but for those of processes that still
    /// run. Returns how many files that were.
    pub fn remove_leftovers(&self) -> io::Result<u32> {
        self.remove_leftovers_to(LEFTOVER_DEPTH)
    }

    fn remove_leftovers_to(&self, depth: u32) -> io::Result<u32> {
        let mut removed = 0;
        for entry in self.list()? {
            if entry.is_directory && depth > 0 {
                removed += self.folder(&entry.name).remove_leftovers_to(depth - 1)?;
            } else if !entry.is_directory && is_leftover(&entry.name) {
                self.remove(&entry.name)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// See [`FileSystem::blocks`].
    pub fn blocks(&self) -> bool {
        self.disk.blocks()
    }

    /// Runs what reads and writes here, away from the threads that must not wait.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        match self.blocks() {
            true => tokio::task::spawn_blocking(work).await,
            false => Ok(work()),
        }
    }

    fn replace(&self, name: &str, bytes: &[u8], sync: Sync) -> io::Result<()> {
        let number = NEXT_PART.fetch_add(1, Ordering::Relaxed);
        let part = self.join(&format!(".{name}.{}-{number}{PART_SUFFIX}", std::process::id()));
        let written = match self.disk.create(&part, bytes, sync) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create_directories(&*self.disk, &self.path, sync)?;
                self.disk.create(&part, bytes, sync)
            }
            written => written,
        };
        let written = written.and_then(|()| self.disk.rename(&part, &self.join(name)));
        if written.is_err() {
            // The part file is of no use; if even this fails, a later start removes it.
            let _ = self.disk.remove_file(&part);
        }
        written
    }
}

/// Replaces `path` with `bytes`, durably.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    Folder::from(directory).write(&name, bytes)
}

/// Creates `directory` and its parents, durably, readable by this user alone.
pub fn create_private_directory(directory: &Path) -> io::Result<()> {
    Folder::from(directory).create()
}

/// Reads at most `limit` bytes; longer files are refused.
pub fn read_limited(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    RealFileSystem.read(path, limit)
}

/// Whether an error says that there is no room.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn create_directories(disk: &dyn FileSystem, path: &Path, sync: Sync) -> io::Result<()> {
    if disk.size(path).is_ok() {
        return Ok(());
    }
    let parent = path.parent().ok_or(io::ErrorKind::NotFound)?;
    create_directories(disk, parent, sync)?;
    match disk.create_directory(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        made => made?,
    }
    let synced = match sync {
        Sync::Now => disk.sync_directory(parent),
        Sync::Later => Ok(()),
    };
    if synced.is_err() {
        // So that the next attempt does not take it for durable.
        let _ = disk.remove_directory(path);
    }
    synced
}

/// Whether a name is that of a part file whose writer is gone. This process writes none yet when it
/// asks.
fn is_leftover(name: &str) -> bool {
    let Some(stem) = name.strip_prefix('.').and_then(|rest| rest.strip_suffix(PART_SUFFIX)) else {
        return false;
    };
    let writer = stem.rsplit_once('.').and_then(|(_, tail)| tail.split_once('-'));
    let Some(process) = writer.and_then(|(process, _)| process.parse::<i32>().ok()) else {
        return true;
    };
    process.unsigned_abs() == std::process::id()
        || Pid::from_raw(process).is_none_or(|pid| test_kill_process(pid) == Err(Errno::SRCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_its_old_content_or_the_new_and_is_refused_beyond_its_limit() {
        let directory = tempfile::tempdir().unwrap();
        let folder = Folder::from(directory.path()).folder("made").folder("deep");
        folder.write("ledger.json", b"old").unwrap();
        folder.write("ledger.json", b"new").unwrap();
        assert_eq!(folder.read("ledger.json", 3).unwrap(), b"new");
        assert!(folder.read("ledger.json", 2).is_err());
        let names: Vec<_> = folder.list().unwrap().into_iter().map(|entry| entry.name).collect();
        assert_eq!(names, ["ledger.json"]);
    }

    #[test]
    fn a_write_that_fails_leaves_no_part_file() {
        let directory = tempfile::tempdir().unwrap();
        let folder = Folder::from(directory.path());
        folder.folder("taken").write("file", b"").unwrap();
        assert!(folder.write("taken", b"not over a directory").is_err());
        assert_eq!(folder.list().unwrap().len(), 1);
    }

    #[test]
    fn leftovers_of_the_dead_go_and_those_of_the_living_stay() {
        let directory = tempfile::tempdir().unwrap();
        let folder = Folder::from(directory.path());
        let init = ".ledger.json.1-0.part";
        let mine = format!(".ledger.json.{}-7.part", std::process::id());
        let nobody = format!(".index.{}-7.part", i32::MAX);
        let version = folder.folder("versions").folder("v");
        folder.write_later("kept.part", b"").unwrap();
        folder.write_later(init, b"").unwrap();
        folder.write_later(&mine, b"").unwrap();
        version.write_later(&nobody, b"").unwrap();
        assert_eq!(folder.remove_leftovers().unwrap(), 2);
        let names: Vec<_> = folder.list().unwrap().into_iter().map(|entry| entry.name).collect();
        assert!(names.contains(&init.to_owned()) && !names.contains(&mine), "{names:?}");
        assert!(version.list().unwrap().is_empty());
    }
}
