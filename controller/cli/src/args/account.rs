//! People: their accounts, seen by admins and by themselves.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::access::Role;
use super::{Consent, Limit, value};

#[derive(Debug, Subcommand)]
pub enum User {
    /// Make a user; the invitation to set a password is shown once
    #[command(after_help = "\
Examples:
  edgeformer user create ada --role operator
  edgeformer user create ada --name \"Ada Lovelace\" --email ada@example.com --role admin")]
    Create {
        /// What the user logs in with; capitals do not matter
        user_name: String,
        /// For people
        #[arg(long)]
        name: Option<String>,
        #[arg(long)]
        email: Option<String>,
        /// What the user may do; repeatable
        #[arg(long = "role", value_enum)]
        roles: Vec<Role>,
    },
    /// List users
    #[command(after_help = "Example:\n  edgeformer user list")]
    List(Limit),
    /// Replace a user's roles
    #[command(after_help = "\
Examples:
  edgeformer user roles ada operator release-manager
  edgeformer user roles ada")]
    Roles {
        /// Name or id of the user
        user: String,
        /// All roles from now on; none takes all away
        #[arg(value_enum)]
        roles: Vec<Role>,
    },
    /// Let a user log in no more, and end all log-ins at once
    #[command(after_help = "Example:\n  edgeformer user disable ada")]
    Disable {
        /// Name or id of the user
        user: String,
        #[command(flatten)]
        consent: Consent,
    },
    /// Let a user log in again
    #[command(after_help = "Example:\n  edgeformer user enable ada")]
    Enable {
        /// Name or id of the user
        user: String,
    },
    /// Make an invitation to set a new password; it is shown once
    #[command(after_help = "Example:\n  edgeformer user invite ada")]
    Invite {
        /// Name or id of the user
        user: String,
    },
    /// End the lock after failed log-ins
    #[command(after_help = "Example:\n  edgeformer user unlock ada")]
    Unlock {
        /// Name or id of the user
        user: String,
    },
    /// End all log-ins of a user, at once
    #[command(after_help = "Example:\n  edgeformer user sign-out ada")]
    SignOut {
        /// Name or id of the user
        user: String,
        #[command(flatten)]
        consent: Consent,
    },
}

#[derive(Debug, Subcommand)]
pub enum Account {
    /// Set your password with an invitation
    #[command(after_help = "\
Examples:
  edgeformer account set-password --url https://fleet.example:8443 --ca ca.pem --tenant acme
  edgeformer account set-password --tenant acme --invitation-file i.txt --password-file p.txt")]
    SetPassword(SetPassword),
    /// Change your password; all other log-ins of yours end
    #[command(after_help = "Example:\n  edgeformer account password")]
    Password {
        /// File with the password of now; asked for without it
        #[arg(long, value_name = "FILE")]
        current_file: Option<PathBuf>,
        /// File with the new password; asked for without it
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Ask for a one-time code at every log-in from now on
    #[command(after_help = "Example:\n  edgeformer account second-factor")]
    SecondFactor {
        /// Take it away again instead
        #[arg(long)]
        remove: bool,
        /// File with your password; asked for without it
        #[arg(long, value_name = "FILE")]
        current_file: Option<PathBuf>,
    },
    /// List your log-ins that last
    #[command(after_help = "Example:\n  edgeformer account log-ins")]
    LogIns,
    /// End a log-in of yours
    #[command(after_help = "\
Example:
  edgeformer account end-log-in 0192d3a4-7b1c-7c3e-9f00-3a52c0de0009")]
    EndLogIn {
        /// Its id, from `edgeformer account log-ins`
        #[arg(value_parser = value::id)]
        id: String,
    },
}

#[derive(Debug, Args)]
pub struct SetPassword {
    /// Name of your tenant
    #[arg(long)]
    pub tenant: String,
    /// File with the invitation (efi_…); asked for without it
    #[arg(long, value_name = "FILE")]
    pub invitation_file: Option<PathBuf>,
    /// File with the password; asked for without it
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
}
