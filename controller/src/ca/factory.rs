//! Certificates that manufacturers put into devices: whether one comes from a registered CA, whom it
//! names, and whether its key signed something. RSA, P-256, P-384 and Ed25519, as the TLS library has
//! them.

use std::sync::Arc;

use data_encoding::HEXLOWER;
use ring::digest;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, SignatureScheme};
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::OID_X509_SERIALNUMBER;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Longest certificate that is read; real ones have one or two KiB.
const MAX_CERTIFICATE_BYTES: usize = 8 * 1024;
/// Names of one certificate that are looked at.
const MAX_NAMES: usize = 8;

/// Why a certificate is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FactoryError {
    /// It does not parse.
    #[error("the factory certificate does not parse: {0}")]
    Parse(String),
    /// It does not chain to the CA, or not now.
    #[error("the factory certificate does not come from this CA, or is not valid now: {0}")]
    Chain(String),
    /// It is no CA.
    #[error("the certificate is not a CA's: {0}")]
    NoCa(String),
    /// The signature is not by its key, or of a kind that is not known.
    #[error("the proof is not by the key of the factory certificate")]
    Proof,
}

/// A certificate that a registered CA vouches for.
#[derive(Debug, Clone)]
pub struct FactoryLeaf {
    /// SHA-256 of its issuer's key and its serial number: names it for good.
    pub certificate: String,
    /// Serial number, hexadecimal.
    pub serial: String,
    /// Common name, serial-number attribute and DNS names.
    pub names: Vec<String>,
    algorithm: Vec<u8>,
    public_key: Vec<u8>,
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, FactoryError> {
    if der.len() > MAX_CERTIFICATE_BYTES {
        return Err(FactoryError::Parse(format!("{} bytes", der.len())));
    }
    let (rest, parsed) =
        X509Certificate::from_der(der).map_err(|error| FactoryError::Parse(error.to_string()))?;
    match rest.is_empty() {
        true => Ok(parsed),
        false => Err(FactoryError::Parse("bytes follow it".to_owned())),
    }
}

/// Whether a certificate can be registered as a manufacturer's CA: it says that it is one, and is valid.
pub fn check_ca(der: &[u8], now_us: i64) -> Result<(), FactoryError> {
    let parsed = parse(der)?;
    if !parsed.is_ca() {
        return Err(FactoryError::NoCa("its basic constraints do not say so".to_owned()));
    }
    let until = parsed.validity().not_after.timestamp().saturating_mul(1_000_000);
    if until <= now_us {
        return Err(FactoryError::NoCa("its time is over".to_owned()));
    }
    roots(der).map(|_| ())
}

fn roots(der: &[u8]) -> Result<Arc<RootCertStore>, FactoryError> {
    let mut roots = RootCertStore::empty();
    let added = roots.add(CertificateDer::from(der.to_vec()));
    added.map_err(|error| FactoryError::NoCa(error.to_string()))?;
    Ok(Arc::new(roots))
}

/// Whether `chain`, leaf first, comes from this CA and is valid now, with name constraints and path
/// lengths as its CAs say.
pub fn verify(ca_der: &[u8], chain: &[&[u8]], now_us: i64) -> Result<FactoryLeaf, FactoryError> {
    let Some((leaf_der, between)) = chain.split_first() else {
        return Err(FactoryError::Parse("there is none".to_owned()));
    };
    let leaf = parse(leaf_der)?;
    for der in between {
        parse(der)?;
    }
    let chained = |error: &dyn std::fmt::Display| FactoryError::Chain(error.to_string());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(ca_der)?, provider)
        .build()
        .map_err(|error| chained(&error))?;
    let der = |der: &[u8]| CertificateDer::from(der.to_vec());
    let between: Vec<_> = between.iter().map(|one| der(one)).collect();
    let now_s = u64::try_from(now_us / 1_000_000).unwrap_or(0);
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now_s));
    verifier.verify_client_cert(&der(leaf_der), &between, now).map_err(|error| chained(&error))?;
    // The issuer's key is whoever signed it: an intermediate or the CA itself.
    let issuer = chain.get(1).copied().unwrap_or(ca_der);
    let issuer = parse(issuer)?;
    let mut hashed = digest::Context::new(&digest::SHA256);
    hashed.update(issuer.public_key().raw);
    hashed.update(leaf.raw_serial());
    Ok(FactoryLeaf {
        certificate: HEXLOWER.encode(hashed.finish().as_ref()),
        serial: HEXLOWER.encode(leaf.raw_serial()),
        names: names(&leaf),
        algorithm: leaf.public_key().algorithm.algorithm.as_bytes().to_vec(),
        public_key: leaf.public_key().subject_public_key.data.to_vec(),
    })
}

fn names(leaf: &X509Certificate<'_>) -> Vec<String> {
    let subject = leaf.subject();
    let attributes = subject.iter_common_name().chain(subject.iter_by_oid(&OID_X509_SERIALNUMBER));
    let mut names: Vec<String> =
        attributes.filter_map(|name| name.as_str().ok()).map(str::to_owned).collect();
    if let Ok(Some(alternative)) = leaf.subject_alternative_name() {
        let dns = alternative.value.general_names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        });
        names.extend(dns);
    }
    names.truncate(MAX_NAMES);
    names
}

impl FactoryLeaf {
    /// Whether its key signed `message` (`scheme` as TLS numbers them).
    pub fn verify(
        &self,
        scheme: u32,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), FactoryError> {
        let scheme = u16::try_from(scheme).map_err(|_| FactoryError::Proof)?;
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        let known =
            algorithms.mapping.iter().find(|(one, _)| *one == SignatureScheme::from(scheme));
        let candidates = known.map(|(_, candidates)| *candidates).unwrap_or_default();
        let fits = candidates.iter().filter(|one| {
            let id = one.public_key_alg_id();
            // The identifier begins with the OID of the key's kind: tag, length, bytes.
            id.get(2..2 + self.algorithm.len()) == Some(&self.algorithm[..])
        });
        let proved = fits
            .into_iter()
            .any(|one| one.verify_signature(&self.public_key, message, signature).is_ok());
        if proved { Ok(()) } else { Err(FactoryError::Proof) }
    }
}

/// Whether `name` is what `pattern` says: itself, or with one `*` for any run of characters.
pub fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => {
            name.len() >= before.len() + after.len()
                && name.starts_with(before)
                && name.ends_with(after)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_has_one_star() {
        assert!(matches("press-*", "press-7") && matches("press-*", "press-"));
        assert!(matches("*.factory.example", "a.factory.example"));
        assert!(matches("press-7", "press-7") && !matches("press-7", "press-77"));
        assert!(!matches("ab*ba", "aba") && matches("ab*ba", "abba"));
    }
}
