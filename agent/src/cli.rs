//! The command line: names, flags and help. Parsing only; what a command does lives in its module.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::identity::KeyPlace;
use crate::reconcile::retention::MAX_OLDER;

/// Runs models on this device and keeps them as its fleet controller wants them.
#[derive(Debug, Parser)]
#[command(name = "edgeformer-agent", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make this machine a device of a fleet, with a token from `edgeformer enrolment-token create`
    Enroll(EnrollArgs),
    /// Run the agent: stay connected, run the models it is assigned, serve the local API
    Run(RunArgs),
    /// Take a version from a bundle file (`edgeformer bundle export`), without a network
    Import(ImportArgs),
    /// Show what the running agent does
    Status(StatusArgs),
    /// Keys of local applications
    #[command(subcommand)]
    Key(KeyCommand),
    /// What leaves this device, and whether it may
    #[command(subcommand)]
    Privacy(PrivacyCommand),
    /// Generate text with a model file, without a fleet
    Generate(GenerateArgs),
    /// Measure prefill and decoding speed of a model file
    Bench(BenchArgs),
    /// Rewrite a model file with other block types
    Quantize(QuantizeArgs),
    /// Collect logs, settings and state for a support case; never keys or tokens
    SupportBundle(SupportBundleArgs),
    /// Bring metadata and targets of a TUF repository here, as `run` does: for tests and inspection
    Tuf(TufArgs),
    /// The worker process of one slot; started by the agent
    #[command(hide = true)]
    Worker(WorkerArgs),
}

/// Flags of `enroll`.
#[derive(Debug, Args)]
pub struct EnrollArgs {
    /// The controller's device listener, e.g. https://fleet.example:8444
    #[arg(long)]
    pub controller: String,
    /// Certificate of the installation root that the controller's certificate must chain to
    #[arg(long, value_name = "FILE")]
    pub ca: PathBuf,
    /// Enrolment token (efe_…)
    #[arg(
        long,
        env = "EDGEFORMER_ENROLMENT_TOKEN",
        hide_env_values = true,
        required_unless_present = "enrolment_id"
    )]
    pub token: Option<String>,
    /// Ask an operator, and wait until one decided (`edgeformer enrolment requests`)
    #[arg(long, requires = "enrolment_id", conflicts_with_all = ["token", "claim_cert"])]
    pub request: bool,
    /// Id of the tenant that is asked, from `edgeformer enrolment open`; with --request or --claim-cert
    #[arg(long, value_name = "ID", conflicts_with = "token")]
    pub enrolment_id: Option<String>,
    /// The manufacturer's certificate of this device (PEM, leaf first)
    #[arg(long, value_name = "FILE", requires = "claim_key", requires = "enrolment_id")]
    pub claim_cert: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE", requires = "claim_cert")]
    pub claim_key: Option<PathBuf>,
    /// Where the agent keeps its keys, chunks and ledger
    #[arg(long, value_name = "DIR")]
    pub state_dir: PathBuf,
    /// Where this device's keys are made and stay: file, or in a TPM 2.0: tpm:/dev/tpmrm0 (for a
    /// simulator tpm:unix:PATH or tpm:HOST:PORT)
    #[arg(long, value_name = "PLACE")]
    pub keys: Option<KeyPlace>,
    /// Name of this device in the fleet (default: made of its key; the host name if `privacy set
    /// hostname on` lets it leave)
    #[arg(long)]
    pub name: Option<String>,
    /// Label to add; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    pub labels: Vec<(String, String)>,
}

/// Flags of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Where the agent keeps its keys, chunks and ledger
    #[arg(long, value_name = "DIR")]
    pub state_dir: PathBuf,
    /// Address of the local OpenAI-compatible API; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Let --listen be an address that other machines reach; then local keys are required
    #[arg(long)]
    pub allow_remote: bool,
    /// Origin of a web page that may use the local API, e.g. http://localhost:3000; may be repeated
    #[arg(long = "allow-origin", value_name = "ORIGIN")]
    pub allowed_origins: Vec<String>,
    /// Where this device's keys are, if the TPM is not where it was at enrolment
    #[arg(long, value_name = "PLACE")]
    pub keys: Option<KeyPlace>,
    /// File to write once the local listener is bound
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    /// Seconds between telemetry reports
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub telemetry_interval_s: u32,
    /// Memory that models may use together, in MiB (default: what the machine has available)
    #[arg(long, value_name = "N")]
    pub memory_limit_mb: Option<u64>,
    /// Confirmed versions to keep per model beside the one that serves; the newest of them is what a
    /// crash loop goes back to
    #[arg(long, value_name = "N", default_value_t = 2,
          value_parser = clap::value_parser!(u8).range(0..=MAX_OLDER as i64))]
    pub keep_versions: u8,
    /// Disk that these may take together, in MiB, not counting that newest one of each model
    /// (default: a tenth of the file system). What a download needs comes before all of them
    #[arg(long, value_name = "N")]
    pub keep_mb: Option<u64>,
    /// Most that downloads of models may take together, in KiB per second (default: no limit)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(16..))]
    pub bandwidth: Option<u32>,
    /// Form of the log lines on stderr
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Flags of `import`.
#[derive(Debug, Args)]
#[command(after_help = "\
The agent may run or not. An import that was cut off goes on with what is missing when it is run again.

Example:
  edgeformer-agent import --state-dir /var/lib/edgeformer /media/usb/assistant-1.1.0.bundle")]
pub struct ImportArgs {
    /// State directory of the agent
    #[arg(long, value_name = "DIR")]
    pub state_dir: PathBuf,
    /// Where this device's keys are, if the TPM is not where it was at enrolment and no agent runs
    #[arg(long, value_name = "PLACE")]
    pub keys: Option<KeyPlace>,
    /// The bundle
    #[arg(value_name = "FILE")]
    pub bundle: PathBuf,
}

/// Flags of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// State directory of the agent
    #[arg(long, value_name = "DIR")]
    pub state_dir: PathBuf,
    /// Print the JSON document
    #[arg(long)]
    pub json: bool,
}

/// What to do with local API keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key (efl_…) and print it once
    Create(KeyArgs),
    /// List the names of the keys
    List(KeyArgs),
    /// Make a key stop working
    Revoke(KeyArgs),
}

/// Flags of `key`.
#[derive(Debug, Args)]
pub struct KeyArgs {
    /// State directory of the agent
    #[arg(long, value_name = "DIR")]
    pub state_dir: PathBuf,
    /// Name of the key
    #[arg(long)]
    pub name: Option<String>,
}

/// What to do with the consent settings.
#[derive(Debug, Subcommand)]
pub enum PrivacyCommand {
    /// Show everything that leaves this device, what for, and what is switched off
    Show(PrivacyShowArgs),
    /// Let a group of data leave, or keep it here; a running agent obeys at once
    Set(PrivacySetArgs),
}

/// Flags of `privacy show`.
#[derive(Debug, Args)]
pub struct PrivacyShowArgs {
    /// State directory of the agent
    #[arg(long, value_name = "DIR")]
    pub state_dir: PathBuf,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Flags of `privacy set`.
#[derive(Debug, Args)]
pub struct PrivacySetArgs {
    /// Group: hostname, hardware, resources, metrics or messages
    pub group: String,
    /// Whether it may leave
    #[arg(value_enum)]
    pub choice: Choice,
    /// State directory of the agent; may be set before the device is enrolled
    #[arg(long, value_name = "DIR")]
    pub state_dir: PathBuf,
}

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Choice {
    /// It may leave.
    On,
    /// It stays here.
    Off,
}

/// Flags of `generate`.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// Model file (GGUF)
    #[arg(long, value_name = "FILE")]
    pub model: PathBuf,
    /// Most tokens to write
    #[arg(long, default_value_t = 128)]
    pub max_tokens: u32,
    /// 0 takes the likeliest token each time
    #[arg(long, default_value_t = 0.0)]
    pub temperature: f32,
    /// Seed of the sampler
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Use the prompt as it is, without the model's chat template
    #[arg(long)]
    pub raw: bool,
    /// The prompt
    pub prompt: String,
}

/// Flags of `bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Model file (GGUF)
    #[arg(long, value_name = "FILE")]
    pub model: PathBuf,
    /// Threads (default: one per core)
    #[arg(long)]
    pub threads: Option<usize>,
    /// Tokens of the prompt
    #[arg(long, default_value_t = 128)]
    pub prompt_tokens: u32,
    /// Tokens to decode
    #[arg(long, default_value_t = 64)]
    pub tokens: u32,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Flags of `quantize`.
#[derive(Debug, Args)]
pub struct QuantizeArgs {
    /// Model file to read (GGUF)
    pub input: PathBuf,
    /// File to write
    pub output: PathBuf,
    /// Block type of the weights, e.g. q8_0 or q4_0
    #[arg(long = "type", value_name = "TYPE")]
    pub block_type: String,
}

/// Flags of `support-bundle`.
#[derive(Debug, Args)]
pub struct SupportBundleArgs {
    /// State directory of the agent
    #[arg(long, value_name = "DIR")]
    pub state_dir: PathBuf,
    /// Tar file to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Flags of `tuf`. Each command says which of them it needs.
#[derive(Debug, Args)]
pub struct TufArgs {
    /// Folder of trusted metadata
    #[arg(long, value_name = "DIR")]
    pub metadata_dir: PathBuf,
    /// Where the repository's metadata is
    #[arg(long, value_name = "URL")]
    pub metadata_url: Option<String>,
    /// Path of a target to download; may be repeated
    #[arg(long, value_name = "PATH")]
    pub target_name: Vec<String>,
    /// Where downloaded targets go, one file each
    #[arg(long, value_name = "DIR")]
    pub target_dir: Option<PathBuf>,
    /// Where the repository's targets are
    #[arg(long, value_name = "URL")]
    pub target_base_url: Option<String>,
    /// Certificates to trust for https, PEM
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// What to do
    #[command(subcommand)]
    pub command: TufCommand,
}

/// What `tuf` does.
#[derive(Debug, Subcommand)]
pub enum TufCommand {
    /// Begin to trust a root; asks no repository
    Init {
        /// The root's metadata
        root: PathBuf,
    },
    /// Bring metadata up to date (--metadata-url)
    Refresh,
    /// Bring metadata up to date, then targets in their order, and stop at the first that fails
    /// (--metadata-url, --target-name, --target-dir, --target-base-url)
    Download,
}

/// Flags of the hidden `worker`.
#[derive(Debug, Args)]
pub struct WorkerArgs {
    /// The slot, for people who look at the process list; the socket of the agent is stdin
    #[arg(long)]
    pub slot: String,
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not KEY=VALUE")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_label_needs_a_key() {
        assert_eq!(parse_label("site=a=b"), Ok(("site".into(), "a=b".into())));
        assert!(parse_label("=x").is_err());
        assert!(parse_label("x").is_err());
    }
}
