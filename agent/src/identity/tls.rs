//! TLS of the device: trusts the installation root alone, and signs handshakes through the key
//! trait, so that the private key is never handed to the TLS library.

use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::pki_types::CertificateDer;
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{ClientConfig, RootCertStore, SignatureAlgorithm, SignatureScheme};

use super::keys::DeviceKeys;
use crate::clock::Clock;

/// Certificates and keys that do not make a TLS configuration.
#[derive(Debug, thiserror::Error)]
#[error("these certificates cannot be used for TLS: {0}")]
pub struct TlsError(#[from] rustls::Error);

/// How this device shows who it is.
pub enum ClientAuth {
    /// Not at all: to enrol, and to renew an expired certificate.
    Anonymous,
    /// With its certificate chain, leaf first.
    Certificate(Vec<CertificateDer<'static>>, Arc<dyn DeviceKeys>),
}

/// TLS that trusts `roots` at the agent's time.
pub fn client_config(
    roots: &[CertificateDer<'static>],
    auth: ClientAuth,
    clock: &Clock,
) -> Result<Arc<ClientConfig>, TlsError> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.clone())?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_details(provider, Arc::new(clock.clone()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(store);
    let mut config = match auth {
        ClientAuth::Anonymous => builder.with_no_client_auth(),
        ClientAuth::Certificate(chain, keys) => {
            let certified = CertifiedKey::new(chain, Arc::new(DeviceSigningKey(keys)));
            builder.with_client_cert_resolver(Arc::new(OneCertificate(Arc::new(certified))))
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct OneCertificate(Arc<CertifiedKey>);

impl ResolvesClientCert for OneCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[derive(Debug, Clone)]
struct DeviceSigningKey(Arc<dyn DeviceKeys>);

impl SigningKey for DeviceSigningKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered
            .contains(&SignatureScheme::ECDSA_NISTP256_SHA256)
            .then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for DeviceSigningKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        self.0.sign(message).map_err(|error| rustls::Error::General(error.to_string()))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}
