//! Root and targets keys that people hold.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::Consent;

/// A role whose keys change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    Root,
    Targets,
    Snapshot,
    Timestamp,
}

/// Kind of a new key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    Ed25519,
    /// ECDSA on P-256
    Ecdsa,
}

/// How long what is to be signed is valid.
#[derive(Debug, Clone, Copy, Args)]
pub struct Validity {
    /// Days from now on that it is valid; devices refuse what is older
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub days: u32,
}

/// With what is signed.
#[derive(Debug, Args)]
pub struct SignWith {
    /// Private key to sign with; repeatable
    #[arg(long, value_name = "FILE")]
    pub key: Vec<PathBuf>,
    /// Another copy of the folder, whose signatures are taken; repeatable
    #[arg(long, value_name = "FOLDER")]
    pub from: Vec<PathBuf>,
    /// File with the passphrase of the keys
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// A root that you kept yourself: the folder must come from it, and only changes since are shown
    #[arg(long, value_name = "ROOT")]
    pub trusted: Option<PathBuf>,
    #[command(flatten)]
    pub consent: Consent,
}

impl Trust {
    /// Whether no controller is asked.
    pub fn is_offline(&self) -> bool {
        !matches!(
            self,
            Self::Show
                | Self::Pending
                | Self::OnlineKey { .. }
                | Self::Download { .. }
                | Self::Upload { .. }
        )
    }
}

#[derive(Debug, Subcommand)]
pub enum Trust {
    /// Make a key: the private half in a new file, the public half beside it in FILE.pub
    #[command(after_help = "\
The passphrase is read from --passphrase-file, else from standard input.

Examples:
  edgeformer trust key anna.pem
  edgeformer trust key token.pem --kind ecdsa --passphrase-file secret.txt")]
    Key {
        /// The new file
        file: PathBuf,
        /// Kind of the key
        #[arg(long, value_enum, default_value_t = Kind::Ed25519)]
        kind: Kind,
        /// File with the passphrase
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
        /// No passphrase: whoever reads the file can sign
        #[arg(long, conflicts_with = "passphrase_file")]
        unencrypted: bool,
    },
    /// Begin a repository: version 1 of root and targets, to be signed
    #[command(after_help = "\
With --follow the folder holds what `trust download` brought: the new root follows the controller's, which
signs it once more when it is uploaded, and then has no key of root and targets any longer.

Examples:
  edgeformer trust init ceremony --follow --root-key anna.pem.pub --targets-key release.pem.pub
  edgeformer trust init ceremony --root-key anna.pem.pub --root-key ben.pem.pub --root-key eva.pem.pub \\
    --root-threshold 2 --targets-key release.pem.pub --online-key controller.pub")]
    Init {
        /// The folder that key holders exchange; new or empty
        folder: PathBuf,
        /// Public key that may sign roots; repeatable
        #[arg(long, value_name = "FILE", required = true)]
        root_key: Vec<PathBuf>,
        /// How many of them must
        #[arg(long, value_name = "N", default_value_t = 1)]
        root_threshold: u32,
        /// Public key that may sign targets; repeatable
        #[arg(long, value_name = "FILE", required = true)]
        targets_key: Vec<PathBuf>,
        /// How many of them must
        #[arg(long, value_name = "N", default_value_t = 1)]
        targets_threshold: u32,
        /// Public key of the controller, which signs snapshots and timestamps (`trust online-key`); repeatable
        #[arg(long, value_name = "FILE", required_unless_present = "follow")]
        online_key: Vec<PathBuf>,
        /// Take over the repository that the folder holds, instead of beginning one
        #[arg(long)]
        follow: bool,
        #[command(flatten)]
        validity: Validity,
    },
    /// Let another key sign for a role, from the next root on
    #[command(after_help = "\
Examples:
  edgeformer trust add-key ceremony --role root max.pem.pub --threshold 2")]
    AddKey {
        /// The folder that key holders exchange
        folder: PathBuf,
        /// The public key
        key: PathBuf,
        /// For which role
        #[arg(long, value_enum)]
        role: Role,
        /// How many keys of the role must sign from then on
        #[arg(long, value_name = "N")]
        threshold: Option<u32>,
        #[command(flatten)]
        validity: Validity,
    },
    /// Begin the next root: other keys for a role, or only a later end of its validity
    #[command(after_help = "\
Old and new root keys sign it, so that devices can follow. Keys taken from snapshot or timestamp make
devices forget what those keys signed.

Examples:
  edgeformer trust rotate ceremony                            (the same keys for another year)
  edgeformer trust rotate ceremony --role targets --remove 3f9a --add new.pem.pub")]
    Rotate {
        /// The folder that key holders exchange
        folder: PathBuf,
        /// Whose keys change
        #[arg(long, value_enum)]
        role: Option<Role>,
        /// Id of a key, or its beginning, that may sign no longer; repeatable
        #[arg(long, value_name = "ID", requires = "role")]
        remove: Vec<String>,
        /// Public key that may sign from then on; repeatable
        #[arg(long, value_name = "FILE", requires = "role")]
        add: Vec<PathBuf>,
        /// How many keys of the role must sign from then on
        #[arg(long, value_name = "N", requires = "role")]
        threshold: Option<u32>,
        #[command(flatten)]
        validity: Validity,
    },
    /// Show what waits, sign it, and take signatures from other holders' copies
    #[command(after_help = "\
What has enough signatures becomes the newest version. The folder then goes to the next holder, or
copies come back and are put together with --from.

Examples:
  edgeformer trust sign ceremony --key anna.pem --trusted my-copy/root.json
  edgeformer trust sign ceremony --from copy-of-ben --from copy-of-eva")]
    Sign {
        /// The folder that key holders exchange
        folder: PathBuf,
        #[command(flatten)]
        with: SignWith,
    },
    /// Show the controller's repository: who signs what is released, and until when it is believed
    #[command(after_help = "\
Devices, and any client of The Update Framework, read it below /api/v1/trust.

Examples:
  edgeformer trust show
  edgeformer trust show -o json | jq '.roles[] | {role, expires_at}'")]
    Show,
    /// Show versions that are published and wait for a signature of the targets keys
    #[command(after_help = "\
Devices refuse them until then, and their rollouts wait.

Examples:
  edgeformer trust pending
  edgeformer trust pending -o json | jq '.items[].path'")]
    Pending,
    /// Save the public keys with which the controller signs snapshots and timestamps
    #[command(after_help = "\
Examples:
  edgeformer trust online-key keys           (writes keys/snapshot.pub and keys/timestamp.pub)
  edgeformer trust init ceremony --online-key keys/snapshot.pub --online-key keys/timestamp.pub …")]
    OnlineKey {
        /// Folder for the two files
        folder: PathBuf,
    },
    /// Bring the controller's roots and targets, and have what is new wait for signatures
    #[command(after_help = "\
What comes must follow from the root in the folder. A new folder has none: compare the key ids that
`trust status` shows with those that the holders know.

Examples:
  edgeformer trust download ceremony
  edgeformer trust download ceremony --renew --days 180")]
    Download {
        /// The folder that key holders exchange
        folder: PathBuf,
        /// Have the targets wait for signatures also when nothing is new, to be valid for longer
        #[arg(long)]
        renew: bool,
        #[command(flatten)]
        validity: Validity,
    },
    /// Hand what was signed to the controller, which checks it as devices do
    #[command(after_help = "\
Examples:
  edgeformer trust upload ceremony
  edgeformer trust upload ceremony --yes")]
    Upload {
        /// The folder that key holders exchange
        folder: PathBuf,
        #[command(flatten)]
        consent: Consent,
    },
    /// Show versions, ends of validity, keys, and who has yet to sign
    #[command(after_help = "\
Examples:
  edgeformer trust status ceremony
  edgeformer trust status ceremony -o json | jq '.waiting'")]
    Status {
        /// The folder that key holders exchange
        folder: PathBuf,
    },
}
