//! Models and their versions.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Limit, value};

#[derive(Debug, Subcommand)]
pub enum Model {
    /// Upload a model file as a new version: sealed, signed, never changed afterwards
    #[command(after_help = "\
Publishing the same file again under the same version changes nothing and succeeds; another file
under a published version is refused. What the options say goes into the version's bill of materials,
where it stands above what the file says of itself; it does not change afterwards.

--evaluation names a JSON file, a list of figures:
  [{\"name\": \"accuracy\", \"value\": 0.61, \"dataset\": \"quiz\", \"interval\": [0.59, 0.63]}]

Examples:
  edgeformer model publish assistant 1.0.0 ./SmolLM2-135M-Instruct.gguf
  edgeformer model publish assistant 1.1.0 ./tuned.gguf --license Apache-2.0 --author 'Ada Lovelace' \\
      --base-model SmolLM2-135M=https://huggingface.co/HuggingFaceTB/SmolLM2-135M \\
      --dataset cases-2026 --evaluation quiz.json")]
    Publish {
        /// Name of the model; created by its first version
        name: String,
        /// Version, for example 1.0.0
        version: String,
        /// The model file (GGUF)
        file: PathBuf,
        #[command(flatten)]
        said: Said,
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
    /// Take out a version's bill of materials (CycloneDX ML-BOM)
    #[command(after_help = "\
What it is made of: the version's manifest, the header of the model file, and what was said when it
was published. It goes to standard output unless --file is given.

Example:
  edgeformer model bom assistant 1.0.0 --file assistant.cdx.json")]
    Bom {
        /// Name of the model
        name: String,
        /// Version
        version: String,
        /// A new file to write to
        #[arg(short, long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Take out a version's signature, which others verify without this product
    #[command(after_help = "\
The signature is an OpenSSF Model Signing bundle of one file named MODEL-VERSION.gguf. It goes to
standard output unless --file is given.

Example:
  edgeformer model signing-key --file acme.pem
  edgeformer model signature assistant 1.0.0 --file assistant.sig
  model_signing verify key ./folder --signature assistant.sig --public_key acme.pem
      (the folder holds assistant-1.0.0.gguf and nothing else)")]
    Signature {
        /// Name of the model
        name: String,
        /// Version
        version: String,
        /// A new file to write to
        #[arg(short, long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Take out the public key that verifies signatures of versions (PEM)
    #[command(after_help = "Example:\n  edgeformer model signing-key --file acme.pem")]
    SigningKey {
        /// A new file to write to
        #[arg(short, long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

/// What is said of a version when it is published.
#[derive(Debug, Default, Args)]
pub struct Said {
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// Its licence: an SPDX identifier such as Apache-2.0, or a name
    #[arg(long)]
    pub license: Option<String>,
    /// Where it comes from
    #[arg(long, value_name = "URL")]
    pub source_url: Option<String>,
    /// Who made it; may be repeated
    #[arg(long = "author", value_name = "NAME")]
    pub authors: Vec<String>,
    /// For whom it was made
    #[arg(long, value_name = "NAME")]
    pub organization: Option<String>,
    /// A model that it was made from; may be repeated
    #[arg(long = "base-model", value_name = "NAME[=URL]", value_parser = value::origin)]
    pub base_models: Vec<(String, Option<String>)>,
    /// Data that it was trained on; may be repeated
    #[arg(long = "dataset", value_name = "NAME[=URL]", value_parser = value::origin)]
    pub datasets: Vec<(String, Option<String>)>,
    /// A JSON file of evaluation figures; may be repeated
    #[arg(long = "evaluation", value_name = "FILE")]
    pub evaluations: Vec<PathBuf>,
}
