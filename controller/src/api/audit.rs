//! The audit log over REST.

use axum::Json;
use axum::extract::State;
use data_encoding::HEXLOWER;
use serde::Serialize;
use utoipa_axum::routes;

use super::extract::InQuery;
use super::page::{Page, PageQuery};
use super::route::Routes;
use crate::app::App;
use crate::audit::export::json::AuditRecord;
use crate::error::AppError;
use crate::policy::Action;
use crate::problem::Problem;
use crate::scope::{Scope, TenantScope};
use crate::store::audit_log;

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .add(Action::AuditRead, routes!(list))
        .add(Action::AuditRead, routes!(head))
        .merge(super::audit_export::routes())
        .merge(super::audit_proofs::routes())
        .merge(super::audit_retention::routes())
        .merge(super::audit_sinks::routes())
        .merge(super::audit_status::routes())
        .merge(super::audit_witnesses::routes())
        .merge(super::erasures::routes())
}

/// The head of the log: its Merkle tree (RFC 6962).
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AuditHead {
    /// Leaves.
    size: u64,
    /// Hexadecimal.
    root_sha256: String,
}

/// Lists records, newest first.
#[utoipa::path(get, path = "/audit", tag = "audit", params(PageQuery),
    responses((status = 200, body = Page<AuditRecord>)))]
async fn list(
    State(app): State<App>,
    scope: TenantScope,
    InQuery(page): InQuery<PageQuery>,
) -> Result<Json<Page<AuditRecord>>, Problem> {
    list_of(&app, &scope, &page).await
}

pub(super) async fn list_of<S: Scope>(
    app: &App,
    scope: &S,
    page: &PageQuery,
) -> Result<Json<Page<AuditRecord>>, Problem> {
    let limit = page.limit()?;
    let mut read = app.store.read(scope).await.map_err(AppError::from)?;
    let rows =
        audit_log::list(&mut read, page.after()?, limit + 1).await.map_err(AppError::from)?;
    Ok(Json(Page::of(rows, limit, |row| row.id(), AuditRecord::from)))
}

/// Shows the head of the log.
#[utoipa::path(get, path = "/audit/head", tag = "audit", responses((status = 200, body = AuditHead)))]
async fn head(State(app): State<App>, scope: TenantScope) -> Result<Json<AuditHead>, Problem> {
    head_of(&app, &scope).await
}

pub(super) async fn head_of<S: Scope>(app: &App, scope: &S) -> Result<Json<AuditHead>, Problem> {
    let mut read = app.store.read(scope).await.map_err(AppError::from)?;
    let tree = audit_log::head(&mut read).await.map_err(AppError::from)?;
    Ok(Json(AuditHead { size: tree.size(), root_sha256: HEXLOWER.encode(&tree.root()) }))
}
