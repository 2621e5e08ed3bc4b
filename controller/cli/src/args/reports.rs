//! The audit log and telemetry.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Subcommand, ValueEnum};

use super::{Consent, Limit, value};

/// What a line of an export looks like.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum ExportFormat {
    /// As the API shows a record
    Jsonl,
    /// Open Cybersecurity Schema Framework 1.5.0
    Ocsf,
    /// ArcSight Common Event Format
    Cef,
    /// Syslog
    Rfc5424,
}

impl ExportFormat {
    /// As the API names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Ocsf => "ocsf",
            Self::Cef => "cef",
            Self::Rfc5424 => "rfc5424",
        }
    }
}

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
    /// Write the log in its order, in a format that other systems read
    #[command(after_help = "\
Examples:
  edgeformer audit export > audit.jsonl
  edgeformer audit export --format ocsf --file events.jsonl
  edgeformer audit export --format rfc5424 --from 1200 --follow | logger --server siem")]
    Export {
        /// The format of each line
        #[arg(long, value_enum, default_value_t = ExportFormat::Jsonl)]
        format: ExportFormat,
        /// Number of the first record
        #[arg(long, value_name = "NO", default_value_t = 0)]
        from: u64,
        /// Stay, and write new records as they come
        #[arg(long)]
        follow: bool,
        /// Write to this new file instead of standard output
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Erase a person: names, addresses and details beside the log go, the log stays valid
    #[command(after_help = "\
Examples:
  edgeformer audit erase user:0198c0de-0000-7000-8000-000000000001
  edgeformer audit erase token:0198c0de-0000-7000-8000-000000000002 --yes")]
    Erase {
        /// `user:<id>`, `token:<id>` or `service_account:<id>`, as `audit list -o json` shows actors
        subject: String,
        #[command(flatten)]
        consent: Consent,
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
