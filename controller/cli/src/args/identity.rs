//! Identity providers, at which people log in; and other systems whose tokens stand for a program.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Consent, value};

/// What is said of a provider; what is not said stays, or is what is usual.
#[derive(Debug, Args)]
pub struct Settings {
    /// File with the client's secret; an empty file for a client without one
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
    /// What to ask the provider for; repeatable, "openid" always is
    #[arg(long = "request-scope", value_name = "SCOPE")]
    pub scopes: Vec<String>,
    /// Claim that carries groups, or a path with dots such as realm_access.roles
    #[arg(long, value_name = "CLAIM")]
    pub groups_claim: Option<String>,
    /// Role that a group gives, such as ops=operator; repeatable; all mappings from now on
    #[arg(long = "map", value_name = "GROUP=ROLE", value_parser = value::mapping)]
    pub mappings: Vec<(String, String)>,
    /// Domain whose verified e-mail addresses may log in; repeatable; any without it
    #[arg(long = "email-domain", value_name = "DOMAIN")]
    pub domains: Vec<String>,
    /// Signature algorithm that is taken; repeatable
    #[arg(long = "algorithm", value_name = "NAME")]
    pub algorithms: Vec<String>,
    /// Whether somebody unknown gets an account at the first log-in
    #[arg(long, value_name = "BOOL")]
    pub create_users: Option<bool>,
    /// Whether somebody unknown is taken for the account with their verified e-mail address
    #[arg(long, value_name = "BOOL")]
    pub match_email: Option<bool>,
    /// Whether accounts that were brought in over SCIM are its people's, by their external id
    #[arg(long, value_name = "BOOL")]
    pub match_provisioned: Option<bool>,
    /// Class of authentication (acr) that is asked for and must have been, such as a second factor;
    /// repeat it for several, any of which will do
    #[arg(long = "acr", value_name = "CLASS")]
    pub acr_values: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub enum IdentityProvider {
    /// Connect an OpenID provider; prints the addresses to register there
    #[command(after_help = "\
Examples:
  edgeformer identity-provider create corp --issuer https://id.example.com --client-id fleet \\
    --secret-file secret.txt --request-scope groups --map fleet-ops=operator --create-users true
  edgeformer identity-provider create corp --issuer https://id.example.com --client-id fleet")]
    Create {
        /// As people choose it
        name: String,
        /// Exactly as the provider names itself
        #[arg(long, value_name = "URL")]
        issuer: String,
        /// As the provider knows the controller
        #[arg(long, value_name = "ID")]
        client_id: String,
        #[command(flatten)]
        settings: Settings,
    },
    /// List identity providers
    #[command(after_help = "Example:\n  edgeformer identity-provider list")]
    List,
    /// Show a provider with the addresses to register there
    #[command(after_help = "Example:\n  edgeformer identity-provider show corp")]
    Show {
        /// Name or id of the provider
        provider: String,
    },
    /// Ask the provider now, and say what is wrong
    #[command(after_help = "Example:\n  edgeformer identity-provider check corp")]
    Check {
        /// Name or id of the provider
        provider: String,
    },
    /// Change a provider; another issuer or client, and disabling it, end the log-ins from it
    #[command(after_help = "\
Examples:
  edgeformer identity-provider update corp --map fleet-ops=operator --map soc=security
  edgeformer identity-provider update corp --enabled false")]
    Update {
        /// Name or id of the provider
        provider: String,
        /// Another name
        #[arg(long)]
        name: Option<String>,
        /// Exactly as the provider names itself
        #[arg(long, value_name = "URL")]
        issuer: Option<String>,
        /// As the provider knows the controller
        #[arg(long, value_name = "ID")]
        client_id: Option<String>,
        /// Whether people may log in with it
        #[arg(long, value_name = "BOOL")]
        enabled: Option<bool>,
        #[command(flatten)]
        settings: Box<Settings>,
    },
    /// Remove a provider; log-ins that came from it end
    #[command(after_help = "Example:\n  edgeformer identity-provider delete corp")]
    Delete {
        /// Name or id of the provider
        provider: String,
        #[command(flatten)]
        consent: Consent,
    },
}

#[derive(Debug, Subcommand)]
pub enum Trust {
    /// Let another system's tokens stand for an account
    #[command(after_help = "\
In a pattern * stands for anything but / and :, and ** for anything. One condition must be about sub.

Examples:
  edgeformer service-account trust add builder --issuer https://ci.example.com --audience fleet \\
    --claim sub=repo:acme/app:ref:refs/heads/main
  edgeformer service-account trust add builder --issuer https://ci.example.com --audience fleet \\
    --claim 'sub=repo:acme/*:ref:refs/heads/main' --claim environment=production")]
    Add {
        /// Name or id of the account
        account: String,
        /// Exactly as the other system names itself
        #[arg(long, value_name = "URL")]
        issuer: String,
        /// For whom the other system makes the tokens
        #[arg(long)]
        audience: String,
        /// What a claim of the token must be like; repeatable, all must fit
        #[arg(long = "claim", value_name = "CLAIM=PATTERN", value_parser = value::mapping)]
        #[arg(required = true)]
        claims: Vec<(String, String)>,
    },
    /// List whose tokens stand for an account
    #[command(after_help = "Example:\n  edgeformer service-account trust list builder")]
    List {
        /// Name or id of the account
        account: String,
    },
    /// Trust such tokens no more; what they let in is out at once
    #[command(after_help = "\
Example:
  edgeformer service-account trust remove builder 0192d3a4-7b1c-7c3e-9f00-3a52c0de0009")]
    Remove {
        /// Name or id of the account
        account: String,
        /// Id of the rule, from `edgeformer service-account trust list`
        #[arg(value_parser = value::id)]
        rule: String,
    },
}
