//! Devices that ask to be let in, over REST.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use edgeformer_proto::ids::EnrolmentRequestId;
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;

use super::extract::{Body, InPath, InQuery};
use super::page::{Page, PageQuery};
use super::route::Routes;
use crate::admin::enrolment_requests as use_case;
use crate::app::App;
use crate::policy::Action;
use crate::problem::Problem;
use crate::scope::TenantScope;
use crate::store::enrolments::requests::EnrolmentRequest;

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .add(Action::EnrolmentRequestRead, routes!(door))
        .add(Action::EnrolmentDoorUpdate, routes!(open))
        .add(Action::EnrolmentDoorUpdate, routes!(close))
        .add(Action::EnrolmentRequestRead, routes!(list))
        .add(Action::EnrolmentRequestApprove, routes!(approve))
        .add(Action::EnrolmentRequestReject, routes!(reject))
}

/// Whether devices without a token may ask.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct EnrolmentDoor {
    /// What devices name the tenant by; not secret. Null while none may ask.
    enrolment_id: Option<String>,
}

/// A device that asks.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct EnrolmentRequestView {
    id: String,
    /// Of its key: compare it with what the device shows.
    fingerprint: String,
    /// As the device says.
    name: String,
    /// As the device says.
    labels: BTreeMap<String, String>,
    /// As the device says.
    facts: serde_json::Value,
    /// Where it came from.
    address: String,
    /// "waiting", "approved", "rejected" or "done".
    state: &'static str,
    given_name: String,
    given_labels: BTreeMap<String, String>,
    reason: String,
    device_id: Option<String>,
    created_at: String,
    expires_at: String,
}

impl From<EnrolmentRequest> for EnrolmentRequestView {
    fn from(request: EnrolmentRequest) -> Self {
        Self {
            id: request.id.to_string(),
            fingerprint: request.fingerprint,
            name: request.name,
            labels: request.labels,
            facts: request.facts,
            address: request.address,
            state: request.state.as_str(),
            given_name: request.given_name,
            given_labels: request.given_labels,
            reason: request.reason,
            device_id: request.device.map(|id| id.to_string()),
            created_at: request.created_at.rfc3339(),
            expires_at: request.expires_at.rfc3339(),
        }
    }
}

/// What a device that is let in gets.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnrolmentApproval {
    /// Instead of its own.
    name: Option<String>,
    /// Beside its own, which they beat.
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// Why a device is kept out.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnrolmentRejection {
    /// Told to the device.
    reason: Option<String>,
}

/// Shows under which id devices without a token may ask.
#[utoipa::path(get, path = "/enrolment/door", tag = "enrolment requests",
    responses((status = 200, body = EnrolmentDoor)))]
async fn door(State(app): State<App>, scope: TenantScope) -> Result<Json<EnrolmentDoor>, Problem> {
    let enrolment_id = use_case::door(&app, &scope).await?;
    Ok(Json(EnrolmentDoor { enrolment_id }))
}

/// Lets devices without a token ask; again gives the same id.
#[utoipa::path(put, path = "/enrolment/door", tag = "enrolment requests",
    responses((status = 200, body = EnrolmentDoor)))]
async fn open(State(app): State<App>, scope: TenantScope) -> Result<Json<EnrolmentDoor>, Problem> {
    let enrolment_id = Some(use_case::open(&app, &scope).await?);
    Ok(Json(EnrolmentDoor { enrolment_id }))
}

/// Lets no device ask any more, and makes the id worthless.
#[utoipa::path(delete, path = "/enrolment/door", tag = "enrolment requests",
    responses((status = 204)))]
async fn close(State(app): State<App>, scope: TenantScope) -> Result<StatusCode, Problem> {
    use_case::close(&app, &scope).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists devices that ask, in the order in which they began to.
#[utoipa::path(get, path = "/enrolment/requests", tag = "enrolment requests", params(PageQuery),
    responses((status = 200, body = Page<EnrolmentRequestView>)))]
async fn list(
    State(app): State<App>,
    scope: TenantScope,
    InQuery(page): InQuery<PageQuery>,
) -> Result<Json<Page<EnrolmentRequestView>>, Problem> {
    let limit = page.limit()?;
    let rows = use_case::list(&app, &scope, page.after()?, limit + 1).await?;
    Ok(Json(Page::of(rows, limit, |row| row.id, EnrolmentRequestView::from)))
}

/// Lets a device in that asks.
#[utoipa::path(post, path = "/enrolment/requests/{id}/approve", tag = "enrolment requests",
    params(("id" = String, Path)), request_body = EnrolmentApproval,
    responses((status = 200, body = EnrolmentRequestView)))]
async fn approve(
    State(app): State<App>,
    scope: TenantScope,
    InPath(id): InPath<EnrolmentRequestId>,
    Body(body): Body<EnrolmentApproval>,
) -> Result<Json<EnrolmentRequestView>, Problem> {
    let approval = use_case::Approval::parse(body.name.as_deref(), body.labels)?;
    Ok(Json(use_case::approve(&app, &scope, id, approval).await?.into()))
}

/// Keeps a device out that asks.
#[utoipa::path(post, path = "/enrolment/requests/{id}/reject", tag = "enrolment requests",
    params(("id" = String, Path)), request_body = EnrolmentRejection,
    responses((status = 200, body = EnrolmentRequestView)))]
async fn reject(
    State(app): State<App>,
    scope: TenantScope,
    InPath(id): InPath<EnrolmentRequestId>,
    Body(body): Body<EnrolmentRejection>,
) -> Result<Json<EnrolmentRequestView>, Problem> {
    Ok(Json(use_case::reject(&app, &scope, id, body.reason.as_deref()).await?.into()))
}
