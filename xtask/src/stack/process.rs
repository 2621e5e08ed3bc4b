//! One child process in a process group of its own, with its output in a log.

use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use serde_json::Value;

use super::{POLL, READY_TIMEOUT, cleanup, wait_for};
use crate::shell;

/// Time between SIGTERM and SIGKILL when a process is stopped by drop.
const DROP_GRACE: Duration = Duration::from_secs(5);

/// A running child and everything it starts; both end when this is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    kept: bool,
}

impl Process {
    /// Starts `command` with its output appended to `log`.
    pub fn spawn(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let shown = shell::describe(command);
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot write the log {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name}: `{shown}`"))?;
        cleanup::protect_group(child.id().cast_signed());
        Ok(Self { name: name.into(), child, log: log.into(), kept: false })
    }

    /// Process id, which is also the id of its group.
    pub fn id(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Where its output goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Its output so far.
    pub fn log_text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for the ready file that the process writes; an early end shows its last lines.
    pub fn wait_ready(&mut self, ready_file: &Path) -> Result<Value> {
        let what = format!("{} to be ready", self.name);
        let seen = wait_for(&what, READY_TIMEOUT, || {
            if let Ok(text) = fs::read_to_string(ready_file) {
                let value = serde_json::from_str(&text).context("its ready file is not JSON")?;
                return Ok(Some(value));
            }
            match self.child.try_wait()? {
                Some(status) => bail!("{} ended early ({status})", self.name),
                None => Ok(None),
            }
        });
        seen.map_err(|error| shell::with_tail(error, &self.log))
    }

    /// Whether the process is still running.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits at most `limit` for the process to end by itself.
    pub fn wait_exit(&mut self, limit: Duration) -> Result<ExitStatus> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if started.elapsed() > limit {
                bail!("{} is still running after {} s", self.name, limit.as_secs());
            }
            std::thread::sleep(POLL);
        }
    }

    /// Asks the process to end and returns how it did; errors if it does not end within `limit`.
    pub fn stop(mut self, limit: Duration) -> Result<ExitStatus> {
        // The process alone: it has to bring down its own children, and tests see if it does not.
        let pid = Pid::from_child(&self.child);
        rustix::process::kill_process(pid, Signal::TERM)
            .with_context(|| format!("cannot signal {}", self.name))?;
        self.wait_exit(limit).map_err(|error| shell::with_tail(error, &self.log))
    }

    /// Ends the process and its children at once, as a power cut would.
    pub fn kill(mut self) {
        // Children that made a group of their own are not reached through ours.
        let children = children_of(self.id());
        signal_group(self.id(), Signal::KILL);
        for child in children {
            signal_group(child, Signal::KILL);
        }
        // A killed child is always reaped.
        let _ = self.child.wait();
    }

    /// Lets the process outlive this program.
    pub fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let group = self.id();
        cleanup::release_group(group);
        if self.kept {
            return;
        }
        signal_group(group, Signal::TERM);
        if self.wait_exit(DROP_GRACE).is_err() || group_is_alive(group) {
            signal_group(group, Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// Sends `signal` to a whole process group; a group that is gone is fine.
pub fn signal_group(group: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(group) {
        let _ = kill_process_group(pid, signal);
    }
}

/// Whether any process of the group exists (zombies included).
pub fn group_is_alive(group: i32) -> bool {
    Pid::from_raw(group).is_some_and(|pid| test_kill_process_group(pid).is_ok())
}

/// Process ids whose parent is `parent`.
pub(super) fn children_of(parent: i32) -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let ids = entries.flatten().filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
    ids.filter(|id| parent_of(*id) == Some(parent)).collect()
}

/// `/proc/<id>/stat` reads `id (name) state parent …`; the name may hold spaces and brackets.
fn parent_of(id: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let after_name = stat.rsplit_once(')')?.1;
    after_name.split_whitespace().nth(1)?.parse().ok()
}
