//! The OpenAI-compatible HTTP API for applications on this device. A request that has started keeps
//! its worker across a switch of versions. Must never hold weights, decide about versions, or answer
//! a web page that the operator did not allow.
//!
//! Without local keys every program on this machine may use the API (the log says so at the start);
//! once the first key is made, each request needs one, also after the last one is revoked.

mod answer;
mod error;
mod guard;
mod listen;
mod measure;
mod parse;
mod wire;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use axum::extract::State;
use axum::http::{Method, Uri};
use axum::routing::{get, post};
use axum::{Json, Router};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::listen::{BindError, bind};
pub use self::measure::Measurements;

use self::error::ApiError;
use self::wire::{ModelList, WireModel};
use crate::local_keys::LocalKeys;
use crate::supervisor::Supervisor;

/// Open connections. Applications on one device keep a handful; each costs a descriptor and a buffer.
const MAX_CONNECTIONS: usize = 256;

/// Requests that run or wait, over all models.
const MAX_REQUESTS: usize = 64;

/// A client that has not sent its headers by then is gone.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(15);

/// A client that does not take what was sent for so long is gone, in milliseconds.
const UNSENT_TIMEOUT_MS: u32 = 60_000;

/// Open requests have this long to end when the agent stops.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(20);

/// How the local API is served.
#[derive(Debug, Clone)]
pub struct ServeConfig {
    /// Where the local keys are.
    pub state_dir: PathBuf,
    /// The listener can be reached from other machines: keys are required, any `Host` will do.
    pub allow_remote: bool,
    /// Web pages of these origins may use the API.
    pub allowed_origins: Vec<String>,
}

struct App {
    config: ServeConfig,
    supervisor: Supervisor,
    measurements: Measurements,
    requests: Arc<Semaphore>,
}

/// Serves until `shutdown`, then waits for the open requests to end, but not for ever.
pub async fn run(
    listener: TcpListener,
    config: ServeConfig,
    supervisor: Supervisor,
    measurements: Measurements,
    shutdown: CancellationToken,
) {
    log_access(&config, &listener);
    let requests = Arc::new(Semaphore::new(MAX_REQUESTS));
    let router = router(Arc::new(App { config, supervisor, measurements, requests }));
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let tasks = TaskTracker::new();
    loop {
        let slot = connections.clone().acquire_owned();
        let (slot, accepted) = tokio::select! {
            () = shutdown.cancelled() => break,
            both = async { (slot.await, listener.accept().await) } => both,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection = serve_connection(stream, router.clone(), shutdown.clone());
                tasks.spawn(async move {
                    connection.await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a local connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    tasks.close();
    if tokio::time::timeout(SHUTDOWN_WAIT, tasks.wait()).await.is_err() {
        tracing::warn!(open = tasks.len(), "local connections were cut at shutdown");
    }
}

async fn serve_connection(stream: TcpStream, router: Router, shutdown: CancellationToken) {
    // Tokens are small: each must leave at once. Both options only fail on a closed socket.
    let _closed = stream.set_nodelay(true);
    let _closed = rustix::net::sockopt::set_tcp_user_timeout(&stream, UNSENT_TIMEOUT_MS);
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a local connection ended early");
    }
}

fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/v1/models", get(models))
        .route("/v1/chat/completions", post(answer::chat))
        .route("/v1/completions", post(answer::completion))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(axum::middleware::from_fn_with_state(app.clone(), guard::guard))
        .with_state(app)
}

fn log_access(config: &ServeConfig, listener: &TcpListener) {
    let address = listener.local_addr().map(|address| address.to_string()).unwrap_or_default();
    match LocalKeys::load(&config.state_dir) {
        Ok(keys) if !keys.required() && !config.allow_remote => tracing::warn!(
            address,
            "the local API is open to every program on this machine: `edgeformer-agent key create` \
             makes a key, and from then on one is required"
        ),
        Ok(keys) => tracing::info!(address, keys = keys.list().len(), "the local API needs a key"),
        Err(error) => tracing::error!(address, %error, "local keys cannot be read"),
    }
}

async fn healthz(State(app): State<Arc<App>>) -> Json<serde_json::Value> {
    let serving = app.supervisor.served().len();
    Json(serde_json::json!({ "status": "ok", "models_serving": serving }))
}

async fn models(State(app): State<Arc<App>>) -> Json<ModelList> {
    let served = app.supervisor.served().into_iter();
    let data = served
        .map(|model| WireModel {
            id: model.spec.slot.to_string(),
            object: "model",
            created: model.since.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            owned_by: "edgeformer",
            version: model.spec.version,
        })
        .collect();
    Json(ModelList { object: "list", data })
}

async fn no_such_path(uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(100).collect();
    ApiError::no_such_path(format!(
        "{path} does not exist; /v1/models, /v1/chat/completions, /v1/completions and /healthz do"
    ))
}

async fn no_such_method(method: Method, uri: Uri) -> ApiError {
    ApiError::no_such_method(format!("{method} is not a method of {}", uri.path()))
}

impl App {
    /// Models that answer now, for error messages.
    fn known_models(&self) -> Vec<String> {
        self.supervisor.served().into_iter().map(|model| model.spec.slot.to_string()).collect()
    }
}
