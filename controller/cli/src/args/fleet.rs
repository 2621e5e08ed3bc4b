//! Devices and models.

use std::path::PathBuf;

use clap::Subcommand;

use super::{Consent, Limit, value};

#[derive(Debug, Subcommand)]
pub enum Device {
    /// List devices
    #[command(after_help = "\
Examples:
  edgeformer device list
  edgeformer device list --label site=berlin --label line=2")]
    List {
        /// Only devices with this label; several must all match
        #[arg(long = "label", value_name = "KEY=VALUE", value_parser = value::label)]
        labels: Vec<(String, String)>,
        #[command(flatten)]
        limit: Limit,
    },
    /// Show one device: facts, labels, and what each slot serves
    #[command(after_help = "Example:\n  edgeformer device show press-7")]
    Show {
        /// Id or unique name
        device: String,
    },
    /// Set (key=value) or remove (key-) labels
    #[command(after_help = "\
Examples:
  edgeformer device label press-7 site=berlin line=2
  edgeformer device label press-7 line-      (removes the label `line`)")]
    Label {
        /// Id or unique name
        device: String,
        /// key=value sets, key- removes
        #[arg(required = true, value_name = "KEY=VALUE|KEY-", value_parser = value::label_edit)]
        edits: Vec<value::LabelEdit>,
    },
    /// Cut a device off for good; to come back it must enrol again
    #[command(after_help = "\
Examples:
  edgeformer device revoke press-7           (shows what will happen and asks)
  edgeformer device revoke press-7 --yes")]
    Revoke {
        /// Id or unique name
        device: String,
        #[command(flatten)]
        consent: Consent,
    },
}

#[derive(Debug, Subcommand)]
pub enum Model {
    /// Upload a model file as a new version: sealed, signed, never changed afterwards
    #[command(after_help = "\
Publishing the same file again under the same version changes nothing and succeeds; another file
under a published version is refused.

Example:
  edgeformer model publish assistant 1.0.0 ./SmolLM2-135M-Instruct.gguf")]
    Publish {
        /// Name of the model; created by its first version
        name: String,
        /// Version, for example 1.0.0
        version: String,
        /// The model file (GGUF)
        file: PathBuf,
    },
    /// List models
    #[command(after_help = "Example:\n  edgeformer model list")]
    List(Limit),
    /// List the versions of a model
    #[command(after_help = "Example:\n  edgeformer model versions assistant")]
    Versions {
        /// Name of the model
        name: String,
        #[command(flatten)]
        limit: Limit,
    },
    /// Show one version: sizes, digests, architecture
    #[command(after_help = "Example:\n  edgeformer model show assistant 1.0.0")]
    Show {
        /// Name of the model
        name: String,
        /// Version
        version: String,
    },
}
