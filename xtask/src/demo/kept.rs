//! What `demo --keep` leaves running: a record of it, a script that stops it, and the stopping.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::steps::Scene;
use crate::paths::target_dir;
use crate::stack::{group_is_alive, signal_group};

/// Time from SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_secs(20);

/// Hands the scene's processes over to the machine and says how to use and stop them.
pub(super) fn keep(scene: Scene) -> Result<()> {
    let mut lines = vec![
        String::new(),
        "Running now:".to_string(),
        format!("  controller  admin {}", scene.controller.admin_url()),
        format!("              devices {}", scene.controller.device_url()),
    ];
    for agent in &scene.agents {
        lines.push(format!("  {:<10}  {}/v1/chat/completions", agent.name(), agent.http_url()));
    }
    let first = scene.agents.first().map(|a| a.http_url().to_string()).unwrap_or_default();
    lines.push(format!("State and logs: {}", scene.dir.display()));
    lines.push(String::new());
    lines.push("Look at it:".to_string());
    lines.push(format!("  export EDGEFORMER_CONFIG={}", scene.config.display()));
    lines.push(format!("  {}/edgeformer device list", crate::paths::bin_dir().display()));
    lines.push(format!(
        "  curl -N {first}/v1/chat/completions -H 'content-type: application/json' -d \
         '{{\"model\":\"assistant\",\"stream\":true,\"messages\":[{{\"role\":\"user\",\
         \"content\":\"Hello!\"}}]}}'"
    ));
    let dir = scene.dir.clone();
    let Scene { agents, controller, .. } = scene;
    let mut groups: Vec<i32> = agents.into_iter().filter_map(|agent| agent.keep()).collect();
    groups.extend(controller.keep());
    record(&dir, &groups)?;
    lines.push("Stop it:".to_string());
    lines.push("  cargo xtask demo --stop".to_string());
    lines.push(format!("  or {}", dir.join("stop.sh").display()));
    println!("{}", lines.join("\n"));
    Ok(())
}

/// An earlier `--keep` must be stopped first; its record would be lost otherwise.
pub(super) fn refuse_if_running() -> Result<()> {
    let Some(kept) = Kept::read()? else { return Ok(()) };
    if kept.groups.iter().any(|group| kept.owns(*group)) {
        bail!("a kept demo is still running: stop it with `cargo xtask demo --stop`");
    }
    kept.forget()
}

/// Stops what the last `--keep` left and removes its directory.
pub(super) fn stop() -> Result<()> {
    let Some(kept) = Kept::read()? else {
        println!("no kept demo is running");
        return Ok(());
    };
    let ours: Vec<i32> = kept.groups.iter().copied().filter(|group| kept.owns(*group)).collect();
    for group in &ours {
        signal_group(*group, Signal::TERM);
    }
    let started = Instant::now();
    while ours.iter().any(|group| group_is_alive(*group)) && started.elapsed() < GRACE {
        sleep(Duration::from_millis(100));
    }
    for group in &ours {
        signal_group(*group, Signal::KILL);
    }
    println!("stopped {} processes", ours.len());
    kept.forget()
}

/// The record of a kept demo.
struct Kept {
    dir: PathBuf,
    groups: Vec<i32>,
}

impl Kept {
    fn read() -> Result<Option<Self>> {
        let Ok(text) = fs::read_to_string(record_file()) else { return Ok(None) };
        let value: Value = serde_json::from_str(&text)
            .with_context(|| format!("{} is damaged: remove it", record_file().display()))?;
        let groups = value["groups"].as_array().into_iter().flatten();
        Ok(Some(Self {
            dir: PathBuf::from(value["dir"].as_str().unwrap_or_default()),
            groups: groups.filter_map(|g| i32::try_from(g.as_i64()?).ok()).collect(),
        }))
    }

    /// Whether the leader of `group` is still a process of this demo: ids are used again.
    fn owns(&self, group: i32) -> bool {
        let arguments = fs::read(format!("/proc/{group}/cmdline")).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&arguments).into_owned();
        !self.dir.as_os_str().is_empty() && arguments.contains(&*self.dir.to_string_lossy())
    }

    fn forget(&self) -> Result<()> {
        // The directory may have been removed by the stop script.
        if self.dir.is_dir() {
            fs::remove_dir_all(&self.dir)
                .with_context(|| format!("cannot remove {}", self.dir.display()))?;
        }
        fs::remove_file(record_file()).context("cannot remove the record of the kept demo")
    }
}

fn record_file() -> PathBuf {
    target_dir().join("demo-kept.json")
}

fn record(dir: &Path, groups: &[i32]) -> Result<()> {
    let text = json!({ "dir": dir, "groups": groups }).to_string();
    fs::write(record_file(), text)
        .with_context(|| format!("cannot write {}", record_file().display()))?;
    let script = dir.join("stop.sh");
    let groups: Vec<String> = groups.iter().map(|group| format!("-{group}")).collect();
    let body = format!(
        "#!/bin/sh\n# Stops the processes of this demo; `cargo xtask demo --stop` also removes \
         their state.\nkill -TERM -- {}\n",
        groups.join(" ")
    );
    fs::write(&script, body).with_context(|| format!("cannot write {}", script.display()))?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    Ok(())
}
