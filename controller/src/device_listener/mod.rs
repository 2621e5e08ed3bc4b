//! The devices' listener: its own accept loop over TLS, then tonic.
//!
//! It knows who calls and nothing of what they call: services read a [`DeviceIdentity`] from the
//! request's extensions, and no request but those of Enrolment arrives without one.

pub mod accept;
pub mod connections;
pub mod guard;
pub mod strangers;
pub mod tls;

use std::sync::Arc;
use std::time::Duration;

use edgeformer_proto::ids::{DeviceId, TenantId};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;

use crate::app::App;
use crate::scope::TenantScope;
use guard::GuardLayer;

/// A session, an OTLP export, and a few parallel fetches; more of one device is abuse.
const MAX_STREAMS_PER_CONNECTION: u32 = 32;
/// Metadata of a call is a few hundred bytes.
const MAX_HEADER_LIST_BYTES: u32 = 16 * 1024;
/// Finds peers that vanished; a NAT forgets an idle connection after five minutes at the earliest.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(60);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Who calls, proven by a certificate that is valid now and a device that is enrolled now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceIdentity {
    /// The tenant that owns it.
    pub tenant_id: TenantId,
    /// The device.
    pub device_id: DeviceId,
    /// Its name when the request arrived, for people.
    pub device_name: String,
    /// End of the certificate, microseconds since the Unix epoch.
    pub cert_expires_at_us: i64,
    /// Network address of the connection.
    pub source: String,
}

impl DeviceIdentity {
    /// The scope in which this device acts.
    pub fn scope(&self) -> TenantScope {
        TenantScope::device(self.tenant_id, self.device_id, &self.device_name, &self.source)
    }
}

/// The device that sent `request`. The guard put it there; without the guard nobody is let in.
pub fn identity<T>(request: &tonic::Request<T>) -> Result<DeviceIdentity, tonic::Status> {
    request
        .extensions()
        .get::<DeviceIdentity>()
        .cloned()
        .ok_or_else(|| tonic::Status::unauthenticated("this service needs a client certificate"))
}

/// What a device is told when the store fails: come back later. The reason is for our log.
pub fn unavailable(error: crate::store::StoreError) -> tonic::Status {
    tracing::error!(%error, "the store failed while serving a device");
    tonic::Status::unavailable("the controller cannot reach its store now: try again later")
}

/// Serves `routes` until `shutdown` is cancelled and the calls under way have ended. Every request
/// but those of Enrolment arrives with a [`DeviceIdentity`].
pub async fn serve(
    app: App,
    trust_domain: &str,
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    routes: Routes,
    shutdown: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    Server::builder()
        .max_concurrent_streams(MAX_STREAMS_PER_CONNECTION)
        .http2_max_header_list_size(MAX_HEADER_LIST_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .layer(GuardLayer::new(app, trust_domain))
        .add_routes(routes)
        .serve_with_incoming_shutdown(accept::accept(listener, tls), shutdown.cancelled_owned())
        .await
}
