//! Errors as `application/problem+json` (RFC 9457). Every error answer of the REST API is made here.

use std::sync::Arc;

use axum::Json;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::error::{AppError, FieldError};
use crate::policy::Refused;
use crate::store::StoreError;

/// The body of an error answer.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody<'a> {
    /// `urn:edgeformer:problem:<code>`.
    #[serde(rename = "type")]
    kind: String,
    /// The status in words.
    title: &'a str,
    /// HTTP status.
    status: u16,
    /// What happened, to what, and what to do next.
    detail: &'a str,
    /// The request, as in the log: `urn:uuid:<request id>`.
    instance: String,
    /// Machine-readable.
    code: &'a str,
    /// Fields that are wrong, for `invalid`.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
    /// The approval that was opened, for `approval_required`.
    #[serde(skip_serializing_if = "Option::is_none")]
    approval_id: Option<&'a str>,
}

/// An error answer to be.
#[derive(Debug, Clone)]
pub struct Problem {
    /// HTTP status.
    pub status: StatusCode,
    /// Machine-readable.
    pub code: &'static str,
    /// What happened, to what, and what to do next.
    pub detail: String,
    errors: Box<[FieldError]>,
    header: Option<(&'static str, &'static str)>,
    /// What policies refused about a thing; the guard records it.
    pub(crate) refused: Option<Arc<Refused>>,
    approval: Option<Box<str>>,
}

impl Problem {
    /// A problem of this status and code.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            errors: Box::default(),
            header: None,
            refused: None,
            approval: None,
        }
    }

    /// With a header on the answer. A problem has one at most.
    pub fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.header = Some((name, value));
        self
    }

    /// With the approval that was opened for the request.
    pub fn approval(mut self, id: String) -> Self {
        self.approval = Some(id.into());
        self
    }

    /// 401. `detail` never says whether a token exists.
    pub fn unauthenticated(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
            .header("www-authenticate", "Bearer realm=\"edgeformer\"")
    }

    /// 500. The cause is logged with the request id and not shown.
    pub fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(%cause, "request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the controller failed; its log has the cause under this request id",
        )
    }

    /// The answer to the request of this id.
    pub(crate) fn answer(&self, request_id: &str) -> Response {
        let body = ProblemBody {
            kind: format!("urn:edgeformer:problem:{}", self.code),
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            instance: format!("urn:uuid:{request_id}"),
            code: self.code,
            errors: &self.errors,
            approval_id: self.approval.as_deref(),
        };
        let mut response = (self.status, Json(body)).into_response();
        let mut set = |name, value| {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        };
        set("content-type", "application/problem+json");
        if let Some((name, value)) = self.header {
            set(name, value);
        }
        response
    }
}

impl IntoResponse for Problem {
    /// The outermost layer makes the answer, because it knows the request id.
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<AppError> for Problem {
    fn from(error: AppError) -> Self {
        let detail = error.to_string();
        match error {
            AppError::NotFound { .. } => Self::new(StatusCode::NOT_FOUND, "not_found", detail),
            AppError::Invalid(errors) => {
                let fields: Vec<_> =
                    errors.iter().map(|one| format!("{}: {}", one.field, one.message)).collect();
                let detail = format!("the request is not valid: {}", fields.join("; "));
                Self {
                    errors: errors.into(),
                    ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail)
                }
            }
            AppError::Conflict { code, .. } => Self::new(StatusCode::CONFLICT, code, detail),
            AppError::Stale { .. } => Self::new(StatusCode::PRECONDITION_FAILED, "stale", detail),
            AppError::Unauthenticated(_) => Self::unauthenticated(detail),
            AppError::SecondFactor(_) => {
                Self { code: "second_factor_required", ..Self::unauthenticated(detail) }
            }
            AppError::Denied(_) => Self::new(StatusCode::FORBIDDEN, "forbidden", detail),
            AppError::Refused(refused) => {
                let code = if refused.needed.is_some() { "approval_required" } else { "forbidden" };
                let refused = Some(Arc::from(refused));
                Self { refused, ..Self::new(StatusCode::FORBIDDEN, code, detail) }
            }
            AppError::Overloaded(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail)
                    .header("retry-after", "5")
            }
            AppError::TooLarge(_) => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail),
            AppError::StorageFull(_) => {
                tracing::error!("{detail}");
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "storage_full", detail)
            }
            AppError::Store(StoreError::ApprovalGone(_)) => {
                Self::new(StatusCode::CONFLICT, "approval_not_open", detail)
            }
            AppError::Store(error) => of_store(&error),
            AppError::Internal(cause) => Self::internal(&cause),
        }
    }
}

/// What the database says no to, where that says something to the caller.
fn of_store(error: &StoreError) -> Problem {
    match error.database_code().as_deref() {
        // SQLITE_FULL and SQLITE_IOERR_WRITE; disk_full.
        Some("13" | "778" | "53100") => {
            tracing::error!(%error, "the disk of the database is full");
            let detail = "the disk of the database is full: nothing was changed, since nothing can be \
                          recorded; free some space, then repeat the request";
            Problem::new(StatusCode::INSUFFICIENT_STORAGE, "storage_full", detail)
        }
        // character_not_in_repertoire: a zero byte that was not seen before, as in a cursor.
        Some("22021") => {
            let detail = "a text with a zero byte is no name and no value here: leave it out";
            Problem::new(StatusCode::BAD_REQUEST, "zero_byte", detail)
        }
        _ => Problem::internal(error),
    }
}

impl IntoResponse for AppError {
    fn into_response(self) -> Response {
        Problem::from(self).into_response()
    }
}
