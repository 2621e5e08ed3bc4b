//! Private-key operations of the device. A trait, so that the keys can live in a TPM; the file
//! implementation keeps them in the state directory, readable by the agent's user alone.
//!
//! Private keys are made here and must never leave: no function returns one.

use std::fmt;
use std::io;
use std::path::PathBuf;

use edgeformer_proto::artifact::DataKey;
use edgeformer_proto::keywrap::{
    self, Agreed, HpkeError, HpkePrivate, HpkePublic, KeyAgreement, KeyContext, KeyWrapError,
    PUBLIC_BYTES, WrappedKey,
};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use zeroize::Zeroizing;

use crate::durable::Folder;
use crate::tpm::TpmError;

/// Longest key file: a P-256 key in PKCS#8 takes 138 bytes.
const MAX_KEY_BYTES: u64 = 1024;

pub(super) const SIGNING: &str = "device.p8";
pub(super) const HPKE: &str = "hpke.key";
/// Both files.
pub(super) const NAMES: [&str; 2] = [SIGNING, HPKE];

/// Why a key cannot be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A key file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A key file holds something else.
    #[error("{path} does not hold a P-256 key: restore it, or enrol this device again")]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// A file of a key in a TPM holds something else.
    #[error("{path} does not hold a key of a TPM: restore it, or enrol this device again")]
    MalformedTpm {
        /// The file.
        path: PathBuf,
    },
    /// A key of an enrolled device is gone.
    #[error(
        "{path} is missing, and nothing else can take its place: restore it, or remove the state \
         directory and enrol this device again"
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Keys in a TPM were asked for, and this device's are in files.
    #[error(
        "this device's keys are in files, in {directory}: they were on a disk, so they are not moved \
         into a TPM. Decommission the device or remove its state directory, then enrol it again with \
         `--keys tpm:…`; `edgeformer device replace` gives it its old place in the fleet"
    )]
    InFiles {
        /// The folder of keys.
        directory: PathBuf,
    },
    /// Keys in files were asked for, and this device's are in a TPM.
    #[error(
        "this device's keys are in a TPM, which {directory} names, and do not come out of it: leave \
         `--keys` out, or remove the state directory and enrol the device again"
    )]
    InTpm {
        /// The folder of keys.
        directory: PathBuf,
    },
    /// There are keys of both kinds.
    #[error(
        "{directory} has keys in files (*.p8, *.key) and keys of a TPM (*.tpm): remove those that this \
         device was not enrolled with"
    )]
    Both {
        /// The folder of keys.
        directory: PathBuf,
    },
    /// The TPM did not do its part.
    #[error(transparent)]
    Tpm(#[from] TpmError),
    /// The agent ends, or a defect ended what asked the key.
    #[error("the work that asked this device's key ended before it was done")]
    Ended,
    /// The key refused to sign.
    #[error("signing failed")]
    Sign,
}

/// The keys of one device: one that signs (TLS, renewal) and one that data keys are sealed to, which
/// only agrees on secrets. Nothing but these two operations is asked of a private key. Both may wait for a
/// TPM and belong on a thread that may wait.
pub trait DeviceKeys: KeyAgreement + fmt::Debug + Send + Sync {
    /// The signing key's public point, SEC1 uncompressed, 65 bytes.
    fn public_point(&self) -> &[u8];
    /// ECDSA P-256 SHA-256 over `message`, ASN.1.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError>;
    /// Where the private keys are, as `--keys` says it.
    fn kept_in(&self) -> String {
        "file".to_owned()
    }
    /// Opens a data key that was wrapped for [`KeyAgreement::hpke_public`] and `context`.
    fn unwrap(&self, wrapped: &WrappedKey, context: &KeyContext) -> Result<DataKey, KeyWrapError> {
        keywrap::unwrap(self, wrapped, context)
    }
}

/// Does what asks a private key for something, on a thread that may wait for a TPM.
pub async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, KeyError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| KeyError::Ended)
}

/// Keys in two files, mode 0600.
pub struct FileKeys {
    signing: EcdsaKeyPair,
    hpke: HpkePrivate,
    random: SystemRandom,
}

impl FileKeys {
    /// Reads the keys in `folder`; makes those that are missing.
    pub fn open_or_create(folder: impl Into<Folder>) -> Result<Self, KeyError> {
        let folder = folder.into();
        let random = SystemRandom::new();
        let pkcs8 = read_or(&folder, SIGNING, || {
            let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random)
                .map_err(|_| KeyError::Sign)?;
            Ok(Zeroizing::new(document.as_ref().to_vec()))
        })?;
        let signing = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pkcs8, &random)
            .map_err(|_| KeyError::Malformed { path: folder.join(SIGNING) })?;
        let scalar = read_or(&folder, HPKE, || {
            Ok(Zeroizing::new(HpkePrivate::generate().to_bytes().to_vec()))
        })?;
        let hpke = HpkePrivate::try_from(scalar.as_slice())
            .map_err(|_| KeyError::Malformed { path: folder.join(HPKE) })?;
        Ok(Self { signing, hpke, random })
    }
}

impl DeviceKeys for FileKeys {
    fn public_point(&self) -> &[u8] {
        self.signing.public_key().as_ref()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signature = self.signing.sign(&self.random, message).map_err(|_| KeyError::Sign)?;
        Ok(signature.as_ref().to_vec())
    }
}

impl KeyAgreement for FileKeys {
    fn hpke_public(&self) -> [u8; PUBLIC_BYTES] {
        self.hpke.hpke_public()
    }

    fn agree(&self, peer: &HpkePublic) -> Result<Agreed, HpkeError> {
        self.hpke.agree(peer)
    }
}

impl fmt::Debug for FileKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileKeys(redacted)")
    }
}

fn read_or(
    folder: &Folder,
    name: &str,
    make: impl FnOnce() -> Result<Zeroizing<Vec<u8>>, KeyError>,
) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let file = |source| KeyError::File { path: folder.join(name), source };
    match folder.read(name, MAX_KEY_BYTES) {
        Ok(bytes) => Ok(Zeroizing::new(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let bytes = make()?;
            folder.write(name, &bytes).map_err(file)?;
            Ok(bytes)
        }
        Err(error) => Err(file(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn keys_are_made_once_kept_private_and_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let keys = directory.path().join("keys");
        let first = FileKeys::open_or_create(&keys).unwrap();
        let again = FileKeys::open_or_create(&keys).unwrap();
        assert_eq!(first.public_point(), again.public_point());
        assert_eq!(first.hpke_public(), again.hpke_public());
        let signature = first.sign(b"message").unwrap();
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, again.public_point());
        public.verify(b"message", &signature).unwrap();
        for entry in std::fs::read_dir(&keys).unwrap() {
            assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_damaged_key_file_is_named_and_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("device.p8"), b"rubbish").unwrap();
        let error = FileKeys::open_or_create(directory.path()).unwrap_err();
        assert!(error.to_string().contains("device.p8 does not hold a P-256 key"), "{error}");
        assert_eq!(std::fs::read(directory.path().join("device.p8")).unwrap(), b"rubbish");
    }
}
