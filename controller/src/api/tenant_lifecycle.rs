//! The life of a tenant over REST: for the operator of the installation.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::body::{Body as Stream, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use edgeformer_proto::ids::TenantId;
use futures::stream;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use utoipa_axum::routes;

use super::extract::{Body, InPath};
use super::route::Routes;
use super::tenants::{LimitsView, TenantView};
use crate::admin::tenant_lifecycle::{self as use_case, Loss, Shown, Usage};
use crate::app::App;
use crate::distribution::staging::Scratch;
use crate::error::AppError;
use crate::policy::Action;
use crate::problem::Problem;
use crate::scope::InstallationScope;
use crate::tenancy::lifecycle::DEFAULT_RETENTION;
use crate::tenancy::{Limits, export};

/// Bytes of an export read at a time.
const PIECE_BYTES: usize = 64 * 1024;
const DAY_S: u64 = 86_400;

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .add(Action::TenantList, routes!(show))
        .add(Action::TenantSuspend, routes!(suspend))
        .add(Action::TenantResume, routes!(resume))
        .add(Action::TenantExport, routes!(export_all))
        .add(Action::TenantList, routes!(preview_deletion))
        .add(Action::TenantDelete, routes!(delete))
        .add(Action::TenantRestore, routes!(restore))
        .add(Action::TenantQuotaUpdate, routes!(set_quota))
}

/// What a tenant uses.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct UsageView {
    /// Enrolled devices.
    devices: u64,
    /// Sealed bytes of its versions.
    stored_bytes: u64,
}

impl From<Usage> for UsageView {
    fn from(usage: Usage) -> Self {
        Self { devices: usage.devices, stored_bytes: usage.stored_bytes }
    }
}

/// A tenant with what it uses.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TenantDetails {
    tenant: TenantView,
    usage: UsageView,
}

impl From<Shown> for TenantDetails {
    fn from(shown: Shown) -> Self {
        Self { tenant: shown.tenant.into(), usage: shown.usage.into() }
    }
}

/// Why a tenant is suspended.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct SuspensionRequest {
    /// The tenant's people get to read it.
    reason: String,
}

/// What is to be deleted.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct DeletionRequest {
    /// The tenant's name, so that no other is deleted by mistake.
    name: String,
    /// For how many days it can be restored: 30 unless given.
    #[schema(minimum = 1, maximum = 3650)]
    retention_days: Option<u32>,
}

/// What deleting a tenant would take, once its retention is over.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct DeletionPreview {
    tenant: TenantView,
    usage: UsageView,
    /// How many rows, by table.
    rows: BTreeMap<String, u64>,
}

impl From<Loss> for DeletionPreview {
    fn from(loss: Loss) -> Self {
        let Loss { shown, rows } = loss;
        Self { tenant: shown.tenant.into(), usage: shown.usage.into(), rows }
    }
}

/// What a tenant may use at most. What is left out or null has no limit.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct QuotaRequest {
    /// Enrolled devices.
    devices: Option<u64>,
    /// Sealed bytes of its versions.
    stored_bytes: Option<u64>,
    /// Requests of people and programs per second.
    #[schema(minimum = 1)]
    requests_per_second: Option<u32>,
}

impl From<Limits> for LimitsView {
    fn from(limits: Limits) -> Self {
        let Limits { devices, stored_bytes, requests_per_second } = limits;
        Self { devices, stored_bytes, requests_per_second }
    }
}

/// Shows a tenant with what it uses.
#[utoipa::path(get, path = "/tenants/{id}", tag = "tenants", params(("id" = String, Path)),
    responses((status = 200, body = TenantDetails)))]
async fn show(
    State(app): State<App>,
    scope: InstallationScope,
    InPath(id): InPath<TenantId>,
) -> Result<Json<TenantDetails>, Problem> {
    Ok(Json(use_case::show(&app, &scope, id).await?.into()))
}

/// Keeps a tenant's people and programs out. Its devices keep serving.
#[utoipa::path(post, path = "/tenants/{id}/suspend", tag = "tenants",
    params(("id" = String, Path)), request_body = SuspensionRequest,
    responses((status = 200, body = TenantDetails)))]
async fn suspend(
    State(app): State<App>,
    scope: InstallationScope,
    InPath(id): InPath<TenantId>,
    Body(body): Body<SuspensionRequest>,
) -> Result<Json<TenantDetails>, Problem> {
    Ok(Json(use_case::suspend(&app, &scope, id, &body.reason).await?.into()))
}

/// Lets a suspended tenant's people and programs in again.
#[utoipa::path(post, path = "/tenants/{id}/resume", tag = "tenants",
    params(("id" = String, Path)), responses((status = 200, body = TenantDetails)))]
async fn resume(
    State(app): State<App>,
    scope: InstallationScope,
    InPath(id): InPath<TenantId>,
) -> Result<Json<TenantDetails>, Problem> {
    Ok(Json(use_case::resume(&app, &scope, id).await?.into()))
}

/// Says what deleting a tenant would take. Nothing is changed.
#[utoipa::path(get, path = "/tenants/{id}/deletion-preview", tag = "tenants",
    params(("id" = String, Path)), responses((status = 200, body = DeletionPreview)))]
async fn preview_deletion(
    State(app): State<App>,
    scope: InstallationScope,
    InPath(id): InPath<TenantId>,
) -> Result<Json<DeletionPreview>, Problem> {
    Ok(Json(use_case::loss(&app, &scope, id).await?.into()))
}

/// Deletes a tenant. People, programs and devices are kept out at once; everything is kept until its
/// retention is over, and can be restored until then.
#[utoipa::path(post, path = "/tenants/{id}/delete", tag = "tenants",
    params(("id" = String, Path)), request_body = DeletionRequest,
    responses((status = 200, body = TenantDetails)))]
async fn delete(
    State(app): State<App>,
    scope: InstallationScope,
    InPath(id): InPath<TenantId>,
    Body(body): Body<DeletionRequest>,
) -> Result<Json<TenantDetails>, Problem> {
    let days = body.retention_days.map(|days| Duration::from_secs(u64::from(days) * DAY_S));
    let retention = days.unwrap_or(DEFAULT_RETENTION);
    Ok(Json(use_case::delete(&app, &scope, id, &body.name, retention).await?.into()))
}

/// Restores a deleted tenant.
#[utoipa::path(post, path = "/tenants/{id}/restore", tag = "tenants",
    params(("id" = String, Path)), responses((status = 200, body = TenantDetails)))]
async fn restore(
    State(app): State<App>,
    scope: InstallationScope,
    InPath(id): InPath<TenantId>,
) -> Result<Json<TenantDetails>, Problem> {
    Ok(Json(use_case::restore(&app, &scope, id).await?.into()))
}

/// Sets what a tenant may use. What it has beyond stays; it gets no more.
#[utoipa::path(put, path = "/tenants/{id}/quota", tag = "tenants",
    params(("id" = String, Path)), request_body = QuotaRequest,
    responses((status = 200, body = TenantDetails)))]
async fn set_quota(
    State(app): State<App>,
    scope: InstallationScope,
    InPath(id): InPath<TenantId>,
    Body(body): Body<QuotaRequest>,
) -> Result<Json<TenantDetails>, Problem> {
    let QuotaRequest { devices, stored_bytes, requests_per_second } = body;
    let limits = Limits { devices, stored_bytes, requests_per_second };
    Ok(Json(use_case::set_limits(&app, &scope, id, limits).await?.into()))
}

/// Takes out everything of a tenant but secrets and model files, as lines of JSON.
#[utoipa::path(get, path = "/tenants/{id}/export", tag = "tenants",
    params(("id" = String, Path)),
    responses((status = 200, body = String, content_type = "application/jsonl")))]
async fn export_all(
    State(app): State<App>,
    scope: InstallationScope,
    InPath(id): InPath<TenantId>,
) -> Result<Response, Problem> {
    let exported = export::export(&app, &scope, id).await?;
    let body =
        Stream::from_stream(stream::try_unfold(Reader::new(exported.scratch)?, Reader::next));
    Ok(([(header::CONTENT_TYPE, "application/jsonl")], body).into_response())
}

/// Reads the file and keeps its place until all is sent.
pub(super) struct Reader {
    file: tokio::fs::File,
    _scratch: Scratch,
}

impl Reader {
    pub(super) fn new(scratch: Scratch) -> Result<Self, AppError> {
        let file = scratch.file.try_clone();
        let file =
            file.map_err(|error| AppError::Internal(format!("an export is lost: {error}")))?;
        Ok(Self { file: tokio::fs::File::from_std(file), _scratch: scratch })
    }

    pub(super) async fn next(mut self) -> std::io::Result<Option<(Bytes, Self)>> {
        let mut piece = vec![0; PIECE_BYTES];
        let count = self.file.read(&mut piece).await?;
        piece.truncate(count);
        Ok((count > 0).then(|| (Bytes::from(piece), self)))
    }
}
