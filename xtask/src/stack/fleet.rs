//! A small fleet: one controller with one tenant, and agents as needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;

use super::{Agent, AgentOptions, Binaries, Cli, Controller, ControllerOptions, cleanup, wait_for};

/// Prefix of the directories; short, since Unix socket paths below them have 108 bytes at most.
const DIR_PREFIX: &str = "ef-";

/// A served controller with a tenant and a directory for everything.
#[derive(Debug)]
pub struct Fleet {
    /// The controller; tests stop, kill and restore it.
    pub controller: Controller,
    /// Operators' command line as the tenant's admin.
    pub tenant: Cli,
    binaries: Binaries,
    dir: Option<TempDir>,
    path: PathBuf,
}

impl Fleet {
    /// Installs and serves a controller and makes the tenant `acme`.
    pub fn start(binaries: &Binaries, options: ControllerOptions) -> Result<Self> {
        let dir = new_dir()?;
        let path = dir.path().to_path_buf();
        let mut controller = Controller::init(binaries, &path, options)?;
        controller.serve()?;
        let made = controller.installation_cli()?.json(&["tenant", "create", "acme"])?;
        let token = made["admin_token"].as_str().context("no admin_token for the tenant")?;
        let tenant = controller.cli(token);
        Ok(Self { controller, tenant, binaries: binaries.clone(), dir: Some(dir), path })
    }

    /// Directory of this fleet: state, logs and whatever a test needs.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The programs that this fleet runs.
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// A new enrolment token for `uses` devices.
    pub fn enrolment_token(&self, uses: u32) -> Result<String> {
        let answer =
            self.tenant.json(&["enrolment-token", "create", "--uses", &uses.to_string()])?;
        let token = answer["token"].as_str().context("the answer has no enrolment token")?;
        Ok(token.to_string())
    }

    /// Enrols a device with a token of its own and starts its agent.
    pub fn agent(&self, name: &str, options: AgentOptions) -> Result<Agent> {
        let token = self.enrolment_token(1)?;
        let mut agent =
            Agent::enroll(&self.binaries, &self.path, &self.controller, &token, name, options)?;
        agent.run()?;
        Ok(agent)
    }

    /// Publishes `file` as `name` `version`.
    pub fn publish(&self, name: &str, version: &str, file: &Path) -> Result<Value> {
        self.tenant.json(&["model", "publish", name, version, &file.to_string_lossy()])
    }

    /// Starts a rollout without waiting; `target` is `--all` or `--device NAME`.
    pub fn rollout(&self, model: &str, version: &str, target: &[&str]) -> Result<String> {
        let mut arguments = vec!["rollout", "create", "--model", model, "--version", version];
        arguments.extend(target);
        let answer = self.tenant.json(&arguments)?;
        let id = answer["id"].as_str().context("the answer has no rollout id")?;
        Ok(id.to_string())
    }

    /// Waits until a rollout has ended and returns it.
    pub fn rollout_end(&self, id: &str, limit: Duration) -> Result<Value> {
        wait_for(&format!("rollout {id} to end"), limit, || {
            let rollout = self.tenant.json(&["rollout", "show", id])?;
            let running = rollout["state"] == "running";
            Ok((!running).then_some(rollout))
        })
    }

    /// The device as the controller sees it.
    pub fn device(&self, name: &str) -> Result<Value> {
        self.tenant.json(&["device", "show", name])
    }

    /// Waits until the device says that `version` is confirmed in `slot`.
    pub fn wait_confirmed(
        &self,
        name: &str,
        slot: &str,
        version: &str,
        limit: Duration,
    ) -> Result<Value> {
        wait_for(&format!("{name} to confirm {slot} {version}"), limit, || {
            let device = self.device(name)?;
            let view = slot_of(&device, slot);
            let there = view["phase"] == "confirmed" && view["serving_version"] == version;
            Ok(there.then_some(view))
        })
    }
}

/// The view of one slot in a device; null when the device has none of that name.
pub fn slot_of(device: &Value, slot: &str) -> Value {
    let slots = device["slots"].as_array().into_iter().flatten();
    slots.into_iter().find(|view| view["slot"] == slot).cloned().unwrap_or(Value::Null)
}

fn new_dir() -> Result<TempDir> {
    let dir = tempfile::Builder::new().prefix(DIR_PREFIX).tempdir()?;
    cleanup::protect_dir(dir.path());
    Ok(dir)
}

impl Drop for Fleet {
    fn drop(&mut self) {
        cleanup::release_dir(&self.path);
        // A failed test leaves its logs; CI and people need them.
        if std::thread::panicking()
            && let Some(dir) = self.dir.take()
        {
            let kept = dir.keep();
            eprintln!("state and logs of the failed run are kept in {}", kept.display());
            for entry in fs::read_dir(&kept).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.extension().is_some_and(|e| e == "log") {
                    eprintln!("{}", crate::shell::tail(&path));
                }
            }
        }
    }
}
