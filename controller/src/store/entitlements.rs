//! Which versions a device may open now.

use edgeformer_proto::ids::{DeviceId, VersionId};
use sqlx::Row;

use super::{Conn, StoreError};
use crate::scope::TenantScope;

/// The HPKE key to which this version's data key may be wrapped for this device; none if the device
/// is not entitled to the version.
///
/// A device is entitled to what is assigned to it now, and to what it serves now if a rollout once
/// gave it that version: it must be able to start the confirmed version again while the new one is
/// on trial. What a device says it serves is never enough by itself.
pub async fn hpke_key(
    conn: &mut Conn<TenantScope>,
    device: DeviceId,
    version: VersionId,
) -> Result<Option<Vec<u8>>, StoreError> {
    let tenant = conn.key();
    let row = sqlx::query(
        "SELECT d.hpke_public FROM devices d \
         WHERE d.tenant_id = $1 AND d.id = $2 AND d.state = 'enrolled' AND ( \
           EXISTS (SELECT 1 FROM assignments a WHERE a.tenant_id = d.tenant_id \
                   AND a.device_id = d.id AND a.version_id = $3) \
           OR EXISTS (SELECT 1 FROM slot_status s JOIN rollout_devices r \
                   ON r.tenant_id = s.tenant_id AND r.device_id = s.device_id \
                   AND r.version_id = s.serving_version_id AND r.assigned_epoch > 0 \
                   WHERE s.tenant_id = d.tenant_id AND s.device_id = d.id \
                   AND s.serving_version_id = $3))",
    )
    .bind(tenant)
    .bind(device.to_string())
    .bind(version.to_string())
    .fetch_optional(conn.db())
    .await
    .map_err(StoreError::doing("reading what a device may open"))?;
    Ok(row.map(|row| row.get("hpke_public")))
}
