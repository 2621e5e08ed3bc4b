//! Bodies on their way in. A request that is slow to send its body holds its connection and nothing
//! that others wait for: its place is given back until all has arrived.

use std::error::Error;
use std::pin::pin;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use futures::poll;
use http_body_util::LengthLimitError;
use hyper::body::Body as _;
use serde_json::Value;
use tokio::time::timeout;

use super::MAX_JSON_BYTES;
use crate::problem::Problem;

/// Longest time for a body of at most [`MAX_JSON_BYTES`], also over a poor line.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);

/// A request whose body is here, and whether it had to be waited for.
///
/// # Errors
/// 400 for a zero byte in a text, 413 for a body over the limit, 408 for one that does not come, 400 for one that breaks off.
pub(super) async fn whole<P>(request: Request, place: P) -> Result<(Request, Option<P>), Problem> {
    if request.uri().path_and_query().is_some_and(|text| text.as_str().contains("%00")) {
        return Err(zero_byte());
    }
    if request.body().is_end_stream() {
        return Ok((request, Some(place)));
    }
    if request.body().size_hint().lower() > MAX_JSON_BYTES as u64 {
        return Err(too_long());
    }
    let (parts, body) = request.into_parts();
    let mut read = pin!(to_bytes(body, MAX_JSON_BYTES));
    // Nearly always it came with the head.
    let (read, place) = match poll!(&mut read) {
        std::task::Poll::Ready(read) => (read, Some(place)),
        std::task::Poll::Pending => {
            drop(place);
            let late = |_| {
                let detail = format!(
                    "the body did not arrive within {} seconds: send it again",
                    BODY_TIMEOUT.as_secs()
                );
                Problem::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", detail)
                    .header("connection", "close")
            };
            (timeout(BODY_TIMEOUT, read).await.map_err(late)?, None)
        }
    };
    let body: Bytes = read.map_err(|error| broken(&error))?;
    if has_zero_byte(&parts, &body) {
        return Err(zero_byte());
    }
    Ok((Request::from_parts(parts, Body::from(body)), place))
}

/// Whether a text in the body holds a zero byte. One database takes none in a text and the other does:
/// nothing that anybody means has one, so neither gets to see it.
fn has_zero_byte(parts: &Parts, body: &[u8]) -> bool {
    let kind = parts.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let is_form = kind.is_some_and(|kind| kind.starts_with(b"application/x-www-form-urlencoded"));
    let holds = |what: &[u8]| body.windows(what.len()).any(|part| part == what);
    match is_form {
        true => holds(b"%00") || holds(b"\0"),
        // JSON writes it like this; so does a text that speaks of it, after a backslash.
        false => holds(b"\\u0000") && serde_json::from_slice(body).is_ok_and(|json| in_json(&json)),
    }
}

/// As deep as the parser went, which has a limit.
fn in_json(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(all) => all.iter().any(in_json),
        Value::Object(all) => all.iter().any(|(key, value)| key.contains('\0') || in_json(value)),
        _ => false,
    }
}

fn zero_byte() -> Problem {
    let detail = "a text with a zero byte is no name and no value here: leave it out";
    Problem::new(StatusCode::BAD_REQUEST, "zero_byte", detail)
}

fn broken(error: &axum::Error) -> Problem {
    if error.source().is_some_and(|cause| cause.is::<LengthLimitError>()) {
        return too_long();
    }
    let detail = "the body broke off or is no HTTP";
    Problem::new(StatusCode::BAD_REQUEST, "bad_request", detail).header("connection", "close")
}

/// What follows on the connection is the rest of that body.
fn too_long() -> Problem {
    let detail = format!("the body is longer than {MAX_JSON_BYTES} bytes");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail).header("connection", "close")
}
