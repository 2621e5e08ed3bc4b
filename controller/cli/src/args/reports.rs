//! The audit log and telemetry.

use std::time::Duration;

use clap::Subcommand;

use super::{Limit, value};

#[derive(Debug, Subcommand)]
pub enum Audit {
    /// List audit records, newest first
    #[command(after_help = "\
Examples:
  edgeformer audit list
  edgeformer audit list --limit 1000 -o json | jq '.[] | select(.outcome != \"success\")'")]
    List {
        /// Show at most this many
        #[arg(long, value_name = "N", default_value_t = 50)]
        #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
    },
    /// Show size and root hash of the log; keep it, to prove later that nothing was changed
    #[command(after_help = "\
Examples:
  edgeformer audit head
  edgeformer audit head -o json >> audit-heads.jsonl")]
    Head,
}

#[derive(Debug, Subcommand)]
pub enum Telemetry {
    /// Requests, errors, latency and throughput per device, slot and version
    #[command(after_help = "\
Examples:
  edgeformer telemetry summary
  edgeformer telemetry summary --device press-7 --since 1h")]
    Summary {
        /// Only this device, by id or unique name
        #[arg(long)]
        device: Option<String>,
        /// Only what was measured in the last so long, for example 1h
        #[arg(long, value_name = "DURATION", value_parser = value::duration)]
        since: Option<Duration>,
    },
    /// Single data points as devices sent them
    #[command(after_help = "\
Examples:
  edgeformer telemetry points --device press-7 --limit 20
  edgeformer telemetry points --metric gen_ai.server.time_to_first_token -o json")]
    Points {
        /// Only this device, by id or unique name
        #[arg(long)]
        device: Option<String>,
        /// Only this metric
        #[arg(long)]
        metric: Option<String>,
        #[command(flatten)]
        limit: Limit,
    },
}
