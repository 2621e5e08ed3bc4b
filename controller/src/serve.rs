//! The running controller: opens the installation, binds both listeners, starts the background
//! work, says when it is ready, and stops in order.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::app::{App, Nudges, Parts};
use crate::clock::SystemClock;
use crate::config::DataDir;
use crate::distribution::objects::{Objects, ObjectsError};
use crate::distribution::staging::{DEFAULT_MAX_PAYLOAD_BYTES, Staging, StagingError};
use crate::files::{self, Access, FileError};
use crate::init::ROOT_KEY_ID;
use crate::scope::InstallationScope;
use crate::store::installation::Installation;
use crate::store::{Store, StoreError, installation};
use crate::vault::{SecretKind, Vault, VaultError};
use crate::{api, audit, housekeeping, listener};

/// Why the controller does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key file.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// There is no installation.
    #[error("the database holds no installation: run `edgeformer-controller init` first")]
    NoInstallation,
    /// The object store.
    #[error(transparent)]
    Objects(#[from] ObjectsError),
    /// The folder for uploads.
    #[error(transparent)]
    Staging(#[from] StagingError),
    /// A certificate or key file.
    #[error("cannot read {path}: {source}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// The server's certificate and key do not work.
    #[error("the certificate and key in the data folder cannot serve TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// An address is taken or not ours.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The ready file.
    #[error(transparent)]
    Ready(#[from] FileError),
    /// Signals cannot be received.
    #[error("cannot receive signals: {0}")]
    Signals(io::Error),
}

/// How to serve.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the installation lies.
    pub dir: DataDir,
    /// Its database, or the SQLite file in `dir`.
    pub database_url: Option<String>,
    /// For operators.
    pub admin_listen: SocketAddr,
    /// For devices.
    pub device_listen: SocketAddr,
    /// Written when ready.
    pub ready_file: Option<PathBuf>,
    /// URL shown for devices instead of the listener's own.
    pub device_url: Option<String>,
}

/// Opens the installation. Fails when the key file does not belong to the database.
pub async fn open(
    dir: &DataDir,
    database_url: Option<&str>,
) -> Result<(App, Installation), ServeError> {
    let vault = Vault::from_file(&dir.kek())?;
    let store = Store::connect(&dir.database_url(database_url, false)).await?;
    store.check_schema().await?;
    let mut read = store.read(&InstallationScope::system("serve")).await?;
    let row = installation::get(&mut read).await?.ok_or(ServeError::NoInstallation)?;
    drop(read);
    vault.unwrap(SecretKind::RootCaKey, ROOT_KEY_ID, &row.wrapped_root_key)?;
    let app = App::new(Parts {
        store,
        vault: Arc::new(vault),
        objects: Objects::local(&dir.objects())?,
        staging: Staging::open(&dir.staging(), DEFAULT_MAX_PAYLOAD_BYTES)?,
        clock: Arc::new(SystemClock),
        nudges: Nudges::default(),
    });
    Ok((app, row))
}

fn admin_tls(dir: &DataDir) -> Result<Arc<ServerConfig>, ServeError> {
    let read = |path: PathBuf| move |source| ServeError::Pem { path, source };
    let chain = CertificateDer::pem_file_iter(dir.server_cert())
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(read(dir.server_cert()))?;
    let key = PrivateKeyDer::from_pem_file(dir.server_key()).map_err(read(dir.server_key()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServeError> {
    let failed = |source| ServeError::Bind { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Serves until SIGTERM or SIGINT, then drains.
pub async fn serve(settings: &Settings) -> Result<(), ServeError> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Signals)?;

    let (app, installation) = open(&settings.dir, settings.database_url.as_deref()).await?;
    let tls = admin_tls(&settings.dir)?;
    let (admin, admin_address) = bind(settings.admin_listen).await?;
    let (stop, stopped) = watch::channel(false);
    let mut background = JoinSet::new();
    background.spawn(audit::sequencer::run(app.clone()));
    background.spawn(housekeeping::run(app.clone()));
    let admin = tokio::spawn(listener::serve(admin, tls, api::router(app.clone()), stopped));

    let admin_url = url_of(admin_address);
    announce(settings, &admin_url, &admin_url)?;
    tracing::info!(%admin_url, trust_domain = installation.trust_domain, "serving");

    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: draining"),
        _ = interrupt.recv() => tracing::info!("SIGINT: draining"),
    }
    let _ = stop.send(true);
    if let Err(error) = admin.await {
        tracing::error!(%error, "the admin listener ended badly");
    }
    background.shutdown().await;
    app.store.close().await;
    tracing::info!("stopped");
    Ok(())
}

/// A URL that works on this machine, also when the listener takes every address.
fn url_of(address: SocketAddr) -> String {
    let mut address = address;
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    format!("https://{address}")
}

fn announce(settings: &Settings, admin_url: &str, device_url: &str) -> Result<(), ServeError> {
    let Some(path) = &settings.ready_file else {
        return Ok(());
    };
    let ready = serde_json::json!({
        "pid": std::process::id(),
        "admin_url": admin_url,
        "device_url": settings.device_url.as_deref().unwrap_or(device_url),
    });
    files::write(path, ready.to_string().as_bytes(), Access::Everyone)?;
    Ok(())
}
