//! Files that survive power loss: written beside their place, synced, renamed, directory synced.
//! A reader sees the old content or the new, never a part.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Suffix of files that are being written. Leftovers of a crash carry it and may be deleted.
pub const PART_SUFFIX: &str = ".part";

/// Mode of files that hold secrets or name what runs here.
pub const PRIVATE: u32 = 0o600;

static NEXT_PART: AtomicU64 = AtomicU64::new(0);

/// Replaces `path` with `bytes`, durably. The part file is removed on failure.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_with(path, |file| file.write_all(bytes).and_then(|()| file.sync_all()))?;
    sync_directory(path.parent().ok_or(io::ErrorKind::InvalidInput)?)
}

/// As [`write`], with the content coming from `fill`, and without the syncs: for many files that one
/// [`sync_file_system`] makes durable together.
pub fn write_with(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let number = NEXT_PART.fetch_add(1, Ordering::Relaxed);
    let part = directory.join(format!(".{name}.{}-{number}{PART_SUFFIX}", std::process::id()));
    let written = (|| {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(PRIVATE).open(&part)?;
        fill(&mut file)?;
        fs::rename(&part, path)
    })();
    if written.is_err() {
        // The part file is of no use; if even this fails, the next start removes it.
        let _ = fs::remove_file(&part);
    }
    written
}

/// Makes everything durable that was written to the file system of `path`.
pub fn sync_file_system(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(path)?)?)
}

/// Makes renames and removals in `directory` survive power loss.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Creates `directory` and its parents, readable by this user alone.
pub fn create_private_directory(directory: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// Reads at most `limit` bytes; longer files are refused.
pub fn read_limited(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        let text = format!("longer than {limit} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_keeps_the_old_content_and_leaves_no_part_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.json");
        write(&path, b"old").unwrap();
        let full = write_with(&path, |file| {
            file.write_all(b"half of the n")?;
            Err(io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error()))
        });
        assert!(full.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        write(&path, b"new").unwrap();
        assert_eq!(read_limited(&path, 3).unwrap(), b"new");
        assert!(read_limited(&path, 2).is_err());
    }
}
