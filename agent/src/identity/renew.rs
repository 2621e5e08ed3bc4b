//! Keeps the certificate valid: when to renew (a pure function), and the exchange that does it,
//! which needs only the enrolled key, so that a device may be off for a year.

use std::sync::Arc;

use bytes::Bytes;
use edgeformer_proto::protocol::PROTOCOL;
use edgeformer_proto::v1;
use ring::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use tonic::transport::Channel;
use v1::enrolment_client::EnrolmentClient;

use super::csr::{self, CsrError};
use super::dial::{self, DialError};
use super::keys::{DeviceKeys, KeyError, apart};
use super::roots::Said;
use super::store::{Certificate, Identity};
use super::tls::{ClientAuth, TlsError, client_config};
use crate::clock::{Clock, UnixMicros};

const PROOF_LABEL: &[u8] = b"edgeformer renew v1\0";

/// Longest nonce of the controller.
const MAX_NONCE_BYTES: usize = 128;

/// Why there is no new certificate.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// No connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The stored roots are of no use.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The request cannot be made.
    #[error(transparent)]
    Csr(#[from] CsrError),
    /// The proof cannot be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The controller will not renew this device.
    #[error("the controller refuses to renew this device's certificate: {0}")]
    Refused(String),
    /// The call failed on the way.
    #[error("the renewal did not get through: {0}")]
    Call(String),
    /// The answer is not a certificate for this device's key.
    #[error("the controller's answer is not a certificate for this device: {0}")]
    Answer(String),
}

/// When the certificate is to be renewed: after two thirds of the time that it had left when this
/// device got it.
pub fn due_at_us(certificate: &Certificate) -> UnixMicros {
    let life = certificate.not_after_us.saturating_sub(certificate.obtained_us).max(0);
    certificate.obtained_us.saturating_add(life / 3 * 2)
}

/// What a renewal gives.
#[derive(Debug)]
pub struct Renewed {
    /// With its new certificate.
    pub identity: Identity,
    /// The newest root of the tenant's TUF repository; empty if the controller keeps none.
    pub trusted_root: Bytes,
}

/// A new certificate for `identity`, over a connection without the old one.
pub async fn renew(
    identity: &Identity,
    keys: &Arc<dyn DeviceKeys>,
    clock: &Clock,
) -> Result<Renewed, RenewError> {
    let tls = client_config(&identity.roots, ClientAuth::Anonymous, clock)?;
    let channel = dial::connect(&identity.controller, tls).await?;
    let answer = exchange(channel, identity, keys).await?;
    let chain: Vec<_> =
        answer.certificate_chain_der.iter().map(|der| CertificateDer::from(der.to_vec())).collect();
    check_key(&chain, keys).map_err(RenewError::Answer)?;
    let certificate = Certificate::parse(chain, clock.now_us()).map_err(RenewError::Answer)?;
    let said = Said::new(&answer.root_der, &answer.cross_der, &answer.retired_root_sha256);
    let identity = identity.renewed(certificate, &said);
    Ok(Renewed { identity, trusted_root: answer.trusted_root })
}

async fn exchange(
    channel: Channel,
    identity: &Identity,
    keys: &Arc<dyn DeviceKeys>,
) -> Result<v1::RenewResponse, RenewError> {
    let mut client = EnrolmentClient::new(channel);
    let device_id = identity.device_id.to_string();
    let challenge = v1::ChallengeRequest { device_id: device_id.clone() };
    let nonce = client.challenge(challenge).await.map_err(classify)?.into_inner().nonce;
    if nonce.len() > MAX_NONCE_BYTES {
        return Err(RenewError::Answer(format!("a nonce of {} bytes", nonce.len())));
    }
    let (signer, signed_nonce) = (Arc::clone(keys), nonce.clone());
    let (csr_der, proof) = apart(move || prove(&signer, &signed_nonce)).await??;
    let request = v1::RenewRequest {
        device_id,
        tenant_id: identity.tenant_id.to_string(),
        nonce,
        csr_der: csr_der.into(),
        proof: proof.into(),
        protocol: PROTOCOL,
    };
    Ok(client.renew(request).await.map_err(classify)?.into_inner())
}

/// A certificate request, and the signature over it and the controller's `nonce`.
fn prove(keys: &Arc<dyn DeviceKeys>, nonce: &[u8]) -> Result<(Vec<u8>, Vec<u8>), RenewError> {
    let csr_der = csr::request(keys)?;
    let message = [PROOF_LABEL, nonce, digest(&SHA256, &csr_der).as_ref()].concat();
    Ok((csr_der, keys.sign(&message)?))
}

fn classify(status: tonic::Status) -> RenewError {
    use tonic::Code;
    match status.code() {
        Code::PermissionDenied | Code::Unauthenticated | Code::NotFound => {
            RenewError::Refused(status.message().to_owned())
        }
        _ => RenewError::Call(format!("{:?}: {}", status.code(), status.message())),
    }
}

/// Whether the leaf certifies our key.
pub(super) fn check_key(
    chain: &[CertificateDer<'_>],
    keys: &Arc<dyn DeviceKeys>,
) -> Result<(), String> {
    let leaf = chain.first().ok_or("the chain is empty")?;
    let (_, leaf) = x509_parser::parse_x509_certificate(leaf).map_err(|error| error.to_string())?;
    match leaf.public_key().subject_public_key.data.as_ref() == keys.public_point() {
        true => Ok(()),
        false => Err("it certifies another key".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_is_due_after_two_thirds_of_the_life() {
        let check = |obtained_us, not_after_us, due| {
            let chain = Vec::new();
            let certificate = Certificate { chain, not_before_us: 0, not_after_us, obtained_us };
            assert_eq!(due_at_us(&certificate), due);
        };
        check(0, 300, 200);
        check(1000, 1300, 1200);
        check(500, 100, 500);
    }
}
