//! How a use-case fails, in words for operators. `problem` maps these to HTTP; the device listener
//! maps them to gRPC. Nothing else decides on status codes.

use crate::policy::Refused;
use crate::store::StoreError;

/// One field of a request that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct FieldError {
    /// JSON name of the field, or of the header or query parameter.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

/// A use-case that failed.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// It is not there, or not the caller's to see.
    #[error("there is no {kind} {id:?} here")]
    NotFound {
        /// "device", "model", …
        kind: &'static str,
        /// As asked for.
        id: String,
    },
    /// Fields of the request are wrong.
    #[error("the request is not valid")]
    Invalid(Vec<FieldError>),
    /// The state of things does not allow it.
    #[error("{detail}")]
    Conflict {
        /// Machine-readable: "name_taken", …
        code: &'static str,
        /// What is in the way and what to do.
        detail: String,
    },
    /// It changed since the caller read it.
    #[error("{kind} {id} is at revision {current} now: read it again and repeat the change")]
    Stale {
        /// "device", …
        kind: &'static str,
        /// Its id.
        id: String,
        /// Its revision.
        current: u64,
    },
    /// Nobody is known by what was presented.
    #[error("{0}")]
    Unauthenticated(String),
    /// The password is right, and a second factor is missing.
    #[error("{0}")]
    SecondFactor(String),
    /// Allowed, but not with this caller's rights.
    #[error("{0}")]
    Denied(String),
    /// Policies refuse it for this thing.
    #[error(transparent)]
    Refused(Box<Refused>),
    /// Too much of something; try later or with less.
    #[error("{0}")]
    Overloaded(String),
    /// A body over its limit.
    #[error("{0}")]
    TooLarge(String),
    /// The controller's disk or object store is full.
    #[error("{0}")]
    StorageFull(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something else on our side failed. The text is logged, not shown.
    #[error("{0}")]
    Internal(String),
}

impl From<Box<Refused>> for AppError {
    fn from(refused: Box<Refused>) -> Self {
        Self::Refused(refused)
    }
}

impl AppError {
    /// One wrong field.
    pub fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldError { field: field.to_owned(), message: message.into() }])
    }

    /// No such thing.
    pub fn not_found(kind: &'static str, id: impl ToString) -> Self {
        // What is echoed is bounded, whatever was asked for.
        Self::NotFound { kind, id: id.to_string().chars().take(128).collect() }
    }

    /// It cannot be done now.
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::Conflict { code, detail: detail.into() }
    }
}
