//! The words of rollouts: settings, selectors and the lifecycles of a rollout and of each device in
//! it.

use std::collections::{BTreeMap, BTreeSet};

use edgeformer_proto::ids::DeviceId;
use serde::{Deserialize, Serialize};

macro_rules! lifecycle {
    ($(#[$doc:meta])* $name:ident { $($(#[$state_doc:meta])* $state:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[$state_doc])* $state,)* }

        impl $name {
            /// Every state.
            pub const ALL: &[Self] = &[$(Self::$state,)*];

            /// As stored and shown.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$state => $text,)* }
            }

            /// The state of this name.
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|state| state.as_str() == text)
            }
        }
    };
}

lifecycle! {
    /// A rollout.
    RolloutState {
        /// Devices are still on their way.
        Running = "running",
        /// Every device confirmed.
        Succeeded = "succeeded",
        /// Every device ended, and some did not confirm.
        Failed = "failed",
        /// Somebody stopped it.
        Aborted = "aborted",
    }
}

lifecycle! {
    /// One device in a rollout.
    DeviceState {
        /// Not assigned yet.
        Pending = "pending",
        /// In the device's desired state.
        Assigned = "assigned",
        /// The device made it durable.
        Accepted = "accepted",
        /// Terminal: it runs.
        Confirmed = "confirmed",
        /// Terminal: an earlier version serves again.
        Reverted = "reverted",
        /// Terminal: refused before it was activated.
        Failed = "failed",
        /// Terminal: another rollout, or nobody, owns the slot now.
        Superseded = "superseded",
    }
}

impl DeviceState {
    /// Whether nothing more happens to this device in this rollout.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Confirmed | Self::Reverted | Self::Failed | Self::Superseded)
    }
}

/// With which a version runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Longest context in tokens; the model's own unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_tokens: Option<u32>,
    /// Requests decoded at the same time; 1 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel: Option<u32>,
}

/// Which devices a rollout is for: those that match when it is created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Selector {
    /// Every enrolled device: `{"all": true}`.
    All(bool),
    /// Those with all of these labels.
    Labels(BTreeMap<String, String>),
    /// These.
    Devices(BTreeSet<DeviceId>),
}

impl Selector {
    /// Whether a device with these labels is meant.
    pub fn matches(&self, device: DeviceId, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::All(all) => *all,
            Self::Labels(wanted) => {
                wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
            }
            Self::Devices(ids) => ids.contains(&device),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_reads_as_the_contract_says() {
        let read = |text: &str| serde_json::from_str::<Selector>(text);
        assert_eq!(read(r#"{"all":true}"#).unwrap(), Selector::All(true));
        let labels = read(r#"{"labels":{"site":"bergen"}}"#).unwrap();
        let of = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        let device = DeviceId::new();
        assert!(labels.matches(device, &of(&[("site", "bergen"), ("line", "2")])));
        assert!(!labels.matches(device, &of(&[("site", "oslo")])));
        let ids = read(&format!(r#"{{"devices":["{device}"]}}"#)).unwrap();
        assert!(ids.matches(device, &of(&[])));
        assert!(!ids.matches(DeviceId::new(), &of(&[])));
        assert!(read(r#"{"everything":true}"#).is_err());
        assert!(read(r#"{"all":true,"labels":{}}"#).is_err());
    }

    #[test]
    fn names_of_states_read_back() {
        for &state in DeviceState::ALL {
            assert_eq!(DeviceState::parse(state.as_str()), Some(state));
        }
        for &state in RolloutState::ALL {
            assert_eq!(RolloutState::parse(state.as_str()), Some(state));
        }
    }
}
