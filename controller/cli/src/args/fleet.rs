//! Devices and bundles for them.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;

use super::{Consent, Limit, value};

#[derive(Debug, Subcommand)]
pub enum Device {
    /// List devices
    #[command(after_help = "\
Examples:
  edgeformer device list
  edgeformer device list --label site=berlin --label line=2")]
    List {
        /// Only devices with this label; several must all match
        #[arg(long = "label", value_name = "KEY=VALUE", value_parser = value::label)]
        labels: Vec<(String, String)>,
        #[command(flatten)]
        limit: Limit,
    },
    /// Show one device: facts, labels, and what each slot serves
    #[command(after_help = "Example:\n  edgeformer device show press-7")]
    Show {
        /// Id or unique name
        device: String,
    },
    /// Set (key=value) or remove (key-) labels
    #[command(after_help = "\
Examples:
  edgeformer device label press-7 site=berlin line=2
  edgeformer device label press-7 line-      (removes the label `line`)")]
    Label {
        /// Id or unique name
        device: String,
        /// key=value sets, key- removes
        #[arg(required = true, value_name = "KEY=VALUE|KEY-", value_parser = value::label_edit)]
        edits: Vec<value::LabelEdit>,
    },
    /// Cut a device off for good; to come back it must enrol again
    #[command(after_help = "\
Examples:
  edgeformer device revoke press-7           (shows what will happen and asks)
  edgeformer device revoke press-7 --yes")]
    Revoke {
        /// Id or unique name
        device: String,
        #[command(flatten)]
        consent: Consent,
    },
    /// Have a device erase its models and keys; it is cut off when it said so
    #[command(after_help = "\
A device that is connected is told at once. One that is off is told when it comes back, whenever that
is; after --wait it is shown as never_came_back. `device show` says what it erased.

Examples:
  edgeformer device decommission press-7     (shows what will happen and asks)
  edgeformer device decommission press-7 --wait 90d --yes")]
    Decommission {
        /// Id or unique name
        device: String,
        /// After this a device that did not come back counts as lost; whole days
        #[arg(long, value_name = "DURATION", value_parser = value::duration)]
        wait: Option<Duration>,
        #[command(flatten)]
        consent: Consent,
    },
    /// Let a quarantined device go on, after you looked at it
    #[command(after_help = "\
A device is quarantined when a second machine shows its key: `device show` says why. Switch the copy off
and enrol it by itself first: the machine that connects first after the release is the device.

Example:
  edgeformer device release press-7")]
    Release {
        /// Id or unique name
        device: String,
        #[command(flatten)]
        consent: Consent,
    },
    /// Make a token with which other hardware takes a device's place
    #[command(after_help = "\
The hardware that enrols with the token gets the name, the labels and what the device is to run. The
device itself is cut off at that moment, not before.

Example:
  edgeformer device replace press-7")]
    Replace {
        /// Id or unique name
        device: String,
        /// Until the token stops working (a week unless given)
        #[arg(long, value_name = "DURATION", value_parser = value::duration)]
        expires_in: Option<Duration>,
    },
}

#[derive(Debug, Subcommand)]
pub enum Bundle {
    /// Write a version to a file that devices import without a network
    #[command(after_help = "\
The file holds the sealed version and, for each device, the key that it alone opens and what it is to
run now. A rollout has to assign the version to the devices first. A device takes no bundle that is
older than what it holds: export a new one after each rollout.

Example:
  edgeformer bundle export assistant 1.1.0 --device press-7 --device press-8 --file usb.bundle
  edgeformer-agent import --state-dir /var/lib/edgeformer usb.bundle     (on press-7 and on press-8)")]
    Export {
        /// Name of the model
        name: String,
        /// Version
        version: String,
        /// Id or unique name of a device that is to run it; may be repeated
        #[arg(long = "device", value_name = "DEVICE", required = true)]
        devices: Vec<String>,
        /// A new file to write to
        #[arg(short, long, value_name = "FILE")]
        file: PathBuf,
    },
}
