//! Programs: API tokens and service accounts; and groups of people.

use std::time::Duration;

use clap::Subcommand;

use super::access::Role;
use super::{Consent, Limit, value};

#[derive(Debug, Subcommand)]
pub enum Token {
    /// Create an API token; it is shown once
    #[command(after_help = "\
Examples:
  edgeformer token create dashboard --role viewer
  edgeformer token create ci --role release-manager --scope version:publish --expires-in 30d
  edgeformer token create nightly --service-account builder --scope read
  edgeformer token create ci --role admin -o json | jq -r .token > ci.token")]
    Create {
        /// What the token is for; shown in the audit log as the actor
        name: String,
        /// What it may do
        #[arg(long, value_enum, required_unless_present = "service_account")]
        role: Option<Role>,
        /// Name or id of the service account whose roles it has, in place of a role of its own
        #[arg(long, value_name = "ACCOUNT", conflicts_with = "role")]
        service_account: Option<String>,
        /// Narrow it to an action such as rollout:create, or to read, audit, write or govern; repeatable
        #[arg(long = "scope", value_name = "ACTION")]
        scopes: Vec<String>,
        /// Lifetime such as 30d; without it the token does not expire
        #[arg(long, value_name = "DURATION", value_parser = value::duration)]
        expires_in: Option<Duration>,
    },
    /// List API tokens (never the secrets)
    #[command(after_help = "Example:\n  edgeformer token list")]
    List(Limit),
    /// Give a token a new secret; the old one works a while longer
    #[command(after_help = "\
Examples:
  edgeformer token rotate 0192d3a4-7b1c-7c3e-9f00-3a52c0de0001
  edgeformer token rotate 0192d3a4-7b1c-7c3e-9f00-3a52c0de0001 --overlap 2h
  edgeformer token rotate self -o json | jq -r .token.token > ci.token")]
    Rotate {
        /// Id of the token, from `edgeformer token list`; or `self` for the one in use
        id: String,
        /// How long the old secret still works, at most 7d; 24h without it
        #[arg(long, value_name = "DURATION", value_parser = value::duration)]
        overlap: Option<Duration>,
    },
    /// Make a token useless, at once
    #[command(after_help = "\
Examples:
  edgeformer token revoke 0192d3a4-7b1c-7c3e-9f00-3a52c0de0001
  edgeformer token revoke 0192d3a4-7b1c-7c3e-9f00-3a52c0de0001 --yes")]
    Revoke {
        /// Id of the token, from `edgeformer token list`
        #[arg(value_parser = value::id)]
        id: String,
        #[command(flatten)]
        consent: Consent,
    },
}

#[derive(Debug, Subcommand)]
pub enum ServiceAccount {
    /// Make an account for a program; its tokens share its roles
    #[command(
        after_help = "Example:\n  edgeformer service-account create builder --role release-manager"
    )]
    Create {
        /// Unique in the tenant
        name: String,
        /// What it may do; repeatable
        #[arg(long = "role", value_enum)]
        roles: Vec<Role>,
    },
    /// List service accounts
    #[command(after_help = "Example:\n  edgeformer service-account list")]
    List(Limit),
    /// Replace an account's roles; its tokens have them at once
    #[command(after_help = "Example:\n  edgeformer service-account roles builder operator")]
    Roles {
        /// Name or id of the account
        account: String,
        /// All roles from now on; none takes all away
        #[arg(value_enum)]
        roles: Vec<Role>,
    },
    /// Stop all tokens of an account, at once
    #[command(after_help = "Example:\n  edgeformer service-account disable builder")]
    Disable {
        /// Name or id of the account
        account: String,
        #[command(flatten)]
        consent: Consent,
    },
    /// Other systems, such as a CI, whose tokens stand for an account
    #[command(subcommand)]
    Trust(super::identity::Trust),
    /// Let its tokens work again
    #[command(after_help = "Example:\n  edgeformer service-account enable builder")]
    Enable {
        /// Name or id of the account
        account: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum Group {
    /// Make a group; its roles are its members'
    #[command(after_help = "Example:\n  edgeformer group create berlin --role operator")]
    Create {
        /// Unique in the tenant
        name: String,
        /// What its members may do; repeatable
        #[arg(long = "role", value_enum)]
        roles: Vec<Role>,
    },
    /// List groups
    #[command(after_help = "Example:\n  edgeformer group list")]
    List(Limit),
    /// List the members of a group
    #[command(after_help = "Example:\n  edgeformer group members berlin")]
    Members {
        /// Name or id of the group
        group: String,
        #[command(flatten)]
        limit: Limit,
    },
    /// Replace a group's roles
    #[command(after_help = "Example:\n  edgeformer group roles berlin operator release-manager")]
    Roles {
        /// Name or id of the group
        group: String,
        /// All roles from now on; none takes all away
        #[arg(value_enum)]
        roles: Vec<Role>,
    },
    /// Put a user into a group
    #[command(after_help = "Example:\n  edgeformer group add berlin ada")]
    Add {
        /// Name or id of the group
        group: String,
        /// Name or id of the user
        user: String,
    },
    /// Take a user out of a group
    #[command(after_help = "Example:\n  edgeformer group remove berlin ada")]
    Remove {
        /// Name or id of the group
        group: String,
        /// Name or id of the user
        user: String,
    },
    /// Remove a group; its members lose its roles
    #[command(after_help = "Example:\n  edgeformer group delete berlin")]
    Delete {
        /// Name or id of the group
        group: String,
        #[command(flatten)]
        consent: Consent,
    },
}
