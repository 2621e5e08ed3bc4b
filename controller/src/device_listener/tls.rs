//! TLS of the device listener: 1.3 only, HTTP/2 only, client certificates verified against the
//! installation root when one is presented.
//!
//! A certificate that is good but for its date passes the handshake and is refused by the guard
//! with a sentence, on the first request: a TLS alert alone does not tell an agent to renew. So
//! nothing but the guard may turn a connection's certificate into an identity. The same goes for
//! certificates under a root that was retired.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ResolvesServerCert, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig,
    SignatureScheme,
};

use crate::ca;

/// The rustls configuration of the device listener: it presents what `identity` has and lets devices in
/// that `verifier` takes.
pub fn server_config(
    identity: Arc<dyn ResolvesServerCert>,
    verifier: Arc<DeviceVerifier>,
) -> Result<Arc<ServerConfig>, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(identity);
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

/// Verifies as webpki does, under roots that change, but judges an expired certificate at its last valid
/// second.
#[derive(Debug)]
pub struct DeviceVerifier {
    inner: RwLock<Arc<dyn ClientCertVerifier>>,
}

impl DeviceVerifier {
    /// Takes devices under `roots_der`, the installation's roots.
    pub fn new(roots_der: &[Vec<u8>]) -> Result<Arc<Self>, Error> {
        Ok(Arc::new(Self { inner: RwLock::new(Self::under(roots_der)?) }))
    }

    /// Takes devices under these roots from now on.
    pub fn trust(&self, roots_der: &[Vec<u8>]) -> Result<(), Error> {
        let inner = Self::under(roots_der)?;
        *self.inner.write().unwrap_or_else(PoisonError::into_inner) = inner;
        Ok(())
    }

    fn under(roots_der: &[Vec<u8>]) -> Result<Arc<dyn ClientCertVerifier>, Error> {
        let mut roots = RootCertStore::empty();
        for der in roots_der {
            roots.add(CertificateDer::from(der.clone()))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let built = WebPkiClientVerifier::builder_with_provider(roots.into(), provider)
            .allow_unauthenticated()
            .build();
        built.map(|verifier| verifier as _).map_err(|error| {
            Error::General(format!("the installation's roots cannot verify clients: {error}"))
        })
    }

    fn inner(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.inner.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientCertVerifier for DeviceVerifier {
    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let inner = self.inner();
        match inner.verify_client_cert(leaf, intermediates, now) {
            Err(Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            )) => {
                let peer = ca::read_peer(leaf)
                    .map_err(|_| Error::InvalidCertificate(CertificateError::Expired))?;
                let last_s = u64::try_from(peer.expires_at_us / 1_000_000).unwrap_or(0);
                let last = UnixTime::since_unix_epoch(Duration::from_secs(last_s));
                inner.verify_client_cert(leaf, intermediates, last)
            }
            verdict => verdict,
        }
    }

    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Devices have one certificate, and roots change: nothing to choose by.
        &[]
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner().verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner().verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner().supported_verify_schemes()
    }
}
