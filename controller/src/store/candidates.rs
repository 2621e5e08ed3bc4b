//! What a rollout is chosen from: devices with what they run and have, and other rollouts in the way.

use std::collections::BTreeMap;

use edgeformer_proto::ids::DeviceId;
use sqlx::Row;

use super::rollout_devices::Target;
use super::{Conn, StoreError, parse_id, parse_json};
use crate::clock::Timestamp;
use crate::scope::TenantScope;
use crate::session::facts::Facts;

/// An enrolled device, as a rollout sees it.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The device.
    pub id: DeviceId,
    /// For people.
    pub name: String,
    /// What selectors look at.
    pub labels: BTreeMap<String, String>,
    /// What it has.
    pub facts: Facts,
    /// Free space in its newest heartbeat.
    pub disk_free_bytes: Option<u64>,
    /// When it was last heard of.
    pub last_seen: Option<Timestamp>,
    /// What it serves in the slot now.
    pub serving: Target,
    /// That version, for people.
    pub serving_version: Option<String>,
}

/// Every enrolled device with what it serves in `slot`, by name.
pub async fn enrolled(
    conn: &mut Conn<TenantScope>,
    slot: &str,
) -> Result<Vec<Candidate>, StoreError> {
    let key = conn.key();
    let rows = sqlx::query(
        "SELECT d.id, d.name, d.labels, d.facts, p.disk_free_bytes, p.last_seen_at_us, \
                coalesce(s.serving_version_id, '') AS serving, v.version, \
                coalesce(a.version_id, '') AS assigned, coalesce(a.settings, '{}') AS settings \
         FROM devices d \
         LEFT JOIN device_presence p ON p.tenant_id = d.tenant_id AND p.device_id = d.id \
         LEFT JOIN slot_status s \
           ON s.tenant_id = d.tenant_id AND s.device_id = d.id AND s.slot = $2 \
         LEFT JOIN versions v ON v.tenant_id = d.tenant_id AND v.id = s.serving_version_id \
           AND EXISTS (SELECT 1 FROM rollout_devices r WHERE r.tenant_id = d.tenant_id \
             AND r.device_id = d.id AND r.version_id = v.id AND r.assigned_counter > 0) \
         LEFT JOIN assignments a \
           ON a.tenant_id = d.tenant_id AND a.device_id = d.id AND a.slot = $2 \
         WHERE d.tenant_id = $1 AND d.state = 'enrolled' ORDER BY d.name, d.id",
    )
    .bind(key)
    .bind(slot.to_owned())
    .fetch_all(conn.db())
    .await
    .map_err(StoreError::doing("choosing devices"))?;
    rows.iter()
        .map(|row| {
            let id: String = row.get("id");
            let text = |column| row.get::<String, _>(column);
            let serving = text("serving");
            // Settings belong to what is assigned; after a revert something else serves.
            let settings = if serving == text("assigned") { text("settings") } else { "{}".into() };
            // What a device says it serves counts only if a rollout once gave it that version:
            // a rollback must not assign what the device merely claims.
            let version: Option<String> = row.get("version");
            let known = (!serving.is_empty() && version.is_some())
                .then(|| parse_id("slot_status", &serving))
                .transpose()?;
            Ok(Candidate {
                name: text("name"),
                labels: parse_json("devices", &id, &text("labels"))?,
                facts: parse_json("devices", &id, &text("facts"))?,
                disk_free_bytes: row
                    .get::<Option<i64>, _>("disk_free_bytes")
                    .map(i64::unsigned_abs)
                    .filter(|&bytes| bytes > 0),
                last_seen: row.get::<Option<i64>, _>("last_seen_at_us").map(Timestamp),
                serving: Target {
                    version: known,
                    settings: parse_json("assignments", &id, &settings)?,
                },
                serving_version: version,
                id: parse_id("devices", &id)?,
            })
        })
        .collect()
}

/// Devices whose `slot` a running rollout owns: device and rollout id.
pub async fn owned(
    conn: &mut Conn<TenantScope>,
    slot: &str,
) -> Result<BTreeMap<DeviceId, String>, StoreError> {
    let key = conn.key();
    let rows = sqlx::query(
        "SELECT rd.device_id, rd.rollout_id FROM rollout_devices rd \
         JOIN rollouts r ON r.tenant_id = rd.tenant_id AND r.id = rd.rollout_id \
         WHERE rd.tenant_id = $1 AND r.slot = $2 AND r.state = 'running' \
           AND rd.state <> 'superseded'",
    )
    .bind(key)
    .bind(slot.to_owned())
    .fetch_all(conn.db())
    .await
    .map_err(StoreError::doing("looking for rollouts in the way"))?;
    rows.iter()
        .map(|row| {
            let device: String = row.get("device_id");
            Ok((parse_id("rollout_devices", &device)?, row.get("rollout_id")))
        })
        .collect()
}
