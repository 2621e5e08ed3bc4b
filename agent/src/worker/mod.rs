//! The worker process: runs the model of one slot.

pub mod frame;
pub mod message;

use crate::cli::WorkerArgs;

/// Runs until the agent ends it.
pub fn run(_args: WorkerArgs) -> anyhow::Result<()> {
    anyhow::bail!("this build has no model worker")
}
