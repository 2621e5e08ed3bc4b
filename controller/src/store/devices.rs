//! Devices as operators see and edit them. Enrolment adds rows, sessions report what is in them.

pub mod announce;
pub mod instances;
pub mod replacements;

use std::collections::BTreeMap;

use edgeformer_proto::Generation;
use edgeformer_proto::ids::DeviceId;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::{Conn, StoreError, Write, parse_id, parse_json, to_json};
use crate::clock::Timestamp;
use crate::scope::TenantScope;

/// Most labels that one list may ask for.
pub const MAX_LABEL_FILTERS: usize = 16;

/// Where a device is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceState {
    /// It may connect, and gets what is assigned to it.
    Enrolled,
    /// It may connect and gets nothing: it may be a second machine with its key.
    Quarantined,
    /// It may connect, to be told to erase itself.
    Decommissioning,
    /// It said that it erased itself.
    Erased,
    /// It is cut off for good.
    Revoked,
}

impl DeviceState {
    const ALL: [Self; 5] =
        [Self::Enrolled, Self::Quarantined, Self::Decommissioning, Self::Erased, Self::Revoked];

    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enrolled => "enrolled",
            Self::Quarantined => "quarantined",
            Self::Decommissioning => "decommissioning",
            Self::Erased => "erased",
            Self::Revoked => "revoked",
        }
    }

    /// The state of this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Reads the column of the row `id`.
    pub(in crate::store) fn read(id: &str, text: &str) -> Result<Self, StoreError> {
        Self::parse(text).ok_or_else(|| StoreError::Damaged {
            table: "devices",
            id: id.to_owned(),
            what: format!("state {text:?}"),
        })
    }

    /// Whether it may have a session and renew its certificate.
    pub fn may_connect(self) -> bool {
        matches!(self, Self::Enrolled | Self::Quarantined | Self::Decommissioning)
    }
}

/// A device with its newest sign of life.
#[derive(Debug, Clone)]
pub struct Device {
    /// Its id.
    pub id: DeviceId,
    /// For people; need not be unique.
    pub name: String,
    /// Where it is in its life.
    pub state: DeviceState,
    /// From its token, itself and operators.
    pub labels: BTreeMap<String, String>,
    /// What it said about itself: a JSON object.
    pub facts: serde_json::Value,
    /// End of its certificate.
    pub cert_expires_at: Timestamp,
    /// Newest desired state.
    pub desired: Generation,
    /// Newest desired state that it made durable.
    pub accepted: Generation,
    /// Raised by each edit.
    pub revision: u64,
    /// When it enrolled.
    pub created_at: Timestamp,
    /// When it was last heard of.
    pub last_seen_at: Option<Timestamp>,
    /// Why it is in its state; empty if nobody said.
    pub state_reason: String,
    /// Since when; none since it enrolled.
    pub state_since: Option<Timestamp>,
    /// When it counts as lost if it did not erase itself; none unless it was told to.
    pub erase_until: Option<Timestamp>,
    /// What it said that it erased: a JSON object.
    pub erased: Option<serde_json::Value>,
    /// The device whose place it took.
    pub replaces: Option<DeviceId>,
    /// The device that took its place.
    pub replaced_by: Option<DeviceId>,
}

const SELECT: &str = "SELECT d.id, d.name, d.state, d.labels, d.facts, d.cert_expires_at_us, \
    d.desired_epoch, d.desired_counter, d.accepted_epoch, d.accepted_counter, d.revision, \
    d.created_at_us, d.state_reason, d.state_since_us, d.erase_until_us, d.erased, d.replaces, \
    d.replaced_by, p.last_seen_at_us FROM devices d \
    LEFT JOIN device_presence p ON p.tenant_id = d.tenant_id AND p.device_id = d.id";

fn number(row: &AnyRow, column: &str) -> u64 {
    row.get::<i64, _>(column).unsigned_abs()
}

fn read(row: &AnyRow) -> Result<Device, StoreError> {
    let id: String = row.get("id");
    let (state, labels, facts): (String, String, String) =
        (row.get("state"), row.get("labels"), row.get("facts"));
    let time = |column: &str| match row.get::<i64, _>(column) {
        0 => None,
        at => Some(Timestamp(at)),
    };
    let other = |column: &str| match row.get::<String, _>(column) {
        text if text.is_empty() => Ok(None),
        text => parse_id("devices", &text).map(Some),
    };
    let erased: String = row.get("erased");
    let generation =
        |epoch, counter| Generation { epoch: number(row, epoch), counter: number(row, counter) };
    Ok(Device {
        state: DeviceState::read(&id, &state)?,
        labels: parse_json("devices", &id, &labels)?,
        facts: parse_json("devices", &id, &facts)?,
        name: row.get("name"),
        cert_expires_at: Timestamp(row.get("cert_expires_at_us")),
        desired: generation("desired_epoch", "desired_counter"),
        accepted: generation("accepted_epoch", "accepted_counter"),
        revision: number(row, "revision"),
        created_at: Timestamp(row.get("created_at_us")),
        last_seen_at: row.get::<Option<i64>, _>("last_seen_at_us").map(Timestamp),
        state_reason: row.get("state_reason"),
        state_since: time("state_since_us"),
        erase_until: time("erase_until_us"),
        erased: (!erased.is_empty()).then(|| parse_json("devices", &id, &erased)).transpose()?,
        replaces: other("replaces")?,
        replaced_by: other("replaced_by")?,
        id: parse_id("devices", &id)?,
    })
}

/// What a list is narrowed to.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// All of these labels; at most [`MAX_LABEL_FILTERS`].
    pub labels: BTreeMap<String, String>,
    /// This name exactly.
    pub name: Option<String>,
}

/// Devices in the order they enrolled, after `after`.
pub async fn list(
    conn: &mut Conn<TenantScope>,
    filter: &Filter,
    after: Option<DeviceId>,
    limit: i64,
) -> Result<Vec<Device>, StoreError> {
    let mut sql = format!("{SELECT} WHERE d.tenant_id = $1 AND d.id > $2");
    let mut texts = Vec::new();
    // Labels are compact JSON objects of strings: a quoted key before a colon can only be a key.
    for (key, value) in filter.labels.iter().take(MAX_LABEL_FILTERS) {
        let pair = to_json(&BTreeMap::from([(key, value)]));
        texts.push(pair[1..pair.len() - 1].to_owned());
        sql.push_str(&format!(" AND replace(d.labels, ${}, '') <> d.labels", texts.len() + 3));
    }
    if let Some(name) = &filter.name {
        texts.push(name.clone());
        sql.push_str(&format!(" AND d.name = ${}", texts.len() + 3));
    }
    sql.push_str(" ORDER BY d.id LIMIT $3");
    let mut query = sqlx::query(AssertSqlSafe(sql))
        .bind(conn.key())
        .bind(after.map(|id| id.to_string()).unwrap_or_default())
        .bind(limit);
    for text in texts {
        query = query.bind(text);
    }
    let rows =
        query.fetch_all(conn.db()).await.map_err(StoreError::doing("listing the devices"))?;
    rows.iter().map(read).collect()
}

/// One device.
pub async fn get(conn: &mut Conn<TenantScope>, id: DeviceId) -> Result<Option<Device>, StoreError> {
    let sql = format!("{SELECT} WHERE d.tenant_id = $1 AND d.id = $2");
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(conn.key())
        .bind(id.to_string())
        .fetch_optional(conn.db())
        .await
        .map_err(StoreError::doing("reading a device"))?;
    row.as_ref().map(read).transpose()
}

/// Renames and relabels a device that is still at `revision`. False if it is not.
pub async fn update(
    write: &mut Write<TenantScope>,
    id: DeviceId,
    revision: u64,
    name: &str,
    labels: &BTreeMap<String, String>,
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "UPDATE devices SET name = $4, labels = $5, revision = revision + 1 \
         WHERE tenant_id = $1 AND id = $2 AND revision = $3",
    )
    .bind(write.key())
    .bind(id.to_string())
    .bind(revision.cast_signed())
    .bind(name.to_owned())
    .bind(to_json(labels))
    .execute(write.db())
    .await
    .map_err(StoreError::doing("editing a device"))?;
    Ok(done.rows_affected() == 1)
}

/// Moves a device that is in one of the states `from` to `to`, and tells every controller. False if it
/// is in none of them, or not there.
pub async fn set_state(
    write: &mut Write<TenantScope>,
    id: DeviceId,
    from: &[DeviceState],
    to: DeviceState,
    reason: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let among: Vec<String> = from.iter().map(|state| format!("'{}'", state.as_str())).collect();
    // Safe: made of constants.
    let sql = AssertSqlSafe(format!(
        "UPDATE devices SET state = $3, state_reason = $4, state_since_us = $5, \
         revision = revision + 1 WHERE tenant_id = $1 AND id = $2 AND state IN ({})",
        among.join(", ")
    ));
    let done = sqlx::query(sql)
        .bind(write.key())
        .bind(id.to_string())
        .bind(to.as_str())
        .bind(reason.to_owned())
        .bind(now.0)
        .execute(write.db())
        .await
        .map_err(StoreError::doing("changing a device's state"))?;
    announce::device(write, id).await?;
    Ok(done.rows_affected() == 1)
}

/// Tells a device to erase itself: the order's id, and when it counts as lost. False if it is in none of
/// the states from which it can be told.
pub async fn order_erase(
    write: &mut Write<TenantScope>,
    id: DeviceId,
    order: &str,
    until: Timestamp,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let from = [DeviceState::Enrolled, DeviceState::Quarantined];
    let to = DeviceState::Decommissioning;
    if !set_state(write, id, &from, to, "", now).await? {
        return Ok(false);
    }
    let key = write.key();
    sqlx::query(
        "UPDATE devices SET erase_order = $3, erase_until_us = $4 \
         WHERE tenant_id = $1 AND id = $2",
    )
    .bind(key.clone())
    .bind(id.to_string())
    .bind(order.to_owned())
    .bind(until.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("ordering a device to erase itself"))?;
    // It is to run nothing: also not when somebody enrols the same machine again.
    sqlx::query("DELETE FROM assignments WHERE tenant_id = $1 AND device_id = $2")
        .bind(key)
        .bind(id.to_string())
        .execute(write.db())
        .await
        .map_err(StoreError::doing("taking a device's assignments back"))?;
    Ok(true)
}

/// Notes what a device said that it erased, on this order. False if there is no such order to it.
pub async fn set_erased(
    write: &mut Write<TenantScope>,
    id: DeviceId,
    order: &str,
    said: &serde_json::Value,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "UPDATE devices SET state = 'erased', state_reason = '', state_since_us = $5, \
         erased = $4, revision = revision + 1 WHERE tenant_id = $1 AND id = $2 \
         AND state = 'decommissioning' AND erase_order = $3",
    )
    .bind(write.key())
    .bind(id.to_string())
    .bind(order.to_owned())
    .bind(said.to_string())
    .bind(now.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("noting what a device erased"))?;
    Ok(done.rows_affected() == 1)
}

/// Cuts a device off. False if it was revoked before or is not there.
pub async fn revoke(
    write: &mut Write<TenantScope>,
    id: DeviceId,
    reason: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    use DeviceState::{Decommissioning, Enrolled, Erased, Quarantined, Revoked};
    let from = [Enrolled, Quarantined, Decommissioning, Erased];
    set_state(write, id, &from, Revoked, reason, now).await
}

/// A version with the names people know it by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedVersion {
    /// The version's id.
    pub id: String,
    /// Its model.
    pub model: String,
    /// Its number.
    pub version: String,
}

/// One slot of one device: what it is to run, and what it says it does.
#[derive(Debug, Clone)]
pub struct Slot {
    /// Its name.
    pub slot: String,
    /// As reported; "pending" before the first report.
    pub phase: String,
    /// Assigned now.
    pub desired: Option<NamedVersion>,
    /// Answers requests now.
    pub serving: Option<NamedVersion>,
    /// Machine-readable reason of a failure.
    pub reason: String,
    /// The same for people.
    pub message: String,
    /// Fetched so far.
    pub bytes_done: u64,
    /// To be fetched.
    pub bytes_total: u64,
    /// Of the newest report.
    pub updated_at: Option<Timestamp>,
}

/// The slots of these devices, sorted by name.
pub async fn slots(
    conn: &mut Conn<TenantScope>,
    devices: &[DeviceId],
) -> Result<BTreeMap<DeviceId, Vec<Slot>>, StoreError> {
    if devices.is_empty() {
        return Ok(BTreeMap::new());
    }
    let among: Vec<String> = (2..devices.len() + 2).map(|n| format!("${n}")).collect();
    let among = among.join(", ");
    let sql = format!(
        "SELECT k.device_id, k.slot, s.phase, s.reason, s.message, s.bytes_done, s.bytes_total, \
           s.updated_at_us, dv.id AS desired_id, dm.name AS desired_model, \
           dv.version AS desired_version, sv.id AS serving_id, sm.name AS serving_model, \
           sv.version AS serving_version \
         FROM (SELECT device_id, slot FROM assignments WHERE tenant_id = $1 AND device_id IN ({among}) \
               UNION SELECT device_id, slot FROM slot_status \
               WHERE tenant_id = $1 AND device_id IN ({among})) AS k \
         LEFT JOIN assignments a ON a.tenant_id = $1 AND a.device_id = k.device_id AND a.slot = k.slot \
         LEFT JOIN slot_status s ON s.tenant_id = $1 AND s.device_id = k.device_id AND s.slot = k.slot \
         LEFT JOIN versions dv ON dv.tenant_id = $1 AND dv.id = a.version_id \
         LEFT JOIN models dm ON dm.tenant_id = $1 AND dm.id = dv.model_id \
         LEFT JOIN versions sv ON sv.tenant_id = $1 AND sv.id = s.serving_version_id \
         LEFT JOIN models sm ON sm.tenant_id = $1 AND sm.id = sv.model_id \
         ORDER BY k.device_id, k.slot"
    );
    let mut query = sqlx::query(AssertSqlSafe(sql)).bind(conn.key());
    for device in devices {
        query = query.bind(device.to_string());
    }
    let rows = query
        .fetch_all(conn.db())
        .await
        .map_err(StoreError::doing("reading the slots of devices"))?;
    let mut slots: BTreeMap<DeviceId, Vec<Slot>> = BTreeMap::new();
    for row in &rows {
        let device: String = row.get("device_id");
        slots.entry(parse_id("devices", &device)?).or_default().push(read_slot(row));
    }
    Ok(slots)
}

fn read_slot(row: &AnyRow) -> Slot {
    let text = |column: &str| row.get::<Option<String>, _>(column);
    let count = |column: &str| row.get::<Option<i64>, _>(column).unwrap_or(0).unsigned_abs();
    let version = |id: &str, model: &str, version: &str| {
        Some(NamedVersion { id: text(id)?, model: text(model)?, version: text(version)? })
    };
    Slot {
        slot: row.get("slot"),
        phase: text("phase").unwrap_or_else(|| "pending".to_owned()),
        desired: version("desired_id", "desired_model", "desired_version"),
        serving: version("serving_id", "serving_model", "serving_version"),
        reason: text("reason").unwrap_or_default(),
        message: text("message").unwrap_or_default(),
        bytes_done: count("bytes_done"),
        bytes_total: count("bytes_total"),
        updated_at: row.get::<Option<i64>, _>("updated_at_us").map(Timestamp),
    }
}
