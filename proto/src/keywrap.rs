//! Hands a version's data key to one device: HPKE base mode (RFC 9180) with DHKEM(P-256,
//! HKDF-SHA256), HKDF-SHA256 and AES-256-GCM, single shot. What is wrapped for one device, tenant or
//! version opens for no other. P-256, so that the private key can later live in a TPM.

use std::fmt;

use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::DhP256HkdfSha256;
use hpke::{Deserializable, HpkeError, Kem, OpModeR, OpModeS, Serializable};
use zeroize::Zeroizing;

use crate::artifact::DataKey;
use crate::ids::{DeviceId, TenantId, VersionId};

const INFO: &[u8] = b"edgeformer data key v1";

/// Uncompressed SEC1 point.
pub const PUBLIC_BYTES: usize = 65;
/// The ephemeral public key.
pub const ENCAPSULATED_BYTES: usize = 65;
/// A data key and the AEAD tag.
pub const CIPHERTEXT_BYTES: usize = 32 + 16;

/// Why a key could not be wrapped or unwrapped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyWrapError {
    /// Not an uncompressed point on P-256.
    #[error("the device's HPKE key is not an uncompressed P-256 point of {PUBLIC_BYTES} bytes")]
    PublicKey,
    /// Not a scalar of P-256.
    #[error("the HPKE private key is not a P-256 scalar of 32 bytes")]
    PrivateKey,
    /// The wrapped key has another shape.
    #[error(
        "a wrapped data key has {ENCAPSULATED_BYTES} + {CIPHERTEXT_BYTES} bytes and a point on P-256; this one has not"
    )]
    Malformed,
    /// Wrapped for someone or something else, or altered.
    #[error(
        "the data key of version {0} does not open: it was wrapped for another device or version, or altered"
    )]
    Open(VersionId),
    /// The library failed to wrap.
    #[error("cannot wrap a data key: {0}")]
    Seal(String),
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
    /// tenant ‖ device ‖ version, 16 bytes each.
    fn associated_data(&self) -> Vec<u8> {
        [*self.tenant.as_bytes(), *self.device.as_bytes(), *self.version.as_bytes()].concat()
    }
}

/// A device's public HPKE key, checked to be a point on the curve.
#[derive(Clone, PartialEq, Eq)]
pub struct HpkePublic(<DhP256HkdfSha256 as Kem>::PublicKey);

impl HpkePublic {
    /// The uncompressed point.
    pub fn to_bytes(&self) -> [u8; PUBLIC_BYTES] {
        self.0.to_bytes().into()
    }
}

impl TryFrom<&[u8]> for HpkePublic {
    type Error = KeyWrapError;
    fn try_from(bytes: &[u8]) -> Result<Self, KeyWrapError> {
        Deserializable::from_bytes(bytes).map(Self).map_err(|_| KeyWrapError::PublicKey)
    }
}

impl fmt::Debug for HpkePublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HpkePublic({})", data_encoding::HEXLOWER.encode(&self.to_bytes()))
    }
}

/// A device's private HPKE key; erased when dropped.
pub struct HpkePrivate(<DhP256HkdfSha256 as Kem>::PrivateKey);

impl HpkePrivate {
    /// A new key from the operating system's random bytes.
    pub fn generate() -> Self {
        Self(DhP256HkdfSha256::gen_keypair().0)
    }

    /// The public half.
    pub fn public(&self) -> HpkePublic {
        HpkePublic(DhP256HkdfSha256::sk_to_pk(&self.0))
    }

    /// The scalar, big-endian, to be stored in a file that only the agent reads.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes().into())
    }
}

impl TryFrom<&[u8]> for HpkePrivate {
    type Error = KeyWrapError;
    fn try_from(bytes: &[u8]) -> Result<Self, KeyWrapError> {
        Deserializable::from_bytes(bytes).map(Self).map_err(|_| KeyWrapError::PrivateKey)
    }
}

impl fmt::Debug for HpkePrivate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HpkePrivate(redacted)")
    }
}

/// A data key on its way to one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrappedKey {
    /// HPKE `enc`.
    pub encapsulated: [u8; ENCAPSULATED_BYTES],
    /// HPKE ciphertext.
    pub ciphertext: [u8; CIPHERTEXT_BYTES],
}

impl WrappedKey {
    /// From the two fields of the wire message.
    pub fn from_parts(encapsulated: &[u8], ciphertext: &[u8]) -> Result<Self, KeyWrapError> {
        Ok(Self {
            encapsulated: encapsulated.try_into().map_err(|_| KeyWrapError::Malformed)?,
            ciphertext: ciphertext.try_into().map_err(|_| KeyWrapError::Malformed)?,
        })
    }
}

/// Wraps `key` for the device that holds the private half of `to`.
pub fn wrap(
    to: &HpkePublic,
    key: &DataKey,
    context: &KeyContext,
) -> Result<WrappedKey, KeyWrapError> {
    let (encapsulated, ciphertext) =
        hpke::single_shot_seal::<AesGcm256, HkdfSha256, DhP256HkdfSha256>(
            &OpModeS::Base,
            &to.0,
            INFO,
            key.expose(),
            &context.associated_data(),
        )
        .map_err(|e: HpkeError| KeyWrapError::Seal(e.to_string()))?;
    WrappedKey::from_parts(&encapsulated.to_bytes(), &ciphertext)
}

/// The key inside `wrapped`, if it was wrapped for this private key and `context`.
pub fn unwrap(
    private: &HpkePrivate,
    wrapped: &WrappedKey,
    context: &KeyContext,
) -> Result<DataKey, KeyWrapError> {
    let encapsulated =
        Deserializable::from_bytes(&wrapped.encapsulated).map_err(|_| KeyWrapError::Malformed)?;
    let opened = hpke::single_shot_open::<AesGcm256, HkdfSha256, DhP256HkdfSha256>(
        &OpModeR::Base,
        &private.0,
        &encapsulated,
        INFO,
        &wrapped.ciphertext,
        &context.associated_data(),
    )
    .map_err(|_| KeyWrapError::Open(context.version))?;
    let opened = Zeroizing::new(opened);
    let key: [u8; 32] =
        opened.as_slice().try_into().map_err(|_| KeyWrapError::Open(context.version))?;
    Ok(DataKey::from(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> KeyContext {
        KeyContext {
            tenant: TenantId::from_bytes([1; 16]),
            device: DeviceId::from_bytes([2; 16]),
            version: VersionId::from_bytes([3; 16]),
        }
    }

    #[test]
    fn a_key_opens_for_its_device_tenant_and_version_only() {
        let device = HpkePrivate::generate();
        let right = context();
        let wrapped = wrap(&device.public(), &DataKey::from([7; 32]), &right).unwrap();
        assert_eq!(unwrap(&device, &wrapped, &right).unwrap().expose(), &[7; 32]);

        let others = [
            KeyContext { tenant: TenantId::from_bytes([9; 16]), ..right },
            KeyContext { device: DeviceId::from_bytes([9; 16]), ..right },
            KeyContext { version: VersionId::from_bytes([9; 16]), ..right },
        ];
        for other in others {
            let error = unwrap(&device, &wrapped, &other).unwrap_err();
            assert_eq!(error, KeyWrapError::Open(other.version));
        }
        assert!(unwrap(&HpkePrivate::generate(), &wrapped, &right).is_err());
    }

    #[test]
    fn an_altered_key_is_refused() {
        let device = HpkePrivate::generate();
        let wrapped = wrap(&device.public(), &DataKey::from([7; 32]), &context()).unwrap();
        for at in 0..CIPHERTEXT_BYTES {
            let mut altered = wrapped.clone();
            altered.ciphertext[at] ^= 0x80;
            assert!(unwrap(&device, &altered, &context()).is_err(), "ciphertext byte {at}");
        }
        for at in 0..ENCAPSULATED_BYTES {
            let mut altered = wrapped.clone();
            altered.encapsulated[at] ^= 1;
            assert!(unwrap(&device, &altered, &context()).is_err(), "encapsulated byte {at}");
        }
        assert!(WrappedKey::from_parts(&[4; 64], &[0; 48]).is_err());
    }

    #[test]
    fn keys_read_back_and_anything_else_is_refused() {
        let private = HpkePrivate::generate();
        let read = HpkePrivate::try_from(private.to_bytes().as_slice()).unwrap();
        assert_eq!(read.public(), private.public());
        let public = private.public().to_bytes();
        assert_eq!(HpkePublic::try_from(public.as_slice()).unwrap(), private.public());
        assert!(HpkePublic::try_from(&public[..64]).is_err());
        assert!(HpkePublic::try_from([4; 65].as_slice()).is_err(), "not on the curve");
        assert!(HpkePrivate::try_from([0; 32].as_slice()).is_err(), "zero is no key");
        assert!(HpkePrivate::try_from([0xff; 32].as_slice()).is_err(), "beyond the order");
    }

    /// RFC 9180, appendix A.3.1: same KEM and KDF, AES-128-GCM. The library is what is under test.
    #[test]
    fn the_library_opens_the_example_of_the_rfc() {
        let hex = |text: &str| data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap();
        let private = hex("f3ce7fdae57e1a310d87f1ebbde6f328be0a99cdbcadf4d6589cf29de4b8ffd2");
        let encapsulated = hex(concat!(
            "04a92719c6195d5085104f469a8b9814d5838ff72b60501e2c4466e5e67b325ac9",
            "8536d7b61a1af4b78e5b7f951c0900be863c403ce65c9bfcb9382657222d18c4"
        ));
        let ciphertext = hex(concat!(
            "5ad590bb8baa577f8619db35a36311226a896e7342a6d836d8b7bcd2f20b6c7f",
            "9076ac232e3ab2523f39513434"
        ));
        let opened = hpke::single_shot_open::<hpke::aead::AesGcm128, HkdfSha256, DhP256HkdfSha256>(
            &OpModeR::Base,
            &HpkePrivate::try_from(private.as_slice()).unwrap().0,
            &Deserializable::from_bytes(&encapsulated).unwrap(),
            b"Ode on a Grecian Urn",
            &ciphertext,
            b"Count-0",
        )
        .unwrap();
        assert_eq!(opened, b"Beauty is truth, truth beauty");
    }
}
