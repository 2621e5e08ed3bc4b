//! Enrolment without a token: by asking until an operator decided, or by proof of a manufacturer's
//! certificate.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use edgeformer_proto::v1;
use rand::SeedableRng;
use rand::rngs::StdRng;
use ring::digest::{SHA256, digest};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, SignatureScheme};
use v1::apply_response::Outcome;
use v1::enrolment_client::EnrolmentClient;

use super::dial::{self, ControllerUrl};
use super::enroll::{EnrolError, classify};
use crate::durable;
use crate::session::backoff;

/// A few certificates, or a key.
const MAX_PEM_BYTES: u64 = 64 * 1024;
/// Longest nonce of the controller.
const MAX_NONCE_BYTES: usize = 128;
/// What the proof of a factory key is about.
const PROOF_LABEL: &[u8] = b"edgeformer claim v1\0";
/// Schemes in which a factory key may sign.
const SCHEMES: [SignatureScheme; 4] = [
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ED25519,
    SignatureScheme::RSA_PSS_SHA256,
];
/// A controller cannot make a device ask more often than this, or forget to.
const ASK_AGAIN_S: std::ops::RangeInclusive<u32> = 1..=600;

/// A manufacturer's certificate and its key, in PEM files.
#[derive(Debug, Clone)]
pub struct FactoryFiles {
    /// Leaf first, then what is between it and the CA that is registered.
    pub certificate: PathBuf,
    /// PKCS#8, SEC1 or PKCS#1.
    pub key: PathBuf,
}

/// What is asked of an operator.
pub(super) fn application(enrolment_id: String, device: v1::EnrolRequest) -> v1::ApplyRequest {
    let v1::EnrolRequest { csr_der, hpke_public, name, labels, facts, protocol, .. } = device;
    v1::ApplyRequest { enrolment_id, csr_der, hpke_public, name, labels, facts, protocol }
}

/// What is claimed; the proof is still missing.
pub(super) fn claiming(enrolment_id: String, device: v1::EnrolRequest) -> v1::ClaimRequest {
    let v1::EnrolRequest { csr_der, hpke_public, name, labels, facts, protocol, .. } = device;
    v1::ClaimRequest {
        enrolment_id,
        csr_der,
        hpke_public,
        name,
        labels,
        facts,
        protocol,
        ..v1::ClaimRequest::default()
    }
}

/// Asks until an operator decided. Whatever fails on the way is tried again.
pub(super) async fn ask(
    url: &ControllerUrl,
    tls: &Arc<ClientConfig>,
    message: &v1::ApplyRequest,
) -> Result<v1::EnrolResponse, EnrolError> {
    let mut rng = StdRng::from_rng(&mut rand::rng());
    let mut failures = 0;
    loop {
        // A connection of its own each time: strangers keep none for long.
        let asked = async {
            let channel = dial::connect(url, Arc::clone(tls)).await?;
            let answer = EnrolmentClient::new(channel).apply(message.clone()).await;
            Ok(answer.map_err(classify)?.into_inner())
        };
        let asked: Result<v1::ApplyResponse, EnrolError> = asked.await;
        let wait = match asked {
            Ok(v1::ApplyResponse { outcome: Some(Outcome::Enrolled(answer)) }) => {
                return Ok(answer);
            }
            Ok(v1::ApplyResponse { outcome: Some(Outcome::Rejected(reason)) }) => {
                let why = if reason.is_empty() { "no reason was given".to_owned() } else { reason };
                return Err(EnrolError::Rejected(why.chars().take(1000).collect()));
            }
            Ok(v1::ApplyResponse { outcome: Some(Outcome::Waiting(waiting)) }) => {
                failures = 0;
                let seconds = waiting.retry_after_s.clamp(*ASK_AGAIN_S.start(), *ASK_AGAIN_S.end());
                backoff::wait(1, Duration::from_secs(seconds.into()), &mut rng)
            }
            Ok(v1::ApplyResponse { outcome: None }) => {
                return Err(EnrolError::Answer("it is of a newer controller".to_owned()));
            }
            Err(EnrolError::Dial(error)) => {
                failures += 1;
                tracing::warn!(%error, "cannot ask now; trying again");
                backoff::wait(failures, Duration::ZERO, &mut rng)
            }
            Err(EnrolError::Call(error)) => {
                failures += 1;
                tracing::warn!(%error, "cannot ask now; trying again");
                backoff::wait(failures, Duration::ZERO, &mut rng)
            }
            Err(error) => return Err(error),
        };
        tokio::time::sleep(wait).await;
    }
}

/// Enrols by proof of a factory key.
pub(super) async fn claim(
    url: &ControllerUrl,
    tls: Arc<ClientConfig>,
    files: &FactoryFiles,
    mut message: v1::ClaimRequest,
) -> Result<v1::EnrolResponse, EnrolError> {
    let chain = read_chain(&files.certificate)?;
    let key = read_key(&files.key)?;
    let channel = dial::connect(url, tls).await?;
    let mut client = EnrolmentClient::new(channel);
    let challenge_id = uuid::Uuid::new_v4().to_string();
    let challenge = v1::ChallengeRequest { device_id: challenge_id.clone() };
    let nonce = client.challenge(challenge).await.map_err(classify)?.into_inner().nonce;
    if nonce.len() > MAX_NONCE_BYTES {
        return Err(EnrolError::Answer(format!("a nonce of {} bytes", nonce.len())));
    }
    let hash = digest(&SHA256, &message.csr_der);
    let signed = [PROOF_LABEL, &nonce, hash.as_ref()].concat();
    let cannot = |what: String| EnrolError::Factory { path: files.key.clone(), what };
    let signer = rustls::crypto::ring::sign::any_supported_type(&key)
        .map_err(|error| cannot(error.to_string()))?
        .choose_scheme(&SCHEMES)
        .ok_or_else(|| cannot("a key of this kind is not known".to_owned()))?;
    let proof = signer.sign(&signed).map_err(|error| cannot(error.to_string()))?;
    message.factory_chain_der = chain.iter().map(|der| der.to_vec().into()).collect();
    message.challenge_id = challenge_id;
    message.nonce = nonce;
    message.scheme = u16::from(signer.scheme()).into();
    message.proof = proof.into();
    Ok(client.claim(message).await.map_err(classify)?.into_inner())
}

fn read(path: &Path) -> Result<Vec<u8>, EnrolError> {
    durable::read_limited(path, MAX_PEM_BYTES)
        .map_err(|error| EnrolError::Factory { path: path.to_owned(), what: error.to_string() })
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, EnrolError> {
    let wrong = |what: String| EnrolError::Factory { path: path.to_owned(), what };
    let chain = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| wrong(error.to_string()))?;
    match chain.is_empty() {
        true => Err(wrong("holds no certificate in PEM".to_owned())),
        false => Ok(chain),
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, EnrolError> {
    let pem = zeroize::Zeroizing::new(read(path)?);
    PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|error| EnrolError::Factory { path: path.to_owned(), what: error.to_string() })
}
