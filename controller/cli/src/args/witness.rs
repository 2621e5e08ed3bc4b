//! Witnesses of the audit log: being one, and having some.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Subcommand;

use super::{Consent, value};

#[derive(Debug, Subcommand)]
pub enum Witness {
    /// Make the folder of a new witness, with its key, and print its public key
    #[command(after_help = "\
Examples:
  edgeformer audit witness key /var/lib/witness --name witness.example/w1 > witness.pub")]
    Key {
        /// The new folder
        folder: PathBuf,
        /// Name of the witness, for example the address it will have
        #[arg(long)]
        name: String,
    },
    /// Be a witness: cosign checkpoints of the given logs as long as they only grow
    #[command(after_help = "\
Needs no controller and no login. It speaks plain HTTP: put a proxy with TLS in front of it when logs
reach it over a network. Never run two witnesses with copies of one folder.

Examples:
  edgeformer audit witness serve /var/lib/witness --log acme-audit.key
  edgeformer audit witness serve /var/lib/witness --log a.key --log b.key --listen 127.0.0.1:8450")]
    Serve {
        /// The folder that `audit witness key` made
        folder: PathBuf,
        /// Key of a log to cosign, or a file that holds it (see `audit key`); repeatable
        #[arg(long, value_name = "KEY", required = true)]
        log: Vec<String>,
        /// Address to listen on; port 0 takes a free one
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8450")]
        listen: SocketAddr,
    },
    /// Have a witness cosign this log
    #[command(after_help = "\
Examples:
  edgeformer audit witness add https://witness.example --key witness.pub")]
    Add {
        /// Where it takes checkpoints: the address before /add-checkpoint
        address: String,
        /// Its public key, or a file that holds it
        #[arg(long, value_name = "KEY")]
        key: String,
    },
    /// Show the witnesses of this log, what each cosigned last, and what is wrong
    #[command(after_help = "\
Examples:
  edgeformer audit witness list
  edgeformer audit witness list -o json | jq '.[] | select(.state != \"cosigned\")'")]
    List,
    /// Change the address of a witness
    #[command(after_help = "\
Examples:
  edgeformer audit witness move 0198c0de-0000-7000-8000-000000000001 https://new.example")]
    Move {
        /// Its id
        #[arg(value_parser = value::id)]
        id: String,
        /// Where it takes checkpoints now
        address: String,
    },
    /// Ask a witness no longer; what it cosigned stays
    #[command(after_help = "\
Examples:
  edgeformer audit witness remove 0198c0de-0000-7000-8000-000000000001")]
    Remove {
        /// Its id
        #[arg(value_parser = value::id)]
        id: String,
        #[command(flatten)]
        consent: Consent,
    },
}
