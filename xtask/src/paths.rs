//! Where things are: the repository, the build output, the cache outside git.

use std::env;
use std::path::{Path, PathBuf};

/// Root of the repository this crate was built from.
pub fn repo_root() -> PathBuf {
    let manifest = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.parent().map(Path::to_path_buf).unwrap_or(manifest)
}

/// Downloads and tools that outlive a checkout: `$EDGEFORMER_CACHE`, else `~/.cache/edgeformer`.
pub fn cache_dir() -> PathBuf {
    if let Some(dir) = env::var_os("EDGEFORMER_CACHE") {
        return PathBuf::from(dir);
    }
    let home = env::var_os("HOME").map_or_else(env::temp_dir, PathBuf::from);
    home.join(".cache/edgeformer")
}

/// Cargo's target directory for this workspace.
pub fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| repo_root().join("target"), PathBuf::from)
}

/// Logs of setup and build steps; kept between runs so that a failure can be read afterwards.
pub fn log_dir() -> PathBuf {
    target_dir().join("xtask-logs")
}

/// Where `cargo build` leaves the development binaries.
pub fn bin_dir() -> PathBuf {
    env::var_os("EDGEFORMER_BIN_DIR").map_or_else(|| target_dir().join("debug"), PathBuf::from)
}

/// The first directory of `$PATH` that holds an executable of this name.
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|dir| dir.join(program)).find(|candidate| candidate.is_file())
}
