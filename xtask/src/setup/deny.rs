//! cargo-deny, built into the cache: only CI and `cargo xtask deny` need it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::paths::{cache_dir, repo_root, target_dir};
use crate::progress::waiting;
use crate::shell;

/// Pinned: a newer one may judge the same tree differently.
const VERSION: &str = "0.20.2";

/// Checks licences, bans and sources of the dependency tree. Known vulnerabilities are not
/// checked: the advisory database is a git repository that this workplace cannot reach.
pub fn cargo_deny() -> Result<()> {
    let program = installed()?;
    let mut deny = Command::new(program);
    deny.current_dir(repo_root()).args(["--workspace", "--all-features", "--locked", "check"]);
    deny.args(["--hide-inclusion-graph", "bans", "licenses", "sources"]);
    shell::run_shown(&mut deny).context("dependency rules of deny.toml")
}

fn installed() -> Result<PathBuf> {
    let root = cache_dir().join(format!("cargo-deny-{VERSION}"));
    let program = root.join("bin/cargo-deny");
    if program.is_file() {
        return Ok(program);
    }
    let mut install = Command::new("cargo");
    install.args(["install", "--locked", "--debug", "--version", VERSION, "cargo-deny"]);
    // Default features bring a TLS stack and git, for the advisory database alone.
    install.arg("--no-default-features").arg("--root").arg(&root);
    install.env("CARGO_TARGET_DIR", target_dir().join("cargo-deny-build"));
    waiting("building cargo-deny (once)", || {
        shell::run_logged("cargo-install-deny", &mut install)
    })?;
    Ok(program)
}
