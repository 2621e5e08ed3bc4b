//! How long the audit log's texts are kept, and legal holds.

use clap::Subcommand;

use super::Consent;

#[derive(Debug, Subcommand)]
pub enum Retention {
    /// Show how long texts of records are kept, and whether there is a legal hold
    #[command(after_help = "\
Examples:
  edgeformer audit retention show")]
    Show,
    /// Set how long texts of records are kept; hashes and proofs always are
    #[command(after_help = "\
Shows first how many records would lose their text now.

Examples:
  edgeformer audit retention set --days 2555
  edgeformer audit retention set --for-ever")]
    Set {
        /// Days
        #[arg(long, required_unless_present = "for_ever")]
        days: Option<u32>,
        /// Delete nothing
        #[arg(long, conflicts_with = "days")]
        for_ever: bool,
        #[command(flatten)]
        consent: Consent,
    },
}

#[derive(Debug, Subcommand)]
pub enum Hold {
    /// Stop every deletion from the audit log: retention, erasure, and the tenant's own end
    #[command(after_help = "\
Examples:
  edgeformer audit hold set 'proceedings 4 C 12/26'")]
    Set {
        /// Why; it is shown to whoever wants to delete something
        reason: String,
    },
    /// Lift the legal hold; only owners may
    #[command(after_help = "\
Examples:
  edgeformer audit hold lift")]
    Lift {
        #[command(flatten)]
        consent: Consent,
    },
}
