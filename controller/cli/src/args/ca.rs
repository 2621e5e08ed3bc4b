//! Certificate authorities: what devices' certificates come from.

use clap::{Args, Subcommand};

use super::Consent;

/// Whose authorities.
#[derive(Debug, Clone, Copy, Args)]
pub struct Whose {
    /// The installation's root instead of the tenant's issuing CA; needs the installation's token
    #[arg(long)]
    pub installation: bool,
}

#[derive(Debug, Subcommand)]
pub enum Ca {
    /// Show the authorities, and how many devices still need those that were replaced
    #[command(after_help = "\
Examples:
  edgeformer ca show
  edgeformer ca show --installation")]
    Show {
        #[command(flatten)]
        whose: Whose,
    },
    /// Replace the authority; devices follow by themselves when they renew
    #[command(after_help = "\
Examples:
  edgeformer ca rotate
  edgeformer ca rotate --installation --yes   (the root, and every tenant's CA after it)")]
    Rotate {
        #[command(flatten)]
        whose: Whose,
        #[command(flatten)]
        consent: Consent,
    },
    /// End what a replaced authority signed; it ends by itself once no device needs it
    #[command(after_help = "\
Examples:
  edgeformer ca retire 3f1a9c2e
  edgeformer ca retire 3f1a9c2e --force       (shows whom it meets, and asks)")]
    Retire {
        /// Id of the authority from `edgeformer ca show`, or how it begins
        ca: String,
        #[command(flatten)]
        whose: Whose,
        /// Also while devices need it: they have to renew before anything else
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        consent: Consent,
    },
}
