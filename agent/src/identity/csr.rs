//! Certificate requests, signed through the key trait: the signature proves possession of the key.

use std::sync::Arc;

use rcgen::{CertificateParams, PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm};

use super::keys::DeviceKeys;

/// The request could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the certificate request cannot be made: {0}")]
pub struct CsrError(#[from] rcgen::Error);

/// A PKCS#10 request for the device's signing key, DER. The controller decides the names.
pub fn request(keys: &Arc<dyn DeviceKeys>) -> Result<Vec<u8>, CsrError> {
    let params = CertificateParams::new(Vec::<String>::new())?;
    let request = params.serialize_request(&Remote(Arc::clone(keys)))?;
    Ok(request.der().to_vec())
}

struct Remote(Arc<dyn DeviceKeys>);

impl PublicKeyData for Remote {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_point()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for Remote {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message).map_err(|_| rcgen::Error::RemoteKeyError)
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
