//! Reading what an unauthenticated peer sent: everything is capped and checked before it is used.

use std::collections::BTreeMap;
use std::str::FromStr;

use edgeformer_proto::protocol::{PROTOCOL, negotiate};
use edgeformer_proto::v1;
use ring::agreement;
use ring::rand::SystemRandom;

use super::EnrolmentError;
use crate::ca;
use crate::session::facts::{Facts, clip};
use edgeformer_proto::token::{Kind, Token};

/// More labels than any fleet uses per device, few enough for a row.
const MAX_LABELS: usize = 32;
const MAX_LABEL_KEY_BYTES: usize = 63;
const MAX_LABEL_VALUE_BYTES: usize = 255;
/// Long enough for a fully qualified host name's first label.
const MAX_NAME_CHARS: usize = 63;
/// An uncompressed P-256 point.
const HPKE_PUBLIC_BYTES: usize = 65;

/// A device that asks to join, every field checked.
#[derive(Debug)]
pub(super) struct Applicant {
    pub spki: Vec<u8>,
    pub hpke_public: Vec<u8>,
    pub name: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub facts: Facts,
}

/// Reads an Enrol request.
pub(super) fn parse_enrol(message: v1::EnrolRequest) -> Result<(Token, Applicant), EnrolmentError> {
    check_protocol(message.protocol)?;
    let token = Token::parse(Kind::Enrolment, &message.token)?;
    Ok((token, applicant(message)?))
}

/// Reads an Apply request.
pub(super) fn parse_apply(message: v1::ApplyRequest) -> Result<Applicant, EnrolmentError> {
    let v1::ApplyRequest { csr_der, hpke_public, name, labels, facts, protocol, .. } = message;
    let token = String::new();
    applicant(v1::EnrolRequest { token, csr_der, hpke_public, name, labels, facts, protocol })
}

/// Reads who asks out of a Claim request; the rest of it is proof.
pub(super) fn parse_claim(message: &mut v1::ClaimRequest) -> Result<Applicant, EnrolmentError> {
    applicant(v1::EnrolRequest {
        token: String::new(),
        csr_der: message.csr_der.clone(),
        hpke_public: message.hpke_public.clone(),
        name: std::mem::take(&mut message.name),
        labels: std::mem::take(&mut message.labels),
        facts: message.facts.take(),
        protocol: message.protocol,
    })
}

fn applicant(message: v1::EnrolRequest) -> Result<Applicant, EnrolmentError> {
    check_protocol(message.protocol)?;
    let spki = ca::verify_csr(&message.csr_der)?;
    check_hpke_public(&message.hpke_public)?;
    let facts = Facts::from_wire(message.facts.unwrap_or_default());
    let name = [message.name.trim(), facts.hostname.trim()]
        .into_iter()
        .find(|name| !name.is_empty())
        .map(|name| clip(name, MAX_NAME_CHARS));
    Ok(Applicant {
        spki,
        hpke_public: message.hpke_public.to_vec(),
        name,
        labels: check_labels(message.labels)?,
        facts,
    })
}

/// Refuses a peer more than one protocol version away.
pub(super) fn check_protocol(theirs: u32) -> Result<(), EnrolmentError> {
    negotiate(PROTOCOL, theirs, "controller", "agent")?;
    Ok(())
}

/// Reads an id; the error says which kind was expected.
pub(super) fn parse_id<T>(text: &str) -> Result<T, EnrolmentError>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| EnrolmentError::Request(error.to_string()))
}

fn check_hpke_public(point: &[u8]) -> Result<(), EnrolmentError> {
    let refused = || {
        let bytes = point.len();
        EnrolmentError::Request(format!(
            "the HPKE public key ({bytes} bytes) is not an uncompressed point on P-256"
        ))
    };
    if point.len() != HPKE_PUBLIC_BYTES {
        return Err(refused());
    }
    // An agreement is ring's way to check that a point is on the curve.
    let ours =
        agreement::EphemeralPrivateKey::generate(&agreement::ECDH_P256, &SystemRandom::new())
            .map_err(|_| refused())?;
    let theirs = agreement::UnparsedPublicKey::new(&agreement::ECDH_P256, point);
    agreement::agree_ephemeral(ours, &theirs, |_| ()).map_err(|_| refused())
}

fn check_labels(
    labels: std::collections::HashMap<String, String>,
) -> Result<BTreeMap<String, String>, EnrolmentError> {
    if labels.len() > MAX_LABELS {
        let count = labels.len();
        return Err(EnrolmentError::Request(format!(
            "{count} labels are too many: at most {MAX_LABELS}"
        )));
    }
    for (key, value) in &labels {
        if key.is_empty() || key.len() > MAX_LABEL_KEY_BYTES || value.len() > MAX_LABEL_VALUE_BYTES
        {
            return Err(EnrolmentError::Request(format!(
                "label {:?} is not acceptable: a key has 1 to {MAX_LABEL_KEY_BYTES} bytes, a value at \
                 most {MAX_LABEL_VALUE_BYTES}",
                clip(key, MAX_LABEL_KEY_BYTES)
            )));
        }
    }
    Ok(labels.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_keys_of_a_stranger_are_capped() {
        let one = |key: &str, value: String| check_labels([(key.to_owned(), value)].into());
        assert!(one("site", "bergen".into()).is_ok());
        assert!(one("", "x".into()).is_err());
        assert!(one(&"k".repeat(64), "x".into()).is_err());
        assert!(one("site", "v".repeat(256)).is_err());
        let many = (0..33).map(|n| (n.to_string(), String::new())).collect();
        let error = check_labels(many).unwrap_err().to_string();
        assert!(error.contains("at most 32"), "{error}");
    }

    #[test]
    fn an_hpke_key_is_a_point_on_the_curve() {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let point = key.public_key_raw().to_vec();
        assert!(check_hpke_public(&point).is_ok());
        let mut off = point.clone();
        off[64] ^= 1;
        assert!(check_hpke_public(&off).is_err());
        assert!(check_hpke_public(&point[..64]).is_err());
        assert!(check_hpke_public(b"").is_err());
    }
}
