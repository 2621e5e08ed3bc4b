//! A PostgreSQL cluster for one run: new, on a free port, gone at the end; without durability unless it is measured.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use ring::rand::{SecureRandom, SystemRandom};
use tempfile::TempDir;

use super::{Process, READY_TIMEOUT, cleanup, ports, wait_for};
use crate::shell;

/// Users that may own a cluster when we are root, which PostgreSQL refuses to run as.
const OWNERS: [&str; 2] = ["postgres", "nobody"];
/// Connections: test binaries run in parallel, each test with a pool of its own.
const MAX_CONNECTIONS: u32 = 400;
/// What every cluster here has.
const SETTINGS: [&str; 2] = ["unix_socket_directories=", "listen_addresses=127.0.0.1"];
/// What a cluster needs not do whose data nobody misses.
const FORGETFUL: [&str; 3] = ["fsync=off", "synchronous_commit=off", "full_page_writes=off"];

/// A running cluster.
#[derive(Debug)]
pub struct Postgres {
    // Dropped in this order: the server ends before its directory goes.
    process: Option<Process>,
    dir: TempDir,
    url: String,
}

impl Postgres {
    /// Makes a cluster with the server binaries in `bin` and starts it.
    pub fn start(bin: &Path) -> Result<Self> {
        Self::start_with(bin, &[&SETTINGS[..], &FORGETFUL].concat())
    }

    /// The same, with commits that a power cut does not take: for measuring.
    pub fn start_durable(bin: &Path) -> Result<Self> {
        Self::start_with(bin, &SETTINGS)
    }

    fn start_with(bin: &Path, settings: &[&str]) -> Result<Self> {
        let owner = Owner::choose()?;
        let dir = tempfile::Builder::new().prefix("edgeformer-pg-").tempdir()?;
        cleanup::protect_dir(dir.path());
        let password = random_password()?;
        let password_file = dir.path().join("password");
        fs::write(&password_file, &password)?;
        if let Some(user) = &owner.user {
            chown(dir.path(), Some(user.id), Some(user.group))?;
            chown(&password_file, Some(user.id), Some(user.group))?;
        }
        fs::set_permissions(&password_file, fs::Permissions::from_mode(0o600))?;
        let data = dir.path().join("data");
        let mut initdb = owner.command(&bin.join("initdb"));
        initdb.current_dir("/").arg("--pgdata").arg(&data).arg("--pwfile").arg(&password_file);
        initdb.args(["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8"]);
        initdb.args(["--locale=C", "--no-sync", "--no-instructions"]);
        shell::run_logged("postgres-initdb", &mut initdb)?;
        let port = ports::free_port()?;
        let url = format!("postgres://postgres:{password}@127.0.0.1:{port}/postgres");
        let process = serve(&owner, bin, &data, port, settings, &dir.path().join("postgres.log"))?;
        Ok(Self { process: Some(process), dir, url })
    }

    /// URL of the superuser.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Killed, not stopped: an orderly end would wait for clients, and the data goes anyway.
        if let Some(process) = self.process.take() {
            process.kill();
        }
        cleanup::release_dir(self.dir.path());
    }
}

fn serve(
    owner: &Owner,
    bin: &Path,
    data: &Path,
    port: u16,
    settings: &[&str],
    log: &Path,
) -> Result<Process> {
    let mut command = owner.command(&bin.join("postgres"));
    command.current_dir("/").arg("-D").arg(data).args(["-p", &port.to_string()]);
    for setting in settings {
        command.args(["-c", setting]);
    }
    command.args(["-c", &format!("max_connections={MAX_CONNECTIONS}")]);
    let mut process = Process::spawn("postgres", &mut command, log)?;
    let ready = wait_for("PostgreSQL to accept connections", READY_TIMEOUT, || {
        if !process.is_running() {
            bail!("postgres ended early");
        }
        let mut probe = Command::new(bin.join("pg_isready"));
        probe.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]);
        Ok(shell::output(&mut probe).ok().map(|_| ()))
    });
    ready.map_err(|error| shell::with_tail(error, log))?;
    Ok(process)
}

/// Who runs the server.
struct Owner {
    user: Option<User>,
}

struct User {
    id: u32,
    group: u32,
}

impl Owner {
    fn choose() -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self { user: None });
        }
        let passwd = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
        let user = OWNERS.iter().find_map(|name| find_user(&passwd, name));
        let user = user.context("no user `postgres` or `nobody` to run PostgreSQL as")?;
        Ok(Self { user: Some(user) })
    }

    /// `program` as the owner, replaced by it: its process id stays ours.
    fn command(&self, program: &Path) -> Command {
        let Some(user) = &self.user else { return Command::new(program) };
        let mut command = Command::new("setpriv");
        command.arg(format!("--reuid={}", user.id)).arg(format!("--regid={}", user.group));
        command.arg("--clear-groups").arg("--").arg(program);
        command
    }
}

fn find_user(passwd: &str, name: &str) -> Option<User> {
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    Some(User { id: fields.next()?.parse().ok()?, group: fields.next()?.parse().ok()? })
}

fn random_password() -> Result<String> {
    let mut bytes = [0u8; 16];
    SystemRandom::new().fill(&mut bytes).ok().context("no randomness from the system")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_exact_name() {
        let passwd = "nobody2:x:7:7::/:/bin/sh\nnobody:x:65534:65533:nobody:/:/usr/sbin/nologin\n";
        let user = find_user(passwd, "nobody").unwrap();
        assert_eq!((user.id, user.group), (65534, 65533));
        assert!(find_user(passwd, "postgres").is_none());
    }
}
