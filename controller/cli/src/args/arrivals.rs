//! How devices come in without a token: by an operator's approval, or by a manufacturer's certificate.

use std::path::PathBuf;

use clap::Subcommand;

use super::{Consent, Limit, value};

#[derive(Debug, Subcommand)]
pub enum Enrolment {
    /// Let devices without a token ask, and print the id under which they do
    #[command(after_help = "\
The id is not a secret: who has it may ask, and waits until somebody approves. On a device:
  edgeformer-agent enroll --controller URL --ca ca.pem --state-dir DIR --request --enrolment-id ID

Example:
  edgeformer enrolment open")]
    Open,
    /// Let no device ask any more; the id is worth nothing from then on
    #[command(after_help = "Example:\n  edgeformer enrolment close")]
    Close,
    /// List devices that ask, with the fingerprint of each key
    #[command(after_help = "Example:\n  edgeformer enrolment requests")]
    Requests(Limit),
    /// Let a device in that asks, after you compared the fingerprint with what it shows
    #[command(after_help = "\
Examples:
  edgeformer enrolment approve 01a205d4-02c0-7092-a95b-4f862b0ac47f
  edgeformer enrolment approve 01a205d4-02c0-7092-a95b-4f862b0ac47f --name press-7 --label site=berlin")]
    Approve {
        /// Id of the request
        id: String,
        /// Name in the fleet, instead of the device's own
        #[arg(long)]
        name: Option<String>,
        /// Label to give; may be repeated
        #[arg(long = "label", value_name = "KEY=VALUE", value_parser = value::label)]
        labels: Vec<(String, String)>,
        #[command(flatten)]
        consent: Consent,
    },
    /// Keep a device out that asks
    #[command(after_help = "\
Example:
  edgeformer enrolment reject 01a205d4-02c0-7092-a95b-4f862b0ac47f --reason 'not ours'")]
    Reject {
        /// Id of the request
        id: String,
        /// Told to the device
        #[arg(long)]
        reason: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub enum ClaimCa {
    /// Have the certificates of a manufacturer let devices in, each once
    #[command(after_help = "\
On a device with such a certificate:
  edgeformer-agent enroll --controller URL --ca ca.pem --state-dir DIR --enrolment-id ID \\
    --claim-cert device.pem --claim-key device.key

Examples:
  edgeformer claim-ca add acme-boards ca.pem --label line=2
  edgeformer claim-ca add acme-boards ca.pem --allow-name 'press-*' --allow-name '*.acme.example'")]
    Add {
        /// Name for people
        name: String,
        /// The manufacturer's CA certificate (PEM)
        file: PathBuf,
        /// Label for each device that it lets in; may be repeated
        #[arg(long = "label", value_name = "KEY=VALUE", value_parser = value::label)]
        labels: Vec<(String, String)>,
        /// Only certificates with such a common name, serial number or DNS name; one * each; may be repeated
        #[arg(long = "allow-name", value_name = "PATTERN")]
        names: Vec<String>,
    },
    /// List manufacturers whose certificates let devices in
    #[command(after_help = "Example:\n  edgeformer claim-ca list")]
    List,
    /// Let nobody in by a manufacturer any more; devices that it let in stay
    #[command(after_help = "Example:\n  edgeformer claim-ca remove acme-boards")]
    Remove {
        /// Id or name
        ca: String,
        #[command(flatten)]
        consent: Consent,
    },
    /// Keep factory certificates out, by their serial numbers
    #[command(after_help = "Example:\n  edgeformer claim-ca revoke acme-boards 0A:1B:2C")]
    Revoke {
        /// Id or name
        ca: String,
        /// Serial numbers, hexadecimal
        #[arg(required = true)]
        serials: Vec<String>,
    },
    /// Let a factory certificate let a device in once more: it was reset or repaired
    #[command(after_help = "Example:\n  edgeformer claim-ca release acme-boards 0A:1B:2C")]
    Release {
        /// Id or name
        ca: String,
        /// Serial number, hexadecimal
        serial: String,
    },
}
