//! Bodies on their way in. A request that is slow to send its body holds its connection and nothing
//! that others wait for: its place is given back until all has arrived.

use std::error::Error;
use std::pin::pin;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use futures::poll;
use http_body_util::LengthLimitError;
use hyper::body::Body as _;
use tokio::time::timeout;

use super::MAX_JSON_BYTES;
use crate::problem::Problem;

/// Longest time for a body of at most [`MAX_JSON_BYTES`], also over a poor line.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);

/// A request whose body is here, and whether it had to be waited for.
///
/// # Errors
/// 413 for a body over the limit, 408 for one that does not come, 400 for one that breaks off.
pub(super) async fn whole<P>(request: Request, place: P) -> Result<(Request, Option<P>), Problem> {
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
    Ok((Request::from_parts(parts, Body::from(body)), place))
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
