//! Each request's id, its log line, and the id on its answer.

use std::net::SocketAddr;

use axum::extract::Request;
use axum::http::HeaderValue;
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;
use uuid::Uuid;

use crate::problem::Problem;
use crate::scope::Origin;

/// Longest path kept for logs and audit records, in characters.
const MAX_PATH_CHARS: usize = 200;

/// The peer of a connection; the listener puts it into each request.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// What is known about a request before it is authenticated.
#[derive(Debug, Clone, Default)]
pub struct RequestInfo {
    /// UUID, version 7.
    pub id: String,
    /// Address of the peer.
    pub source: String,
    /// `METHOD /path`, bounded.
    pub path: String,
}

impl RequestInfo {
    /// For the audit log.
    pub fn origin(&self) -> Origin {
        Origin { request_id: self.id.clone(), source: self.source.clone() }
    }
}

/// Outermost layer: gives the request an id, logs its outcome, and puts the id on the answer.
pub(super) async fn identify(mut request: Request, next: Next) -> Response {
    let id = Uuid::now_v7().to_string();
    let source =
        request.extensions().get::<Peer>().map(|peer| peer.0.to_string()).unwrap_or_default();
    let path = format!("{} {}", request.method(), request.uri().path());
    let path: String = path.chars().take(MAX_PATH_CHARS).collect();
    let span = tracing::info_span!(
        "request", id = %id, source = %source, route = %path, principal = tracing::field::Empty
    );
    request.extensions_mut().insert(RequestInfo { id: id.clone(), source, path });
    async move {
        let mut response = next.run(request).await;
        if let Some(problem) = response.extensions_mut().remove::<Problem>() {
            tracing::info!(
                status = problem.status.as_u16(),
                code = problem.code,
                "{}",
                problem.detail
            );
            response = problem.answer(&id);
        } else {
            tracing::info!(status = response.status().as_u16(), "answered");
        }
        if let Ok(value) = HeaderValue::from_str(&id) {
            response.headers_mut().insert("x-request-id", value);
        }
        response
    }
    .instrument(span)
    .await
}
