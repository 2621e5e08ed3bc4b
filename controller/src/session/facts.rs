//! What a device says of itself, capped: it is shown to operators and chosen by, so it must stay
//! small whatever a device sends.

use edgeformer_proto::v1;
use serde::{Deserialize, Serialize};

/// Longest text kept of any fact; host names have at most 253.
const MAX_TEXT_CHARS: usize = 253;
/// CPUs report about forty features that matter; the rest is noise.
const MAX_CPU_FEATURES: usize = 128;

/// Facts as stored and shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// Version of the agent.
    pub agent_version: String,
    /// Operating system.
    pub os: String,
    /// Processor architecture.
    pub arch: String,
    /// Number of logical CPUs.
    pub cpus: u32,
    /// Memory in bytes; 0 when not known.
    pub memory_bytes: u64,
    /// Free space for models, in bytes; 0 when not known.
    pub disk_free_bytes: u64,
    /// What the CPU can do, e.g. `avx2`.
    pub cpu_features: Vec<String>,
    /// Host name.
    pub hostname: String,
}

impl Facts {
    /// From the wire.
    pub fn from_wire(wire: v1::DeviceFacts) -> Self {
        let clip = |text: &str| clip(text, MAX_TEXT_CHARS);
        Self {
            agent_version: clip(&wire.agent_version),
            os: clip(&wire.os),
            arch: clip(&wire.arch),
            cpus: wire.cpus,
            memory_bytes: wire.memory_bytes,
            disk_free_bytes: wire.disk_free_bytes,
            cpu_features: wire
                .cpu_features
                .iter()
                .take(MAX_CPU_FEATURES)
                .map(|f| clip(f))
                .collect(),
            hostname: clip(&wire.hostname),
        }
    }

    /// As stored.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("facts are plain data")
    }
}

/// At most this many characters, none of them a control character: it ends up on terminals.
pub fn clip(text: &str, max_chars: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(max_chars).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_stay_small_and_printable() {
        let wire = v1::DeviceFacts {
            hostname: "x\u{1b}[2J".repeat(100),
            cpu_features: vec!["avx2".into(); 1000],
            ..Default::default()
        };
        let facts = Facts::from_wire(wire);
        assert_eq!(facts.hostname.chars().count(), MAX_TEXT_CHARS);
        assert!(!facts.hostname.contains('\u{1b}'));
        assert_eq!(facts.cpu_features.len(), MAX_CPU_FEATURES);
        assert_eq!(serde_json::from_value::<Facts>(facts.to_json()).unwrap(), facts);
    }
}
