//! Commands that need no controller.

use crate::cli::{BenchArgs, GenerateArgs, KeyCommand, QuantizeArgs};

/// Generates text with a model file.
pub fn generate(_args: GenerateArgs) -> anyhow::Result<()> {
    anyhow::bail!("this build has no engine")
}

/// Measures a model file.
pub fn bench(_args: BenchArgs) -> anyhow::Result<()> {
    anyhow::bail!("this build has no engine")
}

/// Rewrites a model file.
pub fn quantize(_args: QuantizeArgs) -> anyhow::Result<()> {
    anyhow::bail!("this build has no engine")
}

/// Manages the keys of local applications.
pub fn key(_command: KeyCommand) -> anyhow::Result<()> {
    anyhow::bail!("this build has no local keys")
}
