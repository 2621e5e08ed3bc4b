//! Why a device was not let in, in words for whoever stands beside it.

use edgeformer_proto::protocol::Incompatible;
use tonic::Status;

use super::challenge::ChallengeError;
use crate::authorities::RootsError;
use crate::ca::CaError;
use crate::ca::factory::FactoryError;
use crate::store::StoreError;
use crate::tenancy::{Closed, book};
use crate::trust::TrustError;
use crate::vault::VaultError;
use edgeformer_proto::token::TokenError;

/// An enrolment or renewal that was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum EnrolmentError {
    /// The installation's roots cannot be had.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// A field of the request is wrong.
    #[error("{0}")]
    Request(String),
    /// The peers are too far apart.
    #[error(transparent)]
    Protocol(#[from] Incompatible),
    /// What was presented cannot be an enrolment token.
    #[error("{0}: check what was pasted after --token")]
    TokenText(#[from] TokenError),
    /// No tenant has it.
    #[error(
        "this enrolment token is not known to this controller: check the controller's address, or \
         make a new token (edgeformer enrolment-token create)"
    )]
    TokenUnknown,
    /// Its uses are gone.
    #[error(
        "this enrolment token is used up: make a new one (edgeformer enrolment-token create --uses N)"
    )]
    TokenUsedUp,
    /// Its time is over.
    #[error(
        "this enrolment token expired at {0}: make a new one (edgeformer enrolment-token create)"
    )]
    TokenExpired(String),
    /// Somebody revoked it.
    #[error(
        "this enrolment token was revoked at {0}: make a new one (edgeformer enrolment-token create)"
    )]
    TokenRevoked(String),
    /// The certificate request is not acceptable, or making the certificate failed.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// The device was revoked.
    #[error(
        "device {0} was revoked: to bring it back, remove its state folder and enrol it with a new token"
    )]
    Revoked(String),
    /// The token is for the place of a device that has been given away.
    #[error(
        "the place of device {0} was given to other hardware already, or the device is gone: make a new \
         token (edgeformer device replace)"
    )]
    Replaced(String),
    /// No tenant lets devices ask under this id.
    #[error(
        "no tenant lets devices ask under this enrolment id: check it (edgeformer enrolment open prints it)"
    )]
    DoorUnknown,
    /// Too many devices ask.
    #[error(
        "too many devices ask to be let in, here or from this address: have an operator decide about \
         those that wait (edgeformer enrolment requests), then try again"
    )]
    TooManyRequests,
    /// The approval was used by somebody else, or its time is over.
    #[error("the approval of this request is over: ask again")]
    RequestGone,
    /// No registered manufacturer vouches for the certificate.
    #[error(
        "the factory certificate comes from no manufacturer that this tenant has registered, or is not \
         valid now (edgeformer claim-ca list)"
    )]
    ClaimUnknown,
    /// It let a device in before.
    #[error(
        "factory certificate {0} let a device in before: have an operator release it (edgeformer \
         claim-ca release)"
    )]
    ClaimUsed(String),
    /// Its serial number is kept out.
    #[error("factory certificate {0} is revoked (edgeformer claim-ca revoke)")]
    ClaimRevoked(String),
    /// None of its names is let in.
    #[error("the factory certificate is for {0:?}, which its manufacturer is not let in for")]
    ClaimName(String),
    /// The proof of the factory key is no good.
    #[error(transparent)]
    Claim(FactoryError),
    /// The tenant is suspended or deleted.
    #[error(transparent)]
    Tenant(#[from] Closed),
    /// The tenant has as many devices as it may have.
    #[error(
        "the tenant may have {0} devices and has them: revoke one that is not needed, or ask the \
         operator of the installation for more (edgeformer tenant quota)"
    )]
    TooManyDevices(u64),
    /// No such device, or the proof is not by its key. One answer for both.
    #[error(
        "the proof does not belong to an enrolled device: the state folder is of another installation \
         or was copied; enrol the device again"
    )]
    Proof,
    /// The nonce is no good.
    #[error(transparent)]
    Challenge(#[from] ChallengeError),
    /// A wrapped key does not open.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The tenant's trusted root cannot be given.
    #[error(transparent)]
    Trust(TrustError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<TrustError> for EnrolmentError {
    fn from(error: TrustError) -> Self {
        match error {
            TrustError::Store(error) => Self::Store(error),
            error => Self::Trust(error),
        }
    }
}

impl From<book::Refused> for EnrolmentError {
    fn from(refused: book::Refused) -> Self {
        match refused {
            book::Refused::Closed(closed) => Self::Tenant(closed),
            book::Refused::Store(error) => Self::Store(error),
        }
    }
}

impl From<EnrolmentError> for Status {
    fn from(error: EnrolmentError) -> Self {
        use EnrolmentError as E;
        let message = error.to_string();
        match error {
            E::Request(_) | E::TokenText(_) | E::Ca(CaError::Request(_)) => {
                Status::invalid_argument(message)
            }
            E::DoorUnknown | E::ClaimUnknown | E::Claim(_) => Status::unauthenticated(message),
            E::ClaimUsed(_) | E::ClaimRevoked(_) | E::ClaimName(_) => {
                Status::permission_denied(message)
            }
            E::TooManyRequests => Status::unavailable(message),
            E::RequestGone => Status::aborted(message),
            E::TokenUnknown | E::Proof | E::Challenge(_) => Status::unauthenticated(message),
            E::TokenUsedUp
            | E::Replaced(_)
            | E::TokenExpired(_)
            | E::TokenRevoked(_)
            | E::Protocol(_) => Status::failed_precondition(message),
            E::Revoked(_) => Status::permission_denied(message),
            E::Tenant(_) => Status::unavailable(message),
            E::TooManyDevices(_) => Status::resource_exhausted(message),
            E::Store(error) | E::Roots(RootsError::Store(error)) => {
                crate::device_listener::unavailable(error)
            }
            E::Roots(_) | E::Ca(_) | E::Vault(_) | E::Trust(_) => {
                tracing::error!(error = message, "cannot issue a device certificate");
                Status::internal("the controller cannot issue certificates now: its log says why")
            }
        }
    }
}
