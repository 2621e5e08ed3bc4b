//! What goes over the wire, field by field as the API names it. A test compares every struct here
//! with the OpenAPI document of the controller, so the two cannot drift apart.
//!
//! Words that newer controllers may add to (states, phases, reasons) are kept as text or have an
//! `Unknown` variant: an older command line shows them instead of failing.

mod access;
mod account;
mod arrivals;
mod audit;
mod ca;
mod evidence;
mod identity;
mod program;
mod tenant;
mod trust;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use access::*;
pub use account::*;
pub use arrivals::*;
pub use audit::*;
pub use ca::*;
pub use evidence::*;
pub use identity::*;
pub use program::*;
pub use tenant::*;
pub use trust::*;

/// Labels of a device.
pub type Labels = BTreeMap<String, String>;

/// One page of a list.
#[derive(Debug, Clone, Deserialize)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next_cursor: Option<String>,
}

/// A list that always comes whole.
#[derive(Debug, Clone, Deserialize)]
pub struct Whole<T> {
    pub items: Vec<T>,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Whoami {
    pub tenant_id: Option<String>,
    pub tenant_name: Option<String>,
    pub principal_id: String,
    pub principal_name: String,
    pub role: String,
}

#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct EnrolmentTokenCreate {
    pub uses: u32,
    pub expires_in_s: u64,
    pub labels: Labels,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct EnrolmentTokenCreated {
    pub id: String,
    pub token: String,
    pub uses_left: u32,
    pub expires_at: String,
    pub labels: Labels,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct EnrolmentToken {
    pub id: String,
    pub uses_left: u32,
    pub labels: Labels,
    pub expires_at: String,
    pub revoked_at: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Device {
    pub id: String,
    pub name: String,
    /// `enrolled`, `quarantined`, `decommissioning`, `erased` or `revoked`
    pub state: String,
    /// Why, for people
    #[serde(default)]
    pub state_reason: String,
    pub state_since: Option<String>,
    pub decommission: Option<Decommissioned>,
    pub replaces: Option<String>,
    pub replaced_by: Option<String>,
    pub labels: Labels,
    pub facts: Facts,
    pub online: bool,
    pub last_seen_at: Option<String>,
    pub cert_expires_at: String,
    /// `epoch.counter`
    pub desired_generation: String,
    /// `epoch.counter`
    pub accepted_generation: String,
    pub slots: Vec<SlotView>,
    pub created_at: String,
}

/// How far the erasure of a device is.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Decommissioned {
    /// `waiting`, `erased` or `never_came_back`
    pub state: String,
    pub waited_for_until: String,
    pub erased: Option<serde_json::Value>,
}

#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct DecommissionRequest {
    pub wait_days: Option<u32>,
}

#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct ReplacementRequest {
    pub expires_in_s: Option<u64>,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct ReplacementCreated {
    pub id: String,
    pub token: String,
    pub expires_at: String,
    pub replaces: String,
    pub name: String,
}

/// What the device says of itself: an agent of another version may leave some of it out.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Facts {
    #[serde(default)]
    pub agent_version: String,
    #[serde(default)]
    pub os: String,
    #[serde(default)]
    pub arch: String,
    #[serde(default)]
    pub cpus: u32,
    #[serde(default)]
    pub memory_bytes: u64,
    #[serde(default)]
    pub disk_free_bytes: u64,
    #[serde(default)]
    pub cpu_features: Vec<String>,
    #[serde(default)]
    pub hostname: String,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct SlotView {
    pub slot: String,
    pub phase: String,
    pub desired_model: Option<String>,
    pub desired_version: Option<String>,
    pub serving_model: Option<String>,
    pub serving_version: Option<String>,
    pub reason: String,
    pub message: String,
    pub bytes_done: u64,
    pub bytes_total: u64,
    pub updated_at: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct DevicePatch {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Labels>,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Model {
    pub name: String,
    pub latest_version: Option<String>,
    pub version_count: u64,
    pub created_at: String,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Version {
    pub id: String,
    pub model: String,
    pub version: String,
    pub payload_bytes: u64,
    pub stored_bytes: u64,
    pub chunk_count: u64,
    pub manifest_sha256: String,
    pub payload_sha256: String,
    pub details: VersionDetails,
    pub created_at: String,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct VersionDetails {
    pub architecture: String,
    pub quantization: String,
    pub parameters: u64,
    pub context_length: u64,
}

/// Exactly one of the three is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Selector {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub all: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Labels>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub devices: Option<Vec<String>>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct RolloutSettings {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel: Option<u32>,
}

/// Body of both the preview and the creation.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct RolloutCreate {
    pub model: String,
    pub version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
    pub selector: Selector,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<RolloutSettings>,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct RolloutPreview {
    pub devices: Vec<PreviewDevice>,
    pub bytes_to_move: u64,
    pub conflicts: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct PreviewDevice {
    pub name: String,
    pub from_version: Option<String>,
    pub to_version: String,
    pub online: bool,
    pub fits: bool,
    pub why_not: Option<String>,
}

/// Lifecycle of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub enum RolloutState {
    Running,
    Succeeded,
    Failed,
    Aborted,
    /// A state that this command line does not know yet.
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Rollout {
    pub id: String,
    pub slot: String,
    pub model: String,
    pub version: String,
    pub selector: Selector,
    pub settings: RolloutSettings,
    pub state: RolloutState,
    pub reason: String,
    pub waiting_for: String,
    pub counts: Counts,
    pub rolls_back: Option<String>,
    pub created_at: String,
    pub ended_at: Option<String>,
}

/// Devices of a rollout by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Counts {
    pub total: u64,
    pub pending: u64,
    pub assigned: u64,
    pub accepted: u64,
    pub confirmed: u64,
    pub reverted: u64,
    pub failed: u64,
    pub superseded: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct RolloutDevice {
    pub device_id: String,
    pub device_name: String,
    pub version: Option<String>,
    pub previous_version: Option<String>,
    pub state: String,
    pub reason: String,
    pub message: String,
    pub updated_at: String,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct AuditRecord {
    /// None until the sequencer has put the record into the log.
    pub sequence: Option<u64>,
    pub at: String,
    pub actor: Actor,
    pub action: String,
    pub resource: Resource,
    pub outcome: String,
    pub reason: String,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Actor {
    pub kind: String,
    pub id: String,
    /// None if the person was erased.
    pub name: Option<String>,
}

/// The public key of the log.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct AuditKey {
    pub key: String,
}

/// A proof and the newest checkpoint.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct AuditProof {
    pub leaf: Option<String>,
    pub hashes: Vec<String>,
    pub checkpoint: String,
}

/// Whom to erase.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct ErasureCreate {
    pub subject: String,
}

/// What erasing takes, or took.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Erasure {
    pub subject: String,
    pub records: u64,
    pub rows: BTreeMap<String, u64>,
    pub signatures_kept: u64,
    pub erased_at: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Resource {
    pub kind: String,
    pub id: String,
    pub name: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct AuditHead {
    pub size: u64,
    pub root_sha256: String,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct TelemetrySummary {
    pub device_name: String,
    pub slot: String,
    pub version: Option<String>,
    pub requests: u64,
    pub errors: u64,
    pub ttft_p50_s: Option<f64>,
    pub ttft_p95_s: Option<f64>,
    pub tokens_per_second: Option<f64>,
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    pub memory_bytes: Option<u64>,
    pub last_at: String,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct TelemetryPoint {
    pub device_id: String,
    pub metric: String,
    pub slot: String,
    pub at: String,
    pub count: u64,
    pub sum: f64,
}

/// An error answer (RFC 9457).
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Problem {
    #[serde(default)]
    pub title: String,
    #[serde(default)]
    pub detail: Option<String>,
    /// Stable word for programs.
    #[serde(default)]
    pub code: String,
    /// Where the request failed, or its id.
    #[serde(default)]
    pub instance: Option<String>,
    /// Field errors, whatever their shape.
    #[serde(default)]
    pub errors: Option<serde_json::Value>,
}
