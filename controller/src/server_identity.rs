//! The controller's own certificate, for both listeners. One that a root of the installation signed is
//! renewed here long before it ends, and when another root signs from now on; it is presented with what
//! leads to that root from those before it. One that the operator put there is never touched, and is taken
//! into use when its file changes. It must never leave a listener without a working certificate:
//! whatever fails, the one in use stays.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::crypto::ring::sign::any_ecdsa_type;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use crate::app::App;
use crate::authorities::{Roots, RootsError};
use crate::ca::{self, CaError, KeyAndCert};
use crate::clock::Timestamp;
use crate::config::{DataDir, pem as pem_text};
use crate::files::{self, Access, FileError};
use crate::vault::Vault;

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_secs(600);

/// Why the certificate cannot be used or renewed.
#[derive(Debug, thiserror::Error)]
pub enum ServerIdentityError {
    /// A certificate or key file.
    #[error("cannot read {path}: {source}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// The certificate and the key do not work, or not together.
    #[error("the certificate and key in the data folder cannot serve TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The new one cannot be made.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// The root's key does not open.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// The new one cannot be kept.
    #[error(transparent)]
    File(#[from] FileError),
}

/// What both listeners present; replaced while they run.
pub struct ServerIdentity {
    dir: DataDir,
    roots: RwLock<Arc<Signing>>,
    current: RwLock<Arc<CertifiedKey>>,
}

/// What certificates are made with.
struct Signing {
    root: KeyAndCert,
    roots: Roots,
}

impl fmt::Debug for ServerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerIdentity").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl ServerIdentity {
    /// Reads the files in `dir`, after renewing them if that is due.
    pub fn open(
        dir: &DataDir,
        vault: &Vault,
        roots: &Roots,
        now: Timestamp,
    ) -> Result<Arc<Self>, ServerIdentityError> {
        let signing = Signing { root: roots.signing(vault)?, roots: roots.clone() };
        let current = RwLock::new(Arc::new(read(dir)?));
        let identity = Self { dir: dir.clone(), roots: RwLock::new(Arc::new(signing)), current };
        identity.refresh(now)?;
        Ok(Arc::new(identity))
    }

    /// Goes by these roots from now on.
    pub fn adopt(
        &self,
        roots: &Roots,
        vault: &Vault,
        now: Timestamp,
    ) -> Result<(), ServerIdentityError> {
        let signing = Signing { root: roots.signing(vault)?, roots: roots.clone() };
        *self.roots.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(signing);
        self.refresh(now)?;
        Ok(self.write_trusted(roots)?)
    }

    /// The file from which devices and operators take what to trust. One that names other roots is the
    /// operator's, and stays.
    fn write_trusted(&self, roots: &Roots) -> Result<(), FileError> {
        let path = self.dir.root_cert();
        let held = CertificateDer::pem_file_iter(&path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .unwrap_or_default();
        let known = roots.all();
        let ours = held.iter().all(|cert| known.iter().any(|root| root[..] == cert[..]));
        let next = roots.trusted();
        let same = held.len() == next.len() && held.iter().zip(&next).all(|(a, b)| a[..] == **b);
        if !ours || same {
            return Ok(());
        }
        let text: String = next.iter().map(|der| pem_text("CERTIFICATE", der)).collect();
        files::write(&path, text.as_bytes(), Access::Everyone)
    }

    /// Renews the files if that is due, and takes what is in them into use.
    pub fn refresh(&self, now: Timestamp) -> Result<(), ServerIdentityError> {
        let signing = Arc::clone(&self.roots.read().unwrap_or_else(PoisonError::into_inner));
        let mut next = read(&self.dir)?;
        if signing.is_due(&next, now) {
            let names = ca::server_names(&next.cert[0])?;
            let made = ca::create_server(&signing.root, &names, now.0)?;
            let key = Zeroizing::new(pem_text("PRIVATE KEY", &made.key_pkcs8));
            // A crash between the two leaves a pair that does not fit: `read` says so and how to go
            // on, and the listener keeps what it has.
            files::write(&self.dir.server_key(), key.as_bytes(), Access::Owner)?;
            let chain = std::iter::once(made.cert_der).chain(signing.roots.crosses());
            let text: String = chain.map(|der| pem_text("CERTIFICATE", &der)).collect();
            files::write(&self.dir.server_cert(), text.as_bytes(), Access::Everyone)?;
            next = read(&self.dir)?;
            tracing::info!(?names, "the controller's certificate was renewed");
        }
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        Ok(())
    }

    /// Looks at the files from time to time; ends with the task.
    pub async fn run(self: Arc<Self>, app: App) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            if let Err(error) = self.refresh(app.now()) {
                tracing::error!(%error, "the controller keeps the certificate that it has");
            }
        }
    }
}

impl Signing {
    /// It is ours, and two thirds of its life are over, or another root signs now.
    fn is_due(&self, key: &CertifiedKey, now: Timestamp) -> bool {
        let leaf = &key.cert[0];
        if self.roots.past_issuer_of(leaf).is_some() {
            return true;
        }
        let ours = ca::issued_by(leaf, &self.root.cert_der).is_ok();
        ours && ca::validity(leaf).is_ok_and(|(from, until)| {
            now.0 >= from.saturating_add(until.saturating_sub(from) / 3 * 2)
        })
    }
}

impl ResolvesServerCert for ServerIdentity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// The pair in the data folder. An error unless the key is the certificate's.
fn read(dir: &DataDir) -> Result<CertifiedKey, ServerIdentityError> {
    let failed = |path: PathBuf| move |source| ServerIdentityError::Pem { path, source };
    let chain = CertificateDer::pem_file_iter(dir.server_cert())
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(failed(dir.server_cert()))?;
    if chain.is_empty() {
        return Err(failed(dir.server_cert())(pem::Error::NoItemsFound));
    }
    let key = PrivateKeyDer::from_pem_file(dir.server_key()).map_err(failed(dir.server_key()))?;
    let pair = CertifiedKey::new(chain, any_supported(&key)?);
    pair.keys_match()?;
    Ok(pair)
}

/// Ours are P-256; an operator's may be RSA.
fn any_supported(
    key: &PrivateKeyDer<'_>,
) -> Result<Arc<dyn rustls::sign::SigningKey>, rustls::Error> {
    any_ecdsa_type(key).or_else(|_| rustls::crypto::ring::sign::any_supported_type(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::{self, NewInstallation};

    const DAY: Duration = Duration::from_secs(86_400);

    async fn installed() -> (tempfile::TempDir, DataDir, Roots, Timestamp) {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::new(&temp.path().join("data")).unwrap();
        let now = Timestamp(1_800_000_000_000_000);
        let new = NewInstallation {
            dir: dir.clone(),
            database_url: None,
            trust_domain: "fleet.test".into(),
            server_names: vec!["fleet.example".into(), "192.0.2.1".into()],
        };
        init::init(&new, now).await.unwrap();
        let store = crate::store::Store::connect(&dir.database_url(None, false)).await.unwrap();
        let scope = crate::scope::InstallationScope::system("test");
        let mut read = store.read(&scope).await.unwrap();
        let row = Roots::read(&mut read).await.unwrap();
        (temp, dir, row, now)
    }

    fn presented(identity: &ServerIdentity) -> Vec<u8> {
        identity.current.read().unwrap().cert[0].to_vec()
    }

    #[tokio::test]
    async fn our_own_certificate_is_renewed_with_the_same_names_before_it_ends() {
        let (_temp, dir, row, now) = installed().await;
        let vault = Vault::from_file(&dir.kek()).unwrap();
        let identity = ServerIdentity::open(&dir, &vault, &row, now).unwrap();
        let first = presented(&identity);
        identity.refresh(now.plus(59 * DAY)).unwrap();
        assert_eq!(presented(&identity), first, "not due yet");
        identity.refresh(now.plus(61 * DAY)).unwrap();
        let second = presented(&identity);
        assert_ne!(second, first);
        assert_eq!(ca::server_names(&second).unwrap(), ["fleet.example", "192.0.2.1"]);
        assert!(ca::validity(&second).unwrap().1 > now.plus(150 * DAY).0);
        // A controller that was off past the end of its certificate starts with a new one.
        let late = ServerIdentity::open(&dir, &vault, &row, now.plus(400 * DAY)).unwrap();
        assert!(ca::validity(&presented(&late)).unwrap().1 > now.plus(480 * DAY).0);
    }

    #[tokio::test]
    async fn a_certificate_of_the_operator_is_never_touched_but_taken_when_it_changes() {
        let (_temp, dir, row, now) = installed().await;
        let vault = Vault::from_file(&dir.kek()).unwrap();
        let identity = ServerIdentity::open(&dir, &vault, &row, now).unwrap();
        let other = ca::create_root("other.test", now.0).unwrap();
        let theirs = ca::create_server(&other, &["fleet.example".into()], now.0).unwrap();
        let key = pem_text("PRIVATE KEY", &theirs.key_pkcs8);
        files::write(&dir.server_key(), key.as_bytes(), Access::Owner).unwrap();
        let before = presented(&identity);
        let error = identity.refresh(now).unwrap_err();
        assert!(matches!(error, ServerIdentityError::Tls(_)), "{error}");
        assert_eq!(presented(&identity), before, "half a pair changes nothing");
        let cert = pem_text("CERTIFICATE", &theirs.cert_der);
        files::write(&dir.server_cert(), cert.as_bytes(), Access::Everyone).unwrap();
        identity.refresh(now.plus(89 * DAY)).unwrap();
        assert_eq!(presented(&identity), theirs.cert_der);
    }
}
