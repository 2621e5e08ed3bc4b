//! The certificates of an installation: one root, a server certificate for its names, one issuing
//! CA per tenant and short-lived device certificates. All keys are P-256.
//!
//! Keys go in and out as PKCS#8 so that the caller can wrap them; nothing here may store, log or
//! send one. Nothing here reads a clock: every function that dates something takes `now_us`
//! (microseconds since the Unix epoch).

pub mod factory;
mod spiffe;
mod succession;

use std::time::Duration;

use data_encoding::HEXLOWER;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
    SubjectPublicKeyInfo,
};
use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::CertificateDer;
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509Certificate, X509CertificationRequest};
use zeroize::Zeroizing;

use edgeformer_proto::ids::{DeviceId, TenantId};

pub use spiffe::SpiffeId;
pub use succession::{NextRoot, create_next_root};

/// Lifetime of a device certificate unless the installation says otherwise: long enough for a
/// device that is off for a holiday, short enough that a stolen one dies by itself.
pub const DEFAULT_DEVICE_LIFETIME: Duration = Duration::from_secs(30 * DAY_S);

/// The longest device lifetime accepted; beyond it revocation would be the only way out.
pub const MAX_DEVICE_LIFETIME: Duration = Duration::from_secs(398 * DAY_S);

/// A request is a public key and a signature; real ones have about 300 bytes.
pub const MAX_CSR_BYTES: usize = 4096;

const DAY_S: u64 = 86_400;
/// Devices pin the root at enrolment, and must get through a decade without being touched.
const ROOT_LIFETIME: Duration = Duration::from_secs(20 * 365 * DAY_S);
const ISSUING_LIFETIME: Duration = Duration::from_secs(10 * 365 * DAY_S);
/// The controller renews it by itself after two thirds of this.
const SERVER_LIFETIME: Duration = Duration::from_secs(90 * DAY_S);
/// How many roots after it one root can lead to: what a verifier that trusts the first follows.
pub const MAX_SUCCESSIONS: u8 = 4;
/// Clocks of devices are a little behind: a certificate is valid from shortly before it was made.
const BACKDATE: Duration = Duration::from_secs(300);

/// DER of a P-256 SubjectPublicKeyInfo up to the uncompressed point (RFC 5480, section 2).
const P256_SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const P256_POINT_BYTES: usize = 65;

/// Why a certificate or key could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// Key generation or signing failed.
    #[error("cannot make the {what}: {source}")]
    Make {
        /// What was being made.
        what: &'static str,
        /// The library's reason.
        source: rcgen::Error,
    },
    /// A stored certificate or key does not parse.
    #[error("the stored {what} does not parse: {reason}")]
    Stored {
        /// What was read.
        what: &'static str,
        /// Why not.
        reason: String,
    },
    /// A device's certificate request is not acceptable.
    #[error("the certificate request is not acceptable: {0}")]
    Request(&'static str),
    /// The certificate a device presented is not one of ours.
    #[error("the client certificate is not acceptable: {0}")]
    Peer(String),
    /// The operating system gave no random bytes.
    #[error("no random bytes from the operating system")]
    Random,
}

/// A private key (PKCS#8, DER, wiped on drop) and its certificate (DER).
pub struct KeyAndCert {
    /// PKCS#8, DER.
    pub key_pkcs8: Zeroizing<Vec<u8>>,
    /// Certificate, DER.
    pub cert_der: Vec<u8>,
}

impl std::fmt::Debug for KeyAndCert {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyAndCert").field("cert_bytes", &self.cert_der.len()).finish()
    }
}

/// What one device certificate is issued for.
#[derive(Debug, Clone, Copy)]
pub struct DeviceLeaf<'a> {
    /// The installation's SPIFFE trust domain.
    pub trust_domain: &'a str,
    /// The tenant that owns the device.
    pub tenant: TenantId,
    /// The device.
    pub device: DeviceId,
    /// SubjectPublicKeyInfo from [`verify_csr`].
    pub public_key_spki: &'a [u8],
    /// From now; at most [`MAX_DEVICE_LIFETIME`].
    pub lifetime: Duration,
}

/// A device certificate and when it ends.
#[derive(Debug, Clone)]
pub struct IssuedLeaf {
    /// Certificate, DER.
    pub cert_der: Vec<u8>,
    /// End of validity, microseconds since the Unix epoch.
    pub expires_at_us: i64,
    /// Which CA made it: see [`id_of`].
    pub ca_id: String,
}

/// Names a certificate: SHA-256, hexadecimal.
pub fn id_of(cert_der: &[u8]) -> String {
    HEXLOWER.encode(digest::digest(&digest::SHA256, cert_der).as_ref())
}

/// Makes the installation root: self-signed, twenty years.
pub fn create_root(trust_domain: &str, now_us: i64) -> Result<KeyAndCert, CaError> {
    let key = generate("root key")?;
    let name = format!("EdgeFormer Fleet root {trust_domain}");
    let path = BasicConstraints::Constrained(1 + MAX_SUCCESSIONS);
    let params = ca_params(&name, path, ROOT_LIFETIME, now_us)?;
    let cert = params.self_signed(&key).map_err(|source| CaError::Make { what: "root", source })?;
    Ok(finish(&key, cert.der()))
}

/// Makes a tenant's issuing CA: signed by the root, path length 0, ten years.
pub fn create_issuing(
    root: &KeyAndCert,
    tenant: TenantId,
    now_us: i64,
) -> Result<KeyAndCert, CaError> {
    let key = generate("issuing key")?;
    let name = format!("EdgeFormer Fleet tenant {tenant}");
    let params = ca_params(&name, BasicConstraints::Constrained(0), ISSUING_LIFETIME, now_us)?;
    let cert = params
        .signed_by(&key, &issuer(&root.cert_der, &root.key_pkcs8, "installation root")?)
        .map_err(|source| CaError::Make { what: "issuing CA", source })?;
    Ok(finish(&key, cert.der()))
}

/// Makes a server certificate for DNS names and IP addresses, signed by the root.
pub fn create_server(
    root: &KeyAndCert,
    names: &[String],
    now_us: i64,
) -> Result<KeyAndCert, CaError> {
    let make = |source| CaError::Make { what: "server certificate", source };
    let key = generate("server key")?;
    let mut params = CertificateParams::new(names).map_err(make)?;
    date(&mut params, SERVER_LIFETIME, now_us)?;
    params.distinguished_name = common_name(names.first().map_or("controller", String::as_str));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let cert = params
        .signed_by(&key, &issuer(&root.cert_der, &root.key_pkcs8, "installation root")?)
        .map_err(make)?;
    Ok(finish(&key, cert.der()))
}

/// Checks a PKCS#10 request: P-256, signed by its own key. Returns the SubjectPublicKeyInfo (DER).
///
/// The names in the request mean nothing: a device is called what the controller calls it.
pub fn verify_csr(csr_der: &[u8]) -> Result<Vec<u8>, CaError> {
    if csr_der.len() > MAX_CSR_BYTES {
        return Err(CaError::Request("it is longer than 4096 bytes"));
    }
    let (rest, csr) = X509CertificationRequest::from_der(csr_der)
        .map_err(|_| CaError::Request("it is not a PKCS#10 request in DER"))?;
    if !rest.is_empty() {
        return Err(CaError::Request("bytes follow the request"));
    }
    let spki = csr.certification_request_info.subject_pki.raw;
    p256_point(spki).ok_or(CaError::Request("its key is not on P-256"))?;
    csr.verify_signature()
        .map_err(|_| CaError::Request("its signature is not by the key it carries"))?;
    Ok(spki.to_vec())
}

/// Issues a device certificate (client authentication only) by the tenant's issuing CA.
pub fn issue_device(
    issuing: &KeyAndCert,
    leaf: &DeviceLeaf<'_>,
    now_us: i64,
) -> Result<IssuedLeaf, CaError> {
    let make = |source| CaError::Make { what: "device certificate", source };
    let spiffe = SpiffeId::new(leaf.trust_domain, leaf.tenant, leaf.device).to_string();
    let mut params = CertificateParams::default();
    let not_after = date(&mut params, leaf.lifetime.min(MAX_DEVICE_LIFETIME), now_us)?;
    params.distinguished_name = common_name(&leaf.device.to_string());
    params.subject_alt_names = vec![SanType::URI(spiffe.try_into().map_err(make)?)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let public = SubjectPublicKeyInfo::from_der(leaf.public_key_spki).map_err(make)?;
    let cert = params
        .signed_by(&public, &issuer(&issuing.cert_der, &issuing.key_pkcs8, "issuing CA")?)
        .map_err(make)?;
    Ok(IssuedLeaf {
        cert_der: cert.der().to_vec(),
        expires_at_us: not_after.unix_timestamp() * 1_000_000,
        ca_id: id_of(&issuing.cert_der),
    })
}

/// The uncompressed point (65 bytes) of a P-256 SubjectPublicKeyInfo, or `None` for any other key.
pub fn p256_point(spki: &[u8]) -> Option<&[u8]> {
    let point = spki.strip_prefix(&P256_SPKI_PREFIX)?;
    (point.len() == P256_POINT_BYTES && point[0] == 0x04).then_some(point)
}

/// What a device's certificate says, after the TLS layer has verified its chain to the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerLeaf {
    /// Its only name.
    pub id: SpiffeId,
    /// SubjectPublicKeyInfo, DER.
    pub public_key_spki: Vec<u8>,
    /// End of validity, microseconds since the Unix epoch.
    pub expires_at_us: i64,
}

/// Reads the identity out of a client certificate. Exactly one SPIFFE URI is accepted.
pub fn read_peer(leaf_der: &[u8]) -> Result<PeerLeaf, CaError> {
    let leaf = parse(leaf_der)?;
    let san = leaf
        .subject_alternative_name()
        .map_err(|_| CaError::Peer("its names do not parse".into()))?
        .ok_or_else(|| CaError::Peer("it carries no SPIFFE name".into()))?;
    let [x509_parser::extensions::GeneralName::URI(uri)] = san.value.general_names[..] else {
        return Err(CaError::Peer("it must carry exactly one name, a SPIFFE URI".into()));
    };
    let id = uri.parse().map_err(CaError::Peer)?;
    Ok(PeerLeaf {
        id,
        public_key_spki: leaf.public_key().raw.to_vec(),
        expires_at_us: leaf.validity().not_after.timestamp().saturating_mul(1_000_000),
    })
}

/// Whether `issuing_der` itself signed `leaf_der`: a chain to the root alone would let one tenant's
/// CA name another tenant's device.
pub fn issued_by(leaf_der: &[u8], issuing_der: &[u8]) -> Result<(), CaError> {
    let leaf = parse(leaf_der)?;
    let (_, issuing) = X509Certificate::from_der(issuing_der)
        .map_err(|e| CaError::Stored { what: "issuing CA", reason: e.to_string() })?;
    leaf.verify_signature(Some(issuing.public_key()))
        .map_err(|_| CaError::Peer("it was not issued by the CA of the tenant it names".into()))
}

/// Begin and end of a certificate's validity, microseconds since the Unix epoch.
pub fn validity(der: &[u8]) -> Result<(i64, i64), CaError> {
    let cert = parse(der)?;
    let us = |at: x509_parser::time::ASN1Time| at.timestamp().saturating_mul(1_000_000);
    Ok((us(cert.validity().not_before), us(cert.validity().not_after)))
}

/// The DNS names and IP addresses of a server certificate, in its order.
pub fn server_names(der: &[u8]) -> Result<Vec<String>, CaError> {
    use x509_parser::extensions::GeneralName;
    let unreadable = || CaError::Stored {
        what: "server certificate",
        reason: "its names do not parse".to_owned(),
    };
    let cert = parse(der)?;
    let san = cert.subject_alternative_name().map_err(|_| unreadable())?.ok_or_else(unreadable)?;
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match **bytes {
            [a, b, c, d] => Some(std::net::Ipv4Addr::new(a, b, c, d).to_string()),
            _ => {
                <[u8; 16]>::try_from(*bytes).ok().map(|v6| std::net::Ipv6Addr::from(v6).to_string())
            }
        },
        _ => None,
    };
    san.value.general_names.iter().map(|one| name(one).ok_or_else(unreadable)).collect()
}

fn parse(leaf_der: &[u8]) -> Result<X509Certificate<'_>, CaError> {
    X509Certificate::from_der(leaf_der)
        .map(|(_, cert)| cert)
        .map_err(|_| CaError::Peer("it does not parse".into()))
}

fn generate(what: &'static str) -> Result<KeyPair, CaError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|source| CaError::Make { what, source })
}

fn finish(key: &KeyPair, cert: &CertificateDer<'_>) -> KeyAndCert {
    KeyAndCert { key_pkcs8: Zeroizing::new(key.serialize_der()), cert_der: cert.to_vec() }
}

fn issuer(
    cert_der: &[u8],
    key_pkcs8: &[u8],
    what: &'static str,
) -> Result<Issuer<'static, KeyPair>, CaError> {
    let stored = |e: rcgen::Error| CaError::Stored { what, reason: e.to_string() };
    let key = KeyPair::try_from(key_pkcs8).map_err(stored)?;
    Issuer::from_ca_cert_der(&CertificateDer::from(cert_der), key).map_err(stored)
}

fn ca_params(
    name: &str,
    constraints: BasicConstraints,
    lifetime: Duration,
    now_us: i64,
) -> Result<CertificateParams, CaError> {
    let mut params = CertificateParams::default();
    date(&mut params, lifetime, now_us)?;
    params.distinguished_name = common_name(name);
    params.is_ca = IsCa::Ca(constraints);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn common_name(name: &str) -> DistinguishedName {
    let mut dn = DistinguishedName::new();
    dn.push(DnType::CommonName, name);
    dn
}

/// Sets validity and a random serial; returns the end of validity.
fn date(
    params: &mut CertificateParams,
    lifetime: Duration,
    now_us: i64,
) -> Result<OffsetDateTime, CaError> {
    let now = OffsetDateTime::from_unix_timestamp(now_us.div_euclid(1_000_000))
        .map_err(|e| CaError::Stored { what: "time", reason: e.to_string() })?;
    params.not_before = now - BACKDATE;
    params.not_after = now + lifetime;
    let mut serial = [0u8; 16];
    SystemRandom::new().fill(&mut serial).map_err(|_| CaError::Random)?;
    // RFC 5280, section 4.1.2.2: positive and not zero.
    serial[0] = (serial[0] & 0x7f) | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params.not_after)
}

#[cfg(test)]
mod tests;
