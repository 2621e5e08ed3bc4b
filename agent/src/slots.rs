//! What reconciliation and the model workers say to each other: slots, payloads, trials and their
//! outcomes. Types only; neither side reaches into the other past this file.

use std::fmt;
use std::future::Future;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use edgeformer_proto::artifact::ArtifactError;
use edgeformer_proto::ids::VersionId;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

/// Longest slot name: fits in a socket path together with a state directory.
pub const MAX_SLOT_NAME_BYTES: usize = 64;

/// Text that cannot name a slot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} cannot name a slot: 1 to {MAX_SLOT_NAME_BYTES} letters, digits or . _ - , the first a \
     letter or digit"
)]
pub struct SlotNameError(String);

/// Name of one model position on a device; by default the model's name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SlotName(Arc<str>);

impl SlotName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SlotName {
    type Err = SlotNameError;
    fn from_str(text: &str) -> Result<Self, SlotNameError> {
        let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        let rest = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if first && rest && text.len() <= MAX_SLOT_NAME_BYTES {
            Ok(Self(text.into()))
        } else {
            Err(SlotNameError(text.chars().take(80).collect()))
        }
    }
}

impl TryFrom<String> for SlotName {
    type Error = SlotNameError;
    fn try_from(text: String) -> Result<Self, SlotNameError> {
        text.parse()
    }
}

impl From<SlotName> for String {
    fn from(name: SlotName) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl fmt::Display for SlotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SlotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot:{}", self.0)
    }
}

/// How a slot runs its version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotSettings {
    /// Longest context in tokens; 0 means the model's own, capped by the device's memory.
    pub context_tokens: u32,
    /// Requests decoded at the same time; 0 means 1.
    pub parallel: u32,
}

/// Memory that a version needs, from its signed manifest. 0 everywhere: the manifest does not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryNeed {
    /// Weights in their final layout.
    pub weights_bytes: u64,
    /// Keys and values of one cached token, over all layers.
    pub kv_bytes_per_token: u64,
    /// Scratch, tokenizer and process.
    pub workspace_bytes: u64,
    /// The model's own context length in tokens.
    pub context_tokens: u32,
}

impl MemoryNeed {
    /// Bytes with these settings. The context is the one asked for, or the model's own.
    pub fn total_bytes(&self, settings: SlotSettings) -> u64 {
        let context = match settings.context_tokens {
            0 => self.context_tokens,
            asked => asked.min(self.context_tokens.max(1)),
        };
        self.kv_bytes_per_token
            .saturating_mul(u64::from(context))
            .saturating_mul(u64::from(settings.parallel.max(1)))
            .saturating_add(self.weights_bytes)
            .saturating_add(self.workspace_bytes)
    }
}

/// All that a worker needs to know to run one version.
#[derive(Debug, Clone, PartialEq)]
pub struct SlotSpec {
    /// Which slot.
    pub slot: SlotName,
    /// The immutable version.
    pub version_id: VersionId,
    /// Model name, for people and for the `model` field of the local API.
    pub model: String,
    /// Version as published, for people.
    pub version: String,
    /// The rollout that assigned it; empty if none did. Copied into measurements.
    pub rollout_id: String,
    /// How to run it.
    pub settings: SlotSettings,
    /// What it needs.
    pub memory: MemoryNeed,
}

/// Why the plaintext of a version cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// A sealed chunk that the version needs is not on disk.
    #[error("chunk {id} is missing on this device: it will be fetched again")]
    Missing {
        /// SHA-256 of the sealed chunk, hex.
        id: String,
    },
    /// A piece does not open or has another hash than the signed index says.
    #[error("chunk {id} does not verify: {error}")]
    Corrupt {
        /// SHA-256 of the sealed chunk, hex.
        id: String,
        /// What did not match.
        error: ArtifactError,
    },
    /// The data key, the manifest or the index cannot be opened.
    #[error("the version cannot be opened: {0}")]
    Key(String),
    /// The system gives no thread, or one died.
    #[error("the version cannot be opened: {0}: restart the agent, or give it more threads")]
    Thread(String),
    /// Reading failed.
    #[error("{path}: {reason}")]
    Read {
        /// The file.
        path: String,
        /// The system's words.
        reason: String,
    },
}

/// The opened pieces of a version.
pub type PayloadPieces = Box<dyn Iterator<Item = Result<Bytes, PayloadError>> + Send>;

/// Plaintext of a version, opened in memory. Never written to disk.
pub trait PayloadSource: Send + Sync {
    /// Opened plaintext pieces in order, each verified before it is handed out. The iterator reads
    /// files and decrypts: run it on a blocking thread.
    fn open(&self) -> Result<PayloadPieces, PayloadError>;
    /// Length of all pieces together.
    fn size_bytes(&self) -> u64;
}

/// Whether the memory of a worker may be written to a swap device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Paging {
    /// It is locked in memory.
    Locked,
    /// It may be, for this reason.
    Swappable(String),
}

impl fmt::Display for Paging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked => f.write_str("locked"),
            Self::Swappable(reason) => write!(f, "may be swapped out: {reason}"),
        }
    }
}

/// What a trial showed.
#[derive(Debug, Clone, PartialEq)]
pub struct TrialReport {
    /// The standby worker.
    pub pid: u32,
    /// Its resident memory after the probe.
    pub rss_bytes: u64,
    /// From start of the process to loaded weights.
    pub load_time: Duration,
    /// Tokens that the probe decoded.
    pub probe_tokens: u32,
    /// Whether the old worker was stopped first, because memory does not allow both.
    pub stopped_serving_first: bool,
}

/// Why a version cannot run here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrialError {
    /// Not enough memory, even with the old worker stopped.
    #[error("needs {needs_bytes} bytes of memory, {available_bytes} available")]
    Memory {
        /// What the version needs.
        needs_bytes: u64,
        /// What it may use.
        available_bytes: u64,
    },
    /// The payload could not be read or opened.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// The worker process could not be started or spoken to.
    #[error("the worker could not be started: {0}")]
    Start(String),
    /// The worker refused the model.
    #[error("the model does not load: {0}")]
    Load(String),
    /// The loaded model gave no usable answer.
    #[error("the probe failed: {0}")]
    Probe(String),
    /// The worker died on the way.
    #[error("the worker died during the trial: {0}")]
    Died(String),
    /// The worker did not finish in time.
    #[error("the trial took longer than {0:?}")]
    Timeout(Duration),
}

impl TrialError {
    /// Machine-readable reason for status reports.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Memory { .. } => "memory",
            Self::Payload(_) => "payload",
            Self::Start(_) => "worker_start",
            Self::Load(_) => "load",
            Self::Probe(_) => "probe",
            Self::Died(_) => "worker_died",
            Self::Timeout(_) => "timeout",
        }
    }
}

/// Why traffic could not be moved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SupervisorError {
    /// No standby worker runs this version.
    #[error("{slot}: no standby worker runs version {version_id}: try it again first")]
    NoStandby {
        /// The slot.
        slot: SlotName,
        /// The version that was to be activated.
        version_id: VersionId,
    },
    /// The supervisor has stopped.
    #[error("the supervisor of the model workers has stopped")]
    Stopped,
}

/// A worker that answers requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Serving {
    /// Its slot.
    pub slot: SlotName,
    /// What it runs.
    pub version_id: VersionId,
    /// Its process.
    pub pid: u32,
    /// Its resident memory.
    pub rss_bytes: u64,
    /// Since when it answers requests.
    pub since: SystemTime,
    /// Whether its weights may leave memory.
    pub paging: Paging,
}

/// What a worker was doing when it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerRole {
    /// Answered requests.
    Serving,
    /// Waited to be activated.
    Standby,
}

/// Something that happened to a worker without anybody asking for it.
#[derive(Debug, Clone, PartialEq)]
pub enum WorkerEvent {
    /// The process ended by itself: crash, kill, out of memory, hang that was ended.
    Exited {
        /// Its slot.
        slot: SlotName,
        /// What it ran.
        version_id: VersionId,
        /// What it was doing.
        was: WorkerRole,
        /// For people: signal or exit code, and what the worker last said.
        reason: String,
    },
}

/// The model workers, as reconciliation sees them. Implemented by the supervisor; a test
/// implementation scripts crashes.
pub trait Workers: Clone + Send + Sync + 'static {
    /// Starts a standby worker, streams the payload into it, loads and probes it. If memory does
    /// not allow both, stops the old worker first and says so in the report. A failed trial leaves
    /// no standby worker behind.
    fn trial(
        &self,
        spec: SlotSpec,
        payload: Arc<dyn PayloadSource>,
    ) -> impl Future<Output = Result<TrialReport, TrialError>> + Send;
    /// The standby becomes serving; the old worker drains its requests, then stops.
    fn activate(
        &self,
        slot: &SlotName,
        version_id: VersionId,
    ) -> impl Future<Output = Result<(), SupervisorError>> + Send;
    /// Stops a standby worker. Nothing happens if there is none.
    fn discard(&self, slot: &SlotName, version_id: VersionId) -> impl Future<Output = ()> + Send;
    /// Drains and stops what the slot serves, and its standby.
    fn stop(&self, slot: &SlotName) -> impl Future<Output = ()> + Send;
    /// What answers requests now.
    fn serving(&self) -> Vec<Serving>;
    /// Exits from now on.
    fn events(&self) -> broadcast::Receiver<WorkerEvent>;
}

/// One finished request of the local API.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestMeasurement {
    /// Slot that answered.
    pub slot: SlotName,
    /// Version that answered.
    pub version_id: VersionId,
    /// Rollout that assigned the version; empty if none did.
    pub rollout_id: String,
    /// `gen_ai.operation.name`: "chat" or "text_completion".
    pub operation: &'static str,
    /// From the request to the first token; none if none came.
    pub time_to_first_token: Option<Duration>,
    /// From the request to the end.
    pub duration: Duration,
    /// Mean time per token after the first; none with fewer than two tokens.
    pub time_per_output_token: Option<Duration>,
    /// Tokens read.
    pub prompt_tokens: u32,
    /// Tokens written.
    pub completion_tokens: u32,
    /// `error.type` of a failed request.
    pub error: Option<&'static str>,
    /// Resident memory of the worker after the request.
    pub worker_rss_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slot_names_are_plain_and_never_paths() {
        for good in ["smollm2-135m", "a", "Llama_3.2"] {
            assert_eq!(good.parse::<SlotName>().unwrap().as_str(), good);
        }
        for bad in ["", ".", "../x", "a/b", "-a", "a b", "ü", &"a".repeat(65)] {
            assert!(bad.parse::<SlotName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn memory_counts_the_context_asked_for_and_every_parallel_request() {
        let need = MemoryNeed {
            weights_bytes: 1000,
            kv_bytes_per_token: 2,
            workspace_bytes: 10,
            context_tokens: 100,
        };
        let with =
            |context_tokens, parallel| need.total_bytes(SlotSettings { context_tokens, parallel });
        assert_eq!(with(0, 0), 1210);
        assert_eq!(with(50, 1), 1110);
        assert_eq!(with(50, 4), 1410);
        assert_eq!(with(500, 1), 1210, "never more than the model's own context");
    }
}
