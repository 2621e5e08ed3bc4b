//! Sinks of the audit log: where it is streamed to.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::reports::ExportFormat;
use super::{Consent, value};

#[derive(Debug, Subcommand)]
pub enum Sink {
    /// Stream the log to a syslog receiver over TLS, or to a webhook
    #[command(after_help = "\
Examples:
  edgeformer audit sink add siem --syslog siem.example:6514 --receiver-ca siem-ca.pem
  edgeformer audit sink add siem --syslog siem.example --receiver-ca ca.pem --format ocsf \\
      --client-cert fleet.pem --client-key fleet.key --from 0
  edgeformer audit sink add lake --webhook https://lake.example/audit --format jsonl")]
    Add(Add),
    /// Show the sinks of this log, how far each has come, and what is wrong
    #[command(after_help = "\
Examples:
  edgeformer audit sink list
  edgeformer audit sink list -o json | jq '.[] | select(.lag_records > 1000)'")]
    List,
    /// Change address, format or trust of a sink; it goes on where it was
    #[command(after_help = "\
Examples:
  edgeformer audit sink change 0198c0de-0000-7000-8000-000000000001 --address new.example:6514")]
    Change {
        /// Its id
        #[arg(value_parser = value::id)]
        id: String,
        /// `host:port`, or the URL of a webhook
        #[arg(long)]
        address: Option<String>,
        /// The format of each record
        #[arg(long, value_enum)]
        format: Option<ExportFormat>,
        /// PEM file with the only authorities to trust the receiver by
        #[arg(long, value_name = "FILE")]
        receiver_ca: Option<PathBuf>,
    },
    /// Stop sending until it is started again; its place in the log is kept
    #[command(after_help = "\
Examples:
  edgeformer audit sink stop 0198c0de-0000-7000-8000-000000000001")]
    Stop {
        /// Its id
        #[arg(value_parser = value::id)]
        id: String,
    },
    /// Go on where the sink was stopped
    #[command(after_help = "\
Examples:
  edgeformer audit sink start 0198c0de-0000-7000-8000-000000000001")]
    Start {
        /// Its id
        #[arg(value_parser = value::id)]
        id: String,
    },
    /// Remove a sink, with its key and its position
    #[command(after_help = "\
Examples:
  edgeformer audit sink remove 0198c0de-0000-7000-8000-000000000001")]
    Remove {
        /// Its id
        #[arg(value_parser = value::id)]
        id: String,
        #[command(flatten)]
        consent: Consent,
    },
}

#[derive(Debug, Args)]
pub struct Add {
    /// Name of the sink
    pub name: String,
    /// A syslog receiver (RFC 5425): `host` or `host:port`, 6514 unless given
    #[arg(long, value_name = "HOST", required_unless_present = "webhook")]
    #[arg(requires = "receiver_ca", conflicts_with = "webhook")]
    pub syslog: Option<String>,
    /// A URL that batches are posted to
    #[arg(long, value_name = "URL")]
    pub webhook: Option<String>,
    /// The format of each record; `rfc5424` for syslog and `jsonl` for webhooks unless given
    #[arg(long, value_enum)]
    pub format: Option<ExportFormat>,
    /// Number of the first record; the next one to come unless given
    #[arg(long, value_name = "NO")]
    pub from: Option<u64>,
    /// PEM file with the only authorities to trust the receiver by
    #[arg(long, value_name = "FILE", requires = "syslog")]
    pub receiver_ca: Option<PathBuf>,
    /// PEM file with a certificate to show to the receiver
    #[arg(long, value_name = "FILE", requires = "client_key")]
    pub client_cert: Option<PathBuf>,
    /// PEM file with its private key
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    pub client_key: Option<PathBuf>,
    /// Do not sign the batches of a webhook
    #[arg(long, requires = "webhook")]
    pub unsigned: bool,
}
