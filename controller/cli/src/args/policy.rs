//! Who may do what, and the tenant's own policies.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{Consent, Limit, value};

#[derive(Debug, Subcommand)]
pub enum Access {
    /// Say whether somebody may do something, and which policy decides
    #[command(after_help = "\
Nothing is done. Without --as-role or --as-token the question is about yourself.

Examples:
  edgeformer access explain rollout:create --as-role operator --devices 1500
  edgeformer access explain device:update --as-token 0192d3a4-7b1c-7c3e-9f00-3a52c0de0001 \\
    --label site=berlin --at 2026-12-24T20:00:00Z")]
    Explain {
        /// What would be done, as `edgeformer access roles` lists it
        action: String,
        /// A token of the tenant, by its id
        #[arg(long, value_name = "ID", value_parser = value::id, conflicts_with = "as_role")]
        as_token: Option<String>,
        /// Somebody with this role; repeatable
        #[arg(long, value_name = "ROLE")]
        as_role: Vec<String>,
        #[command(flatten)]
        thing: Thing,
        /// When (RFC 3339) instead of now
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
        /// As if so many others had approved
        #[arg(long, value_name = "N", default_value_t = 0)]
        approvals: u32,
        /// As if asked from this address
        #[arg(long, value_name = "ADDRESS")]
        source: Option<String>,
    },
    /// Say of everybody in the tenant whether they may do something
    #[command(after_help = "\
Examples:
  edgeformer access who token:create
  edgeformer access who device:update --label site=berlin")]
    Who {
        /// What would be done, as `edgeformer access roles` lists it
        action: String,
        #[command(flatten)]
        thing: Thing,
    },
    /// Show what each role may do
    #[command(after_help = "Example:\n  edgeformer access roles")]
    Roles,
    /// Print the schema that policies are written for
    #[command(after_help = "Example:\n  edgeformer access schema > fleet.cedarschema")]
    Schema,
    /// Run the tests of policies; nothing is saved
    #[command(after_help = "\
FILE is JSON: {\"cases\": [{\"name\": \"…\", \"question\": {…}, \"expect\": \"deny\"}], \"time_zone\": \"…\"},
with questions as in POST /access/explain. With --policy these files stand in for the tenant's own
policies. Exit code 1 if a case fails.

Examples:
  edgeformer access test tests.json
  edgeformer access test tests.json --policy night.cedar --policy approvals.cedar")]
    Test {
        /// The cases
        file: PathBuf,
        /// A policy in place of the tenant's own, named after its file; repeatable
        #[arg(long = "policy", value_name = "FILE")]
        policies: Vec<PathBuf>,
    },
    /// Show the time zone that policies go by, or change it
    #[command(after_help = "\
Examples:
  edgeformer access time-zone
  edgeformer access time-zone Europe/Berlin")]
    TimeZone {
        /// IANA name
        name: Option<String>,
    },
    /// The tenant's own policies
    #[command(subcommand)]
    Policy(Policy),
}

/// The thing that would be acted on.
#[derive(Debug, Args)]
pub struct Thing {
    /// A label of the device, or of all devices of the rollout; repeatable
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = value::label)]
    pub labels: Vec<(String, String)>,
    /// The model
    #[arg(long)]
    pub model: Option<String>,
    /// On how many devices
    #[arg(long, value_name = "N")]
    pub devices: Option<u64>,
}

#[derive(Debug, Subcommand)]
pub enum Policy {
    /// List the tenant's own policies
    #[command(after_help = "Example:\n  edgeformer access policy list")]
    List,
    /// Print a policy
    #[command(after_help = "Example:\n  edgeformer access policy show night > night.cedar")]
    Show {
        /// Its name
        name: String,
    },
    /// Save a policy; it is checked first, and holds at once
    #[command(after_help = "\
Examples:
  edgeformer access test tests.json --policy night.cedar && \\
    edgeformer access policy set night night.cedar")]
    Set {
        /// Its name
        name: String,
        /// Cedar statements
        file: PathBuf,
    },
    /// Remove a policy; what it forbade is allowed again
    #[command(after_help = "Example:\n  edgeformer access policy delete night")]
    Delete {
        /// Its name
        name: String,
        #[command(flatten)]
        consent: Consent,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Meaning {
    /// It may be done
    Approved,
    /// It was looked at; counts for nothing by itself
    Reviewed,
    /// It must not be done
    Rejected,
}

impl Meaning {
    /// As the API names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Reviewed => "reviewed",
            Self::Rejected => "rejected",
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum Approval {
    /// List requests that need or needed consent, newest first
    #[command(after_help = "\
Examples:
  edgeformer approval list
  edgeformer approval list --open")]
    List {
        /// Only those that can still be signed
        #[arg(long)]
        open: bool,
        #[command(flatten)]
        limit: Limit,
    },
    /// Show what is asked for, by whom, and who signed
    #[command(
        after_help = "Example:\n  edgeformer approval show 0192d3a4-7b1c-7c3e-9f00-3a52c0de0009"
    )]
    Show {
        /// Its id, from the refused request or `edgeformer approval list`
        #[arg(value_parser = value::id)]
        id: String,
    },
    /// Sign it: your name, the time and the meaning are kept for good
    #[command(after_help = "\
Whoever asked repeats the request with --approval ID once enough others have approved.

Examples:
  edgeformer approval sign 0192d3a4-7b1c-7c3e-9f00-3a52c0de0009
  edgeformer approval sign 0192d3a4-7b1c-7c3e-9f00-3a52c0de0009 --meaning rejected \\
    --comment \"not before the weekend\"")]
    Sign {
        /// Its id
        #[arg(value_parser = value::id)]
        id: String,
        /// What your signature means
        #[arg(long, value_enum, default_value_t = Meaning::Approved)]
        meaning: Meaning,
        /// What you want to add
        #[arg(long, default_value = "")]
        comment: String,
        #[command(flatten)]
        consent: Consent,
    },
}
