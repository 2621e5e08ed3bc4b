//! Devices over REST.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use edgeformer_proto::ids::DeviceId;
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;

use super::etag;
use super::extract::{Body, InPath, InQuery, RepeatedQuery};
use super::page::{Page, PageQuery};
use super::route::Routes;
use crate::admin::devices::{self as use_case, DeviceWithSlots};
use crate::app::App;
use crate::clock::Timestamp;
use crate::error::AppError;
use crate::policy::Action;
use crate::problem::Problem;
use crate::scope::TenantScope;
use crate::store::devices::{Device, DeviceState, Filter, MAX_LABEL_FILTERS, Slot};

/// A device heard of within this time is online: three heartbeats and the delay of batched writes.
pub const ONLINE_WITHIN: Duration = Duration::from_secs(45);

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .add(Action::DeviceRead, routes!(list))
        .add(Action::DeviceRead, routes!(show))
        .add(Action::DeviceUpdate, routes!(update))
        .add(Action::DeviceRevoke, routes!(revoke))
}

/// A device.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Device)]
pub struct DeviceView {
    id: String,
    name: String,
    /// "enrolled", "quarantined", "decommissioning", "erased" or "revoked".
    state: &'static str,
    /// Why, if there is something to say.
    state_reason: String,
    /// Since when, if not since it enrolled.
    state_since: Option<String>,
    /// If it was told to erase itself.
    decommission: Option<DecommissionView>,
    /// The device whose place it took.
    replaces: Option<String>,
    /// The device that took its place.
    replaced_by: Option<String>,
    labels: BTreeMap<String, String>,
    /// agent_version, os, arch, cpus, memory_bytes, disk_free_bytes, cpu_features, hostname.
    facts: serde_json::Value,
    online: bool,
    last_seen_at: Option<String>,
    cert_expires_at: String,
    /// `epoch.counter` of what it is to run.
    desired_generation: String,
    /// `epoch.counter` of what it made durable.
    accepted_generation: String,
    slots: Vec<SlotView>,
    revision: u64,
    created_at: String,
}

/// How far the erasure of a device is.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct DecommissionView {
    /// "waiting", "erased" or "never_came_back".
    state: &'static str,
    /// It is told whenever it comes back; after this it counts as lost.
    waited_for_until: String,
    /// What it said that it erased: chunks, versions, bytes.
    erased: Option<serde_json::Value>,
}

impl DecommissionView {
    fn of(device: &Device, now: Timestamp) -> Option<Self> {
        let until = device.erase_until?;
        let state = match device.state {
            _ if device.erased.is_some() => "erased",
            DeviceState::Decommissioning if now < until => "waiting",
            _ => "never_came_back",
        };
        let (waited_for_until, erased) = (until.rfc3339(), device.erased.clone());
        Some(Self { state, waited_for_until, erased })
    }
}

/// A slot of a device.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SlotView {
    slot: String,
    phase: String,
    desired_model: Option<String>,
    desired_version: Option<String>,
    desired_version_id: Option<String>,
    serving_model: Option<String>,
    serving_version: Option<String>,
    serving_version_id: Option<String>,
    reason: String,
    message: String,
    bytes_done: u64,
    bytes_total: u64,
    updated_at: Option<String>,
}

impl From<Slot> for SlotView {
    fn from(slot: Slot) -> Self {
        let part = |of: &Option<crate::store::devices::NamedVersion>| match of.clone() {
            Some(named) => (Some(named.model), Some(named.version), Some(named.id)),
            None => (None, None, None),
        };
        let (desired_model, desired_version, desired_version_id) = part(&slot.desired);
        let (serving_model, serving_version, serving_version_id) = part(&slot.serving);
        Self {
            slot: slot.slot,
            phase: slot.phase,
            desired_model,
            desired_version,
            desired_version_id,
            serving_model,
            serving_version,
            serving_version_id,
            reason: slot.reason,
            message: slot.message,
            bytes_done: slot.bytes_done,
            bytes_total: slot.bytes_total,
            updated_at: slot.updated_at.map(Timestamp::rfc3339),
        }
    }
}

impl DeviceView {
    pub(super) fn of(DeviceWithSlots { device, slots }: DeviceWithSlots, now: Timestamp) -> Self {
        let heard = |at: Timestamp| at.plus(ONLINE_WITHIN) > now;
        let is_let_in = device.state.may_connect();
        let id = |id: Option<DeviceId>| id.map(|id| id.to_string());
        let decommission = DecommissionView::of(&device, now);
        Self {
            id: device.id.to_string(),
            name: device.name,
            state: device.state.as_str(),
            labels: device.labels,
            facts: device.facts,
            state_reason: device.state_reason.clone(),
            state_since: device.state_since.map(Timestamp::rfc3339),
            decommission,
            replaces: id(device.replaces),
            replaced_by: id(device.replaced_by),
            online: is_let_in && device.last_seen_at.is_some_and(heard),
            last_seen_at: device.last_seen_at.map(Timestamp::rfc3339),
            cert_expires_at: device.cert_expires_at.rfc3339(),
            desired_generation: device.desired.to_string(),
            accepted_generation: device.accepted.to_string(),
            slots: slots.into_iter().map(SlotView::from).collect(),
            revision: device.revision,
            created_at: device.created_at.rfc3339(),
        }
    }

    pub(super) fn tagged(self) -> Response {
        ([(header::ETAG, etag::of(self.revision))], Json(self)).into_response()
    }
}

/// Which devices.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DeviceQuery {
    limit: Option<i64>,
    cursor: Option<String>,
    /// This name exactly.
    name: Option<String>,
}

/// Lists devices in the order they enrolled.
#[utoipa::path(get, path = "/devices", tag = "devices",
    params(DeviceQuery, ("label" = Option<Vec<String>>, Query, description = "k=v; repeatable, all must match")),
    responses((status = 200, body = Page<DeviceView>)))]
async fn list(
    State(app): State<App>,
    scope: TenantScope,
    InQuery(query): InQuery<DeviceQuery>,
    RepeatedQuery(pairs): RepeatedQuery,
) -> Result<Json<Page<DeviceView>>, Problem> {
    let filter = Filter { labels: label_filter(&pairs)?, name: query.name };
    let page = PageQuery::new(query.limit, query.cursor);
    let (limit, now) = (page.limit()?, app.now());
    let rows = use_case::list(&app, &scope, &filter, page.after()?, limit + 1).await?;
    Ok(Json(Page::of(rows, limit, |row| row.device.id, |row| DeviceView::of(row, now))))
}

fn label_filter(pairs: &[(String, String)]) -> Result<BTreeMap<String, String>, AppError> {
    let mut labels = BTreeMap::new();
    for (_, text) in pairs.iter().filter(|(name, _)| name == "label") {
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| AppError::invalid("label", "write it as label=key=value"))?;
        if labels.insert(key.to_owned(), value.to_owned()).is_some_and(|old| old != value) {
            let message = format!("no device has two values of {key:?}");
            return Err(AppError::invalid("label", message));
        }
    }
    if labels.len() > MAX_LABEL_FILTERS {
        let message = format!("at most {MAX_LABEL_FILTERS} labels can be asked for at once");
        return Err(AppError::invalid("label", message));
    }
    Ok(labels)
}

/// Shows a device.
#[utoipa::path(get, path = "/devices/{id}", tag = "devices", params(("id" = String, Path)),
    responses((status = 200, body = DeviceView)))]
async fn show(
    State(app): State<App>,
    scope: TenantScope,
    InPath(id): InPath<DeviceId>,
) -> Result<Response, Problem> {
    let device = use_case::get(&app, &scope, id).await?;
    Ok(DeviceView::of(device, app.now()).tagged())
}

/// What to change of a device.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeviceEdit {
    name: Option<String>,
    /// Replaces all labels.
    labels: Option<BTreeMap<String, String>>,
}

/// Renames or relabels a device. Needs `If-Match` with the revision that was read.
#[utoipa::path(patch, path = "/devices/{id}", tag = "devices",
    params(("id" = String, Path), ("If-Match" = String, Header)),
    request_body = DeviceEdit, responses((status = 200, body = DeviceView)))]
async fn update(
    State(app): State<App>,
    scope: TenantScope,
    InPath(id): InPath<DeviceId>,
    headers: HeaderMap,
    Body(body): Body<DeviceEdit>,
) -> Result<Response, Problem> {
    let revision = etag::required(&headers)?;
    let edit = use_case::Edit::parse(body.name.as_deref(), body.labels)?;
    let device = use_case::update(&app, &scope, id, revision, edit).await?;
    Ok(DeviceView::of(device, app.now()).tagged())
}

/// Cuts a device off for good.
#[utoipa::path(post, path = "/devices/{id}/revoke", tag = "devices", params(("id" = String, Path)),
    responses((status = 200, body = DeviceView)))]
async fn revoke(
    State(app): State<App>,
    scope: TenantScope,
    InPath(id): InPath<DeviceId>,
) -> Result<Response, Problem> {
    let device = use_case::revoke(&app, &scope, id).await?;
    Ok(DeviceView::of(device, app.now()).tagged())
}
