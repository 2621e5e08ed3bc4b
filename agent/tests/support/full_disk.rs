//! The system's disk, full for chunks while a test says so: a write leaves its first bytes and fails.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use edgeformer_agent::durable::{Entry, FileSystem, Folder, RealFileSystem, Space, Sync};

#[derive(Debug)]
pub struct FullDisk {
    full: Arc<AtomicBool>,
}

impl FullDisk {
    /// `path` on such a disk, and the switch.
    pub fn folder(path: &Path) -> (Folder, Arc<AtomicBool>) {
        let full = Arc::new(AtomicBool::new(true));
        (Folder::on(Arc::new(Self { full: Arc::clone(&full) }), path), full)
    }
}

impl FileSystem for FullDisk {
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        RealFileSystem.read(path, limit)
    }

    fn read_back(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        RealFileSystem.read_back(path, limit)
    }

    fn size(&self, path: &Path) -> io::Result<u64> {
        RealFileSystem.size(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<Entry>> {
        RealFileSystem.list(directory)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        RealFileSystem.space(path)
    }

    fn create(&self, path: &Path, bytes: &[u8], sync: Sync) -> io::Result<()> {
        if sync == Sync::Later && self.full.load(Ordering::SeqCst) {
            RealFileSystem.create(path, &bytes[..10], sync)?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        RealFileSystem.create(path, bytes, sync)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealFileSystem.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        RealFileSystem.remove_file(path)
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        RealFileSystem.create_directory(path)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        RealFileSystem.remove_directory(path)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        RealFileSystem.sync_directory(directory)
    }

    fn sync_all(&self, path: &Path) -> io::Result<()> {
        RealFileSystem.sync_all(path)
    }
}
