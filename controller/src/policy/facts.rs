//! What is known about the thing that somebody wants to act on, and under which circumstances.

use std::collections::BTreeMap;
use std::net::IpAddr;

use edgeformer_proto::ids::{DeviceId, TokenId};
use serde::{Deserialize, Serialize};

use super::action::About;
use crate::clock::Timestamp;

/// Labels of a device, or those that several have in common.
pub type Labels = BTreeMap<String, String>;

/// What policies see of a thing. Approvals keep it, so that what was approved can be compared with
/// what is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Facts {
    /// The tenant as a whole.
    Tenant,
    /// The installation.
    Installation,
    /// A device.
    Device {
        /// Its id; empty if none is meant in particular.
        id: String,
        /// Its name.
        name: String,
        /// Its labels.
        labels: Labels,
    },
    /// A rollout.
    Rollout {
        /// The model it brings; empty for an empty slot or several.
        model: String,
        /// The version it brings; empty for an empty slot or several.
        version: String,
        /// The slot.
        slot: String,
        /// On how many devices.
        devices: u64,
        /// What all of them have in common.
        labels: Labels,
    },
    /// A version that is published.
    Version {
        /// Its model.
        model: String,
        /// The version.
        version: String,
    },
    /// An enrolment token.
    EnrolmentToken {
        /// Its id; empty if none is meant in particular.
        id: String,
        /// For how many devices.
        uses: u64,
        /// What they get.
        labels: Labels,
    },
}

impl Facts {
    /// A device.
    pub fn device(id: DeviceId, name: &str, labels: &Labels) -> Self {
        Self::Device { id: id.to_string(), name: name.to_owned(), labels: labels.clone() }
    }

    /// An enrolment token.
    pub fn enrolment_token(id: TokenId, uses: u32, labels: &Labels) -> Self {
        Self::EnrolmentToken { id: id.to_string(), uses: uses.into(), labels: labels.clone() }
    }

    /// A thing of this kind of which nothing is known.
    pub fn unknown(about: About) -> Self {
        let (id, name, labels) = (String::new(), String::new(), Labels::new());
        match about {
            About::Tenant => Self::Tenant,
            About::Installation => Self::Installation,
            About::Device => Self::Device { id, name, labels },
            About::Rollout => {
                Self::Rollout { model: id, version: name, slot: String::new(), devices: 0, labels }
            }
            About::Version => Self::Version { model: id, version: name },
            About::EnrolmentToken => Self::EnrolmentToken { id, uses: 0, labels },
        }
    }

    /// What kind of thing it is.
    pub fn about(&self) -> About {
        match self {
            Self::Tenant => About::Tenant,
            Self::Installation => About::Installation,
            Self::Device { .. } => About::Device,
            Self::Rollout { .. } => About::Rollout,
            Self::Version { .. } => About::Version,
            Self::EnrolmentToken { .. } => About::EnrolmentToken,
        }
    }

    /// As audit records call it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Installation => "installation",
            Self::Device { .. } => "device",
            Self::Rollout { .. } => "rollout",
            Self::Version { .. } => "version",
            Self::EnrolmentToken { .. } => "enrolment_token",
        }
    }

    /// Its id, where it has one before it is made.
    pub fn id(&self) -> &str {
        match self {
            Self::Device { id, .. } | Self::EnrolmentToken { id, .. } => id,
            _ => "",
        }
    }

    /// In words, for messages: "device press-7", "a rollout on 1200 devices".
    pub fn describe(&self) -> String {
        match self {
            Self::Tenant => "the tenant".to_owned(),
            Self::Installation => "the installation".to_owned(),
            Self::Device { name, .. } => format!("device {name}"),
            Self::Rollout { devices, .. } => {
                format!("a rollout on {devices} device{}", if *devices == 1 { "" } else { "s" })
            }
            Self::Version { model, version } => format!("{model} {version}"),
            Self::EnrolmentToken { uses, .. } => format!("an enrolment token for {uses} devices"),
        }
    }
}

/// The labels that all of `all` have in common; none if there is nothing.
pub fn common_labels<'a>(all: impl IntoIterator<Item = &'a Labels>) -> Labels {
    let mut all = all.into_iter();
    let Some(first) = all.next() else { return Labels::new() };
    let mut common = first.clone();
    for labels in all {
        common.retain(|key, value| labels.get(key) == Some(value));
    }
    common
}

/// Under which circumstances somebody asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Circumstances {
    /// When.
    pub at: Timestamp,
    /// From where, if it is known.
    pub source: Option<IpAddr>,
    /// How many others have approved this very request.
    pub approvals: u32,
    /// Whether the caller said why.
    pub justified: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn only_what_all_devices_share_is_common() {
        let (a, b) = (labels(&[("site", "x"), ("line", "1")]), labels(&[("site", "x")]));
        assert_eq!(common_labels([&a, &b]), labels(&[("site", "x")]));
        assert_eq!(common_labels([&a, &labels(&[("site", "y")])]), Labels::new());
        assert_eq!(common_labels([&a]), a);
        assert_eq!(common_labels([]), Labels::new());
    }
}
