//! The end of a device's life over REST.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use edgeformer_proto::ids::DeviceId;
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;

use super::devices::DeviceView;
use super::extract::{Body, InPath};
use super::route::Routes;
use crate::admin::device_life as use_case;
use crate::app::App;
use crate::policy::Action;
use crate::problem::Problem;
use crate::scope::TenantScope;

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .add(Action::DeviceDecommission, routes!(decommission))
        .add(Action::DeviceRelease, routes!(release))
        .add(Action::DeviceReplace, routes!(replace))
}

/// How to decommission a device.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Decommission {
    /// Days after which a device that did not come back counts as lost: 30 unless given.
    wait_days: Option<u32>,
}

/// How to replace a device.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Replacement {
    /// Seconds until the token stops working: a week unless given.
    expires_in_s: Option<u64>,
}

/// A token for one device that takes another's place: the only answer that has the secret.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ReplacementCreated {
    id: String,
    /// Shown once.
    token: String,
    expires_at: String,
    /// The device whose place it gives.
    replaces: String,
    /// Its name, which the new one gets.
    name: String,
}

/// Has a device erase its models and keys; it is cut off when it said so.
#[utoipa::path(post, path = "/devices/{id}/decommission", tag = "devices",
    params(("id" = String, Path)), request_body = Decommission,
    responses((status = 200, body = DeviceView)))]
async fn decommission(
    State(app): State<App>,
    scope: TenantScope,
    InPath(id): InPath<DeviceId>,
    Body(body): Body<Decommission>,
) -> Result<Response, Problem> {
    let wait = use_case::Wait::parse(body.wait_days)?;
    let device = use_case::decommission(&app, &scope, id, wait).await?;
    Ok(DeviceView::of(device, app.now()).tagged())
}

/// Lets a quarantined device go on.
#[utoipa::path(post, path = "/devices/{id}/release", tag = "devices", params(("id" = String, Path)),
    responses((status = 200, body = DeviceView)))]
async fn release(
    State(app): State<App>,
    scope: TenantScope,
    InPath(id): InPath<DeviceId>,
) -> Result<Response, Problem> {
    let device = use_case::release(&app, &scope, id).await?;
    Ok(DeviceView::of(device, app.now()).tagged())
}

/// Makes a token with which other hardware takes the device's place.
#[utoipa::path(post, path = "/devices/{id}/replace", tag = "devices", params(("id" = String, Path)),
    request_body = Replacement, responses((status = 201, body = ReplacementCreated)))]
async fn replace(
    State(app): State<App>,
    scope: TenantScope,
    InPath(id): InPath<DeviceId>,
    Body(body): Body<Replacement>,
) -> Result<(StatusCode, Json<ReplacementCreated>), Problem> {
    let (token, secret, device) = use_case::replace(&app, &scope, id, body.expires_in_s).await?;
    let answer = ReplacementCreated {
        id: token.id.to_string(),
        token: secret.reveal().to_owned(),
        expires_at: token.expires_at.rfc3339(),
        replaces: id.to_string(),
        name: device.name,
    };
    Ok((StatusCode::CREATED, Json(answer)))
}
