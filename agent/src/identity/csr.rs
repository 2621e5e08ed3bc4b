//! Certificate requests, signed through the key trait: the signature proves possession of the key.

use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{CertificateParams, PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm};

use super::keys::{DeviceKeys, KeyError};

/// The request could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CsrError {
    /// It cannot be put together.
    #[error("the certificate request cannot be made: {0}")]
    Form(#[from] rcgen::Error),
    /// It cannot be signed.
    #[error("the certificate request cannot be signed: {0}")]
    Key(#[from] KeyError),
}

/// A PKCS#10 request for the device's signing key, DER. The controller decides the names. May wait for
/// a TPM.
pub fn request(keys: &Arc<dyn DeviceKeys>) -> Result<Vec<u8>, CsrError> {
    let params = CertificateParams::new(Vec::<String>::new())?;
    let remote = Remote { keys: Arc::clone(keys), failed: Mutex::default() };
    params.serialize_request(&remote).map(|request| request.der().to_vec()).map_err(|error| {
        match remote.failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(failed) => CsrError::Key(failed),
            None => CsrError::Form(error),
        }
    })
}

struct Remote {
    keys: Arc<dyn DeviceKeys>,
    /// What the key said, which the library has no words for.
    failed: Mutex<Option<KeyError>>,
}

impl PublicKeyData for Remote {
    fn der_bytes(&self) -> &[u8] {
        self.keys.public_point()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for Remote {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.keys.sign(message).map_err(|error| {
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            rcgen::Error::RemoteKeyError
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::keys::FileKeys;
    use x509_parser::prelude::{FromDer, X509CertificationRequest};

    #[test]
    fn the_request_proves_possession_of_the_device_key() {
        let directory = tempfile::tempdir().unwrap();
        let keys: Arc<dyn DeviceKeys> =
            Arc::new(FileKeys::open_or_create(directory.path()).unwrap());
        let der = request(&keys).unwrap();
        let (_, parsed) = X509CertificationRequest::from_der(&der).unwrap();
        parsed.verify_signature().unwrap();
        let spki = &parsed.certification_request_info.subject_pki;
        assert_eq!(spki.subject_public_key.data.as_ref(), keys.public_point());
    }
}
