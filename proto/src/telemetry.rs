//! Names and bucket bounds of what agents measure, in one place, so that both sides read the same
//! metric under the same name.
//!
//! Names follow the OpenTelemetry semantic conventions for generative AI, pinned here because they
//! still change. What is not in this file does not leave a device.

/// Whole request, seconds (histogram).
pub const REQUEST_DURATION: &str = "gen_ai.server.request.duration";
/// Request to first token, seconds (histogram).
pub const TIME_TO_FIRST_TOKEN: &str = "gen_ai.server.time_to_first_token";
/// Mean time per token after the first, seconds (histogram, one sample a request).
pub const TIME_PER_OUTPUT_TOKEN: &str = "gen_ai.server.time_per_output_token";
/// Tokens of a request by [`ATTR_TOKEN_TYPE`] (histogram).
pub const TOKEN_USAGE: &str = "gen_ai.client.token.usage";
/// Resident memory of a slot's worker, bytes (gauge).
pub const MEMORY_USAGE: &str = "process.memory.usage";
/// Batches that were dropped on the device because its spool was full (gauge, total since start).
pub const SPOOL_DROPPED: &str = "edgeformer.telemetry.dropped_batches";

/// Slot that answered.
pub const ATTR_SLOT: &str = "edgeformer.slot";
/// Version that answered (UUID).
pub const ATTR_VERSION_ID: &str = "edgeformer.version_id";
/// Rollout that assigned the version (UUID).
pub const ATTR_ROLLOUT_ID: &str = "edgeformer.rollout_id";
/// "chat" or "text_completion".
pub const ATTR_OPERATION: &str = "gen_ai.operation.name";
/// Always [`PROVIDER`].
pub const ATTR_PROVIDER: &str = "gen_ai.provider.name";
/// Why a request failed; absent when it did not.
pub const ATTR_ERROR: &str = "error.type";
/// [`TOKEN_INPUT`] or [`TOKEN_OUTPUT`].
pub const ATTR_TOKEN_TYPE: &str = "gen_ai.token.type";

/// Value of [`ATTR_PROVIDER`].
pub const PROVIDER: &str = "edgeformer";
/// Tokens read.
pub const TOKEN_INPUT: &str = "input";
/// Tokens written.
pub const TOKEN_OUTPUT: &str = "output";

/// Upper-inclusive bounds for times up to the first token and whole requests, seconds.
pub const REQUEST_BOUNDS_S: &[f64] =
    &[0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// Upper-inclusive bounds for the time per token, seconds.
pub const TOKEN_BOUNDS_S: &[f64] =
    &[0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5];
/// Upper-inclusive bounds for tokens of one request.
pub const TOKEN_COUNT_BOUNDS: &[f64] =
    &[1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0];
