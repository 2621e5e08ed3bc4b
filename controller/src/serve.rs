//! The running controller: opens the installation, binds both listeners, starts the background
//! work, says when it is ready, and stops in order.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::app::{App, AuditLimits, Nudges, Parts};
use crate::authorities::RootsError;
use crate::clock::SystemClock;
use crate::config::DataDir;
use crate::device_listener::tls;
use crate::distribution::artifacts::ArtifactService;
use crate::distribution::keys::KeyService;
use crate::distribution::objects::{Objects, ObjectsError};
use crate::distribution::staging::{DEFAULT_MAX_PAYLOAD_BYTES, Staging, StagingError};
use crate::enrolment::{Enroller, EnrolmentError};
use crate::files::{self, Access, FileError};
use crate::init::ROOT_KEY_ID;
use crate::outbound::{Outbound, OutboundError, OutboundRules};
use crate::rollout::reconciler;
use crate::scope::InstallationScope;
use crate::server_identity::{ServerIdentity, ServerIdentityError};
use crate::session::{self, hub::Hub};
use crate::store::installation::Installation;
use crate::store::{Store, StoreError, installation};
use crate::telemetry::service::Metrics;
use crate::vault::{SecretKind, Vault, VaultError};
use crate::{api, audit, authorities, ca, device_listener, housekeeping, listener, trust};

/// Listeners drain within ten seconds by themselves; what has not ended then is cut off.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// Why the controller does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key file.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The object store.
    #[error(transparent)]
    Objects(#[from] ObjectsError),
    /// The folder for uploads.
    #[error(transparent)]
    Staging(#[from] StagingError),
    /// The installation's roots.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// The server's certificate and key.
    #[error(transparent)]
    Identity(#[from] ServerIdentityError),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// An address is taken or not ours.
    #[error(
        "cannot listen on {address}: {reason}; end what uses it, or choose another address with \
         {flag} (port 0 takes a free one)"
    )]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The flag that chose it.
        flag: &'static str,
        /// Why.
        reason: io::Error,
    },
    /// The ready file.
    #[error(transparent)]
    Ready(#[from] FileError),
    /// The rules of outbound requests.
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    /// Enrolment.
    #[error(transparent)]
    Enrolment(#[from] EnrolmentError),
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
    /// Lifetime of device certificates; the default unless given.
    pub cert_lifetime: Option<Duration>,
    /// URL shown for devices instead of the listener's own.
    pub device_url: Option<String>,
    /// URL under which people reach this controller instead of the admin listener's own.
    pub public_url: Option<String>,
    /// What is decided about audit logs.
    pub audit_limits: AuditLimits,
    /// What settings of tenants may name beyond public addresses.
    pub outbound: OutboundRules,
}

/// Opens the installation. Fails when the key file does not belong to the database.
pub async fn open(
    dir: &DataDir,
    database_url: Option<&str>,
    outbound: OutboundRules,
) -> Result<(App, Installation), ServeError> {
    let vault = Vault::from_file(&dir.kek())?;
    let store = Store::connect(&dir.database_url(database_url, false)).await?;
    store.check_schema().await?;
    store.check_wall().await?;
    let mut read = store.read(&InstallationScope::system("serve")).await?;
    let row = installation::get(&mut read).await?.ok_or(RootsError::NoInstallation)?;
    drop(read);
    vault.unwrap(SecretKind::RootCaKey, ROOT_KEY_ID, &row.wrapped_root_key)?;
    let app = App::new(Parts {
        store,
        vault: Arc::new(vault),
        objects: Objects::local(&dir.objects())?,
        staging: Staging::open(&dir.staging(), DEFAULT_MAX_PAYLOAD_BYTES)?,
        clock: Arc::new(SystemClock),
        nudges: Nudges::default(),
        outbound: Outbound::new(outbound)?,
    });
    Ok((app, row))
}

/// TLS of the admin listener.
fn admin_tls(identity: &Arc<ServerIdentity>) -> Result<Arc<ServerConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::<ServerIdentity>::clone(identity));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

async fn bind(
    address: SocketAddr,
    flag: &'static str,
) -> Result<(TcpListener, SocketAddr), ServeError> {
    let failed = |reason| ServeError::Bind { address, flag, reason };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Serves until SIGTERM or SIGINT, then drains.
pub async fn serve(settings: &Settings) -> Result<(), ServeError> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Signals)?;

    let (app, installation) =
        open(&settings.dir, settings.database_url.as_deref(), settings.outbound.clone()).await?;
    let roots = authorities::Roots::load(&app, "serve").await?;
    let identity = ServerIdentity::open(&settings.dir, &app.vault, &roots, app.now())?;
    let admin_tls = admin_tls(&identity)?;
    let verifier = tls::DeviceVerifier::new(&roots.all())?;
    let device_tls = tls::server_config(Arc::clone(&identity) as _, Arc::clone(&verifier))?;
    let lifetime = settings.cert_lifetime.unwrap_or(ca::DEFAULT_DEVICE_LIFETIME);
    let enroller = Enroller::open(app.clone(), lifetime).await?;
    let (admin, admin_address) = bind(settings.admin_listen, "--admin-listen").await?;
    let (devices, device_address) = bind(settings.device_listen, "--device-listen").await?;

    let stop = CancellationToken::new();
    let trust_domain = installation.trust_domain;
    let hub = Hub::new(app.clone(), stop.clone());
    let routes = device_routes(&app, &hub, enroller);
    let mut background = JoinSet::new();
    background.spawn(audit::sequencer::run(app.clone()));
    background.spawn(audit::witnessing::run(app.clone()));
    background.spawn(audit::sinks::run(app.clone()));
    app.set_audit_limits(settings.audit_limits);
    background.spawn(audit::capacity::run(app.clone(), settings.dir.path().to_owned()));
    background.spawn(trust::run(app.clone()));
    background.spawn(housekeeping::run(app.clone()));
    background.spawn(authorities::run(app.clone(), Arc::clone(&identity), verifier));
    background.spawn(identity.run(app.clone()));
    let mut draining = JoinSet::new();
    draining.spawn(hub.run());
    draining.spawn(reconciler::run(app.clone(), stop.clone()));
    draining.spawn(listener::serve(admin, admin_tls, api::router(app.clone()), stop.clone()));
    draining.spawn({
        let (app, trust_domain, stop) = (app.clone(), trust_domain.clone(), stop.clone());
        async move {
            let served =
                device_listener::serve(app, &trust_domain, devices, device_tls, routes, stop).await;
            if let Err(error) = served {
                tracing::error!(%error, "the device listener ended");
            }
        }
    });

    let (admin_url, device_url) = (url_of(admin_address), url_of(device_address));
    let device_url = settings.device_url.clone().unwrap_or(device_url);
    app.set_public_url(settings.public_url.as_deref().unwrap_or(&admin_url));
    announce(settings, &admin_url, &device_url)?;
    tracing::info!(%admin_url, %device_url, %trust_domain, "serving");
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: draining"),
        _ = interrupt.recv() => tracing::info!("SIGINT: draining"),
    }
    stop.cancel();
    let drained = async { while draining.join_next().await.is_some() {} };
    if timeout(STOP_LIMIT, drained).await.is_err() {
        tracing::warn!("some connections are cut off: they did not end in time");
    }
    background.shutdown().await;
    app.store.close().await;
    tracing::info!("stopped");
    Ok(())
}

/// What devices can call.
fn device_routes(app: &App, hub: &Arc<Hub>, enroller: Enroller) -> Routes {
    Routes::new(enroller.into_service())
        .add_service(session::service(Arc::clone(hub)))
        .add_service(Metrics::server(app.clone()))
        .add_service(ArtifactService::server(app.clone()))
        .add_service(KeyService::server(app.clone()))
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
        "device_url": device_url,
    });
    files::write(path, ready.to_string().as_bytes(), Access::Everyone)?;
    Ok(())
}
