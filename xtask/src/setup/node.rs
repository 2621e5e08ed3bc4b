//! Packages of Node.js in the cache, exactly as the lock file beside the tests says; their install
//! scripts do not run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::debian;
use crate::paths::{cache_dir, on_path, repo_root};
use crate::shell;

/// The files that say what is installed.
const FILES: [&str; 2] = ["package.json", "package-lock.json"];
/// The OpenID provider that tests log in at.
const OIDC: &str = "controller/tests/oidc";
/// A TUF client that reads our repositories in tests.
const TUF: &str = "agent/tests/tuf/js";

/// Folder that holds the OpenID provider with its `node_modules`.
pub(super) fn oidc() -> Result<PathBuf> {
    packages("oidc", OIDC)
}

/// Folder that holds tuf-js with its `node_modules`.
pub(super) fn tuf() -> Result<PathBuf> {
    packages("tuf", TUF)
}

/// What the lock file in `source` lists, in the folder `name` of the cache.
fn packages(name: &str, source: &str) -> Result<PathBuf> {
    for program in ["node", "npm"] {
        if on_path(program).is_none() {
            debian::install(if program == "node" { "nodejs" } else { program })?;
        }
    }
    let folder = cache_dir().join(name);
    let source = repo_root().join(source);
    if is_current(&source, &folder) {
        return Ok(folder);
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let [manifest, lock] = FILES;
    // Written last: it says that all before it was done.
    let _ = fs::remove_file(installed(&folder));
    for file in [manifest, lock] {
        fs::copy(source.join(file), folder.join(file))
            .with_context(|| format!("cannot copy {file} to {}", folder.display()))?;
    }
    let mut npm = Command::new("npm");
    npm.current_dir(&folder).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
    shell::run_logged(&format!("npm-ci-{name}"), &mut npm)
        .with_context(|| format!("npm could not install what {} lists", source.display()))?;
    fs::copy(source.join(lock), installed(&folder))
        .with_context(|| format!("cannot write {}", installed(&folder).display()))?;
    Ok(folder)
}

/// A copy of the lock file that was installed.
fn installed(folder: &Path) -> PathBuf {
    folder.join("installed.json")
}

fn is_current(source: &Path, folder: &Path) -> bool {
    let wanted = fs::read(source.join(FILES[1])).ok();
    wanted.is_some() && wanted == fs::read(installed(folder)).ok()
}
