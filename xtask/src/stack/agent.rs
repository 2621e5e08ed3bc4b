//! One agent: enrolled once, then run, stopped, killed and started again on the same state.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::process::children_of;
use super::{Binaries, Chat, Controller, Process, ports};
use crate::shell;

/// An agent ends its workers and its session first; this is far more than that may take.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// How an agent enrols and runs.
#[derive(Debug, Clone, Default)]
pub struct AgentOptions {
    /// Labels it claims at enrolment.
    pub labels: Vec<(String, String)>,
    /// Cap of the memory that its models may use, in MB.
    pub memory_limit_mb: Option<u64>,
    /// State directory somewhere else than beside the others, such as on a small disk.
    pub state_dir: Option<PathBuf>,
    /// Where its keys are made, as `--keys` takes it.
    pub keys: Option<String>,
}

/// An enrolled agent with its process, when that runs.
#[derive(Debug)]
pub struct Agent {
    binaries: Binaries,
    name: String,
    dir: PathBuf,
    state_dir: PathBuf,
    options: AgentOptions,
    process: Option<Process>,
    http_url: String,
}

impl Agent {
    /// Enrols a new agent under `name` with its state in `dir`; [`Agent::run`] starts it.
    pub fn enroll(
        binaries: &Binaries,
        dir: &Path,
        controller: &Controller,
        token: &str,
        name: &str,
        options: AgentOptions,
    ) -> Result<Self> {
        let state_dir = options.state_dir.clone().unwrap_or_else(|| dir.join(name));
        let mut command = Command::new(binaries.agent());
        command.args(["enroll", "--controller", controller.device_url(), "--ca"]);
        command.arg(controller.ca()).args(["--token", token, "--name", name, "--state-dir"]);
        command.arg(&state_dir);
        if let Some(keys) = &options.keys {
            command.args(["--keys", keys]);
        }
        for (key, value) in &options.labels {
            command.args(["--label", &format!("{key}={value}")]);
        }
        shell::output(&mut command)?;
        Ok(Self {
            binaries: binaries.clone(),
            name: name.to_string(),
            dir: dir.to_path_buf(),
            state_dir,
            options,
            process: None,
            http_url: String::new(),
        })
    }

    /// Another machine with a copy of this one's disk, as it is now; [`Agent::run`] starts it.
    pub fn copy(&self, name: &str) -> Result<Self> {
        let state_dir = self.dir.join(name);
        copy_folder(&self.state_dir, &state_dir)?;
        Ok(Self {
            binaries: self.binaries.clone(),
            name: name.to_string(),
            dir: self.dir.clone(),
            state_dir,
            options: self.options.clone(),
            process: None,
            http_url: String::new(),
        })
    }

    /// Waits until the process ended by itself; errors if it did not end with 0.
    pub fn wait_end(&mut self, limit: Duration) -> Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        let status = process.wait_exit(limit)?;
        anyhow::ensure!(status.success(), "{} ended with {status}", self.name);
        Ok(())
    }

    /// Starts the agent: on a free port the first time, on the same one after that.
    pub fn run(&mut self) -> Result<()> {
        self.start(&[])
    }

    /// Starts the agent without waiting until it is ready: one that is being erased never is.
    pub fn run_unready(&mut self) -> Result<()> {
        let mut command = Command::new(self.binaries.agent());
        command.arg("run").arg("--state-dir").arg(&self.state_dir);
        let title = format!("edgeformer-agent {}", self.name);
        self.process = Some(Process::spawn(&title, &mut command, &self.log())?);
        Ok(())
    }

    /// As [`Agent::run`], through a launcher (`prlimit …`) that prepares the process.
    pub fn start(&mut self, launcher: &[&str]) -> Result<()> {
        let ready_file = self.dir.join(format!("{}-ready.json", self.name));
        // Left by an earlier run; the new one must write its own.
        let _ = fs::remove_file(&ready_file);
        let mut command = match launcher {
            [] => Command::new(self.binaries.agent()),
            [program, arguments @ ..] => {
                let mut command = Command::new(program);
                command.args(arguments).arg(self.binaries.agent());
                command
            }
        };
        let listen = match self.http_url.strip_prefix("http://") {
            Some(address) => address.to_string(),
            None => ports::free_address()?,
        };
        command.arg("run").arg("--state-dir").arg(&self.state_dir);
        command.args(["--listen", &listen, "--telemetry-interval-s", "1"]);
        command.arg("--ready-file").arg(&ready_file);
        if let Some(limit) = self.options.memory_limit_mb {
            command.args(["--memory-limit-mb", &limit.to_string()]);
        }
        let title = format!("edgeformer-agent {}", self.name);
        let mut process = Process::spawn(&title, &mut command, &self.log())?;
        let ready = process.wait_ready(&ready_file)?;
        let url = ready["http_url"].as_str();
        self.http_url = url.context("the agent's ready file has no http_url")?.to_string();
        self.process = Some(process);
        Ok(())
    }

    /// Stops the agent in the orderly way; errors if it does not exit with 0.
    pub fn stop(&mut self) -> Result<()> {
        let Some(process) = self.process.take() else { return Ok(()) };
        let status = process.stop(STOP_LIMIT)?;
        anyhow::ensure!(status.success(), "{} ended with {status} on SIGTERM", self.name);
        Ok(())
    }

    /// Ends the agent and its workers at once, as a power cut would.
    pub fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill();
        }
    }

    /// What `edgeformer-agent status --json` says about this agent.
    pub fn status(&self) -> Result<Value> {
        let text = self.command("status", &["--json"])?;
        serde_json::from_str(&text).with_context(|| format!("status printed no JSON: {text}"))
    }

    /// Runs a local command of the agent on its state directory.
    pub fn command(&self, subcommand: &str, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(self.binaries.agent());
        let words: Vec<&str> = subcommand.split(' ').collect();
        command.args(words).arg("--state-dir").arg(&self.state_dir).args(arguments);
        shell::output(&mut command)
    }

    /// Id of its process; none if it does not run.
    pub fn id(&self) -> Option<i32> {
        self.process.as_ref().map(Process::id)
    }

    /// Process ids of its workers.
    pub fn workers(&self) -> Vec<i32> {
        self.process.as_ref().map(|process| children_of(process.id())).unwrap_or_default()
    }

    /// Whether the process runs.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_running)
    }

    /// A client of its local API.
    pub fn chat(&self) -> Chat {
        Chat::new(&self.http_url)
    }

    /// Name under which it enrolled.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Base URL of its local API.
    pub fn http_url(&self) -> &str {
        &self.http_url
    }

    /// Directory of its state.
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// Its log, over all its runs.
    pub fn log(&self) -> PathBuf {
        self.dir.join(format!("{}.log", self.name))
    }

    /// Lets the process outlive this program; returns its process group.
    pub fn keep(mut self) -> Option<i32> {
        let process = self.process.take()?;
        let group = process.id();
        process.keep();
        Some(group)
    }
}

/// Copies files and folders; sockets stay behind.
fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
