//! Evidence of what ran where.

use std::path::PathBuf;

use clap::Subcommand;

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
