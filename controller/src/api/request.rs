//! Each request's id, its log line, and the id on its answer.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument;
use uuid::Uuid;

use super::scim;
use crate::app::App;
use crate::error::AppError;
use crate::problem::Problem;
use crate::scope::Origin;

/// Longest path kept for logs and audit records, in characters.
const MAX_PATH_CHARS: usize = 200;
/// A header in which the caller says why it acts; it is kept with the audit record.
pub const JUSTIFICATION: &str = "x-edgeformer-justification";
/// Longest justification kept: a ticket number and a sentence or two.
const MAX_JUSTIFICATION_CHARS: usize = 500;

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
    /// The peer's address without its port.
    pub address: Option<IpAddr>,
    /// `METHOD /path`, bounded.
    pub path: String,
    /// W3C trace id that the caller sent, or empty.
    pub trace_id: String,
    /// Why the caller says it acts.
    pub justification: Option<String>,
}

impl RequestInfo {
    /// For the audit log.
    pub fn origin(&self) -> Origin {
        Origin {
            request_id: self.id.clone(),
            source: self.source.clone(),
            trace_id: self.trace_id.clone(),
            justification: self.justification.clone(),
        }
    }
}

/// The trace id of a `traceparent` header (W3C Trace Context, section 3.2); empty without one.
fn trace_id(headers: &HeaderMap) -> String {
    let parent = headers.get("traceparent").and_then(|value| value.to_str().ok());
    let id = parent.and_then(|text| text.split('-').nth(1)).unwrap_or_default();
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    let valid = id.len() == 32 && id.bytes().all(hex) && id.bytes().any(|b| b != b'0');
    if valid { id.to_owned() } else { String::new() }
}

/// What the caller says in [`JUSTIFICATION`], bounded; nothing if it is empty or not UTF-8.
fn justification(headers: &HeaderMap) -> Option<String> {
    let text = std::str::from_utf8(headers.get(JUSTIFICATION)?.as_bytes()).ok()?.trim();
    let text: String = text.chars().take(MAX_JUSTIFICATION_CHARS).collect();
    (!text.is_empty()).then_some(text)
}

/// Holds a refusal back until the changes that it may rest on are on the disk.
pub(super) async fn settle(State(app): State<App>, request: Request, next: Next) -> Response {
    let reads = request.method().is_safe();
    let response = next.run(request).await;
    if reads || !response.status().is_client_error() {
        return response;
    }
    match app.store.settled().await {
        Ok(()) => response,
        Err(error) => Problem::from(AppError::Store(error)).into_response(),
    }
}

/// Outermost layer: gives the request an id, logs its outcome, and puts the id on the answer.
pub(super) async fn identify(mut request: Request, next: Next) -> Response {
    let id = Uuid::now_v7().to_string();
    let is_scim = scim::is_path(request.uri().path());
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
    let source = peer.map(|peer| peer.to_string()).unwrap_or_default();
    let path = format!("{} {}", request.method(), request.uri().path());
    let path: String = path.chars().take(MAX_PATH_CHARS).collect();
    let span = tracing::info_span!(
        "request", id = %id, source = %source, route = %path, principal = tracing::field::Empty
    );
    let (trace_id, justification) = (trace_id(request.headers()), justification(request.headers()));
    let address = peer.map(|peer| peer.ip());
    let info = RequestInfo { id: id.clone(), source, address, path, trace_id, justification };
    request.extensions_mut().insert(info);
    async move {
        let mut response = next.run(request).await;
        if let Some(problem) = response.extensions_mut().remove::<Problem>() {
            tracing::info!(
                status = problem.status.as_u16(),
                code = problem.code,
                "{}",
                problem.detail
            );
            response = match is_scim {
                true => scim::answer(&problem),
                false => problem.answer(&id),
            };
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
