//! Each id is a type of its own, so that a device id cannot be passed where a tenant id is meant.
//! All are UUIDs; new ones are version 7, so that they sort by creation.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Text that is not the id it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {kind} id (a UUID)")]
pub struct IdError {
    kind: &'static str,
    text: String,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident $kind:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id, greater than those made before it on this machine.
            #[allow(clippy::new_without_default)]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            /// From its 16 bytes.
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// The 16 bytes.
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($kind, ":{}"), self.0.hyphenated())
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Uuid::try_parse(text).map(Self).map_err(|_| IdError {
                    kind: $kind,
                    text: text.chars().take(64).collect(),
                })
            }
        }
    )*};
}

ids! {
    /// A customer of an installation.
    TenantId "tenant";
    /// A device of one tenant.
    DeviceId "device";
    /// A model name of one tenant.
    ModelId "model";
    /// An immutable version of a model.
    VersionId "version";
    /// A rollout.
    RolloutId "rollout";
    /// An API or enrolment token's record (never the secret).
    TokenId "token";
    /// A device's request to be let in.
    EnrolmentRequestId "enrolment request";
    /// A manufacturer whose certificates let devices in.
    ClaimCaId "claim CA";
    /// An audit record.
    AuditId "audit";
    /// Where an audit log is streamed to.
    SinkId "sink";
    /// A witness of an audit log.
    WitnessId "witness";
    /// A person of one tenant.
    UserId "user";
    /// A program of one tenant, known by its own tokens or by another system's.
    ServiceAccountId "service account";
    /// A group of people of one tenant.
    GroupId "group";
    /// A log-in session.
    SessionId "session";
    /// A policy that a tenant wrote.
    PolicyId "policy";
    /// A request that a second person has to approve.
    ApprovalId "approval";
    /// An OpenID provider that a tenant trusts.
    IdentityProviderId "identity provider";
    /// A program that waits for a person to let it log in.
    DeviceLoginId "device log-in";
    /// A rule that lets another system's tokens stand for a service account.
    FederationRuleId "federation rule";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_what_it_prints_and_refuses_anything_else() {
        let id = DeviceId::new();
        assert_eq!(id.to_string().parse::<DeviceId>().unwrap(), id);
        let error = "berlin-7".parse::<DeviceId>().unwrap_err();
        assert_eq!(error.to_string(), "\"berlin-7\" is not a device id (a UUID)");
    }
}
