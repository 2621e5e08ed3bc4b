//! A disk of a chosen size, to see what happens when it is full.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::cleanup;

/// A tmpfs of fixed size, unmounted on drop.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts `size_bytes` at the new directory `path`. Needs root, as every mount does.
    pub fn mount(path: &Path, size_bytes: u64) -> Result<Self> {
        fs::create_dir(path).with_context(|| format!("cannot create {}", path.display()))?;
        let options = std::ffi::CString::new(format!("size={size_bytes}"))?;
        mount("tmpfs", path, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, options.as_c_str())
            .with_context(|| format!("cannot mount a tmpfs at {} (needs root)", path.display()))?;
        cleanup::protect_dir(path);
        Ok(Self { path: path.to_path_buf() })
    }

    /// Takes `size_bytes` of the disk away until [`SmallDisk::free`].
    pub fn fill(&self, size_bytes: usize) -> Result<()> {
        fs::write(self.ballast(), vec![0; size_bytes]).context("cannot fill the small disk")
    }

    /// Gives the space back.
    pub fn free(&self) -> Result<()> {
        fs::remove_file(self.ballast()).context("cannot remove the ballast")
    }

    fn ballast(&self) -> PathBuf {
        self.path.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Detached: a process that still holds a file open must not keep the mount.
        let _ = unmount(&self.path, UnmountFlags::DETACH);
        cleanup::release_dir(&self.path);
    }
}
