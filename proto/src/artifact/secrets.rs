//! Keys and hashes as types, so that a chunk's key cannot be logged, passed for its id, or left in
//! memory after use.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use ring::hkdf;
use ring::rand::SecureRandom;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use zeroize::Zeroize;

use super::ArtifactError;

/// `N` bytes from the operating system.
pub fn random_bytes<const N: usize>(random: &dyn SecureRandom) -> Result<[u8; N], ArtifactError> {
    let mut bytes = [0; N];
    random.fill(&mut bytes).map_err(|_| ArtifactError::Random)?;
    Ok(bytes)
}

/// Text or bytes that are not the hash they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a SHA-256 (32 bytes, 64 lower-case hex digits)")]
pub struct DigestError;

macro_rules! hashes {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Hashes `bytes`.
            pub fn of(bytes: &[u8]) -> Self {
                Self::from_ring(ring::digest::digest(&ring::digest::SHA256, bytes))
            }

            /// The result of a running SHA-256.
            pub fn from_ring(digest: ring::digest::Digest) -> Self {
                let mut bytes = [0; 32];
                bytes.copy_from_slice(digest.as_ref());
                Self(bytes)
            }

            /// The 32 bytes.
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl From<[u8; 32]> for $name {
            fn from(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = DigestError;
            fn try_from(bytes: &[u8]) -> Result<Self, DigestError> {
                bytes.try_into().map(Self).map_err(|_| DigestError)
            }
        }

        impl FromStr for $name {
            type Err = DigestError;
            fn from_str(text: &str) -> Result<Self, DigestError> {
                let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| DigestError)?;
                Self::try_from(bytes.as_slice())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}:{self}", stringify!($name))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    )*};
}

hashes! {
    /// A SHA-256; hex in text.
    Digest;
    /// SHA-256 of a sealed chunk: its name everywhere.
    ChunkId;
}

macro_rules! secrets {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name([u8; 32]);

        impl $name {
            /// A new one.
            pub fn generate(random: &dyn SecureRandom) -> Result<Self, ArtifactError> {
                random_bytes(random).map(Self)
            }

            /// The 32 secret bytes. Copies of them are the caller's to erase.
            pub fn expose(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl From<[u8; 32]> for $name {
            fn from(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(redacted)"))
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                self.0.zeroize();
            }
        }
    )*};
}

secrets! {
    /// A tenant's secret from which chunk keys are derived. Never leaves the controller.
    ChunkSecret;
    /// The key of one chunk; stands in the chunk index.
    ChunkKey;
    /// The key of one version: opens its chunk index, and so everything.
    DataKey;
}

impl ChunkSecret {
    /// The key for the bytes `sealed_plaintext` (codec byte included), and for no others.
    pub(super) fn chunk_key(&self, sealed_plaintext: &[u8]) -> ChunkKey {
        struct Len32;
        impl hkdf::KeyType for Len32 {
            fn len(&self) -> usize {
                32
            }
        }
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"edgeformer chunk v1");
        let info = Digest::of(sealed_plaintext);
        let mut key = ChunkKey([0; 32]);
        salt.extract(&self.0)
            .expand(&[info.as_bytes()], Len32)
            .and_then(|okm| okm.fill(&mut key.0))
            .expect("32 bytes are within HKDF's limit of 255 hashes");
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_print_and_hashes_print_what_they_parse() {
        assert_eq!(format!("{:?}", DataKey::from([7; 32])), "DataKey(redacted)");
        let id = ChunkId::of(b"");
        assert_eq!(
            id.to_string(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(id.to_string().parse::<ChunkId>().unwrap(), id);
        assert!("E3B0".parse::<ChunkId>().is_err());
    }
}
