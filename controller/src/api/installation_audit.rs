//! The installation's own audit log: what was done to it and to its tenants from outside them. For the
//! installation's tokens alone; the same answers as a tenant gets of its own log.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use utoipa_axum::routes;

use super::audit::{self, AuditHead};
use super::audit_export::{self, ExportQuery};
use super::audit_proofs::{
    self, AuditKey, AuditProof, BundleQuery, CheckpointQuery, ConsistencyQuery, InclusionQuery,
};
use super::audit_status::{self, AuditStatus};
use super::extract::{InPath, InQuery};
use super::page::{Page, PageQuery};
use super::route::Routes;
use crate::app::App;
use crate::audit::export::json::AuditRecord;
use crate::policy::Action;
use crate::problem::Problem;
use crate::scope::InstallationScope;

/// The routes.
pub fn routes() -> Routes {
    let read = Action::InstallationAuditRead;
    Routes::new()
        .add(read, routes!(list))
        .add(read, routes!(head))
        .add(read, routes!(status))
        .add(read, routes!(key))
        .add(read, routes!(checkpoint))
        .add(read, routes!(log_file))
        .add(read, routes!(inclusion))
        .add(read, routes!(consistency))
        .add(Action::InstallationAuditExport, routes!(export))
        .add(Action::InstallationAuditExport, routes!(bundle))
}

/// Lists records of the installation's own log, newest first.
#[utoipa::path(get, path = "/installation/audit", tag = "installation", params(PageQuery),
    responses((status = 200, body = Page<AuditRecord>)))]
async fn list(
    State(app): State<App>,
    scope: InstallationScope,
    InQuery(page): InQuery<PageQuery>,
) -> Result<Json<Page<AuditRecord>>, Problem> {
    audit::list_of(&app, &scope, &page).await
}

/// Shows the head of the installation's own log.
#[utoipa::path(get, path = "/installation/audit/head", tag = "installation",
    responses((status = 200, body = AuditHead)))]
async fn head(
    State(app): State<App>,
    scope: InstallationScope,
) -> Result<Json<AuditHead>, Problem> {
    audit::head_of(&app, &scope).await
}

/// Shows how it stands with the installation's own log, and with the room for all logs.
#[utoipa::path(get, path = "/installation/audit/status", tag = "installation",
    responses((status = 200, body = AuditStatus)))]
async fn status(
    State(app): State<App>,
    scope: InstallationScope,
) -> Result<Json<AuditStatus>, Problem> {
    audit_status::of(&app, &scope).await
}

/// Shows the public key that signs the installation's own log.
#[utoipa::path(get, path = "/installation/audit/key", tag = "installation",
    responses((status = 200, body = AuditKey)))]
async fn key(State(app): State<App>, scope: InstallationScope) -> Result<Json<AuditKey>, Problem> {
    audit_proofs::key_of(&app, &scope).await
}

/// Gives the newest signed checkpoint of the installation's own log.
#[utoipa::path(get, path = "/installation/audit/checkpoint", tag = "installation",
    params(CheckpointQuery),
    responses((status = 200, body = String, content_type = "text/plain")))]
async fn checkpoint(
    State(app): State<App>,
    scope: InstallationScope,
    InQuery(query): InQuery<CheckpointQuery>,
) -> Result<Response, Problem> {
    audit_proofs::checkpoint_of(&app, &scope, &query).await
}

/// Gives `checkpoint`, `tile/<level>/<index>` or `tile/entries/<index>` of the installation's own log.
#[utoipa::path(get, path = "/installation/audit/log/{*path}", tag = "installation",
    params(("path" = String, Path)),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream")))]
async fn log_file(
    State(app): State<App>,
    scope: InstallationScope,
    InPath(path): InPath<String>,
) -> Result<Response, Problem> {
    audit_proofs::log_file_of(&app, &scope, &path).await
}

/// Proves that a record is in the installation's own log.
#[utoipa::path(get, path = "/installation/audit/proofs/inclusion", tag = "installation",
    params(InclusionQuery), responses((status = 200, body = AuditProof)))]
async fn inclusion(
    State(app): State<App>,
    scope: InstallationScope,
    InQuery(query): InQuery<InclusionQuery>,
) -> Result<Json<AuditProof>, Problem> {
    audit_proofs::inclusion_of(&app, &scope, &query).await
}

/// Proves that the installation's own log only grew.
#[utoipa::path(get, path = "/installation/audit/proofs/consistency", tag = "installation",
    params(ConsistencyQuery), responses((status = 200, body = AuditProof)))]
async fn consistency(
    State(app): State<App>,
    scope: InstallationScope,
    InQuery(query): InQuery<ConsistencyQuery>,
) -> Result<Json<AuditProof>, Problem> {
    audit_proofs::consistency_of(&app, &scope, &query).await
}

/// Streams the installation's own log, one record a line.
#[utoipa::path(get, path = "/installation/audit/export", tag = "installation", params(ExportQuery),
    responses((status = 200, body = String, content_type = "application/jsonl")))]
async fn export(
    State(app): State<App>,
    scope: InstallationScope,
    InQuery(query): InQuery<ExportQuery>,
) -> Result<Response, Problem> {
    audit_export::export_of(app, scope, &query).await
}

/// Streams a part of the installation's own log with all that it takes to verify it offline.
#[utoipa::path(get, path = "/installation/audit/bundle", tag = "installation", params(BundleQuery),
    responses((status = 200, body = String, content_type = "application/jsonl")))]
async fn bundle(
    State(app): State<App>,
    scope: InstallationScope,
    InQuery(query): InQuery<BundleQuery>,
) -> Result<Response, Problem> {
    audit_proofs::bundle_of(&app, &scope, &query).await
}
