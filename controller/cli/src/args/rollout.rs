//! Rollouts.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::{Consent, Limit, value};

#[derive(Debug, Subcommand)]
pub enum Rollout {
    /// Show what a rollout would do, without doing it
    #[command(after_help = "\
Examples:
  edgeformer rollout preview --model assistant --version 1.1.0 --all
  edgeformer rollout preview --model assistant --version 1.1.0 --label site=berlin")]
    Preview(Plan),
    /// Start a rollout
    #[command(after_help = "\
With --wait the command follows the rollout, prints progress on standard error, names each device
that fails with its message, and exits with 1 when the rollout fails or is aborted.

Examples:
  edgeformer rollout create --model assistant --version 1.1.0 --device press-7 --wait
  edgeformer rollout create --model assistant --version 1.1.0 --all --wait --timeout 30m
  edgeformer rollout create --model assistant --version 1.1.0 --label site=berlin --context 4096")]
    Create {
        #[command(flatten)]
        plan: Plan,
        #[command(flatten)]
        wait: Wait,
    },
    /// List rollouts, newest first
    #[command(after_help = "\
Examples:
  edgeformer rollout list
  edgeformer rollout list --state running")]
    List {
        /// Only rollouts in this state
        #[arg(long, value_enum)]
        state: Option<State>,
        #[command(flatten)]
        limit: Limit,
    },
    /// Show one rollout, what it waits for and how far it is
    #[command(after_help = "\
Examples:
  edgeformer rollout show 0192d3a4-7b1c-7c3e-9f00-3a52c0de0003
  edgeformer rollout show 0192d3a4-7b1c-7c3e-9f00-3a52c0de0003 --wait")]
    Show {
        /// Id of the rollout
        #[arg(value_parser = value::id)]
        id: String,
        #[command(flatten)]
        wait: Wait,
    },
    /// Show the devices of a rollout, each with its state and message
    #[command(after_help = "\
Example:
  edgeformer rollout devices 0192d3a4-7b1c-7c3e-9f00-3a52c0de0003")]
    Devices {
        /// Id of the rollout
        #[arg(value_parser = value::id)]
        id: String,
        #[command(flatten)]
        limit: Limit,
    },
    /// Stop a running rollout; devices that changed already keep the new version
    #[command(after_help = "\
Example:
  edgeformer rollout abort 0192d3a4-7b1c-7c3e-9f00-3a52c0de0003 --yes")]
    Abort {
        /// Id of the rollout
        #[arg(value_parser = value::id)]
        id: String,
        #[command(flatten)]
        consent: Consent,
    },
    /// Bring the devices of a rollout back to what they ran before it
    #[command(after_help = "\
Examples:
  edgeformer rollout rollback 0192d3a4-7b1c-7c3e-9f00-3a52c0de0003
  edgeformer rollout rollback 0192d3a4-7b1c-7c3e-9f00-3a52c0de0003 --yes --wait")]
    Rollback {
        /// Id of the rollout to undo
        #[arg(value_parser = value::id)]
        id: String,
        #[command(flatten)]
        consent: Consent,
        #[command(flatten)]
        wait: Wait,
    },
}

/// Which version goes where.
#[derive(Debug, Args)]
pub struct Plan {
    /// Name of the model
    #[arg(long)]
    pub model: String,
    /// Version of the model (here this is not the program's version)
    #[arg(long = "version", value_name = "VERSION", id = "model_version")]
    pub version: String,
    /// Slot on the device that applications ask for [default: the model's name]
    #[arg(long)]
    pub slot: Option<String>,
    #[command(flatten)]
    pub target: Target,
    /// Context length in tokens that the device makes room for
    #[arg(long, value_name = "TOKENS")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub context: Option<u32>,
    /// Requests that one slot serves at the same time
    #[arg(long, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub parallel: Option<u32>,
}

/// Exactly one way of choosing devices.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Target {
    /// All enrolled devices
    #[arg(long)]
    pub all: bool,
    /// Devices with this label; several must all match
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = value::label)]
    pub labels: Vec<(String, String)>,
    /// This device, by id or unique name; may be repeated
    #[arg(long = "device", value_name = "DEVICE")]
    pub devices: Vec<String>,
}

#[derive(Debug, Clone, Copy, Args)]
pub struct Wait {
    /// Follow the rollout until it ends
    #[arg(long)]
    pub wait: bool,
    /// Stop following after this time; the rollout goes on
    #[arg(long, value_name = "DURATION", default_value = "10m", requires = "wait")]
    #[arg(value_parser = value::duration)]
    pub timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum State {
    Running,
    Succeeded,
    Failed,
    Aborted,
}

impl State {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Running => "running",
            State::Succeeded => "succeeded",
            State::Failed => "failed",
            State::Aborted => "aborted",
        }
    }
}
