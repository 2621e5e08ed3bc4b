//! SCIM 2.0 (RFC 7643, RFC 7644): an identity provider brings in people and groups, changes them and
//! takes them away. It looks after what it made and nothing else: accounts and groups made here, with
//! the roles that were given here, it neither sees nor changes. What a group may do is decided here.

mod condition;
pub mod filter;
pub mod groups;
pub mod patch;
pub mod path;
pub mod resource;
pub mod schema;
pub mod users;

use serde_json::{Value, json};

use crate::error::AppError;
use crate::problem::Problem;

/// The media type of requests and answers.
pub const CONTENT_TYPE: &str = "application/scim+json";
/// Where the routes are, below the API.
pub const PREFIX: &str = "/scim/v2";
/// Resources on a page unless asked otherwise.
pub const DEFAULT_COUNT: i64 = 100;
/// Most resources on a page.
pub const MAX_COUNT: i64 = 200;

const ERROR: &str = "urn:ietf:params:scim:api:messages:2.0:Error";
const LIST: &str = "urn:ietf:params:scim:api:messages:2.0:ListResponse";

/// A part of a page of resources.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// How many are skipped.
    pub offset: i64,
    /// How many at most.
    pub count: i64,
}

impl Window {
    /// From `startIndex`, which begins at 1, and `count`; what is out of range is brought into it
    /// (RFC 7644, section 3.4.2.4).
    pub fn new(start_index: Option<i64>, count: Option<i64>) -> Self {
        let offset = start_index.unwrap_or(1).max(1) - 1;
        Self { offset, count: count.unwrap_or(DEFAULT_COUNT).clamp(0, MAX_COUNT) }
    }
}

/// An answer with several resources.
pub fn list(resources: &[Value], total: i64, offset: i64) -> Value {
    json!({
        "schemas": [LIST],
        "totalResults": total,
        "startIndex": offset + 1,
        "itemsPerPage": resources.len(),
        "Resources": resources,
    })
}

/// A problem as SCIM says it (RFC 7644, section 3.12).
pub fn error(problem: &Problem) -> (u16, Value) {
    let kind = match problem.code {
        "name_taken" => Some("uniqueness"),
        "invalid" | "bad_json" => Some("invalidValue"),
        "invalidFilter" | "invalidPath" | "noTarget" | "mutability" | "invalidSyntax" => {
            Some(problem.code)
        }
        "too_many" => Some("tooMany"),
        _ => None,
    };
    // SCIM knows one status for requests that are wrong.
    let status = match problem.status.as_u16() {
        422 => 400,
        other => other,
    };
    let mut body =
        json!({"schemas": [ERROR], "status": status.to_string(), "detail": problem.detail});
    if let Some(kind) = kind {
        body["scimType"] = json!(kind);
    }
    (status, body)
}

/// A request that is wrong in a way that SCIM has a word for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Wrong {
    /// `scimType`.
    pub kind: &'static str,
    /// What, in words.
    pub detail: String,
}

impl Wrong {
    /// Of this kind.
    pub fn new(kind: &'static str, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }

    /// A value that is not of its attribute's type or too long.
    pub fn value(detail: impl Into<String>) -> Self {
        Self::new("invalidValue", detail)
    }
}

/// Why a request of SCIM fails.
#[derive(Debug, thiserror::Error)]
pub enum ScimError {
    /// The request is wrong.
    #[error(transparent)]
    Wrong(#[from] Wrong),
    /// As everywhere.
    #[error(transparent)]
    App(#[from] AppError),
}

impl From<crate::store::StoreError> for ScimError {
    fn from(error: crate::store::StoreError) -> Self {
        Self::App(error.into())
    }
}

impl From<ScimError> for Problem {
    fn from(error: ScimError) -> Self {
        match error {
            ScimError::App(error) => error.into(),
            ScimError::Wrong(Wrong { kind: "invalidValue", detail }) => {
                Self::new(http::StatusCode::BAD_REQUEST, "invalid", detail)
            }
            ScimError::Wrong(Wrong { kind, detail }) => {
                Self::new(http::StatusCode::BAD_REQUEST, kind, detail)
            }
        }
    }
}
