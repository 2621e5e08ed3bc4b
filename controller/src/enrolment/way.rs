//! What lets a device in: a token, an operator's approval, or a manufacturer's certificate. Each is good
//! for the device that used it, also when the answer was lost.

use std::collections::BTreeMap;

use edgeformer_proto::ids::{ClaimCaId, DeviceId, TenantId};

use super::EnrolmentError;
use crate::clock::Timestamp;
use crate::scope::TenantScope;
use crate::store::Write;
use crate::store::enrolments::requests::{self as enrolment_requests, EnrolmentRequest};
use crate::store::enrolments::{self, PresentedToken, claim_cas};

/// See the module.
pub(super) enum Way {
    /// It showed this token.
    Token(PresentedToken),
    /// An operator approved its request.
    Request(TenantId, Box<EnrolmentRequest>),
    /// It proved this certificate.
    Claim(TenantId, Claim),
}

/// A manufacturer's certificate that was proved.
pub(super) struct Claim {
    /// Of whose CA.
    pub ca: ClaimCaId,
    /// Names the certificate for good.
    pub certificate: String,
    /// For people.
    pub serial: String,
    /// What the CA gives.
    pub labels: BTreeMap<String, String>,
}

impl Way {
    /// The tenant that it leads to.
    pub(super) fn tenant(&self) -> TenantId {
        match self {
            Self::Token(token) => token.tenant,
            Self::Request(tenant, _) | Self::Claim(tenant, _) => *tenant,
        }
    }

    /// What is kept of it with the device.
    pub(super) fn credential(&self) -> String {
        match self {
            Self::Token(token) => token.id.to_string(),
            Self::Request(_, request) => format!("request:{}", request.id),
            Self::Claim(_, claim) => format!("claim:{}", claim.certificate),
        }
    }

    /// Labels that it gives, which beat the device's own.
    pub(super) fn labels(&self) -> &BTreeMap<String, String> {
        match self {
            Self::Token(token) => &token.labels,
            Self::Request(_, request) => &request.given_labels,
            Self::Claim(_, claim) => &claim.labels,
        }
    }

    /// The name that it gives.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Request(_, request) => {
                Some(request.given_name.as_str()).filter(|n| !n.is_empty())
            }
            Self::Token(_) | Self::Claim(..) => None,
        }
    }

    /// The device whose place it gives.
    pub(super) fn replaces(&self) -> Option<DeviceId> {
        match self {
            Self::Token(token) => token.replaces,
            Self::Request(..) | Self::Claim(..) => None,
        }
    }

    /// For the audit log.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Token(token) => match token.replaces {
                Some(old) => format!("enrolment token {}, in the place of device {old}", token.id),
                None => format!("enrolment token {}", token.id),
            },
            Self::Request(_, request) => {
                format!("approved request {}, key {}", request.id, request.fingerprint)
            }
            Self::Claim(_, claim) => {
                format!("factory certificate {} of claim CA {}", claim.serial, claim.ca)
            }
        }
    }

    /// Whether it lets a device in; `again`: this device used it before.
    pub(super) fn usable(&self, again: bool, now: Timestamp) -> Result<(), EnrolmentError> {
        match self {
            Self::Token(token) => usable(token, again, now),
            // Looked at where they come from, in the same call.
            Self::Request(..) | Self::Claim(..) => Ok(()),
        }
    }

    /// Takes it for `device`, inside the transaction that makes the device.
    pub(super) async fn redeem(
        &self,
        write: &mut Write<TenantScope>,
        device: DeviceId,
        now: Timestamp,
    ) -> Result<(), EnrolmentError> {
        match self {
            Self::Token(token) => match enrolments::redeem(write, token.id, now).await? {
                true => Ok(()),
                false => Err(EnrolmentError::TokenUsedUp),
            },
            Self::Request(_, request) => {
                match enrolment_requests::finish(write, request.id, device, now).await? {
                    true => Ok(()),
                    false => Err(EnrolmentError::RequestGone),
                }
            }
            Self::Claim(_, claim) => {
                let Claim { ca, certificate, serial, .. } = claim;
                match claim_cas::take(write, certificate, *ca, serial, device, now).await? {
                    true => Ok(()),
                    false => Err(EnrolmentError::ClaimUsed(serial.clone())),
                }
            }
        }
    }
}

/// Whether a token lets a device in; `again`: the device used this very token before.
fn usable(token: &PresentedToken, again: bool, now: Timestamp) -> Result<(), EnrolmentError> {
    if let Some(at) = token.revoked_at {
        return Err(EnrolmentError::TokenRevoked(at.rfc3339()));
    }
    if token.expires_at <= now {
        return Err(EnrolmentError::TokenExpired(token.expires_at.rfc3339()));
    }
    if token.uses_left == 0 && !again {
        return Err(EnrolmentError::TokenUsedUp);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgeformer_proto::ids::TokenId;

    #[test]
    fn each_way_a_token_fails_is_said_apart() {
        let good = PresentedToken {
            tenant: TenantId::new(),
            id: TokenId::new(),
            labels: Default::default(),
            uses_left: 1,
            expires_at: Timestamp(100),
            revoked_at: None,
            replaces: None,
        };
        let check = |token: PresentedToken, again, now, expected: &str| {
            let found = usable(&token, again, Timestamp(now));
            let found = found.err().map(|e| e.to_string()).unwrap_or_default();
            assert!(found.contains(expected) && found.is_empty() == expected.is_empty(), "{found}");
        };
        let used = PresentedToken { uses_left: 0, ..good.clone() };
        let revoked = PresentedToken { revoked_at: Some(Timestamp(5)), ..good.clone() };
        check(good.clone(), false, 99, "");
        check(good, false, 100, "expired at 1970-01-01T00:00:00.0001Z");
        check(used.clone(), false, 1, "used up");
        check(used.clone(), true, 1, "");
        check(used, true, 100, "expired");
        check(revoked, true, 1, "was revoked at 1970-01-01T00:00:00.000005Z");
    }
}
