//! Erasing a person or a device, over REST.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;

use super::extract::{Body, InQuery};
use super::route::Routes;
use crate::admin::erasures as use_case;
use crate::app::App;
use crate::policy::Action;
use crate::problem::Problem;
use crate::scope::TenantScope;

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .add(Action::ErasurePreview, routes!(preview))
        .add(Action::ErasureCreate, routes!(create))
}

/// Whom.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SubjectQuery {
    /// `user:<id>`, `token:<id>`, `service_account:<id>` or `device:<id>`.
    subject: String,
}

/// Whom to erase.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct ErasureRequest {
    /// `user:<id>`, `token:<id>`, `service_account:<id>` or `device:<id>`.
    subject: String,
}

/// What erasing takes, or took.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Erasure {
    subject: String,
    /// Records whose names, addresses and details of the subject go. The records stay.
    records: u64,
    /// Rows of other tables that are removed or cleared, by table.
    rows: BTreeMap<String, u64>,
    /// Electronic signatures that stay as they were signed.
    signatures_kept: u64,
    /// When it was erased; null before.
    erased_at: Option<String>,
}

impl From<use_case::Erased> for Erasure {
    fn from(erased: use_case::Erased) -> Self {
        Self {
            subject: erased.subject.as_str().to_owned(),
            records: erased.records,
            rows: erased.rows,
            signatures_kept: erased.signatures_kept,
            erased_at: erased.erased_at.map(|at| at.rfc3339()),
        }
    }
}

/// Says what erasing a person would take; nothing is changed.
#[utoipa::path(get, path = "/audit/erasures/preview", tag = "audit", params(SubjectQuery),
    responses((status = 200, body = Erasure)))]
async fn preview(
    State(app): State<App>,
    scope: TenantScope,
    InQuery(query): InQuery<SubjectQuery>,
) -> Result<Json<Erasure>, Problem> {
    let subject = use_case::parse(&query.subject)?;
    Ok(Json(use_case::preview(&app, &scope, subject).await?.into()))
}

/// Erases a person or a revoked device: the account, names, addresses and details go for good, the
/// log's tree stays valid.
#[utoipa::path(post, path = "/audit/erasures", tag = "audit", request_body = ErasureRequest,
    responses((status = 200, body = Erasure)))]
async fn create(
    State(app): State<App>,
    scope: TenantScope,
    Body(body): Body<ErasureRequest>,
) -> Result<Json<Erasure>, Problem> {
    let subject = use_case::parse(&body.subject)?;
    Ok(Json(use_case::erase(&app, &scope, subject).await?.into()))
}
