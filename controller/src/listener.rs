//! The admin listener: TLS, then HTTP/1.1 for the REST API. It bounds what a peer may hold (one
//! place, ten seconds for a handshake or for request headers) and drains when it is told to stop.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::api::request::Peer;

/// Operators and pipelines, not devices: far more than a large team has open at once.
const MAX_CONNECTIONS: usize = 1024;
/// For the TLS handshake, and again for the headers of each request.
const PEER_TIMEOUT: Duration = Duration::from_secs(10);
/// After a failed accept, which is nearly always "too many open files".
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// Running requests get this long to finish after the signal to stop.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// Serves until `stop` is cancelled, then finishes what runs.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    router: Router,
    stop: CancellationToken,
) {
    let acceptor = TlsAcceptor::from(tls);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            // Finished connections are taken out, so that the set does not grow.
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (socket, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept an operator's connection; trying again");
                sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::warn!(%address, limit = MAX_CONNECTIONS, "too many connections; closing one");
            continue;
        };
        let (acceptor, router, stop) = (acceptor.clone(), router.clone(), stop.clone());
        connections.spawn(async move {
            connection(socket, Peer(address), acceptor, router, stop).await;
            drop(place);
        });
    }
    drop(listener);
    if timeout(DRAIN_LIMIT, async { while connections.join_next().await.is_some() {} })
        .await
        .is_err()
    {
        tracing::warn!(open = connections.len(), "requests are cut off: they did not end in time");
    }
}

async fn connection(
    socket: TcpStream,
    peer: Peer,
    acceptor: TlsAcceptor,
    router: Router,
    stop: CancellationToken,
) {
    let address = peer.0;
    let tls = match timeout(PEER_TIMEOUT, acceptor.accept(socket)).await {
        Ok(Ok(tls)) => tls,
        Ok(Err(error)) => return tracing::debug!(%address, %error, "TLS handshake failed"),
        Err(_) => return tracing::debug!(%address, "TLS handshake timed out"),
    };
    let service = hyper::service::service_fn(move |request: http::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        router.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PEER_TIMEOUT)
        .serve_connection(TokioIo::new(tls), service);
    tokio::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%address, %error, "connection ended early");
    }
}
