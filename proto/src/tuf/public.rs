//! Public keys as metadata carries them, and the signatures that they verify: Ed25519, ECDSA on
//! P-256 with SHA-256, and RSASSA-PSS with SHA-256.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey,
};

/// SubjectPublicKeyInfo up to the point of a P-256 key: algorithm id-ecPublicKey, curve
/// prime256v1, a bit string of 65 bytes (RFC 5480).
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// Bytes of an uncompressed point.
const POINT_BYTES: usize = 65;
/// Algorithm rsaEncryption with its null parameter (RFC 3279).
const RSA_ALGORITHM: [u8; 15] =
    [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
/// Longest key in PEM: 8192 bits of RSA take about 1,400 characters.
const MAX_PEM_BYTES: usize = 4096;

/// A key that verifies. Its order has no meaning; it makes sets of distinct keys.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Public {
    Ed25519([u8; 32]),
    /// An uncompressed point.
    EcdsaP256(Vec<u8>),
    /// RSAPublicKey (RFC 8017).
    RsaPss(Vec<u8>),
}

impl Public {
    /// From what a key says it is. None for kinds that are not known: such a key verifies nothing.
    pub(super) fn read(keytype: &str, scheme: &str, public: &str) -> Option<Self> {
        match (keytype, scheme) {
            ("ed25519", "ed25519") => {
                let bytes = HEXLOWER_PERMISSIVE.decode(public.as_bytes()).ok()?;
                Some(Self::Ed25519(bytes.try_into().ok()?))
            }
            // The reference implementation writes the short name.
            ("ecdsa" | "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256") => {
                let spki = from_pem(public)?;
                let point = spki.strip_prefix(&P256_PREFIX)?;
                (point.len() == POINT_BYTES).then(|| Self::EcdsaP256(point.to_vec()))
            }
            ("rsa", "rsassa-pss-sha256") => Some(Self::RsaPss(rsa_key(&from_pem(public)?)?)),
            _ => None,
        }
    }

    /// Key type, scheme and value, as [`Self::read`] takes them. None for RSA, which is only read.
    pub(super) fn write(&self) -> Option<(&'static str, &'static str, String)> {
        match self {
            Self::Ed25519(bytes) => Some(("ed25519", "ed25519", HEXLOWER.encode(bytes))),
            Self::EcdsaP256(point) => {
                let pem = to_pem(&[&P256_PREFIX, point.as_slice()].concat());
                Some(("ecdsa", "ecdsa-sha2-nistp256", pem))
            }
            Self::RsaPss(_) => None,
        }
    }

    /// The key, if it is one of P-256.
    pub(super) fn p256(&self) -> Option<P256Public> {
        match self {
            Self::EcdsaP256(point) => Some(P256Public(point.clone())),
            Self::Ed25519(_) | Self::RsaPss(_) => None,
        }
    }

    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).verify(message, signature),
            Self::EcdsaP256(key) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key).verify(message, signature)
            }
            Self::RsaPss(key) => {
                UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, key).verify(message, signature)
            }
        }
        .is_ok()
    }
}

/// A P-256 key beside metadata, as others exchange it.
#[derive(Debug, Clone)]
pub(crate) struct P256Public(Vec<u8>);

impl P256Public {
    /// In PEM.
    pub(crate) fn to_pem(&self) -> String {
        to_pem(&[&P256_PREFIX, self.0.as_slice()].concat())
    }

    #[cfg(test)]
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        Public::EcdsaP256(self.0.clone()).verifies(message, signature)
    }
}

/// The bytes of a `PUBLIC KEY` block (RFC 7468).
fn from_pem(text: &str) -> Option<Vec<u8>> {
    if text.len() > MAX_PEM_BYTES {
        return None;
    }
    let body = text.trim().strip_prefix("-----BEGIN PUBLIC KEY-----")?;
    let body = body.strip_suffix("-----END PUBLIC KEY-----")?;
    let base64: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    BASE64.decode(base64).ok()
}

fn to_pem(der: &[u8]) -> String {
    let base64 = BASE64.encode(der);
    let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
    for line in base64.as_bytes().chunks(64) {
        // Base64 is ASCII, so that every part of it is text.
        pem.push_str(std::str::from_utf8(line).unwrap_or_default());
        pem.push('\n');
    }
    pem.push_str("-----END PUBLIC KEY-----\n");
    pem
}

/// The RSAPublicKey inside a SubjectPublicKeyInfo: a sequence of the algorithm and a bit string.
fn rsa_key(spki: &[u8]) -> Option<Vec<u8>> {
    let (inside, rest) = element(0x30, spki)?;
    let (bits, end) = element(0x03, inside.strip_prefix(&RSA_ALGORITHM)?)?;
    let key = bits.strip_prefix(&[0])?;
    (rest.is_empty() && end.is_empty()).then(|| key.to_vec())
}

/// Content of a DER element with this tag, and what follows it.
fn element(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = der.strip_prefix(&[tag])?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81 => (usize::from(*rest.first()?), rest.get(1..)?),
        0x82 => (usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?])), rest.get(2..)?),
        _ => return None,
    };
    rest.split_at_checked(length)
}
