//! What a session reads (the device's desired state) and writes (what the device reports).

use std::collections::BTreeMap;

use edgeformer_proto::Generation;
use edgeformer_proto::ids::{DeviceId, RolloutId, VersionId};
use sqlx::Row;

use super::devices::DeviceState;
use super::{Conn, StoreError, Write, parse_id, parse_json};
use crate::clock::Timestamp;
use crate::rollout::types::Settings;
use crate::scope::TenantScope;
use crate::session::report::SlotReport;

/// What one device is to run, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// Where the device is in its life.
    pub state: DeviceState,
    /// Why.
    pub state_reason: String,
    /// The CA that made its newest certificate counts no more.
    pub is_ca_retired: bool,
    /// The order to erase itself; empty unless there is one.
    pub erase_order: String,
    /// Position in the device's history.
    pub generation: Generation,
    /// Newest generation that the device made durable.
    pub accepted: Generation,
    /// Sorted by slot; slots that are to be empty are absent.
    pub slots: Vec<DesiredSlot>,
}

/// What one slot is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredSlot {
    /// Name of the slot.
    pub slot: String,
    /// Name of the model.
    pub model: String,
    /// Version, for people.
    pub version: String,
    /// Version, for machines.
    pub version_id: VersionId,
    /// SHA-256 of the manifest envelope.
    pub manifest_sha256: Vec<u8>,
    /// The rollout that assigned it.
    pub rollout: RolloutId,
    /// With which it runs.
    pub settings: Settings,
}

/// The desired state of a device; `None` when there is no such device.
pub async fn desired(
    conn: &mut Conn<TenantScope>,
    device: DeviceId,
) -> Result<Option<Desired>, StoreError> {
    let key = conn.key();
    let row = sqlx::query(
        "SELECT d.state, d.state_reason, d.erase_order, d.desired_epoch, d.desired_counter, \
                d.accepted_epoch, d.accepted_counter, (SELECT count(*) FROM past_cas p \
                  WHERE p.tenant_id = d.tenant_id AND p.id = d.ca_id AND p.retired_at_us > 0) AS retired \
         FROM devices d WHERE d.tenant_id = $1 AND d.id = $2",
    )
    .bind(key.clone())
    .bind(device.to_string())
    .fetch_optional(conn.db())
    .await
    .map_err(StoreError::doing("reading a device's generation"))?;
    let Some(row) = row else { return Ok(None) };
    let slots = sqlx::query(
        "SELECT a.slot, m.name AS model, v.version, v.id AS version_id, v.manifest_sha256, \
                a.rollout_id, a.settings \
         FROM assignments a \
         JOIN versions v ON v.tenant_id = a.tenant_id AND v.id = a.version_id \
         JOIN models m ON m.tenant_id = v.tenant_id AND m.id = v.model_id \
         WHERE a.tenant_id = $1 AND a.device_id = $2 ORDER BY a.slot",
    )
    .bind(key)
    .bind(device.to_string())
    .fetch_all(conn.db())
    .await
    .map_err(StoreError::doing("reading a device's desired state"))?;
    let slots = slots.iter().map(|row| {
        let slot: String = row.get("slot");
        let settings: String = row.get("settings");
        Ok(DesiredSlot {
            settings: parse_json("assignments", &slot, &settings)?,
            model: row.get("model"),
            version: row.get("version"),
            version_id: parse_id("assignments", &row.get::<String, _>("version_id"))?,
            manifest_sha256: row.get("manifest_sha256"),
            rollout: parse_id("assignments", &row.get::<String, _>("rollout_id"))?,
            slot,
        })
    });
    Ok(Some(Desired {
        state: DeviceState::read(&device.to_string(), &row.get::<String, _>("state"))?,
        state_reason: row.get("state_reason"),
        is_ca_retired: row.get::<i64, _>("retired") > 0,
        erase_order: row.get("erase_order"),
        generation: generation(&row, "desired_epoch", "desired_counter"),
        accepted: generation(&row, "accepted_epoch", "accepted_counter"),
        slots: slots.collect::<Result<_, StoreError>>()?,
    }))
}

pub(in crate::store) fn generation(
    row: &sqlx::any::AnyRow,
    epoch: &str,
    counter: &str,
) -> Generation {
    Generation {
        epoch: row.get::<i64, _>(epoch).unsigned_abs(),
        counter: row.get::<i64, _>(counter).unsigned_abs(),
    }
}

/// Replaces what is known of a device's hardware and software.
pub async fn set_facts(
    write: &mut Write<TenantScope>,
    device: DeviceId,
    facts: &serde_json::Value,
) -> Result<(), StoreError> {
    let key = write.key();
    sqlx::query("UPDATE devices SET facts = $3 WHERE tenant_id = $1 AND id = $2 AND facts <> $3")
        .bind(key)
        .bind(device.to_string())
        .bind(facts.to_string())
        .execute(write.db())
        .await
        .map_err(StoreError::doing("noting a device's facts"))?;
    Ok(())
}

/// Notes that the device made `held` durable. False when it knew that, or when `held` was never
/// offered.
pub async fn accept(
    write: &mut Write<TenantScope>,
    device: DeviceId,
    held: Generation,
) -> Result<bool, StoreError> {
    let key = write.key();
    let done = sqlx::query(
        "UPDATE devices SET accepted_epoch = $3, accepted_counter = $4 \
         WHERE tenant_id = $1 AND id = $2 \
           AND (accepted_epoch < $3 OR (accepted_epoch = $3 AND accepted_counter < $4)) \
           AND (desired_epoch > $3 OR (desired_epoch = $3 AND desired_counter >= $4))",
    )
    .bind(key)
    .bind(device.to_string())
    .bind(held.epoch.cast_signed())
    .bind(held.counter.cast_signed())
    .execute(write.db())
    .await
    .map_err(StoreError::doing("noting an accepted generation"))?;
    Ok(done.rows_affected() == 1)
}

/// Ends every rollout entry that `offered` carried to the device: the device refused it.
pub async fn reject(
    write: &mut Write<TenantScope>,
    device: DeviceId,
    offered: Generation,
    message: &str,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let key = write.key();
    let done = sqlx::query(
        "UPDATE rollout_devices SET state = 'failed', reason = 'rejected', message = $5, \
         updated_at_us = $6 \
         WHERE tenant_id = $1 AND device_id = $2 AND state = 'assigned' \
           AND assigned_epoch = $3 AND assigned_counter = $4",
    )
    .bind(key)
    .bind(device.to_string())
    .bind(offered.epoch.cast_signed())
    .bind(offered.counter.cast_signed())
    .bind(message.to_owned())
    .bind(now.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("noting a rejected generation"))?;
    Ok(done.rows_affected())
}

/// Replaces what a device reports of one slot; an older generation never replaces a newer.
pub async fn set_status(
    write: &mut Write<TenantScope>,
    device: DeviceId,
    report: &SlotReport,
    now: Timestamp,
) -> Result<(), StoreError> {
    let key = write.key();
    let id = |id: Option<VersionId>| id.map(|id| id.to_string()).unwrap_or_default();
    sqlx::query(
        "INSERT INTO slot_status (tenant_id, device_id, slot, generation_epoch, \
         generation_counter, phase, target_version_id, serving_version_id, rollout_id, reason, \
         message, bytes_total, bytes_done, device_time_us, updated_at_us) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) \
         ON CONFLICT (tenant_id, device_id, slot) DO UPDATE SET \
         generation_epoch = excluded.generation_epoch, \
         generation_counter = excluded.generation_counter, phase = excluded.phase, \
         target_version_id = excluded.target_version_id, \
         serving_version_id = excluded.serving_version_id, rollout_id = excluded.rollout_id, \
         reason = excluded.reason, message = excluded.message, \
         bytes_total = excluded.bytes_total, bytes_done = excluded.bytes_done, \
         device_time_us = excluded.device_time_us, updated_at_us = excluded.updated_at_us \
         WHERE excluded.generation_epoch > slot_status.generation_epoch \
            OR (excluded.generation_epoch = slot_status.generation_epoch \
                AND excluded.generation_counter >= slot_status.generation_counter)",
    )
    .bind(key)
    .bind(device.to_string())
    .bind(report.slot.clone())
    .bind(report.generation.epoch.cast_signed())
    .bind(report.generation.counter.cast_signed())
    .bind(report.phase.as_str())
    .bind(id(report.target))
    .bind(id(report.serving))
    .bind(report.rollout.map(|id| id.to_string()).unwrap_or_default())
    .bind(report.reason.clone())
    .bind(report.message.clone())
    .bind(i64::try_from(report.bytes_total).unwrap_or(i64::MAX))
    .bind(i64::try_from(report.bytes_done).unwrap_or(i64::MAX))
    .bind(report.device_time_us)
    .bind(now.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("noting a slot's status"))?;
    Ok(())
}

/// What the audit log says last of each slot of a device; empty text where it says nothing.
pub async fn evident(
    conn: &mut Conn<TenantScope>,
    device: DeviceId,
) -> Result<BTreeMap<String, String>, StoreError> {
    let key = conn.key();
    sqlx::query_as("SELECT slot, evident FROM slot_status WHERE tenant_id = $1 AND device_id = $2")
        .bind(key)
        .bind(device.to_string())
        .fetch_all(conn.db())
        .await
        .map(|rows: Vec<(String, String)>| rows.into_iter().collect())
        .map_err(StoreError::doing("reading what is on record of a device's slots"))
}

/// Notes what the audit log says of a slot, if it said `was` until now. False when it did not.
pub async fn set_evident(
    write: &mut Write<TenantScope>,
    device: DeviceId,
    slot: &str,
    was: &str,
    now_says: &str,
) -> Result<bool, StoreError> {
    let key = write.key();
    let done = sqlx::query(
        "UPDATE slot_status SET evident = $5 \
         WHERE tenant_id = $1 AND device_id = $2 AND slot = $3 AND evident = $4",
    )
    .bind(key)
    .bind(device.to_string())
    .bind(slot.to_owned())
    .bind(was.to_owned())
    .bind(now_says.to_owned())
    .execute(write.db())
    .await
    .map_err(StoreError::doing("noting what is on record of a slot"))?;
    Ok(done.rows_affected() == 1)
}

/// Removes the status of slots that a device neither has nor is to have, so that a device that makes
/// up new names at every connection fills nothing.
pub async fn forget_slots(
    write: &mut Write<TenantScope>,
    device: DeviceId,
    has: &[String],
) -> Result<u64, StoreError> {
    let key = write.key();
    let places: String = (3..3 + has.len()).map(|at| format!(", ${at}")).collect();
    // Safe: made of constants and numbers.
    let sql = sqlx::AssertSqlSafe(format!(
        "DELETE FROM slot_status WHERE tenant_id = $1 AND device_id = $2 \
         AND slot NOT IN (''{places}) AND slot NOT IN ( \
           SELECT slot FROM assignments WHERE tenant_id = $1 AND device_id = $2)"
    ));
    let mut query = sqlx::query(sql).bind(key).bind(device.to_string());
    for slot in has {
        query = query.bind(slot.clone());
    }
    let done = query.execute(write.db()).await.map_err(StoreError::doing("forgetting slots"))?;
    Ok(done.rows_affected())
}

/// Devices whose session has something to do: revoked, not at their desired generation, or with a
/// certificate that counts no more.
pub async fn behind(conn: &mut Conn<TenantScope>) -> Result<Vec<DeviceId>, StoreError> {
    let key = conn.key();
    let rows = sqlx::query(
        "SELECT id FROM devices WHERE tenant_id = $1 AND (state <> 'enrolled' \
         OR desired_epoch > accepted_epoch \
         OR (desired_epoch = accepted_epoch AND desired_counter > accepted_counter) \
         OR ca_id IN (SELECT p.id FROM past_cas p \
                       WHERE p.tenant_id = $1 AND p.retired_at_us > 0))",
    )
    .bind(key)
    .fetch_all(conn.db())
    .await
    .map_err(StoreError::doing("looking for devices that are behind"))?;
    rows.iter().map(|row| parse_id("devices", &row.get::<String, _>("id"))).collect()
}
