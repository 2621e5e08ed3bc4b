//! Desired states. A device's desired state changes here and nowhere else, by compare-and-set on its
//! generation.

use edgeformer_proto::Generation;
use edgeformer_proto::ids::{DeviceId, RolloutId};

use super::rollout_devices::Target;
use super::sessions::generation;
use super::{Conn, StoreError, Write, installation, to_json};
use crate::scope::TenantScope;

/// The desired generation of an enrolled device; `None` when it is not there or was revoked.
pub async fn current(
    conn: &mut Conn<TenantScope>,
    device: DeviceId,
) -> Result<Option<Generation>, StoreError> {
    let key = conn.key();
    let row = sqlx::query(
        "SELECT desired_epoch, desired_counter FROM devices \
         WHERE tenant_id = $1 AND id = $2 AND state = 'enrolled'",
    )
    .bind(key)
    .bind(device.to_string())
    .fetch_optional(conn.db())
    .await
    .map_err(StoreError::doing("reading a desired generation"))?;
    Ok(row.map(|row: sqlx::any::AnyRow| generation(&row, "desired_epoch", "desired_counter")))
}

/// Replaces what one slot of a device is to run, and raises its generation from `current`. Returns
/// the new one; `None` when the device was not at `current` any more.
pub async fn assign(
    write: &mut Write<TenantScope>,
    device: DeviceId,
    current: Generation,
    slot: &str,
    target: &Target,
    rollout: RolloutId,
) -> Result<Option<Generation>, StoreError> {
    let next = current.next(installation::epoch(write).await?);
    let key = write.key();
    let raised = sqlx::query(
        "UPDATE devices SET desired_epoch = $5, desired_counter = $6 \
         WHERE tenant_id = $1 AND id = $2 AND state = 'enrolled' \
           AND desired_epoch = $3 AND desired_counter = $4",
    )
    .bind(key.clone())
    .bind(device.to_string())
    .bind(current.epoch.cast_signed())
    .bind(current.counter.cast_signed())
    .bind(next.epoch.cast_signed())
    .bind(next.counter.cast_signed())
    .execute(write.db())
    .await
    .map_err(StoreError::doing("raising a desired generation"))?;
    if raised.rows_affected() != 1 {
        return Ok(None);
    }
    sqlx::query(
        "INSERT INTO assignments (tenant_id, device_id, slot, version_id, rollout_id, settings) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (tenant_id, device_id, slot) DO UPDATE SET \
         version_id = excluded.version_id, rollout_id = excluded.rollout_id, \
         settings = excluded.settings",
    )
    .bind(key)
    .bind(device.to_string())
    .bind(slot.to_owned())
    .bind(target.version.map(|id| id.to_string()).unwrap_or_default())
    .bind(rollout.to_string())
    .bind(to_json(&target.settings))
    .execute(write.db())
    .await
    .map_err(StoreError::doing("assigning a version to a device"))?;
    Ok(Some(next))
}
