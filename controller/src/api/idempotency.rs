//! `Idempotency-Key` on POST: a repeat gets the first answer and does nothing again, also when the
//! controller died in between. Answers are stored sealed, because some show a token once.

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64;
use ring::digest;
use serde::{Deserialize, Serialize};

use super::MAX_JSON_BYTES;
use crate::app::App;
use crate::error::AppError;
use crate::problem::Problem;
use crate::scope::{IdempotencyClaim, Scope};
use crate::store::idempotency::{self as rows, Claim};
use crate::vault::SecretKind;

/// The header.
pub const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// Longest key, in characters: a UUID fits five times.
const MAX_KEY_CHARS: usize = 200;

/// An answer as stored, sealed.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    content_type: Option<String>,
    etag: Option<String>,
    body: String,
}

/// Runs the handler with `scope`, once per key.
pub(super) async fn run<S: Scope>(
    app: &App,
    scope: S,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let key = match request.headers().get(HEADER) {
        Some(key) if request.method() == Method::POST => parse(key)?,
        _ => {
            request.extensions_mut().insert(scope);
            return Ok(next.run(request).await);
        }
    };
    let principal = scope.context().actor.id.clone();
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, MAX_JSON_BYTES).await.map_err(|_| {
        let detail = format!("the body is longer than {MAX_JSON_BYTES} bytes or was cut off");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    })?;
    let hash = hash_of(&parts.method, &parts.uri, &body);
    match claim(app, &scope, &principal, &key, &hash).await? {
        Claim::Ours => {}
        Claim::Answered(status, sealed) => return replay(app, &principal, &key, status, &sealed),
        refused => return Err(refusal(&refused)),
    }
    let mut request = Request::from_parts(parts, Body::from(body));
    let claim = IdempotencyClaim::new(&principal, &key);
    request.extensions_mut().insert(scope.clone().with_idempotency(claim));
    let response = next.run(request).await;
    settle(app, &scope, &principal, &key, response).await
}

fn parse(key: &HeaderValue) -> Result<String, Problem> {
    let text = key.to_str().unwrap_or_default();
    if text.is_empty() || text.len() > MAX_KEY_CHARS {
        let message = format!("it must have 1 to {MAX_KEY_CHARS} visible ASCII characters");
        return Err(AppError::invalid("Idempotency-Key", message).into());
    }
    Ok(text.to_owned())
}

pub(super) fn hash_of(method: &Method, uri: &axum::http::Uri, body: &[u8]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    // Neither a method nor a URI holds a line break.
    context.update(format!("{method}\n{uri}\n").as_bytes());
    context.update(body);
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

async fn claim<S: Scope>(
    app: &App,
    scope: &S,
    principal: &str,
    key: &str,
    hash: &[u8; 32],
) -> Result<Claim, AppError> {
    let now = app.now();
    let mut write = app.store.write_observation(scope).await?;
    let claim = rows::claim(&mut write, principal, key, hash, now).await?;
    write.commit(now).await?;
    Ok(claim)
}

fn refusal(claim: &Claim) -> Problem {
    match claim {
        Claim::OtherRequest => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency_key_reused",
            "this Idempotency-Key was used for another request; use a new key for a new request",
        ),
        Claim::AnswerLost => Problem::new(
            StatusCode::CONFLICT,
            "answer_lost",
            "the first request with this Idempotency-Key took effect and its answer was lost; list \
             what it made instead of repeating it",
        ),
        _ => Problem::new(
            StatusCode::CONFLICT,
            "request_running",
            "the first request with this Idempotency-Key is running; repeat in a few seconds",
        )
        .header("retry-after", "2"),
    }
}

fn row_id(principal: &str, key: &str) -> String {
    format!("{principal}/{key}")
}

/// Stores a successful answer; a failed one changed nothing and frees the key.
async fn settle<S: Scope>(
    app: &App,
    scope: &S,
    principal: &str,
    key: &str,
    response: Response,
) -> Result<Response, Problem> {
    let now = app.now();
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, MAX_JSON_BYTES).await.map_err(|error| Problem::internal(&error))?;
    let answer = if parts.status.is_success() {
        let sealed = seal(app, principal, key, &parts.headers, &body)?;
        Some((parts.status.as_u16(), sealed))
    } else {
        None
    };
    let settled = async {
        let mut write = app.store.write_observation(scope).await?;
        rows::settle(&mut write, principal, key, answer).await?;
        write.commit(now).await
    };
    if let Err(error) = settled.await {
        // The action is committed and answered; a repeat will hear that its answer is lost.
        tracing::warn!(%error, "the answer to an idempotency key is not stored");
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

fn seal(
    app: &App,
    principal: &str,
    key: &str,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<String, Problem> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let stored = Stored {
        content_type: text(header::CONTENT_TYPE),
        etag: text(header::ETAG),
        body: String::from_utf8_lossy(body).into_owned(),
    };
    let plain = serde_json::to_vec(&stored).map_err(|error| Problem::internal(&error))?;
    app.vault
        .wrap(SecretKind::Answer, &row_id(principal, key), &plain)
        .map(|sealed| BASE64.encode(&sealed))
        .map_err(|error| Problem::internal(&error))
}

fn replay(
    app: &App,
    principal: &str,
    key: &str,
    status: u16,
    sealed: &str,
) -> Result<Response, Problem> {
    let internal = |error: &dyn std::fmt::Display| Problem::internal(error);
    let sealed = BASE64.decode(sealed.as_bytes()).map_err(|error| internal(&error))?;
    let plain = app
        .vault
        .unwrap(SecretKind::Answer, &row_id(principal, key), &sealed)
        .map_err(|error| internal(&error))?;
    let stored: Stored = serde_json::from_slice(&plain).map_err(|error| internal(&error))?;
    let status = StatusCode::from_u16(status).map_err(|error| internal(&error))?;
    let mut response = (status, stored.body).into_response();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    for (name, value) in [(header::CONTENT_TYPE, stored.content_type), (header::ETAG, stored.etag)]
    {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
            headers.insert(name, value);
        }
    }
    headers.insert("idempotency-replayed", HeaderValue::from_static("true"));
    Ok(response)
}
