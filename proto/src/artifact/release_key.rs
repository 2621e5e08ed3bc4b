//! The key that signs a tenant's versions: Ed25519. Its private half is the controller's, in PKCS#8
//! under the installation's key; its public half is pinned by each device at enrolment.

use std::fmt;

use ring::rand::SystemRandom;
use ring::signature::{self, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use zeroize::Zeroizing;

use super::{ArtifactError, Digest};

/// A key that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseKeyError {
    /// The private key is not Ed25519 in PKCS#8 (RFC 8410).
    #[error("the release key is not an Ed25519 key in PKCS#8: {0}")]
    Pkcs8(String),
    /// The public key has another length.
    #[error("a release key has 32 bytes, this one {0}")]
    PublicLength(usize),
}

/// The private half.
pub struct ReleaseKey(Ed25519KeyPair);

impl ReleaseKey {
    /// A new private key as PKCS#8 v2 (DER), to be wrapped and stored.
    pub fn generate_pkcs8(random: &SystemRandom) -> Result<Zeroizing<Vec<u8>>, ArtifactError> {
        let document = Ed25519KeyPair::generate_pkcs8(random).map_err(|_| ArtifactError::Random)?;
        Ok(Zeroizing::new(document.as_ref().to_vec()))
    }

    /// From PKCS#8 (DER), with or without the public key in it.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, ReleaseKeyError> {
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(der)
            .map(Self)
            .map_err(|e| ReleaseKeyError::Pkcs8(e.to_string()))
    }

    /// The public half.
    pub fn public(&self) -> ReleasePublic {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        ReleasePublic(bytes)
    }

    /// Ed25519 (RFC 8032) over `message`.
    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes.copy_from_slice(self.0.sign(message).as_ref());
        bytes
    }
}

impl fmt::Debug for ReleaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReleaseKey({})", self.public().key_id())
    }
}

/// The public half: 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReleasePublic([u8; 32]);

impl ReleasePublic {
    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Hex SHA-256 of the key: the `keyid` in an envelope. A hint, never a reason to trust.
    pub fn key_id(&self) -> String {
        Digest::of(&self.0).to_string()
    }

    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&signature::ED25519, &self.0).verify(message, signature).is_ok()
    }
}

impl TryFrom<&[u8]> for ReleasePublic {
    type Error = ReleaseKeyError;
    fn try_from(bytes: &[u8]) -> Result<Self, ReleaseKeyError> {
        bytes.try_into().map(Self).map_err(|_| ReleaseKeyError::PublicLength(bytes.len()))
    }
}
