//! Evidence of what ran where, and how long what is kept.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::value;

#[derive(Debug, Subcommand)]
pub enum Compliance {
    /// Tell which version ran on which device and when, who published and approved it
    #[command(after_help = "\
Examples:
  edgeformer compliance report --from 2026-07-01 --to 2026-10-01
  edgeformer compliance report --from 2026-07-01 --to 2026-10-01 --bundle q3 --html q3.html
  edgeformer compliance report --from 2026-07-01 --to 2026-10-01 --bundle q3.tar")]
    Report {
        /// Begin of the period: a day, or a time like 2026-07-01T06:00:00Z
        #[arg(long, value_name = "TIME", value_parser = value::instant)]
        from: String,
        /// End of the period; the moment itself is not part of it
        #[arg(long, value_name = "TIME", value_parser = value::instant)]
        to: String,
        /// Write all that it takes to verify it offline: a new folder, or a new file that ends in
        /// .tar
        #[arg(long, value_name = "PATH")]
        bundle: Option<PathBuf>,
        /// Write the report for people: a new HTML file that needs nothing else
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
    },
    /// Verify a bundle offline: derive every line of the report again from the audit log
    #[command(after_help = "\
Examples:
  edgeformer compliance verify q3 --key audit.key --release-key release.key
  edgeformer compliance verify q3.tar --key audit.key --release-key release.key \\
      --since checkpoints/2026-09-01")]
    Verify {
        /// The folder or the .tar file
        bundle: PathBuf,
        /// The key of the audit log, or a file that holds it
        #[arg(long, value_name = "KEY")]
        key: String,
        /// The key that signs versions, or a file that holds it
        #[arg(long, value_name = "KEY")]
        release_key: String,
        /// A checkpoint of this log that was kept: the log must still begin with what it says
        #[arg(long, value_name = "FILE")]
        since: Vec<PathBuf>,
        /// Key of a witness that must have signed
        #[arg(long, value_name = "KEY")]
        witness: Vec<String>,
    },
    /// Show the public key that signs versions; keep it apart from the controller
    #[command(after_help = "\
Examples:
  edgeformer compliance key > release.key")]
    Key,
}

#[derive(Debug, Subcommand)]
pub enum Privacy {
    /// Show how long which kind of data is kept, and what applications may send
    #[command(after_help = "\
Examples:
  edgeformer privacy settings")]
    Settings,
    /// Change how long data is kept; what is not given stays as it is
    #[command(after_help = "\
Examples:
  edgeformer privacy set --telemetry-days 7
  edgeformer privacy set --allow app.requests --allow app.site
  edgeformer privacy set --disallow app.site")]
    Set(PrivacySet),
    /// Write everything that is held about one person or device, as JSON Lines
    #[command(after_help = "\
Examples:
  edgeformer privacy export user:0198c0de-0000-7000-8000-000000000001 > ada.jsonl
  edgeformer privacy export device:0198c0de-0000-7000-8000-000000000002 --file press.jsonl")]
    Export {
        /// `user:<id>`, `token:<id>`, `service_account:<id>` or `device:<id>`
        subject: String,
        /// Write to this new file instead of standard output
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

/// What to change.
#[derive(Debug, Args)]
pub struct PrivacySet {
    /// Days that telemetry is kept (1 to 3650)
    #[arg(long, value_name = "DAYS")]
    pub telemetry_days: Option<u32>,
    /// Hours that answers are kept for those who repeat a request (1 to 24)
    #[arg(long, value_name = "HOURS")]
    pub answers_hours: Option<u32>,
    /// Days that log-ins are kept that are over (7 to 365)
    #[arg(long, value_name = "DAYS")]
    pub log_ins_days: Option<u32>,
    /// Days that facts of revoked devices are kept since they were seen last (1 to 3650)
    #[arg(long, value_name = "DAYS")]
    pub device_facts_days: Option<u32>,
    /// Take this metric or attribute of applications from now on; may be repeated
    #[arg(long = "allow", value_name = "NAME")]
    pub allow: Vec<String>,
    /// Drop it from now on; may be repeated
    #[arg(long = "disallow", value_name = "NAME")]
    pub disallow: Vec<String>,
}
