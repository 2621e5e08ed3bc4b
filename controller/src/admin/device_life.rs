//! The end of a device's life, and what comes after it: decommissioned, released from quarantine,
//! replaced by other hardware.

use std::time::Duration;

use edgeformer_proto::ids::{DeviceId, TokenId};
use edgeformer_proto::token::{Kind, Token};
use serde_json::json;

use super::devices::DeviceWithSlots;
use super::{devices as all, tokens};
use crate::app::App;
use crate::audit::{Intent, Resource};
use crate::error::AppError;
use crate::policy::{Action, Facts};
use crate::scope::TenantScope;
use crate::store::Write;
use crate::store::devices::{self, Device, DeviceState, instances};
use crate::store::enrolment_tokens::{self, EnrolmentToken};

/// How long a device that was told to erase itself is waited for unless said otherwise.
pub const DEFAULT_WAIT_DAYS: u32 = 30;
/// A year: the longest that devices are expected to be off.
pub const MAX_WAIT_DAYS: u32 = 366;
const DAY: Duration = Duration::from_secs(86_400);
/// A replacement is usually at hand; a token for longer is asked for.
const REPLACEMENT_LIFE: Duration = Duration::from_secs(7 * 86_400);

/// Begins to change one device: it is there, and policy lets the caller.
async fn begin(
    app: &App,
    scope: &TenantScope,
    action: Action,
    id: DeviceId,
) -> Result<(Write<TenantScope>, Device), AppError> {
    let intent = Intent::new(action, Resource::new("device", id));
    let mut write = app.store.write(scope, intent).await?;
    let device = devices::get(&mut write, id).await?;
    let device = device.ok_or_else(|| AppError::not_found("device", id))?;
    write.decide(&Facts::device(id, &device.name, &device.labels))?;
    write.resource(Resource::new("device", id).named(device.name.clone()));
    Ok((write, device))
}

/// Wakes whoever has to do with the device.
fn nudge(app: &App, scope: &TenantScope, id: DeviceId) {
    app.nudges.audit.notify_one();
    app.nudges.device(scope.tenant(), id);
    app.nudges.rollouts.notify_one();
}

/// For how many days a device that was told to erase itself is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Wait(u32);

impl Wait {
    /// From a request.
    pub fn parse(days: Option<u32>) -> Result<Self, AppError> {
        match days.unwrap_or(DEFAULT_WAIT_DAYS) {
            days @ 1..=MAX_WAIT_DAYS => Ok(Self(days)),
            _ => {
                let message = format!("it must be 1 to {MAX_WAIT_DAYS}");
                Err(AppError::invalid("wait_days", message))
            }
        }
    }
}

/// Has a device erase its models and keys. It gets nothing from now on; when it is connected it is told
/// at once, else when it comes back. Doing it again changes nothing and is no error.
pub async fn decommission(
    app: &App,
    scope: &TenantScope,
    id: DeviceId,
    wait: Wait,
) -> Result<DeviceWithSlots, AppError> {
    let now = app.now();
    let (mut write, device) = begin(app, scope, Action::DeviceDecommission, id).await?;
    match device.state {
        DeviceState::Enrolled | DeviceState::Quarantined => {}
        DeviceState::Decommissioning | DeviceState::Erased => {
            write.rollback().await?;
            return all::get(app, scope, id).await;
        }
        DeviceState::Revoked => {
            let detail = format!(
                "device {} is revoked: it is not let in any more, so it cannot be told to erase itself",
                device.name
            );
            return Err(AppError::conflict("device_revoked", detail));
        }
    }
    let (order, until) = (uuid::Uuid::now_v7().to_string(), now.plus(DAY * wait.0));
    devices::order_erase(&mut write, id, &order, until, now).await?;
    write.changes(
        json!({"state": device.state.as_str()}),
        json!({
            "state": DeviceState::Decommissioning.as_str(), "order": order,
            "waited_for_until": until.rfc3339(),
        }),
    );
    write.commit(now).await?;
    nudge(app, scope, id);
    all::get(app, scope, id).await
}

/// Lets a quarantined device go on. What is known of its sessions is forgotten: the machine that connects
/// first is the device, and another one shows itself again.
pub async fn release(
    app: &App,
    scope: &TenantScope,
    id: DeviceId,
) -> Result<DeviceWithSlots, AppError> {
    let now = app.now();
    let (mut write, device) = begin(app, scope, Action::DeviceRelease, id).await?;
    if device.state != DeviceState::Quarantined {
        let (name, state) = (&device.name, device.state.as_str());
        let detail = format!("device {name} is {state}: only a quarantined device is released");
        return Err(AppError::conflict("device_not_quarantined", detail));
    }
    let (from, to) = ([DeviceState::Quarantined], DeviceState::Enrolled);
    devices::set_state(&mut write, id, &from, to, "", now).await?;
    instances::forget(&mut write, id).await?;
    write.changes(
        json!({"state": device.state.as_str(), "reason": device.state_reason}),
        json!({"state": to.as_str()}),
    );
    write.commit(now).await?;
    nudge(app, scope, id);
    all::get(app, scope, id).await
}

/// Makes a token with which other hardware takes the device's place: name, labels and what it is to run.
/// The device is cut off when that happens, not before.
pub async fn replace(
    app: &App,
    scope: &TenantScope,
    id: DeviceId,
    expires_in_s: Option<u64>,
) -> Result<(EnrolmentToken, Token, Device), AppError> {
    let life = match expires_in_s {
        Some(seconds) => tokens::life("expires_in_s", seconds)?,
        None => REPLACEMENT_LIFE,
    };
    let now = app.now();
    let (mut write, device) = begin(app, scope, Action::DeviceReplace, id).await?;
    if let Some(other) = device.replaced_by {
        let detail = format!("device {} was replaced by {other} already", device.name);
        return Err(AppError::conflict("device_replaced", detail));
    }
    let secret = Token::mint(Kind::Enrolment);
    let token = EnrolmentToken {
        id: TokenId::new(),
        uses_left: 1,
        labels: device.labels.clone(),
        created_at: now,
        expires_at: now.plus(life),
        revoked_at: None,
        replaces: Some(id),
    };
    enrolment_tokens::insert(&mut write, &token, &secret.sha256()).await?;
    write.changes(
        json!(null),
        json!({"enrolment_token": token.id.to_string(), "expires_at": token.expires_at.rfc3339()}),
    );
    write.commit(now).await?;
    app.nudges.audit.notify_one();
    Ok((token, secret, device))
}
