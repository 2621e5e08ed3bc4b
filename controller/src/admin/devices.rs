//! Devices: looked at, named, labelled, and cut off for good.

use std::collections::BTreeMap;

use edgeformer_proto::ids::DeviceId;
use serde_json::json;

use super::validate;
use crate::app::App;
use crate::audit::{Intent, Resource};
use crate::error::AppError;
use crate::policy::{Action, Facts};
use crate::scope::TenantScope;
use crate::store::devices::{self, Device, DeviceState, Filter, Slot};

/// A device with its slots.
#[derive(Debug, Clone)]
pub struct DeviceWithSlots {
    /// The device.
    pub device: Device,
    /// Sorted by name.
    pub slots: Vec<Slot>,
}

/// Devices in the order they enrolled.
pub async fn list(
    app: &App,
    scope: &TenantScope,
    filter: &Filter,
    after: Option<DeviceId>,
    limit: i64,
) -> Result<Vec<DeviceWithSlots>, AppError> {
    let mut read = app.store.read(scope).await?;
    let rows = devices::list(&mut read, filter, after, limit).await?;
    let ids: Vec<DeviceId> = rows.iter().map(|device| device.id).collect();
    let mut slots = devices::slots(&mut read, &ids).await?;
    Ok(rows
        .into_iter()
        .map(|device| DeviceWithSlots {
            slots: slots.remove(&device.id).unwrap_or_default(),
            device,
        })
        .collect())
}

/// One device.
pub async fn get(
    app: &App,
    scope: &TenantScope,
    id: DeviceId,
) -> Result<DeviceWithSlots, AppError> {
    let mut read = app.store.read(scope).await?;
    let device = devices::get(&mut read, id).await?;
    let device = device.ok_or_else(|| AppError::not_found("device", id))?;
    let slots = devices::slots(&mut read, &[id]).await?.remove(&id).unwrap_or_default();
    Ok(DeviceWithSlots { device, slots })
}

/// What an operator may edit.
#[derive(Debug, Clone, Default)]
pub struct Edit {
    name: Option<String>,
    labels: Option<BTreeMap<String, String>>,
}

impl Edit {
    /// From a request; labels replace all there are.
    pub fn parse(
        name: Option<&str>,
        labels: Option<BTreeMap<String, String>>,
    ) -> Result<Self, AppError> {
        if name.is_none() && labels.is_none() {
            return Err(AppError::invalid("name", "give a name, labels or both"));
        }
        Ok(Self {
            name: name.map(|name| validate::name("name", name)).transpose()?,
            labels: labels.map(|labels| validate::labels("labels", labels)).transpose()?,
        })
    }
}

/// Edits a device that is still at `revision`.
pub async fn update(
    app: &App,
    scope: &TenantScope,
    id: DeviceId,
    revision: u64,
    edit: Edit,
) -> Result<DeviceWithSlots, AppError> {
    let now = app.now();
    let intent = Intent::new(Action::DeviceUpdate, Resource::new("device", id));
    let mut write = app.store.write(scope, intent).await?;
    let before = devices::get(&mut write, id).await?;
    let before = before.ok_or_else(|| AppError::not_found("device", id))?;
    let name = edit.name.unwrap_or_else(|| before.name.clone());
    let labels = edit.labels.unwrap_or_else(|| before.labels.clone());
    // Nobody moves a device out of, or into, what is not theirs.
    write.decide(&Facts::device(id, &before.name, &before.labels))?;
    write.decide(&Facts::device(id, &name, &labels))?;
    if !devices::update(&mut write, id, revision, &name, &labels).await? {
        return Err(AppError::Stale {
            kind: "device",
            id: id.to_string(),
            current: before.revision,
        });
    }
    write.resource(Resource::new("device", id).named(name.clone()));
    write.changes(
        json!({"name": before.name, "labels": before.labels}),
        json!({"name": name, "labels": labels}),
    );
    write.commit(now).await?;
    app.nudges.audit.notify_one();
    // Selectors of running rollouts may match now.
    app.nudges.rollouts.notify_one();
    get(app, scope, id).await
}

/// Cuts a device off: its session ends, its certificate and keys are refused from now on. Doing it
/// again changes nothing and is no error.
pub async fn revoke(
    app: &App,
    scope: &TenantScope,
    id: DeviceId,
) -> Result<DeviceWithSlots, AppError> {
    let now = app.now();
    let intent = Intent::new(Action::DeviceRevoke, Resource::new("device", id));
    let mut write = app.store.write(scope, intent).await?;
    let device = devices::get(&mut write, id).await?;
    let device = device.ok_or_else(|| AppError::not_found("device", id))?;
    write.decide(&Facts::device(id, &device.name, &device.labels))?;
    write.resource(Resource::new("device", id).named(device.name));
    if devices::revoke(&mut write, id, "", now).await? {
        write.changes(
            json!({"state": device.state.as_str()}),
            json!({"state": DeviceState::Revoked.as_str()}),
        );
        write.commit(now).await?;
        app.nudges.audit.notify_one();
        app.nudges.device(scope.tenant(), id);
        app.nudges.rollouts.notify_one();
    } else {
        // Nothing changed: no record.
        write.rollback().await?;
    }
    get(app, scope, id).await
}
