//! Retention of the audit log's texts and legal holds over REST.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;

use super::extract::{Body, InQuery};
use super::route::Routes;
use crate::admin::audit_retention as use_case;
use crate::app::App;
use crate::policy::Action;
use crate::problem::Problem;
use crate::scope::TenantScope;
use crate::store::audit_retention::Retention;

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .add(Action::AuditRetentionRead, routes!(show))
        .add(Action::AuditRetentionRead, routes!(preview))
        .add(Action::AuditRetentionUpdate, routes!(update))
        .add(Action::LegalHoldCreate, routes!(hold))
        .add(Action::LegalHoldLift, routes!(lift))
}

/// A legal hold.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct LegalHold {
    reason: String,
    /// Kind and id of who set it.
    by: String,
    at: String,
}

/// What is kept of the log. Leaves and proofs always are.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AuditRetention {
    /// Days that the texts of records are kept; null: for ever.
    keep_days: Option<u32>,
    /// The shortest period that the installation allows.
    min_keep_days: u32,
    /// Records whose texts were deleted: those from 0 up to this.
    deleted_records: u64,
    /// While there is one, nothing is deleted.
    hold: Option<LegalHold>,
}

impl AuditRetention {
    fn of(app: &App, retention: Retention) -> Json<Self> {
        Json(Self {
            keep_days: retention.keep_days,
            min_keep_days: app.audit_limits().min_retention_days,
            deleted_records: retention.deleted_to,
            hold: retention.hold.map(|hold| LegalHold {
                reason: hold.reason,
                by: hold.by,
                at: hold.at.rfc3339(),
            }),
        })
    }
}

/// How long to keep.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditRetentionEdit {
    /// Days; null keeps for ever.
    keep_days: Option<u32>,
}

/// Why nothing may be deleted.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LegalHoldRequest {
    reason: String,
}

/// Which period.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct PreviewQuery {
    /// Days.
    keep_days: u32,
}

/// What a period would delete now.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AuditRetentionPreview {
    keep_days: u32,
    /// Records that would lose their texts, and all that stands beside them.
    records: u64,
    /// Records that lost them before.
    deleted_records: u64,
    /// Whether a legal hold would stop it.
    held: bool,
}

/// Shows how long texts of the audit log are kept, and whether it is under hold.
#[utoipa::path(get, path = "/audit/retention", tag = "audit",
    responses((status = 200, body = AuditRetention)))]
async fn show(State(app): State<App>, scope: TenantScope) -> Result<Json<AuditRetention>, Problem> {
    let retention = use_case::get(&app, &scope).await?;
    Ok(AuditRetention::of(&app, retention))
}

/// Says what a period would delete now; nothing is changed.
#[utoipa::path(get, path = "/audit/retention/preview", tag = "audit", params(PreviewQuery),
    responses((status = 200, body = AuditRetentionPreview)))]
async fn preview(
    State(app): State<App>,
    scope: TenantScope,
    InQuery(query): InQuery<PreviewQuery>,
) -> Result<Json<AuditRetentionPreview>, Problem> {
    let found = use_case::preview(&app, &scope, query.keep_days).await?;
    Ok(Json(AuditRetentionPreview {
        keep_days: found.keep_days,
        records: found.records,
        deleted_records: found.deleted,
        held: found.held,
    }))
}

/// Sets how long the texts of records are kept.
#[utoipa::path(put, path = "/audit/retention", tag = "audit", request_body = AuditRetentionEdit,
    responses((status = 200, body = AuditRetention)))]
async fn update(
    State(app): State<App>,
    scope: TenantScope,
    Body(body): Body<AuditRetentionEdit>,
) -> Result<Json<AuditRetention>, Problem> {
    let retention = use_case::set_period(&app, &scope, body.keep_days).await?;
    Ok(AuditRetention::of(&app, retention))
}

/// Puts the log under legal hold: nothing of it is deleted, and nobody in it is erased.
#[utoipa::path(put, path = "/audit/hold", tag = "audit", request_body = LegalHoldRequest,
    responses((status = 200, body = AuditRetention)))]
async fn hold(
    State(app): State<App>,
    scope: TenantScope,
    Body(body): Body<LegalHoldRequest>,
) -> Result<Json<AuditRetention>, Problem> {
    let retention = use_case::hold(&app, &scope, &body.reason).await?;
    Ok(AuditRetention::of(&app, retention))
}

/// Lifts the legal hold.
#[utoipa::path(delete, path = "/audit/hold", tag = "audit",
    responses((status = 200, body = AuditRetention)))]
async fn lift(State(app): State<App>, scope: TenantScope) -> Result<Json<AuditRetention>, Problem> {
    let retention = use_case::lift(&app, &scope).await?;
    Ok(AuditRetention::of(&app, retention))
}
