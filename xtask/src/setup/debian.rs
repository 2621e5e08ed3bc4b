//! Debian packages, installed only when what they bring is missing.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::paths::on_path;
use crate::shell;

/// Where Debian keeps the sources of golang.org/x/mod.
const GO_LIBRARIES: &str = "/usr/share/gocode/src/golang.org/x/mod/sumdb";
/// Where Debian keeps the server binaries, one directory per major version.
const POSTGRES_LIB: &str = "/usr/lib/postgresql";

/// Directory with `initdb` and `postgres`, installing the server when there is none.
pub(super) fn postgres() -> Result<PathBuf> {
    if let Some(dir) = find_postgres() {
        return Ok(dir);
    }
    install("postgresql")?;
    find_postgres().context("package postgresql is installed but initdb is nowhere to be found")
}

/// Debian's newest version, else a server on `$PATH`; one that is not whole does not count.
fn find_postgres() -> Option<PathBuf> {
    let entries = std::fs::read_dir(POSTGRES_LIB).into_iter().flatten().flatten();
    let mut versions: Vec<PathBuf> =
        entries.map(|entry| entry.path().join("bin")).filter(|bin| is_whole(bin)).collect();
    versions.sort_by_key(|bin| major_version(bin));
    let on_path = || on_path("initdb")?.parent().map(Path::to_path_buf);
    versions.pop().or_else(|| on_path().filter(|bin| is_whole(bin)))
}

/// Go and its libraries for transparency logs: the tests have them verify the audit log.
pub(super) fn go() -> Result<()> {
    if on_path("go").is_none() {
        install("golang-go")?;
    }
    if !Path::new(GO_LIBRARIES).is_dir() {
        install("golang-golang-x-mod-dev")?;
    }
    Ok(())
}

/// A TPM 2.0 in software, which tests keep device keys in.
pub(super) fn swtpm() -> Result<PathBuf> {
    if on_path("swtpm").is_none() {
        install("swtpm")?;
    }
    on_path("swtpm").context("package swtpm is installed but its program is nowhere to be found")
}

/// What makes patches between two files: the bench of distribution compares with them.
pub fn delta_tools() -> Result<()> {
    for program in ["xdelta3", "zstd"] {
        if on_path(program).is_none() {
            install(program)?;
        }
    }
    Ok(())
}

fn is_whole(bin: &Path) -> bool {
    ["initdb", "postgres", "pg_isready", "psql"].iter().all(|name| bin.join(name).is_file())
}

/// `/usr/lib/postgresql/15/bin` → 15; sorting names as text would put 9 after 15.
fn major_version(bin: &Path) -> u32 {
    let name = bin.parent().and_then(Path::file_name).and_then(|n| n.to_str());
    name.and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Installs one Debian package without questions. The cluster that the postgresql package would
/// create and start is declined: the tests make their own.
pub(super) fn install(package: &str) -> Result<()> {
    if on_path("apt-get").is_none() {
        bail!("{package} is missing and this machine has no apt-get: install {package} by hand");
    }
    if package == "postgresql" && std::fs::metadata("/etc/postgresql-common").is_err() {
        shell::run_logged("apt-update", apt(&["update"])?.stdin(std::process::Stdio::null()))?;
        shell::run_logged("apt-postgresql-common", &mut apt(&["install", "postgresql-common"])?)?;
        decline_main_cluster()?;
    } else {
        shell::run_logged("apt-update", &mut apt(&["update"])?)?;
    }
    shell::run_logged(&format!("apt-{package}"), &mut apt(&["install", package])?)
}

fn decline_main_cluster() -> Result<()> {
    let script = "sed -i 's/^#\\?create_main_cluster.*/create_main_cluster = false/' \
                  /etc/postgresql-common/createcluster.conf";
    let mut command = privileged("sh")?;
    command.args(["-c", script]);
    shell::run_logged("postgresql-common-config", &mut command)
}

fn apt(arguments: &[&str]) -> Result<Command> {
    let mut command = privileged("apt-get")?;
    command.args(["--yes", "--quiet", "--no-install-recommends"]).args(arguments);
    command.env("DEBIAN_FRONTEND", "noninteractive");
    Ok(command)
}

/// `program` as root: itself when we are root already, else through sudo without a password.
fn privileged(program: &str) -> Result<Command> {
    if rustix::process::geteuid().is_root() {
        return Ok(Command::new(program));
    }
    if on_path("sudo").is_none() {
        bail!("installing packages needs root, and there is no sudo: run as root once");
    }
    let mut command = Command::new("sudo");
    command.args(["--non-interactive", program]);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_major_version_wins() {
        let mut bins = [
            PathBuf::from("/usr/lib/postgresql/15/bin"),
            PathBuf::from("/usr/lib/postgresql/9/bin"),
            PathBuf::from("/usr/lib/postgresql/17/bin"),
        ];
        bins.sort_by_key(|bin| major_version(bin));
        assert_eq!(bins.last(), Some(&PathBuf::from("/usr/lib/postgresql/17/bin")));
    }
}
