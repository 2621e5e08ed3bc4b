//! Rollouts: the row, its devices' counts, and its end.

use std::collections::{BTreeMap, HashMap};

use edgeformer_proto::ids::{RolloutId, VersionId};
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::{Conn, StoreError, Write, parse_id, parse_json, to_json};
use crate::clock::Timestamp;
use crate::rollout::types::{DeviceState, RolloutState, Selector, Settings};
use crate::rollout::waiting::Waiting;
use crate::scope::TenantScope;

/// A rollout as stored.
#[derive(Debug, Clone)]
pub struct Rollout {
    /// Its id.
    pub id: RolloutId,
    /// The slot it fills.
    pub slot: String,
    /// What it brings; `None` for a rollback to several versions or to none.
    pub version: Option<VersionId>,
    /// Whom it was made for.
    pub selector: Selector,
    /// With which the version runs.
    pub settings: Settings,
    /// Where it is.
    pub state: RolloutState,
    /// How it ended, in one sentence.
    pub reason: String,
    /// What it waits for.
    pub waiting: Waiting,
    /// The rollout that this one undoes.
    pub rolls_back: Option<RolloutId>,
    /// Raised by every change of state.
    pub revision: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// A rollout with the names of what it brings.
#[derive(Debug, Clone)]
pub struct NamedRollout {
    /// The row.
    pub rollout: Rollout,
    /// Name of the model; empty when it brings no single version.
    pub model: String,
    /// Version for people; empty when it brings no single version.
    pub version: String,
}

const SELECT: &str = "SELECT r.*, coalesce(m.name, '') AS model_name, \
     coalesce(v.version, '') AS version_name FROM rollouts r \
     LEFT JOIN versions v ON v.tenant_id = r.tenant_id AND v.id = r.version_id \
     LEFT JOIN models m ON m.tenant_id = v.tenant_id AND m.id = v.model_id";

fn read(row: &AnyRow) -> Result<NamedRollout, StoreError> {
    let id: String = row.get("id");
    let text = |column| row.get::<String, _>(column);
    let damaged = |what: &str| StoreError::Damaged {
        table: "rollouts",
        id: id.clone(),
        what: format!("state {what:?}"),
    };
    let version = text("version_id");
    let state = text("state");
    Ok(NamedRollout {
        rollout: Rollout {
            id: parse_id("rollouts", &id)?,
            slot: text("slot"),
            version: (!version.is_empty()).then(|| parse_id("rollouts", &version)).transpose()?,
            selector: parse_json("rollouts", &id, &text("selector"))?,
            settings: parse_json("rollouts", &id, &text("settings"))?,
            state: RolloutState::parse(&state).ok_or_else(|| damaged(&state))?,
            reason: text("reason"),
            waiting: parse_json("rollouts", &id, &text("waiting_for"))?,
            rolls_back: row
                .get::<Option<String>, _>("rolls_back")
                .map(|id| parse_id("rollouts", &id))
                .transpose()?,
            revision: row.get::<i64, _>("revision").unsigned_abs(),
            created_at: Timestamp(row.get("created_at_us")),
            ended_at: row.get::<Option<i64>, _>("ended_at_us").map(Timestamp),
        },
        model: text("model_name"),
        version: text("version_name"),
    })
}

/// Adds a rollout.
pub async fn insert(write: &mut Write<TenantScope>, rollout: &Rollout) -> Result<(), StoreError> {
    let key = write.key();
    sqlx::query(
        "INSERT INTO rollouts (tenant_id, id, slot, version_id, selector, settings, state, reason, \
         waiting_for, rolls_back, revision, created_at_us) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(key)
    .bind(rollout.id.to_string())
    .bind(rollout.slot.clone())
    .bind(rollout.version.map(|id| id.to_string()).unwrap_or_default())
    .bind(to_json(&rollout.selector))
    .bind(to_json(&rollout.settings))
    .bind(rollout.state.as_str())
    .bind(rollout.reason.clone())
    .bind(to_json(&rollout.waiting))
    .bind(rollout.rolls_back.map(|id| id.to_string()))
    .bind(rollout.revision.cast_signed())
    .bind(rollout.created_at.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("adding a rollout"))?;
    Ok(())
}

/// One rollout.
pub async fn get(
    conn: &mut Conn<TenantScope>,
    id: RolloutId,
) -> Result<Option<NamedRollout>, StoreError> {
    let key = conn.key();
    let row = sqlx::query(AssertSqlSafe(format!("{SELECT} WHERE r.tenant_id = $1 AND r.id = $2")))
        .bind(key)
        .bind(id.to_string())
        .fetch_optional(conn.db())
        .await
        .map_err(StoreError::doing("reading a rollout"))?;
    row.as_ref().map(read).transpose()
}

/// Rollouts, newest first, before `before`.
pub async fn list(
    conn: &mut Conn<TenantScope>,
    state: Option<RolloutState>,
    before: Option<RolloutId>,
    limit: i64,
) -> Result<Vec<NamedRollout>, StoreError> {
    let key = conn.key();
    let rows = sqlx::query(AssertSqlSafe(format!(
        "{SELECT} WHERE r.tenant_id = $1 AND ($2 = '' OR r.state = $2) AND ($3 = '' OR r.id < $3) \
         ORDER BY r.id DESC LIMIT $4"
    )))
    .bind(key)
    .bind(state.map(RolloutState::as_str).unwrap_or_default())
    .bind(before.map(|id| id.to_string()).unwrap_or_default())
    .bind(limit)
    .fetch_all(conn.db())
    .await
    .map_err(StoreError::doing("listing rollouts"))?;
    rows.iter().map(read).collect()
}

/// Rollouts with something left to do: running, or aborted with devices still under way.
pub async fn active(conn: &mut Conn<TenantScope>) -> Result<Vec<NamedRollout>, StoreError> {
    let key = conn.key();
    let rows = sqlx::query(AssertSqlSafe(format!(
        "{SELECT} WHERE r.tenant_id = $1 AND (r.state = 'running' OR (r.state = 'aborted' \
         AND EXISTS (SELECT 1 FROM rollout_devices d WHERE d.tenant_id = r.tenant_id \
         AND d.rollout_id = r.id AND d.state IN ('assigned', 'accepted')))) ORDER BY r.id"
    )))
    .bind(key)
    .fetch_all(conn.db())
    .await
    .map_err(StoreError::doing("looking for active rollouts"))?;
    rows.iter().map(read).collect()
}

/// How many devices of each rollout are in each state.
pub async fn counts(
    conn: &mut Conn<TenantScope>,
    ids: &[RolloutId],
) -> Result<HashMap<RolloutId, BTreeMap<DeviceState, u64>>, StoreError> {
    let mut counts: HashMap<_, BTreeMap<_, _>> = HashMap::new();
    for &id in ids {
        let key = conn.key();
        let rows = sqlx::query(
            "SELECT state, count(*) AS devices FROM rollout_devices \
             WHERE tenant_id = $1 AND rollout_id = $2 GROUP BY state",
        )
        .bind(key)
        .bind(id.to_string())
        .fetch_all(conn.db())
        .await
        .map_err(StoreError::doing("counting a rollout's devices"))?;
        let states = counts.entry(id).or_default();
        for row in rows {
            if let Some(state) = DeviceState::parse(&row.get::<String, _>("state")) {
                states.insert(state, row.get::<i64, _>("devices").unsigned_abs());
            }
        }
    }
    Ok(counts)
}

/// Ends a running rollout. False when it had ended.
pub async fn end(
    write: &mut Write<TenantScope>,
    id: RolloutId,
    state: RolloutState,
    reason: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let key = write.key();
    let done = sqlx::query(
        "UPDATE rollouts SET state = $3, reason = $4, ended_at_us = $5, revision = revision + 1, \
         waiting_for = $6 WHERE tenant_id = $1 AND id = $2 AND state = 'running'",
    )
    .bind(key)
    .bind(id.to_string())
    .bind(state.as_str())
    .bind(reason.to_owned())
    .bind(now.0)
    .bind(to_json(&Waiting::Nothing))
    .execute(write.db())
    .await
    .map_err(StoreError::doing("ending a rollout"))?;
    Ok(done.rows_affected() == 1)
}

/// Replaces what a rollout waits for.
pub async fn set_waiting(
    write: &mut Write<TenantScope>,
    id: RolloutId,
    waiting: &Waiting,
) -> Result<(), StoreError> {
    let key = write.key();
    sqlx::query("UPDATE rollouts SET waiting_for = $3 WHERE tenant_id = $1 AND id = $2")
        .bind(key)
        .bind(id.to_string())
        .bind(to_json(waiting))
        .execute(write.db())
        .await
        .map_err(StoreError::doing("noting what a rollout waits for"))?;
    Ok(())
}

/// Makes creations of rollouts in one tenant wait for each other, on both databases alike.
pub async fn lock_planning(write: &mut Write<TenantScope>) -> Result<(), StoreError> {
    let key = write.key();
    sqlx::query("UPDATE tenants SET state = state WHERE id = $1")
        .bind(key)
        .execute(write.db())
        .await
        .map_err(StoreError::doing("waiting for other rollouts to be made"))?;
    Ok(())
}
