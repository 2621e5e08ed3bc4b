//! Rollouts over REST.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use edgeformer_proto::ids::{DeviceId, RolloutId};
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;

use super::etag;
use super::extract::{Body, InPath, InQuery};
use super::page::{Page, PageQuery};
use super::route::Routes;
use crate::app::App;
use crate::clock::Timestamp;
use crate::error::AppError;
use crate::policy::Action;
use crate::problem::Problem;
use crate::rollout::operate::{self as use_case, CountedRollout, NewRollout};
use crate::rollout::preview::Preview;
use crate::rollout::types::{DeviceState, RolloutState, Selector, Settings};
use crate::scope::TenantScope;
use crate::store::rollout_devices::NamedEntry;

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .add(Action::RolloutPreview, routes!(preview))
        .add(Action::RolloutCreate, routes!(create))
        .add(Action::RolloutRead, routes!(list))
        .add(Action::RolloutRead, routes!(show))
        .add(Action::RolloutRead, routes!(devices))
        .add(Action::RolloutAbort, routes!(abort))
        .add(Action::RolloutRollback, routes!(rollback))
}

/// A rollout to make.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RolloutRequest {
    /// Name of the model.
    model: String,
    /// Version as published.
    version: String,
    /// The model's name unless given.
    slot: Option<String>,
    /// `{"all": true}`, `{"labels": {…}}` or `{"devices": […]}`.
    #[schema(value_type = Object)]
    selector: Selector,
    /// With which it runs.
    #[serde(default)]
    settings: Settings,
}

impl RolloutRequest {
    fn parse(self) -> Result<NewRollout, AppError> {
        NewRollout::parse(self.model, self.version, self.slot, self.selector, self.settings)
    }
}

/// What a rollout would do.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct RolloutPreview {
    devices: Vec<PreviewDevice>,
    /// At most, over all devices.
    bytes_to_move: u64,
    /// A rollout with conflicts is refused.
    conflicts: Vec<String>,
}

/// What a rollout would do to one device.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct PreviewDevice {
    id: String,
    name: String,
    from_version: Option<String>,
    to_version: String,
    online: bool,
    fits: bool,
    why_not: Option<String>,
}

impl RolloutPreview {
    fn of(preview: Preview, to_version: &str) -> Self {
        let devices = preview.devices.into_iter().map(|device| PreviewDevice {
            id: device.id.to_string(),
            name: device.name,
            from_version: device.from_version,
            to_version: to_version.to_owned(),
            online: device.online,
            fits: device.why_not.is_none(),
            why_not: device.why_not,
        });
        Self {
            devices: devices.collect(),
            bytes_to_move: preview.bytes_to_move,
            conflicts: preview.conflicts,
        }
    }
}

/// How many devices are in each state.
#[derive(Debug, Default, Serialize, utoipa::ToSchema)]
pub struct RolloutCounts {
    total: u64,
    pending: u64,
    assigned: u64,
    accepted: u64,
    confirmed: u64,
    reverted: u64,
    failed: u64,
    superseded: u64,
}

impl From<BTreeMap<DeviceState, u64>> for RolloutCounts {
    fn from(counts: BTreeMap<DeviceState, u64>) -> Self {
        let of = |state| counts.get(&state).copied().unwrap_or(0);
        Self {
            total: counts.values().sum(),
            pending: of(DeviceState::Pending),
            assigned: of(DeviceState::Assigned),
            accepted: of(DeviceState::Accepted),
            confirmed: of(DeviceState::Confirmed),
            reverted: of(DeviceState::Reverted),
            failed: of(DeviceState::Failed),
            superseded: of(DeviceState::Superseded),
        }
    }
}

/// A rollout.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct RolloutView {
    id: String,
    slot: String,
    /// Empty for a rollback to several versions or to an empty slot, like `version` and `version_id`.
    model: String,
    version: String,
    version_id: String,
    #[schema(value_type = Object)]
    selector: Selector,
    settings: Settings,
    state: &'static str,
    /// How it ended.
    reason: String,
    /// One sentence; empty once it ended.
    waiting_for: String,
    counts: RolloutCounts,
    /// The rollout that this one undoes.
    rolls_back: Option<String>,
    revision: u64,
    created_at: String,
    ended_at: Option<String>,
}

impl RolloutView {
    fn of(counted: CountedRollout, now: Timestamp) -> Self {
        let rollout = counted.named.rollout;
        Self {
            id: rollout.id.to_string(),
            slot: rollout.slot,
            model: counted.named.model,
            version: counted.named.version,
            version_id: rollout.version.map(|id| id.to_string()).unwrap_or_default(),
            selector: rollout.selector,
            settings: rollout.settings,
            state: rollout.state.as_str(),
            reason: rollout.reason,
            waiting_for: rollout.waiting.sentence(now),
            counts: counted.counts.into(),
            rolls_back: rollout.rolls_back.map(|id| id.to_string()),
            revision: rollout.revision,
            created_at: rollout.created_at.rfc3339(),
            ended_at: rollout.ended_at.map(Timestamp::rfc3339),
        }
    }

    fn tagged(self) -> Response {
        ([(header::ETAG, etag::of(self.revision))], Json(self)).into_response()
    }
}

/// A device of a rollout.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct RolloutDevice {
    device_id: String,
    device_name: String,
    /// Null: its slot is to be empty.
    version: Option<String>,
    /// Null: its slot was empty.
    previous_version: Option<String>,
    state: &'static str,
    reason: String,
    message: String,
    updated_at: String,
}

impl From<NamedEntry> for RolloutDevice {
    fn from(entry: NamedEntry) -> Self {
        Self {
            device_id: entry.device.to_string(),
            device_name: entry.device_name,
            version: entry.version,
            previous_version: entry.previous_version,
            state: entry.state.as_str(),
            reason: entry.reason,
            message: entry.message,
            updated_at: entry.updated_at.rfc3339(),
        }
    }
}

/// Says what a rollout would do, without doing it.
#[utoipa::path(post, path = "/rollouts/preview", tag = "rollouts",
    request_body = RolloutRequest, responses((status = 200, body = RolloutPreview)))]
async fn preview(
    State(app): State<App>,
    scope: TenantScope,
    Body(body): Body<RolloutRequest>,
) -> Result<Json<RolloutPreview>, Problem> {
    let new = body.parse()?;
    let preview = use_case::preview_new(&app, &scope, &new).await?;
    Ok(Json(RolloutPreview::of(preview, &new.version())))
}

/// Starts a rollout on the devices that match now.
#[utoipa::path(post, path = "/rollouts", tag = "rollouts",
    request_body = RolloutRequest, responses((status = 201, body = RolloutView)))]
async fn create(
    State(app): State<App>,
    scope: TenantScope,
    Body(body): Body<RolloutRequest>,
) -> Result<(StatusCode, Response), Problem> {
    let rollout = use_case::create(&app, &scope, body.parse()?).await?;
    Ok((StatusCode::CREATED, RolloutView::of(rollout, app.now()).tagged()))
}

/// Which rollouts.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct RolloutQuery {
    limit: Option<i64>,
    cursor: Option<String>,
    /// running, succeeded, failed or aborted.
    state: Option<String>,
}

/// Lists rollouts, newest first.
#[utoipa::path(get, path = "/rollouts", tag = "rollouts", params(RolloutQuery),
    responses((status = 200, body = Page<RolloutView>)))]
async fn list(
    State(app): State<App>,
    scope: TenantScope,
    InQuery(query): InQuery<RolloutQuery>,
) -> Result<Json<Page<RolloutView>>, Problem> {
    let state = query.state.as_deref().map(parse_state).transpose()?;
    let page = PageQuery::new(query.limit, query.cursor);
    let (limit, now) = (page.limit()?, app.now());
    let rows = use_case::list(&app, &scope, state, page.after()?, limit + 1).await?;
    Ok(Json(Page::of(rows, limit, |row| row.named.rollout.id, |row| RolloutView::of(row, now))))
}

fn parse_state(text: &str) -> Result<RolloutState, AppError> {
    RolloutState::parse(text)
        .ok_or_else(|| AppError::invalid("state", "it is running, succeeded, failed or aborted"))
}

/// Shows a rollout.
#[utoipa::path(get, path = "/rollouts/{id}", tag = "rollouts", params(("id" = String, Path)),
    responses((status = 200, body = RolloutView)))]
async fn show(
    State(app): State<App>,
    scope: TenantScope,
    InPath(id): InPath<RolloutId>,
) -> Result<Response, Problem> {
    let rollout = use_case::get(&app, &scope, id).await?;
    Ok(RolloutView::of(rollout, app.now()).tagged())
}

/// Lists the devices of a rollout with how far each came.
#[utoipa::path(get, path = "/rollouts/{id}/devices", tag = "rollouts",
    params(("id" = String, Path), PageQuery),
    responses((status = 200, body = Page<RolloutDevice>)))]
async fn devices(
    State(app): State<App>,
    scope: TenantScope,
    InPath(id): InPath<RolloutId>,
    InQuery(page): InQuery<PageQuery>,
) -> Result<Json<Page<RolloutDevice>>, Problem> {
    let (limit, after) = (page.limit()?, page.after::<DeviceId>()?);
    let rows = use_case::devices(&app, &scope, id, after, limit + 1).await?;
    Ok(Json(Page::of(rows, limit, |row| row.device, RolloutDevice::from)))
}

/// Stops assigning; devices that have the version keep it.
#[utoipa::path(post, path = "/rollouts/{id}/abort", tag = "rollouts", params(("id" = String, Path)),
    responses((status = 200, body = RolloutView)))]
async fn abort(
    State(app): State<App>,
    scope: TenantScope,
    InPath(id): InPath<RolloutId>,
) -> Result<Response, Problem> {
    let rollout = use_case::abort(&app, &scope, id).await?;
    Ok(RolloutView::of(rollout, app.now()).tagged())
}

/// Starts a rollout that brings each device back to what it served before this one.
#[utoipa::path(post, path = "/rollouts/{id}/rollback", tag = "rollouts",
    params(("id" = String, Path)), responses((status = 201, body = RolloutView)))]
async fn rollback(
    State(app): State<App>,
    scope: TenantScope,
    InPath(id): InPath<RolloutId>,
) -> Result<(StatusCode, Response), Problem> {
    let rollout = use_case::roll_back(&app, &scope, id).await?;
    Ok((StatusCode::CREATED, RolloutView::of(rollout, app.now()).tagged()))
}
