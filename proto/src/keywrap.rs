//! Hands a version's data key to one device: HPKE base mode with AES-256-GCM (see [`crate::hpke`]).
//! What is wrapped for one device, tenant, version or generation opens for no other. P-256, so that
//! the private key can live in a TPM.

use crate::artifact::DataKey;
use crate::generation::Generation;
use crate::hpke::{Aead, Purpose, TAG_BYTES, open, seal};
pub use crate::hpke::{Agreed, HpkeError, HpkePrivate, HpkePublic, KeyAgreement, PUBLIC_BYTES};
use crate::ids::{DeviceId, TenantId, VersionId};

/// v1 did not bind the generation.
const INFO: &[u8] = b"edgeformer data key v2";

/// The ephemeral public key.
pub const ENCAPSULATED_BYTES: usize = PUBLIC_BYTES;
/// A data key and the AEAD tag.
pub const CIPHERTEXT_BYTES: usize = 32 + TAG_BYTES;
/// A wrapped key as a device stores it: the generation's epoch and counter, then the two parts.
pub const STORED_BYTES: usize = 16 + ENCAPSULATED_BYTES + CIPHERTEXT_BYTES;

/// Why a key could not be wrapped or unwrapped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyWrapError {
    /// The wrapped key has another shape.
    #[error(
        "a wrapped data key has {ENCAPSULATED_BYTES} + {CIPHERTEXT_BYTES} bytes and says its generation; this one has not"
    )]
    Malformed,
    /// Wrapped for someone or something else, or altered.
    #[error(
        "the data key of version {0} does not open: it was wrapped for another device, version or generation, or altered"
    )]
    Open(VersionId),
    /// A key is none, or its holder failed.
    #[error(transparent)]
    Hpke(#[from] HpkeError),
}

/// Whom and what a wrapped key is for. Both sides know it; none of it is sent with the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyContext {
    /// The device's tenant.
    pub tenant: TenantId,
    /// The device.
    pub device: DeviceId,
    /// The version that the key opens.
    pub version: VersionId,
}

impl KeyContext {
    /// tenant ‖ device ‖ version ‖ epoch ‖ counter: 16 bytes each, then 8 each, big-endian.
    fn associated_data(&self, generation: Generation) -> Vec<u8> {
        let mut bytes =
            [*self.tenant.as_bytes(), *self.device.as_bytes(), *self.version.as_bytes()].concat();
        bytes.extend_from_slice(&generation.epoch.to_be_bytes());
        bytes.extend_from_slice(&generation.counter.to_be_bytes());
        bytes
    }
}

/// A data key on its way to one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrappedKey {
    /// Of the device's desired state when the key was handed out; authenticated.
    pub generation: Generation,
    /// HPKE `enc`.
    pub encapsulated: [u8; ENCAPSULATED_BYTES],
    /// HPKE ciphertext.
    pub ciphertext: [u8; CIPHERTEXT_BYTES],
}

impl WrappedKey {
    /// From the fields of the wire message.
    pub fn from_parts(
        generation: Option<Generation>,
        encapsulated: &[u8],
        ciphertext: &[u8],
    ) -> Result<Self, KeyWrapError> {
        Ok(Self {
            generation: generation.ok_or(KeyWrapError::Malformed)?,
            encapsulated: encapsulated.try_into().map_err(|_| KeyWrapError::Malformed)?,
            ciphertext: ciphertext.try_into().map_err(|_| KeyWrapError::Malformed)?,
        })
    }

    /// As a device stores it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (epoch, counter) = (self.generation.epoch, self.generation.counter);
        let generation = [epoch.to_be_bytes(), counter.to_be_bytes()].concat();
        [&generation[..], &self.encapsulated, &self.ciphertext].concat()
    }

    /// What [`Self::to_bytes`] gave.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyWrapError> {
        let malformed = KeyWrapError::Malformed;
        let (epoch, rest) = bytes.split_first_chunk().ok_or(malformed.clone())?;
        let (counter, rest) = rest.split_first_chunk().ok_or(malformed.clone())?;
        let (encapsulated, ciphertext) =
            rest.split_at_checked(ENCAPSULATED_BYTES).ok_or(malformed)?;
        let generation =
            Generation { epoch: u64::from_be_bytes(*epoch), counter: u64::from_be_bytes(*counter) };
        Self::from_parts(Some(generation), encapsulated, ciphertext)
    }
}

/// Wraps `key` for the device that holds the private half of `to`, at a generation of its desired
/// state.
pub fn wrap(
    to: &HpkePublic,
    key: &DataKey,
    context: &KeyContext,
    generation: Generation,
) -> Result<WrappedKey, KeyWrapError> {
    let aad = context.associated_data(generation);
    let purpose = Purpose { aead: Aead::Aes256Gcm, info: INFO, aad: &aad };
    let (encapsulated, ciphertext) = seal(to, &purpose, key.expose())?;
    WrappedKey::from_parts(Some(generation), &encapsulated, &ciphertext)
}

/// The key inside `wrapped`, if it was wrapped for these keys, for `context` and at the generation
/// that it names.
pub fn unwrap<K: KeyAgreement + ?Sized>(
    keys: &K,
    wrapped: &WrappedKey,
    context: &KeyContext,
) -> Result<DataKey, KeyWrapError> {
    let aad = context.associated_data(wrapped.generation);
    let purpose = Purpose { aead: Aead::Aes256Gcm, info: INFO, aad: &aad };
    let opened = open(keys, &wrapped.encapsulated, &purpose, &wrapped.ciphertext);
    let opened = opened.map_err(|error| match error {
        HpkeError::Open => KeyWrapError::Open(context.version),
        other => KeyWrapError::Hpke(other),
    })?;
    let key: [u8; 32] =
        opened.as_slice().try_into().map_err(|_| KeyWrapError::Open(context.version))?;
    Ok(DataKey::from(key))
}
