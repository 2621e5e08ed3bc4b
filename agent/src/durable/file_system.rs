//! What the agent asks of a file system: whole files and no open handles, so that a test can put one
//! in its place that fails, fills up or loses power at any call. The names below say what is
//! promised; everything that is not promised may be lost when power is.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::Advice;

use super::PRIVATE;

/// Whether a write waits until the medium has the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// It does: for one file.
    Now,
    /// [`FileSystem::sync_all`] will: for many files.
    Later,
}

/// Something in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Whether it is a directory.
    pub is_directory: bool,
}

/// Room on a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Space {
    /// In all.
    pub total: u64,
    /// What this user may still write.
    pub free: u64,
}

/// The operations. All paths are absolute.
pub trait FileSystem: fmt::Debug + Send + std::marker::Sync {
    /// Content of a file; one of more than `limit` bytes is refused.
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>>;
    /// As [`Self::read`], from the medium where the system allows that: what only memory holds,
    /// because writing it failed, does not pass for written.
    fn read_back(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>>;
    /// Length of a file in bytes.
    fn size(&self, path: &Path) -> io::Result<u64>;
    /// What is in a directory, in any order.
    fn list(&self, directory: &Path) -> io::Result<Vec<Entry>>;
    /// Room where `path` lies.
    fn space(&self, path: &Path) -> io::Result<Space>;
    /// Creates or empties a file that this user alone may read, and fills it. After a failure
    /// nothing, a part or all of it may be there.
    fn create(&self, path: &Path, bytes: &[u8], sync: Sync) -> io::Result<()>;
    /// Gives a file another name in its directory, in place of what had it: at any time one of the
    /// two is there. Durable after [`Self::sync_directory`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file. Durable after [`Self::sync_directory`].
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Creates a directory that this user alone may read. Durable after [`Self::sync_directory`] of
    /// its parent.
    fn create_directory(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_directory(&self, path: &Path) -> io::Result<()>;
    /// Makes what was created, renamed and removed in `directory` survive power loss.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;
    /// Makes everything survive power loss that was written where `path` lies.
    fn sync_all(&self, path: &Path) -> io::Result<()>;
    /// Whether its calls may wait for a device, so that they belong on a thread for that.
    fn blocks(&self) -> bool {
        true
    }
}

/// The system's.
#[derive(Debug)]
pub struct RealFileSystem;

impl FileSystem for RealFileSystem {
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        read_at_most(File::open(path)?, limit)
    }

    fn read_back(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let file = File::open(path)?;
        // Advice: a file system without a medium (tmpfs) goes on with what it has.
        let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
        read_at_most(file, limit)
    }

    fn size(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::symlink_metadata(path)?.len())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<Entry>> {
        let entry = |entry: fs::DirEntry| {
            let is_directory = entry.file_type()?.is_dir();
            Ok(Entry { name: entry.file_name().to_string_lossy().into_owned(), is_directory })
        };
        fs::read_dir(directory)?.map(|found| entry(found?)).collect()
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let stat = rustix::fs::statvfs(path)?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok(Space { total: bytes(stat.f_blocks), free: bytes(stat.f_bavail) })
    }

    fn create(&self, path: &Path, bytes: &[u8], sync: Sync) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(PRIVATE).open(path)?;
        file.write_all(bytes)?;
        match sync {
            Sync::Now => file.sync_all(),
            Sync::Later => Ok(()),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        fs::DirBuilder::new().mode(0o700).create(path)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        File::open(directory)?.sync_all()
    }

    fn sync_all(&self, path: &Path) -> io::Result<()> {
        Ok(rustix::fs::syncfs(File::open(path)?)?)
    }
}

fn read_at_most(file: File, limit: u64) -> io::Result<Vec<u8>> {
    // One allocation of the right size: a secret leaves no copies behind as the buffer grows.
    let length = usize::try_from(file.metadata()?.len().min(limit)).unwrap_or(0);
    let mut bytes = Vec::with_capacity(length + 1);
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        let text = format!("longer than {limit} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(bytes)
}
