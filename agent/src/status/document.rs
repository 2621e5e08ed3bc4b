//! What the running agent says about itself, as one JSON document, and the same for people.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::facts::human_bytes;

/// The status of a running agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// Version of the agent.
    pub agent_version: String,
    /// Its process.
    pub pid: u32,
    /// When it started, RFC 3339.
    pub started_at: String,
    /// The agent's time now, RFC 3339.
    pub now: String,
    /// Who it is.
    pub device: Device,
    /// How the connection to the controller is.
    pub connection: Link,
    /// Generation of the desired state that is durable here, "epoch.counter".
    pub generation: Option<String>,
    /// Where applications reach the models.
    pub local_url: String,
    /// The slots.
    pub slots: Vec<Slot>,
    /// Memory of the machine that is free or freed on demand.
    pub memory_available_bytes: u64,
    /// What models may use together, if limited.
    pub memory_limit_bytes: Option<u64>,
    /// Space left where the state directory is.
    pub disk_free_bytes: u64,
    /// Confirmed versions kept beside those that serve.
    #[serde(default)]
    pub older_versions: usize,
    /// What going without them would free.
    #[serde(default)]
    pub older_versions_bytes: u64,
    /// How many may stay.
    #[serde(default)]
    pub keep: Keep,
}

/// The policy for older versions.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Keep {
    /// Per model.
    pub versions: usize,
    /// Together, not counting the newest of each model.
    pub bytes: u64,
}

/// Who the device is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Device {
    /// Its id.
    pub id: String,
    /// Its tenant.
    pub tenant_id: String,
    /// Its name at enrolment.
    pub name: String,
    /// Its controller.
    pub controller: String,
    /// End of its certificate, RFC 3339.
    pub certificate_expires_at: String,
    /// Where its private keys are, as `--keys` says it.
    #[serde(default)]
    pub keys: String,
}

/// The connection to the controller.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Link {
    /// Whether there is a session.
    pub connected: bool,
    /// Since when that is so, RFC 3339.
    pub since: String,
    /// The controller's version, while connected.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub controller_version: Option<String>,
    /// Why the device gets nothing, while it is quarantined.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub quarantined: Option<String>,
    /// Why the last attempt failed, while not connected.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    /// When the next attempt is due, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next_attempt_at: Option<String>,
}

/// One slot.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Slot {
    /// Its name.
    pub slot: String,
    /// Phase, target, progress and reason, as reported to the controller.
    #[serde(flatten)]
    pub report: Value,
    /// Process of the serving worker.
    pub worker_pid: Option<u32>,
    /// Its resident memory.
    pub worker_rss_bytes: Option<u64>,
    /// Whether the opened weights are locked in memory.
    #[serde(default)]
    pub worker_memory: Option<String>,
}

impl Status {
    /// For people.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let device = &self.device;
        let link = match &self.connection {
            Link { connected: true, since, controller_version, quarantined, .. } => {
                let version = controller_version.as_deref().unwrap_or("?");
                let why = quarantined.as_deref();
                let why = why.map_or_else(String::new, |why| {
                    format!("\n             QUARANTINED, gets nothing new: {why}")
                });
                format!("connected since {since} (controller {version}){why}")
            }
            Link { since, error, next_attempt_at, .. } => {
                let next = next_attempt_at.as_deref().unwrap_or("now");
                let error = error.as_deref().unwrap_or("not tried yet");
                format!("away since {since}, next attempt {next}\n             {error}")
            }
        };
        let limit = self
            .memory_limit_bytes
            .map_or_else(String::new, |limit| format!(", models may use {}", human_bytes(limit)));
        let rows = [
            ("device", format!("{} ({})", device.name, device.id)),
            ("controller", format!("{}\n             {link}", device.controller)),
            ("certificate", format!("until {}", device.certificate_expires_at)),
            ("keys", device.keys.clone()),
            (
                "agent",
                format!("{}, process {}, since {}", self.agent_version, self.pid, self.started_at),
            ),
            ("local API", self.local_url.clone()),
            ("generation", self.generation.clone().unwrap_or_else(|| "none yet".to_owned())),
            ("memory", format!("{} available{limit}", human_bytes(self.memory_available_bytes))),
            ("disk", format!("{} free", human_bytes(self.disk_free_bytes))),
            (
                "kept",
                format!(
                    "{} older versions, {} (at most {} per model, {})",
                    self.older_versions,
                    human_bytes(self.older_versions_bytes),
                    self.keep.versions,
                    human_bytes(self.keep.bytes),
                ),
            ),
        ];
        for (name, value) in rows {
            let _ = writeln!(text, "{name:<12} {value}");
        }
        self.write_slots(&mut text);
        text
    }

    fn write_slots(&self, text: &mut String) {
        if self.slots.is_empty() {
            let _ = writeln!(text, "\nno models are assigned to this device");
            return;
        }
        let _ = writeln!(
            text,
            "\n{:<24} {:<10} {:<14} {:<14} {:<10} {:<10}",
            "SLOT", "PHASE", "WANTED", "SERVING", "FETCHED", "MEMORY"
        );
        for slot in &self.slots {
            let field = |name: &str| slot.report[name].as_str().unwrap_or("").to_owned();
            let dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
            let done = slot.report["bytes_done"].as_u64().unwrap_or(0);
            let fetched = match slot.report["bytes_total"].as_u64() {
                Some(total) if total > 0 => format!("{} %", done.saturating_mul(100) / total),
                _ => "-".to_owned(),
            };
            let memory = slot.worker_rss_bytes.map_or_else(|| "-".to_owned(), human_bytes);
            let _ = writeln!(
                text,
                "{:<24} {:<10} {:<14} {:<14} {fetched:<10} {memory:<10}",
                slot.slot,
                field("stage"),
                dash(field("version")),
                dash(field("serving_version")),
            );
            if let Some(memory) = slot.worker_memory.as_deref().filter(|memory| *memory != "locked")
            {
                let _ = writeln!(text, "  weights: {memory}");
            }
            let (reason, message) = (field("reason"), field("message"));
            if !message.is_empty() {
                let _ = writeln!(text, "  {reason}: {message}");
            }
        }
    }
}
