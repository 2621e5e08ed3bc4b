//! The audit log and telemetry.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::retention::{Hold, Retention};
use super::sink::Sink;
use super::witness::Witness;
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

/// The audit log of the tenant, or of the installation.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// The installation's own log, with the installation's token: list, head, status, export, key,
    /// checkpoint, bundle, proof and watch
    #[arg(long, global = true)]
    pub installation: bool,
    #[command(subcommand)]
    pub command: Audit,
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
    /// Show the public key that signs the log; keep it apart from the controller
    #[command(after_help = "\
Examples:
  edgeformer audit key > audit.key")]
    Key,
    /// Print the newest signed checkpoint, a signed note with the cosignatures of witnesses
    #[command(after_help = "\
Examples:
  edgeformer audit checkpoint > checkpoints/$(date +%F)
  edgeformer audit checkpoint --cosignatures 2")]
    Checkpoint {
        /// The newest that at least so many witnesses cosigned
        #[arg(long, value_name = "N", default_value_t = 0)]
        cosignatures: u32,
    },
    /// Write a part of the log with all that it takes to verify it offline
    #[command(after_help = "\
Examples:
  edgeformer audit bundle audit.bundle
  edgeformer audit bundle q3.bundle --from 1200 --to 5400 --sealed")]
    Bundle {
        /// The new file
        file: PathBuf,
        /// Number of the first record
        #[arg(long, value_name = "NO", default_value_t = 0)]
        from: u64,
        /// One after the last record; all that is signed unless given
        #[arg(long, value_name = "NO")]
        to: Option<u64>,
        /// Leave out names, addresses and what changed; the proof holds without them
        #[arg(long)]
        sealed: bool,
        /// Under the newest checkpoint that at least so many witnesses cosigned
        #[arg(long, value_name = "N", default_value_t = 0)]
        cosignatures: u32,
    },
    /// Verify a bundle offline, with the log's public key and nothing else
    #[command(after_help = "\
Examples:
  edgeformer audit verify audit.bundle --key audit.key
  edgeformer audit verify audit.bundle --key audit.key --since checkpoints/2026-09-01
  edgeformer audit verify audit.bundle --key audit.key --witness witness.pub")]
    Verify {
        /// The bundle
        bundle: PathBuf,
        /// The key, or a file that holds it
        #[arg(long, value_name = "KEY")]
        key: String,
        /// A checkpoint of this log that was kept: the log must still begin with what it says
        #[arg(long, value_name = "FILE")]
        since: Vec<PathBuf>,
        /// Key of a witness that must have signed, or a file that holds it
        #[arg(long, value_name = "KEY")]
        witness: Vec<String>,
    },
    /// Check that one record is in the signed log
    #[command(after_help = "\
Examples:
  edgeformer audit proof 41 --key audit.key")]
    Proof {
        /// Number of the record
        sequence: u64,
        /// The key, or a file that holds it
        #[arg(long, value_name = "KEY")]
        key: String,
    },
    /// Check that the log only grew since a checkpoint that was kept, and print the newest one
    #[command(after_help = "\
Examples:
  edgeformer audit watch last.checkpoint --key audit.key")]
    Watch {
        /// The checkpoint that was kept; replaced by the newest one when the check holds
        checkpoint: PathBuf,
        /// The key, or a file that holds it
        #[arg(long, value_name = "KEY")]
        key: String,
    },
    /// Witnesses: others who sign that the log only grew
    #[command(subcommand)]
    Witness(Witness),
    /// Sinks: other systems that the log is streamed to
    #[command(subcommand)]
    Sink(Sink),
    /// How long the texts of records are kept
    #[command(subcommand)]
    Retention(Retention),
    /// Legal holds: nothing is deleted while there is one
    #[command(subcommand)]
    Hold(Hold),
    /// Show how it stands with the log: signed, witnessed, streamed, and whether there is room
    #[command(after_help = "\
Examples:
  edgeformer audit status
  edgeformer audit --installation status -o json | jq .capacity")]
    Status,
    /// Erase a person or a revoked device: account, names, addresses and details go, the log stays
    /// valid
    #[command(after_help = "\
Examples:
  edgeformer audit erase user:0198c0de-0000-7000-8000-000000000001
  edgeformer audit erase token:0198c0de-0000-7000-8000-000000000002 --yes")]
    Erase {
        /// `user:<id>`, `token:<id>`, `service_account:<id>` or `device:<id>`
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
