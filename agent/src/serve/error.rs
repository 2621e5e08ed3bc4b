//! Errors of the local API in the shape that OpenAI's clients expect. The only place that maps
//! domain errors to HTTP.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::supervisor::RouteError;
use crate::worker::message::Failure;

/// When a refused client may come back, in seconds: about the time of one short answer.
const RETRY_AFTER_BUSY_S: u32 = 1;

/// The same for a model that is being loaded.
const RETRY_AFTER_LOADING_S: u32 = 5;

/// An error as the client sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiError {
    status: StatusCode,
    kind: &'static str,
    code: Option<&'static str>,
    param: Option<&'static str>,
    message: String,
    retry_after_s: Option<u32>,
}

/// The JSON body.
#[derive(Debug, Serialize)]
pub struct ErrorBody<'a> {
    error: ErrorDetail<'a>,
}

#[derive(Debug, Serialize)]
struct ErrorDetail<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<&'static str>,
    code: Option<&'static str>,
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, kind, code: None, param: None, message, retry_after_s: None }
    }

    /// 400: the request cannot be run as it is; `param` names the field.
    pub fn invalid(param: Option<&'static str>, message: impl Into<String>) -> Self {
        Self { param, ..Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message) }
    }

    /// 401: no key or a wrong one.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        let error = Self::new(StatusCode::UNAUTHORIZED, "authentication_error", message);
        Self { code: Some("invalid_api_key"), ..error }
    }

    /// 403: this client may not talk to this server at all.
    pub fn forbidden(code: &'static str, message: impl Into<String>) -> Self {
        Self { code: Some(code), ..Self::new(StatusCode::FORBIDDEN, "permission_error", message) }
    }

    /// 404 of a path.
    pub fn no_such_path(message: impl Into<String>) -> Self {
        let error = Self::new(StatusCode::NOT_FOUND, "invalid_request_error", message);
        Self { code: Some("unknown_url"), ..error }
    }

    /// 405.
    pub fn no_such_method(message: impl Into<String>) -> Self {
        let error = Self::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", message);
        Self { code: Some("method_not_allowed"), ..error }
    }

    /// 404 of a model.
    pub fn no_such_model(message: impl Into<String>) -> Self {
        let error = Self::new(StatusCode::NOT_FOUND, "invalid_request_error", message);
        Self { code: Some("model_not_found"), param: Some("model"), ..error }
    }

    /// 408: the body did not arrive in time.
    pub fn slow_body(message: impl Into<String>) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "invalid_request_error", message)
    }

    /// 413.
    pub fn too_large(message: impl Into<String>) -> Self {
        let error = Self::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request_error", message);
        Self { code: Some("request_too_large"), ..error }
    }

    /// 429: more requests wait already than make sense.
    pub fn busy(message: impl Into<String>) -> Self {
        let error = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message);
        Self { code: Some("busy"), retry_after_s: Some(RETRY_AFTER_BUSY_S), ..error }
    }

    /// 503: the model does not answer yet.
    pub fn not_ready(message: impl Into<String>) -> Self {
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message);
        Self { code: Some("model_not_ready"), retry_after_s: Some(RETRY_AFTER_LOADING_S), ..error }
    }

    /// 503: the worker process ended under the request.
    pub fn worker_gone(reason: &str) -> Self {
        let message = format!(
            "the process that ran this model ended during the request: {reason}. The request can be \
             sent again"
        );
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message);
        Self { code: Some("worker_gone"), retry_after_s: Some(RETRY_AFTER_BUSY_S), ..error }
    }

    /// 500.
    pub fn engine(message: impl Into<String>) -> Self {
        let error = Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message);
        Self { code: Some("engine_error"), ..error }
    }

    /// A failure that the worker reports.
    pub fn from_failure(failure: Failure, message: String) -> Self {
        match failure {
            Failure::Busy => Self::busy(message),
            Failure::Invalid => Self::invalid(Some("messages"), message),
            Failure::ContextLength => {
                let error = Self::invalid(Some("messages"), message);
                Self { code: Some("context_length_exceeded"), ..error }
            }
            Failure::Cancelled | Failure::Engine => Self::engine(message),
        }
    }

    /// A request that found no worker; `known` are the models that would.
    pub fn from_route(error: RouteError, known: &[String]) -> Self {
        match error {
            RouteError::Unknown(_) if known.is_empty() => Self::not_ready(
                "no model runs on this device yet: `edgeformer-agent status` says what it waits for",
            ),
            RouteError::Unknown(_) => {
                Self::no_such_model(format!("{error}; models here: {}", known.join(", ")))
            }
            RouteError::OtherVersion { .. } => Self::no_such_model(error.to_string()),
            RouteError::NotReady { .. } => Self::not_ready(error.to_string()),
        }
    }

    /// `error.type` for telemetry: the code, or the kind where there is none.
    pub fn label(&self) -> &'static str {
        self.code.unwrap_or(self.kind)
    }

    /// The JSON body.
    pub fn body(&self) -> ErrorBody<'_> {
        let Self { kind, code, param, message, .. } = self;
        ErrorBody { error: ErrorDetail { message, kind, param: *param, code: *code } }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
