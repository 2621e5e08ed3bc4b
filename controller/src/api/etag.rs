//! Entity tags: a revision in quotes. Edits must say which revision they were made from.

use axum::http::{HeaderMap, StatusCode, header};

use crate::problem::Problem;

/// The tag of a revision.
pub fn of(revision: u64) -> String {
    format!("\"{revision}\"")
}

/// The revision in `If-Match`: 428 without it, 412 when it is no revision of ours.
pub fn required(headers: &HeaderMap) -> Result<u64, Problem> {
    let given = headers.get(header::IF_MATCH).ok_or_else(|| {
        Problem::new(
            StatusCode::PRECONDITION_REQUIRED,
            "if_match_required",
            "read it first and send the ETag of the answer as If-Match, so that nobody's change is lost",
        )
    })?;
    given
        .to_str()
        .ok()
        .and_then(|text| text.strip_prefix('"')?.strip_suffix('"')?.parse().ok())
        .ok_or_else(|| {
            Problem::new(
                StatusCode::PRECONDITION_FAILED,
                "stale",
                "If-Match is not an ETag that this controller gave",
            )
        })
}
