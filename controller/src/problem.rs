//! Errors as `application/problem+json` (RFC 9457). Every error answer of the REST API is made here.

use axum::Json;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::error::{AppError, FieldError};

/// The body of an error answer.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Problem {
    /// `urn:edgeformer:problem:<code>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What happened, to what, and what to do next.
    pub detail: String,
    /// The request, as in the log: `urn:uuid:<request id>`.
    pub instance: String,
    /// Machine-readable.
    pub code: String,
    /// Fields that are wrong, for `invalid`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    #[serde(skip)]
    #[schema(ignore)]
    headers: HeaderMap,
}

impl Problem {
    /// A problem of this status and code.
    pub fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:edgeformer:problem:{code}"),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            instance: String::new(),
            code: code.to_owned(),
            errors: Vec::new(),
            headers: HeaderMap::new(),
        }
    }

    /// With a header on the answer.
    pub fn header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }

    /// 401. `detail` never says whether a token exists.
    pub fn unauthenticated(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
            .header(header::WWW_AUTHENTICATE, "Bearer realm=\"edgeformer\"")
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

    /// For the outermost layer, which knows the request id.
    pub(crate) fn with_instance(mut self, request_id: &str) -> Self {
        self.instance = format!("urn:uuid:{request_id}");
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut headers = self.headers.clone();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        let mut response = (status, Json(&self)).into_response();
        response.headers_mut().extend(headers);
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
                Self { errors, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail) }
            }
            AppError::Conflict { code, .. } => Self::new(StatusCode::CONFLICT, code, detail),
            AppError::Stale { .. } => Self::new(StatusCode::PRECONDITION_FAILED, "stale", detail),
            AppError::Denied(_) => Self::new(StatusCode::FORBIDDEN, "forbidden", detail),
            AppError::Overloaded(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail)
                    .header(header::RETRY_AFTER, "5")
            }
            AppError::TooLarge(_) => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail),
            AppError::StorageFull(_) => {
                tracing::error!("{detail}");
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "storage_full", detail)
            }
            AppError::Store(error) => Self::internal(&error),
            AppError::Internal(cause) => Self::internal(&cause),
        }
    }
}

impl IntoResponse for AppError {
    fn into_response(self) -> Response {
        Problem::from(self).into_response()
    }
}
