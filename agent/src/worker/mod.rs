//! The worker process: runs the model of one slot.

use crate::cli::WorkerArgs;

/// Runs until the agent ends it.
pub fn run(_args: WorkerArgs) -> anyhow::Result<()> {
    anyhow::bail!("this build has no model worker")
}
