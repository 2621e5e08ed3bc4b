//! A controller: installed, served, stopped, backed up and restored.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use serde_json::Value;

use super::{Binaries, Cli, Process, ports, signal_group};
use crate::shell;

/// A controller drains its sessions before it ends; this is far more than it may take.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// How a controller is installed and served.
#[derive(Debug, Clone, Default)]
pub struct ControllerOptions {
    /// PostgreSQL instead of the embedded SQLite.
    pub database_url: Option<String>,
    /// Lifetime of device certificates in seconds; the product's default when absent.
    pub cert_lifetime_s: Option<u64>,
}

/// An installation with its server process, when that runs.
#[derive(Debug)]
pub struct Controller {
    binaries: Binaries,
    dir: PathBuf,
    data_dir: PathBuf,
    options: ControllerOptions,
    process: Option<Process>,
    admin_url: String,
    device_url: String,
}

impl Controller {
    /// Makes a new installation in `dir/controller`; [`Controller::serve`] starts it.
    pub fn init(binaries: &Binaries, dir: &Path, options: ControllerOptions) -> Result<Self> {
        let mut new = Self::adopt(binaries, dir, "controller", options);
        new.run("init", &[])?;
        new.process = None;
        Ok(new)
    }

    /// Restores `backup` into a new data directory, `dir/<name>`.
    pub fn restore(&self, dir: &Path, name: &str, backup: &Path) -> Result<Self> {
        let restored = Self {
            admin_url: self.admin_url.clone(),
            device_url: self.device_url.clone(),
            ..Self::adopt(&self.binaries, dir, name, self.options.clone())
        };
        restored.run("restore", &["--from", &backup.to_string_lossy()])?;
        Ok(restored)
    }

    fn adopt(binaries: &Binaries, dir: &Path, name: &str, options: ControllerOptions) -> Self {
        Self {
            binaries: binaries.clone(),
            dir: dir.to_path_buf(),
            data_dir: dir.join(name),
            options,
            process: None,
            admin_url: String::new(),
            device_url: String::new(),
        }
    }

    /// Starts the server: on free ports the first time, on the same ones after that.
    pub fn serve(&mut self) -> Result<()> {
        let ready_file = self.dir.join("controller-ready.json");
        // Left by an earlier run; the new one must write its own.
        let _ = fs::remove_file(&ready_file);
        let mut command = self.command("serve");
        command.args(["--admin-listen", &listen(&self.admin_url)?]);
        command.args(["--device-listen", &listen(&self.device_url)?]);
        command.arg("--ready-file").arg(&ready_file);
        if let Some(lifetime) = self.options.cert_lifetime_s {
            command.args(["--cert-lifetime-s", &lifetime.to_string()]);
        }
        let log = self.dir.join("controller.log");
        let mut process = Process::spawn("edgeformer-controller serve", &mut command, &log)?;
        let ready = process.wait_ready(&ready_file)?;
        self.admin_url = text(&ready, "admin_url")?;
        self.device_url = text(&ready, "device_url")?;
        self.process = Some(process);
        Ok(())
    }

    /// Stops the server in the orderly way; errors if it does not exit with 0.
    pub fn stop(&mut self) -> Result<()> {
        let Some(process) = self.process.take() else { return Ok(()) };
        let log = process.log().to_path_buf();
        let status = process.stop(STOP_LIMIT)?;
        if !status.success() {
            anyhow::bail!("the controller ended with {status} on SIGTERM\n{}", shell::tail(&log));
        }
        Ok(())
    }

    /// Ends the server at once, as a power cut would.
    pub fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill();
        }
    }

    /// Freezes the server as a hanging machine would: connections stay open and nothing moves.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Ends a freeze.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        if let Some(process) = &self.process {
            signal_group(process.id(), signal);
        }
    }

    /// Writes a backup to `out`, from the running or stopped installation.
    pub fn backup(&self, out: &Path) -> Result<()> {
        self.run("backup", &["--out", &out.to_string_lossy()])
    }

    /// Tries to serve with the given ports and returns what the process said before it ended.
    pub fn serve_expecting_failure(&self, admin: &str, device: &str) -> Result<String> {
        let mut command = self.command("serve");
        command.args(["--admin-listen", admin, "--device-listen", device]);
        let log = self.dir.join("controller-refused.log");
        let mut process = Process::spawn("edgeformer-controller serve", &mut command, &log)?;
        let status = process.wait_exit(STOP_LIMIT)?;
        anyhow::ensure!(!status.success(), "the controller was expected to fail, it did not");
        Ok(process.log_text())
    }

    /// The operators' command line for this controller, as the installation's first admin.
    pub fn installation_cli(&self) -> Result<Cli> {
        let token = fs::read_to_string(self.data_dir.join("admin.token"))
            .context("cannot read the installation's admin token")?;
        Ok(self.cli(token.trim()))
    }

    /// The operators' command line for this controller with the given API token.
    pub fn cli(&self, token: &str) -> Cli {
        Cli::with_token(&self.binaries, &self.admin_url, &self.ca(), token)
    }

    /// Certificate of the installation root, which operators and devices trust.
    pub fn ca(&self) -> PathBuf {
        self.data_dir.join("ca.pem")
    }

    /// Directory of the installation.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Base URL of the admin listener.
    pub fn admin_url(&self) -> &str {
        &self.admin_url
    }

    /// Base URL of the device listener.
    pub fn device_url(&self) -> &str {
        &self.device_url
    }

    /// Log of the server.
    pub fn log(&self) -> PathBuf {
        self.dir.join("controller.log")
    }

    /// Lets the server outlive this program; returns its process group.
    pub fn keep(mut self) -> Option<i32> {
        let process = self.process.take()?;
        let group = process.id();
        process.keep();
        Some(group)
    }

    fn run(&self, subcommand: &str, arguments: &[&str]) -> Result<()> {
        shell::output(self.command(subcommand).args(arguments)).map(|_| ())
    }

    fn command(&self, subcommand: &str) -> Command {
        let mut command = Command::new(self.binaries.controller());
        command.arg(subcommand).arg("--data-dir").arg(&self.data_dir);
        if let Some(url) = &self.options.database_url {
            command.args(["--database-url", url]);
        }
        command
    }
}

/// `https://127.0.0.1:4711` → `127.0.0.1:4711`; no URL yet → any free port.
fn listen(url: &str) -> Result<String> {
    url.strip_prefix("https://").map_or_else(ports::free_address, |address| Ok(address.to_string()))
}

fn text(ready: &Value, field: &str) -> Result<String> {
    let value = ready[field].as_str();
    value.map(str::to_owned).with_context(|| format!("the ready file has no {field}: {ready}"))
}
