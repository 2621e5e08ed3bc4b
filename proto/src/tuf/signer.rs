//! What signs metadata: a trait, so that a key may live in a file, a token or another program; and
//! the implementation over PKCS#8.

use std::fmt;

use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use zeroize::Zeroizing;

use super::key::Key;
use super::public::{P256Public, Public};

/// A key cannot be made, read or used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// Not PKCS#8 with a key of a known kind.
    #[error("this is no private key in PKCS#8 of kind Ed25519 or ECDSA P-256")]
    Pkcs8,
    /// The system gives no randomness.
    #[error("the system gives no randomness")]
    Random,
    /// The key refused.
    #[error("the key did not sign: {0}")]
    Refused(String),
}

/// Signs with one key.
pub trait Signer {
    /// Its public half.
    fn key(&self) -> &Key;

    /// Signature over `message`, as [`Key::verifies`] takes it.
    ///
    /// # Errors
    /// The key cannot be used.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError>;
}

/// Kinds of keys that can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// ECDSA on P-256 with SHA-256: what hardware tokens usually have.
    EcdsaP256,
}

/// PKCS#8 of an Ed25519 key up to its 32 bytes, version 1 (RFC 8410): what every program reads.
const ED25519_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

enum Pair {
    Ed25519(Ed25519KeyPair),
    EcdsaP256(EcdsaKeyPair),
}

/// A private key in memory.
pub struct PrivateKey {
    key: Key,
    pair: Pair,
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.key.id())
    }
}

impl PrivateKey {
    /// A new private key as PKCS#8 (DER).
    ///
    /// # Errors
    /// [`SignError::Random`].
    pub fn generate_pkcs8(kind: KeyKind) -> Result<Zeroizing<Vec<u8>>, SignError> {
        let random = SystemRandom::new();
        match kind {
            KeyKind::Ed25519 => {
                let mut der = Zeroizing::new([&ED25519_PREFIX[..], &[0; 32]].concat());
                let seed = &mut der[ED25519_PREFIX.len()..];
                random.fill(seed).map_err(|_| SignError::Random)?;
                Ok(der)
            }
            KeyKind::EcdsaP256 => {
                let kind = &ECDSA_P256_SHA256_ASN1_SIGNING;
                let document = EcdsaKeyPair::generate_pkcs8(kind, &random);
                let document = document.map_err(|_| SignError::Random)?;
                Ok(Zeroizing::new(document.as_ref().to_vec()))
            }
        }
    }

    /// From PKCS#8 (DER), with or without the public key in it.
    ///
    /// # Errors
    /// [`SignError::Pkcs8`], which tells nothing of the bytes.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, SignError> {
        let (public, pair) = match Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
            Ok(pair) => {
                let bytes = pair.public_key().as_ref().try_into().map_err(|_| SignError::Pkcs8)?;
                (Public::Ed25519(bytes), Pair::Ed25519(pair))
            }
            Err(_) => {
                let kind = &ECDSA_P256_SHA256_ASN1_SIGNING;
                let pair = EcdsaKeyPair::from_pkcs8(kind, der, &SystemRandom::new())
                    .map_err(|_| SignError::Pkcs8)?;
                (Public::EcdsaP256(pair.public_key().as_ref().to_vec()), Pair::EcdsaP256(pair))
            }
        };
        Ok(Self { key: Key::of(public).ok_or(SignError::Pkcs8)?, pair })
    }

    /// Its public half, if it is a key of P-256.
    pub(crate) fn p256_public(&self) -> Option<P256Public> {
        self.key.public().and_then(Public::p256)
    }
}

impl Signer for PrivateKey {
    fn key(&self) -> &Key {
        &self.key
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        match &self.pair {
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Pair::EcdsaP256(pair) => pair
                .sign(&SystemRandom::new(), message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| SignError::Random),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_key_signs_and_its_public_half_reads_back() {
        for kind in [KeyKind::Ed25519, KeyKind::EcdsaP256] {
            let der = PrivateKey::generate_pkcs8(kind).unwrap();
            let signer = PrivateKey::from_pkcs8(&der).unwrap();
            let signature = signer.sign(b"message").unwrap();
            let key = Key::from_bytes(&signer.key().to_json().to_file()).unwrap();
            assert_eq!(&key, signer.key());
            assert!(key.verifies(b"message", &signature));
            assert!(!key.verifies(b"massage", &signature));
            assert!(!key.verifies(b"message", &signature[1..]));
            assert_eq!(PrivateKey::from_pkcs8(&der[1..]).unwrap_err(), SignError::Pkcs8);
        }
    }
}
