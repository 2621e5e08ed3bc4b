//! The devices of a rollout: what each was to run before and after, and how far it came.

use edgeformer_proto::Generation;
use edgeformer_proto::ids::{DeviceId, RolloutId, VersionId};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::sessions::generation;
use super::{Conn, StoreError, Write, parse_id, parse_json, to_json};
use crate::clock::Timestamp;
use crate::policy::Labels;
use crate::rollout::planner::{Entry, Observed};
use crate::rollout::types::{DeviceState, Settings};
use crate::scope::TenantScope;
use crate::session::report::Phase;

/// What a device runs in a slot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// `None`: nothing.
    pub version: Option<VersionId>,
    /// With which.
    pub settings: Settings,
}

/// A device about to be part of a rollout.
#[derive(Debug, Clone)]
pub struct NewEntry {
    /// The device.
    pub device: DeviceId,
    /// What it is to run.
    pub target: Target,
    /// What it ran before.
    pub previous: Target,
}

/// Adds a device to a rollout.
pub async fn insert(
    write: &mut Write<TenantScope>,
    rollout: RolloutId,
    entry: &NewEntry,
    now: Timestamp,
) -> Result<(), StoreError> {
    let key = write.key();
    let id = |version: Option<VersionId>| version.map(|id| id.to_string()).unwrap_or_default();
    sqlx::query(
        "INSERT INTO rollout_devices (tenant_id, rollout_id, device_id, version_id, settings, \
         previous_version_id, previous_settings, assigned_epoch, assigned_counter, state, reason, \
         message, updated_at_us) VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 0, 'pending', '', '', $8)",
    )
    .bind(key)
    .bind(rollout.to_string())
    .bind(entry.device.to_string())
    .bind(id(entry.target.version))
    .bind(to_json(&entry.target.settings))
    .bind(id(entry.previous.version))
    .bind(to_json(&entry.previous.settings))
    .bind(now.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("adding a device to a rollout"))?;
    Ok(())
}

/// Everything the planner knows of the devices of a rollout, by name.
pub async fn entries(
    conn: &mut Conn<TenantScope>,
    rollout: RolloutId,
    slot: &str,
) -> Result<Vec<Entry>, StoreError> {
    let key = conn.key();
    let rows = sqlx::query(
        "SELECT rd.device_id, d.name, d.state AS device_state, p.last_seen_at_us, rd.state, \
                rd.version_id, rd.assigned_epoch, rd.assigned_counter, d.accepted_epoch, \
                d.accepted_counter, coalesce(a.rollout_id, '') AS owner, s.phase, \
                s.generation_epoch, s.generation_counter, s.target_version_id, s.rollout_id, \
                s.reason, s.message, s.bytes_done, s.bytes_total \
         FROM rollout_devices rd \
         JOIN devices d ON d.tenant_id = rd.tenant_id AND d.id = rd.device_id \
         LEFT JOIN device_presence p ON p.tenant_id = rd.tenant_id AND p.device_id = rd.device_id \
         LEFT JOIN assignments a \
           ON a.tenant_id = rd.tenant_id AND a.device_id = rd.device_id AND a.slot = $3 \
         LEFT JOIN slot_status s \
           ON s.tenant_id = rd.tenant_id AND s.device_id = rd.device_id AND s.slot = $3 \
         WHERE rd.tenant_id = $1 AND rd.rollout_id = $2 ORDER BY d.name, rd.device_id",
    )
    .bind(key)
    .bind(rollout.to_string())
    .bind(slot.to_owned())
    .fetch_all(conn.db())
    .await
    .map_err(StoreError::doing("reading a rollout's devices"))?;
    rows.iter().map(read_entry).collect()
}

/// The labels of the devices of a rollout.
pub async fn labels(
    conn: &mut Conn<TenantScope>,
    rollout: RolloutId,
) -> Result<Vec<Labels>, StoreError> {
    let key = conn.key();
    let rows = sqlx::query(
        "SELECT d.id, d.labels FROM rollout_devices rd \
         JOIN devices d ON d.tenant_id = rd.tenant_id AND d.id = rd.device_id \
         WHERE rd.tenant_id = $1 AND rd.rollout_id = $2",
    )
    .bind(key)
    .bind(rollout.to_string())
    .fetch_all(conn.db())
    .await
    .map_err(StoreError::doing("reading the labels of a rollout's devices"))?;
    rows.iter()
        .map(|row| {
            let (id, labels): (String, String) = (row.get("id"), row.get("labels"));
            parse_json("devices", &id, &labels)
        })
        .collect()
}

fn optional_id<T: std::str::FromStr>(text: &str) -> Result<Option<T>, StoreError>
where
    T::Err: std::fmt::Display,
{
    (!text.is_empty()).then(|| parse_id("rollout_devices", text)).transpose()
}

fn read_state(row: &AnyRow) -> Result<DeviceState, StoreError> {
    let state: String = row.get("state");
    DeviceState::parse(&state).ok_or_else(|| StoreError::Damaged {
        table: "rollout_devices",
        id: row.get("device_id"),
        what: format!("state {state:?}"),
    })
}

fn read_entry(row: &AnyRow) -> Result<Entry, StoreError> {
    let assigned = generation(row, "assigned_epoch", "assigned_counter");
    Ok(Entry {
        device: parse_id("rollout_devices", &row.get::<String, _>("device_id"))?,
        name: row.get("name"),
        enrolled: row.get::<String, _>("device_state") == "enrolled",
        last_seen: row.get::<Option<i64>, _>("last_seen_at_us").map(Timestamp),
        state: read_state(row)?,
        version: optional_id(&row.get::<String, _>("version_id"))?,
        unsigned: false,
        assigned: (assigned > Generation { epoch: 0, counter: 0 }).then_some(assigned),
        accepted: generation(row, "accepted_epoch", "accepted_counter"),
        owner: optional_id(&row.get::<String, _>("owner"))?,
        observed: observed(row)?,
    })
}

fn observed(row: &AnyRow) -> Result<Option<Observed>, StoreError> {
    let Some(phase) = row.get::<Option<String>, _>("phase").and_then(|text| Phase::parse(&text))
    else {
        return Ok(None);
    };
    let text = |column| row.get::<Option<String>, _>(column).unwrap_or_default();
    let number = |column| row.get::<Option<i64>, _>(column).unwrap_or(0).unsigned_abs();
    Ok(Some(Observed {
        generation: generation(row, "generation_epoch", "generation_counter"),
        phase,
        target: optional_id(&text("target_version_id"))?,
        rollout: optional_id(&text("rollout_id"))?,
        reason: text("reason"),
        message: text("message"),
        bytes_done: number("bytes_done"),
        bytes_total: number("bytes_total"),
    }))
}

/// What one entry assigns, as the executor needs it.
#[derive(Debug, Clone)]
pub struct PendingEntry {
    /// For people.
    pub device_name: String,
    /// Name of the slot.
    pub slot: String,
    /// What to assign.
    pub target: Target,
}

/// The entry of a device in a running rollout, if it is still pending.
pub async fn pending(
    conn: &mut Conn<TenantScope>,
    rollout: RolloutId,
    device: DeviceId,
) -> Result<Option<PendingEntry>, StoreError> {
    let key = conn.key();
    let row = sqlx::query(
        "SELECT d.name, r.slot, rd.version_id, rd.settings FROM rollout_devices rd \
         JOIN rollouts r ON r.tenant_id = rd.tenant_id AND r.id = rd.rollout_id \
         JOIN devices d ON d.tenant_id = rd.tenant_id AND d.id = rd.device_id \
         WHERE rd.tenant_id = $1 AND rd.rollout_id = $2 AND rd.device_id = $3 \
           AND rd.state = 'pending' AND r.state = 'running'",
    )
    .bind(key)
    .bind(rollout.to_string())
    .bind(device.to_string())
    .fetch_optional(conn.db())
    .await
    .map_err(StoreError::doing("reading what to assign"))?;
    row.map(|row| {
        let settings: String = row.get("settings");
        Ok(PendingEntry {
            device_name: row.get("name"),
            slot: row.get("slot"),
            target: Target {
                version: optional_id(&row.get::<String, _>("version_id"))?,
                settings: parse_json("rollout_devices", &device.to_string(), &settings)?,
            },
        })
    })
    .transpose()
}

/// Notes that `assigned` carries the entry. False when it is no longer pending.
pub async fn set_assigned(
    write: &mut Write<TenantScope>,
    rollout: RolloutId,
    device: DeviceId,
    assigned: Generation,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let key = write.key();
    let done = sqlx::query(
        "UPDATE rollout_devices SET state = 'assigned', assigned_epoch = $4, \
         assigned_counter = $5, updated_at_us = $6 \
         WHERE tenant_id = $1 AND rollout_id = $2 AND device_id = $3 AND state = 'pending'",
    )
    .bind(key)
    .bind(rollout.to_string())
    .bind(device.to_string())
    .bind(assigned.epoch.cast_signed())
    .bind(assigned.counter.cast_signed())
    .bind(now.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("noting an assignment"))?;
    Ok(done.rows_affected() == 1)
}

/// A step of one device's way.
#[derive(Debug, Clone)]
pub struct Step<'a> {
    /// The device.
    pub device: DeviceId,
    /// The state it leaves.
    pub from: DeviceState,
    /// The state it reaches.
    pub to: DeviceState,
    /// Machine-readable.
    pub reason: &'a str,
    /// For people.
    pub message: &'a str,
}

/// Moves a device from one state to another. False when it was not in the first.
pub async fn advance(
    write: &mut Write<TenantScope>,
    rollout: RolloutId,
    step: &Step<'_>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let key = write.key();
    let done = sqlx::query(
        "UPDATE rollout_devices SET state = $5, reason = $6, message = $7, updated_at_us = $8 \
         WHERE tenant_id = $1 AND rollout_id = $2 AND device_id = $3 AND state = $4",
    )
    .bind(key)
    .bind(rollout.to_string())
    .bind(step.device.to_string())
    .bind(step.from.as_str())
    .bind(step.to.as_str())
    .bind(step.reason.to_owned())
    .bind(step.message.to_owned())
    .bind(now.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("noting a device's progress in a rollout"))?;
    Ok(done.rows_affected() == 1)
}

/// Ends every pending entry: the rollout was aborted before they were assigned.
pub async fn drop_pending(
    write: &mut Write<TenantScope>,
    rollout: RolloutId,
    message: &str,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let key = write.key();
    let done = sqlx::query(
        "UPDATE rollout_devices SET state = 'superseded', reason = 'aborted', message = $3, \
         updated_at_us = $4 WHERE tenant_id = $1 AND rollout_id = $2 AND state = 'pending'",
    )
    .bind(key)
    .bind(rollout.to_string())
    .bind(message.to_owned())
    .bind(now.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("dropping what was not assigned yet"))?;
    Ok(done.rows_affected())
}

/// Entries that a rollback undoes: assigned by this rollout, and the slot is still its own.
pub async fn to_undo(
    conn: &mut Conn<TenantScope>,
    rollout: RolloutId,
    slot: &str,
) -> Result<Vec<NewEntry>, StoreError> {
    let key = conn.key();
    let rows = sqlx::query(
        "SELECT rd.device_id, rd.version_id, rd.settings, rd.previous_version_id, \
                rd.previous_settings \
         FROM rollout_devices rd \
         JOIN devices d ON d.tenant_id = rd.tenant_id AND d.id = rd.device_id \
         JOIN assignments a \
           ON a.tenant_id = rd.tenant_id AND a.device_id = rd.device_id AND a.slot = $3 \
         WHERE rd.tenant_id = $1 AND rd.rollout_id = $2 AND a.rollout_id = $2 \
           AND d.state = 'enrolled' ORDER BY rd.device_id",
    )
    .bind(key)
    .bind(rollout.to_string())
    .bind(slot.to_owned())
    .fetch_all(conn.db())
    .await
    .map_err(StoreError::doing("reading what a rollout changed"))?;
    rows.iter()
        .map(|row| {
            let id: String = row.get("device_id");
            let target = |version, settings| -> Result<Target, StoreError> {
                Ok(Target {
                    version: optional_id(&row.get::<String, _>(version))?,
                    settings: parse_json("rollout_devices", &id, &row.get::<String, _>(settings))?,
                })
            };
            Ok(NewEntry {
                device: parse_id("rollout_devices", &id)?,
                target: target("previous_version_id", "previous_settings")?,
                previous: target("version_id", "settings")?,
            })
        })
        .collect()
}

/// A device of a rollout, as shown.
#[derive(Debug, Clone)]
pub struct NamedEntry {
    /// The device.
    pub device: DeviceId,
    /// For people.
    pub device_name: String,
    /// Version it is to run; `None` empties the slot.
    pub version: Option<String>,
    /// Version it ran before; `None` when the slot was empty.
    pub previous_version: Option<String>,
    /// Where it is.
    pub state: DeviceState,
    /// Machine-readable.
    pub reason: String,
    /// For people.
    pub message: String,
    /// Last change.
    pub updated_at: Timestamp,
}

/// The devices of a rollout in the order of their ids, after `after`.
pub async fn list(
    conn: &mut Conn<TenantScope>,
    rollout: RolloutId,
    after: Option<DeviceId>,
    limit: i64,
) -> Result<Vec<NamedEntry>, StoreError> {
    let key = conn.key();
    let rows = sqlx::query(
        "SELECT rd.device_id, d.name, v.version, b.version AS previous_version, rd.state, \
                rd.reason, rd.message, rd.updated_at_us FROM rollout_devices rd \
         JOIN devices d ON d.tenant_id = rd.tenant_id AND d.id = rd.device_id \
         LEFT JOIN versions v ON v.tenant_id = rd.tenant_id AND v.id = rd.version_id \
         LEFT JOIN versions b ON b.tenant_id = rd.tenant_id AND b.id = rd.previous_version_id \
         WHERE rd.tenant_id = $1 AND rd.rollout_id = $2 AND rd.device_id > $3 \
         ORDER BY rd.device_id LIMIT $4",
    )
    .bind(key)
    .bind(rollout.to_string())
    .bind(after.map(|id| id.to_string()).unwrap_or_default())
    .bind(limit)
    .fetch_all(conn.db())
    .await
    .map_err(StoreError::doing("listing a rollout's devices"))?;
    rows.iter()
        .map(|row| {
            Ok(NamedEntry {
                device: parse_id("rollout_devices", &row.get::<String, _>("device_id"))?,
                device_name: row.get("name"),
                version: row.get("version"),
                previous_version: row.get("previous_version"),
                state: read_state(row)?,
                reason: row.get("reason"),
                message: row.get("message"),
                updated_at: Timestamp(row.get("updated_at_us")),
            })
        })
        .collect()
}
