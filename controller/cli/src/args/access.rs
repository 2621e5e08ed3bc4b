//! Logging in, roles, and the tokens that let devices enrol.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::{Limit, value};

#[derive(Debug, Args)]
#[command(after_help = "\
With --user you log in with your password (asked for without echo); the login goes on by itself for
a week, and ends after a day without use. With --sso you log in at your tenant's identity provider:
the command prints an address and a code for a browser, which may be on another machine. With
--federated a program brings a token of another system, such as a CI, which is good once and gives
15 minutes at most. Otherwise the token is read from --token-file, else from
--token or EDGEFORMER_TOKEN, else from standard input. The login is saved, readable by you alone, in
$EDGEFORMER_CONFIG or ~/.config/edgeformer/config.json, with a copy of the CA certificate.

Examples:
  edgeformer login --url https://fleet.example:8443 --ca ca.pem --token-file admin.token
  edgeformer login --url https://fleet.example:8443 --ca ca.pem < admin.token
  edgeformer login --url https://fleet.example:8443 --ca ca.pem --tenant acme --user ada
  edgeformer login --url https://fleet.example:8443 --ca ca.pem --tenant acme --sso
  edgeformer login --url https://fleet.example:8443 --ca ca.pem --tenant acme --federated \\
    --service-account builder --token-file ci.jwt")]
pub struct Login {
    /// File that holds the token
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Name of your tenant
    #[arg(long)]
    pub tenant: Option<String>,
    /// Your user name
    #[arg(long, requires = "tenant", conflicts_with = "token_file")]
    pub user: Option<String>,
    /// File with your password; asked for without it
    #[arg(long, value_name = "FILE", requires = "user")]
    pub password_file: Option<PathBuf>,
    /// Log in at your tenant's identity provider, in a browser
    #[arg(long, requires = "tenant", conflicts_with_all = ["user", "token_file"])]
    pub sso: bool,
    /// Name of the identity provider, if your tenant has several
    #[arg(long, value_name = "NAME", requires = "sso")]
    pub provider: Option<String>,
    /// Log in as a service account with another system's token, from --token-file
    #[arg(long, requires_all = ["tenant", "service_account"], conflicts_with_all = ["user", "sso"])]
    pub federated: bool,
    /// Name of the service account
    #[arg(long, value_name = "NAME", requires = "federated")]
    pub service_account: Option<String>,
    /// One-time code or recovery code, if you have a second factor; asked for without it
    #[arg(long, requires = "user")]
    pub code: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// May do everything in the tenant, policies included
    Owner,
    /// May do everything but change policies and make owners
    Admin,
    /// May publish versions and run rollouts
    ReleaseManager,
    /// May look after devices, bring in new ones, stop and undo rollouts
    Operator,
    /// May read everything but the audit log
    Viewer,
    /// May read everything, the audit log included
    Auditor,
    /// May cut off devices and credentials, and read the audit log
    Security,
}

impl Role {
    /// As the API names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::ReleaseManager => "release_manager",
            Self::Operator => "operator",
            Self::Viewer => "viewer",
            Self::Auditor => "auditor",
            Self::Security => "security",
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum EnrolmentToken {
    /// Create a token with which devices enrol; it is shown once
    #[command(after_help = "\
Examples:
  edgeformer enrolment-token create
  edgeformer enrolment-token create --uses 50 --expires-in 7d --label site=berlin")]
    Create {
        /// How many devices may enrol with it
        #[arg(long, default_value_t = 1)]
        #[arg(value_parser = clap::value_parser!(u32).range(1..))]
        uses: u32,
        /// How long it is valid
        #[arg(long, value_name = "DURATION", default_value = "24h")]
        #[arg(value_parser = value::duration)]
        expires_in: Duration,
        /// Label that each device enrolled with it gets
        #[arg(long = "label", value_name = "KEY=VALUE", value_parser = value::label)]
        labels: Vec<(String, String)>,
    },
    /// List enrolment tokens (never the secrets)
    #[command(after_help = "Example:\n  edgeformer enrolment-token list")]
    List(Limit),
    /// Let no further device enrol with a token; enrolled devices stay
    #[command(after_help = "\
Example:
  edgeformer enrolment-token revoke 0192d3a4-7b1c-7c3e-9f00-3a52c0de0002")]
    Revoke {
        /// Id of the token, from `edgeformer enrolment-token list`
        #[arg(value_parser = value::id)]
        id: String,
    },
}
