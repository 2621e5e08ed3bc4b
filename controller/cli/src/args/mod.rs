//! The command line as it is typed. Nothing here acts; `command` does.

pub mod access;
pub mod account;
pub mod arrivals;
pub mod ca;
pub mod evidence;
pub mod fleet;
pub mod identity;
pub mod model;
pub mod policy;
pub mod program;
pub mod reports;
pub mod retention;
pub mod rollout;
pub mod sink;
pub mod tenant;
pub mod trust;
pub mod value;
pub mod witness;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    failed: the controller refused, or the awaited rollout failed or was aborted
  2    wrong usage, nothing was changed (also: a confirmation was missing)
  3    not found, not logged in, or not allowed
  4    controller unreachable, or its certificate is not trusted
  5    gave up waiting (--timeout); the rollout goes on
  130  interrupted; what the controller had begun goes on";

const EXAMPLES: &str = "\
First steps:
  edgeformer login --url https://fleet.example:8443 --ca ca.pem --token-file admin.token
  edgeformer tenant create acme --token-file acme.token     (as installation administrator)
  edgeformer login --url https://fleet.example:8443 --ca ca.pem --token-file acme.token
  edgeformer enrolment-token create --uses 10 --label site=berlin
  edgeformer model publish assistant 1.0.0 model.gguf
  edgeformer rollout create --model assistant --version 1.0.0 --all --wait";

/// Operate a fleet of devices that run models: publish, roll out, watch, audit.
#[derive(Debug, Parser)]
#[command(name = "edgeformer", version, after_help = EXIT_CODES)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
#[command(arg_required_else_help = true, subcommand_required = true)]
pub struct Cli {
    #[command(flatten)]
    pub connection: Connection,
    /// How to print: tables for people, or JSON exactly as the API gives it
    #[arg(long, short, global = true, value_enum, default_value_t = Format::Table)]
    #[arg(env = "EDGEFORMER_OUTPUT", hide_env_values = true)]
    pub output: Format,
    #[command(subcommand)]
    pub command: Command,
}

/// Where the controller is and who is asking. What is not given comes from the saved login.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Connection (else the saved login)")]
pub struct Connection {
    /// Address of the controller's admin API, for example https://fleet.example:8443
    #[arg(long, global = true, value_name = "URL", env = "EDGEFORMER_URL")]
    pub url: Option<String>,
    /// PEM file with the only certificate authority to trust (ca.pem of the installation)
    #[arg(long, global = true, value_name = "FILE", env = "EDGEFORMER_CA")]
    pub ca: Option<PathBuf>,
    /// API token (efp_…); other users of this machine can read flags, so prefer the variable
    #[arg(long, global = true, value_name = "TOKEN")]
    #[arg(env = "EDGEFORMER_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Why you do this; it is kept with the audit record
    #[arg(long, global = true, value_name = "TEXT")]
    pub because: Option<String>,
    /// The approval that the request goes by, once others have signed it
    #[arg(long, global = true, value_name = "ID", value_parser = value::id)]
    pub approval: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check a token against the controller and save it for the next commands
    Login(access::Login),
    /// Forget the saved login (the token itself stays valid)
    Logout,
    /// Show who the token belongs to
    Whoami,
    /// Tenants of the installation (needs the installation's token)
    #[command(subcommand)]
    Tenant(tenant::Tenant),
    /// People of the tenant
    #[command(subcommand)]
    User(account::User),
    /// OpenID providers at which people log in
    #[command(subcommand)]
    IdentityProvider(identity::IdentityProvider),
    /// Your own account: password, second factor, log-ins
    #[command(subcommand)]
    Account(account::Account),
    /// API tokens for programs
    #[command(subcommand)]
    Token(program::Token),
    /// Programs with an account, whose tokens share its roles
    #[command(subcommand)]
    ServiceAccount(program::ServiceAccount),
    /// Groups of people, whose roles are their members'
    #[command(subcommand)]
    Group(program::Group),
    /// Tokens that let new devices enrol
    #[command(subcommand)]
    EnrolmentToken(access::EnrolmentToken),
    /// Devices that ask to be let in, without a token
    #[command(subcommand)]
    Enrolment(arrivals::Enrolment),
    /// Manufacturers whose certificates let devices in
    #[command(subcommand)]
    ClaimCa(arrivals::ClaimCa),
    /// What devices' certificates come from, and replacing it
    #[command(subcommand)]
    Ca(ca::Ca),
    /// Who may do what, and the tenant's own policies
    #[command(subcommand)]
    Access(policy::Access),
    /// Requests that need other people's consent
    #[command(subcommand)]
    Approval(policy::Approval),
    /// Enrolled devices
    #[command(subcommand)]
    Device(fleet::Device),
    /// Published models and their versions
    #[command(subcommand)]
    Model(model::Model),
    /// Files that bring versions to devices without a network
    #[command(subcommand)]
    Bundle(fleet::Bundle),
    /// Bring a version to devices, and back
    #[command(subcommand)]
    Rollout(rollout::Rollout),
    /// Who did what, in a tamper-evident log
    Audit(reports::AuditArgs),
    /// Which version ran where, who approved it, and what proves it
    #[command(subcommand)]
    Compliance(evidence::Compliance),
    /// How long data is kept, and everything that is held about somebody
    #[command(subcommand)]
    Privacy(evidence::Privacy),
    /// Keys that people hold, and what they sign: who may say what devices run
    #[command(subcommand)]
    Trust(trust::Trust),
    /// What the devices measured
    #[command(subcommand)]
    Telemetry(reports::Telemetry),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  edgeformer completion bash > \
        ~/.local/share/bash-completion/completions/edgeformer")]
    Completion {
        /// Shell to complete for
        shell: clap_complete::Shell,
    },
}

/// How much of a list to fetch.
#[derive(Debug, Clone, Copy, Args)]
pub struct Limit {
    /// Show at most this many; pages are followed up to it
    #[arg(long, value_name = "N", default_value_t = 1000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
}

/// Consent to an act that cannot be taken back.
#[derive(Debug, Clone, Copy, Args)]
pub struct Consent {
    /// Do it without asking
    #[arg(long, short)]
    pub yes: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Every command that acts (a leaf) shows at least one example of its use.
    #[test]
    fn every_command_has_examples() {
        fn walk(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            let simple = ["logout", "whoami", "help"].contains(&command.get_name());
            if command.get_subcommands().next().is_none() && !simple {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("edgeformer "), "{path} has no example in its --help");
            }
            for sub in command.get_subcommands() {
                walk(sub, &path);
            }
        }
        walk(&Cli::command(), "");
    }

    /// The guide names every command and every exit code.
    #[test]
    fn the_guide_is_complete() {
        const GUIDE: &str = include_str!("../../../../docs/cli.md");
        fn walk(command: &clap::Command, path: &str) {
            for sub in command.get_subcommands().filter(|c| c.get_name() != "help") {
                let path = format!("{path} {}", sub.get_name());
                match sub.get_subcommands().next() {
                    Some(_) => walk(sub, &path),
                    None => assert!(
                        GUIDE.contains(&format!("`{}`", path.trim())),
                        "docs/cli.md lacks{path}"
                    ),
                }
            }
        }
        walk(&Cli::command(), "");
        for line in EXIT_CODES.lines().skip(1).filter_map(|line| line.split_whitespace().next()) {
            if line.chars().all(|c| c.is_ascii_digit()) {
                assert!(
                    GUIDE.contains(&format!("| {line} |")),
                    "docs/cli.md lacks exit code {line}"
                );
            }
        }
    }
}
