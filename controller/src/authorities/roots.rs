//! The installation's roots as the store has them: the one that signs, and those before it, through
//! which whoever trusts an older one finds it.

use ring::digest;

use crate::app::App;
use crate::ca::{self, KeyAndCert, MAX_SUCCESSIONS};
use crate::init::ROOT_KEY_ID;
use crate::scope::InstallationScope;
use crate::store::past_cas::{self, PastCa};
use crate::store::{Conn, StoreError, installation};
use crate::vault::{SecretKind, Vault, VaultError};

/// Why the roots cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The root's key does not open.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// There is no installation.
    #[error("the database holds no installation: run `edgeformer-controller init` first")]
    NoInstallation,
}

/// The roots of an installation.
#[derive(Debug, Clone)]
pub struct Roots {
    /// The installation's SPIFFE trust domain.
    pub trust_domain: String,
    /// The root that signs, DER.
    pub current_der: Vec<u8>,
    /// Those before it, newest first.
    pub past: Vec<PastCa>,
    wrapped_key: Vec<u8>,
}

impl Roots {
    /// As they are now.
    pub async fn load(app: &App, component: &'static str) -> Result<Self, RootsError> {
        let mut read = app.store.read(&InstallationScope::system(component)).await?;
        Self::read(&mut read).await
    }

    /// As this transaction sees them.
    pub async fn read(conn: &mut Conn<InstallationScope>) -> Result<Self, RootsError> {
        let row = installation::get(conn).await?.ok_or(RootsError::NoInstallation)?;
        Ok(Self {
            trust_domain: row.trust_domain,
            current_der: row.root_cert_der,
            past: past_cas::list(conn).await?,
            wrapped_key: row.wrapped_root_key,
        })
    }

    /// The root with its key, to sign with.
    pub fn signing(&self, vault: &Vault) -> Result<KeyAndCert, RootsError> {
        let key_pkcs8 = vault.unwrap(SecretKind::RootCaKey, ROOT_KEY_ID, &self.wrapped_key)?;
        Ok(KeyAndCert { key_pkcs8, cert_der: self.current_der.clone() })
    }

    /// Each root's key as the root before it certified it, newest first: beside a certificate of the
    /// present root they lead to it from any of the last few.
    pub fn crosses(&self) -> Vec<Vec<u8>> {
        let past = self.past.iter().take(MAX_SUCCESSIONS.into());
        past.map(|root| root.cross_der.clone()).collect()
    }

    /// Every root: what they signed passes a handshake, and is judged after it.
    pub fn all(&self) -> Vec<Vec<u8>> {
        let past = self.past.iter().take(MAX_SUCCESSIONS.into());
        let past = past.map(|root| root.cert_der.clone());
        std::iter::once(self.current_der.clone()).chain(past).collect()
    }

    /// Roots that are to be trusted, newest first.
    pub fn trusted(&self) -> Vec<&[u8]> {
        let past = self.past.iter().filter(|root| root.retired_at.is_none());
        let past = past.map(|root| root.cert_der.as_slice());
        std::iter::once(self.current_der.as_slice()).chain(past).collect()
    }

    /// SHA-256 of those that are not.
    pub fn retired(&self) -> Vec<Vec<u8>> {
        let gone = self.past.iter().filter(|root| root.retired_at.is_some());
        gone.map(|root| digest::digest(&digest::SHA256, &root.cert_der).as_ref().to_vec()).collect()
    }

    /// The past root that signed `issuing_der`; `None` if it was the present one.
    pub fn past_issuer_of(&self, issuing_der: &[u8]) -> Option<&PastCa> {
        if ca::issued_by(issuing_der, &self.current_der).is_ok() {
            return None;
        }
        self.past.iter().find(|root| ca::issued_by(issuing_der, &root.cert_der).is_ok())
    }

    /// What tells one state of the roots from another.
    pub fn state(&self) -> String {
        let mut text = ca::id_of(&self.current_der);
        for root in self.past.iter().filter(|root| root.retired_at.is_some()) {
            text.push_str(&root.id);
        }
        text
    }
}
