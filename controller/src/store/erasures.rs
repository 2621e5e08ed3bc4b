//! Takes a person or a device out of the tables beside the audit log. What has to stay for the others,
//! stays without saying who it was.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, Row};

use super::{Conn, StoreError, Write};
use crate::scope::TenantScope;

/// What happens to rows.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// They go.
    Removed,
    /// These columns are set to these literals.
    Cleared(&'static str),
}

/// Rows of one table that are somebody's: which, and what happens to them.
struct Held {
    table: &'static str,
    /// A condition on `$2`, the subject's id; `$3`, the id between `%`.
    whose: &'static str,
    fate: Fate,
}

const fn held(table: &'static str, whose: &'static str, fate: Fate) -> Held {
    Held { table, whose, fate }
}

/// A person. What they signed stays as it was signed: it is evidence for others (21 CFR 11.70).
const USER: &[Held] = &[
    held("recovery_codes", "user_id = $2", Fate::Removed),
    held("login_sessions", "user_id = $2", Fate::Removed),
    held("group_members", "user_id = $2", Fate::Removed),
    held("user_identities", "user_id = $2", Fate::Removed),
    held("idempotency_keys", "principal LIKE $3", Fate::Removed),
    held("telemetry_points", "attributes LIKE $3", Fate::Removed),
    held(
        "approvals",
        "requested_by = $2 AND (requested_by_name <> '' OR justification <> '')",
        Fate::Cleared("requested_by_name = '', justification = ''"),
    ),
    held("users", "id = $2", Fate::Removed),
];

/// A token: its name is often its owner's.
const TOKEN: &[Held] = &[
    held("idempotency_keys", "principal LIKE $3", Fate::Removed),
    held("api_tokens", "id = $2 AND name <> 'erased'", Fate::Cleared("name = 'erased'")),
    held(
        "approvals",
        "requested_by = $2 AND (requested_by_name <> '' OR justification <> '')",
        Fate::Cleared("requested_by_name = '', justification = ''"),
    ),
];

/// A revoked device. Its id and key stay, so that it cannot come back unnoticed.
const DEVICE: &[Held] = &[
    held("telemetry_points", "device_id = $2", Fate::Removed),
    held("device_presence", "device_id = $2", Fate::Removed),
    held("device_instances", "device_id = $2", Fate::Removed),
    held("slot_status", "device_id = $2", Fate::Removed),
    held("rollout_devices", "device_id = $2 AND message <> ''", Fate::Cleared("message = ''")),
    held(
        "devices",
        "id = $2 AND (name <> 'erased' OR labels <> '{}' OR facts <> '{}')",
        Fate::Cleared("name = 'erased', labels = '{}', facts = '{}'"),
    ),
];

fn of(kind: &str) -> &'static [Held] {
    match kind {
        "user" => USER,
        "token" => TOKEN,
        "device" => DEVICE,
        _ => &[],
    }
}

/// How many rows of each table an erasure takes; nothing is changed.
pub async fn rows(
    conn: &mut Conn<TenantScope>,
    kind: &str,
    id: &str,
) -> Result<BTreeMap<String, u64>, StoreError> {
    let mut rows = BTreeMap::new();
    for one in of(kind) {
        // Safe: made of constants.
        let sql = format!(
            "SELECT count(*) AS n FROM {} WHERE tenant_id = $1 AND {} AND $2 <> $3",
            one.table, one.whose
        );
        let key = conn.key();
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(key)
            .bind(id.to_owned())
            .bind(format!("%{id}%"))
            .fetch_one(conn.db())
            .await
            .map_err(StoreError::doing("counting what an erasure takes"))?;
        let count = row.get::<i64, _>("n").unsigned_abs();
        if count > 0 {
            rows.insert(one.table.to_owned(), count);
        }
    }
    Ok(rows)
}

/// Takes the rows. Returns how many of each table.
pub async fn erase(
    write: &mut Write<TenantScope>,
    kind: &str,
    id: &str,
) -> Result<BTreeMap<String, u64>, StoreError> {
    let mut rows = BTreeMap::new();
    for one in of(kind) {
        let act = match one.fate {
            Fate::Removed => format!("DELETE FROM {}", one.table),
            Fate::Cleared(columns) => format!("UPDATE {} SET {columns}", one.table),
        };
        // Safe: made of constants.
        let sql = format!("{act} WHERE tenant_id = $1 AND {} AND $2 <> $3", one.whose);
        let key = write.key();
        let done = sqlx::query(AssertSqlSafe(sql))
            .bind(key)
            .bind(id.to_owned())
            .bind(format!("%{id}%"))
            .execute(write.db())
            .await
            .map_err(StoreError::doing("erasing what is held"))?;
        if done.rows_affected() > 0 {
            rows.insert(one.table.to_owned(), done.rows_affected());
        }
    }
    Ok(rows)
}

/// Signatures of a subject that stay.
pub async fn signatures(conn: &mut Conn<TenantScope>, id: &str) -> Result<u64, StoreError> {
    let key = conn.key();
    let row = sqlx::query(
        "SELECT count(*) AS n FROM approval_signatures WHERE tenant_id = $1 AND signer = $2",
    )
    .bind(key)
    .bind(id.to_owned())
    .fetch_one(conn.db())
    .await
    .map_err(StoreError::doing("counting signatures"))?;
    Ok(row.get::<i64, _>("n").unsigned_abs())
}

/// Measurements whose attributes hold a person's name; `names` are patterns with `!` as escape.
pub async fn named(conn: &mut Conn<TenantScope>, names: &[String]) -> Result<u64, StoreError> {
    let mut count = 0;
    for name in names {
        let key = conn.key();
        let row = sqlx::query(
            "SELECT count(*) AS n FROM telemetry_points \
             WHERE tenant_id = $1 AND attributes LIKE $2 ESCAPE '!'",
        )
        .bind(key)
        .bind(name.clone())
        .fetch_one(conn.db())
        .await
        .map_err(StoreError::doing("counting measurements with a name"))?;
        count += row.get::<i64, _>("n").unsigned_abs();
    }
    Ok(count)
}

/// Removes what [`named`] counts.
pub async fn erase_named(
    write: &mut Write<TenantScope>,
    names: &[String],
) -> Result<u64, StoreError> {
    let mut count = 0;
    for name in names {
        let key = write.key();
        let done = sqlx::query(
            "DELETE FROM telemetry_points \
             WHERE tenant_id = $1 AND attributes LIKE $2 ESCAPE '!'",
        )
        .bind(key)
        .bind(name.clone())
        .execute(write.db())
        .await
        .map_err(StoreError::doing("removing measurements with a name"))?;
        count += done.rows_affected();
    }
    Ok(count)
}

/// Whether a device is enrolled, and so cannot be erased yet.
pub async fn is_enrolled(conn: &mut Conn<TenantScope>, device: &str) -> Result<bool, StoreError> {
    let key = conn.key();
    let row = sqlx::query("SELECT state FROM devices WHERE tenant_id = $1 AND id = $2")
        .bind(key)
        .bind(device.to_owned())
        .fetch_optional(conn.db())
        .await
        .map_err(StoreError::doing("reading a device's state"))?;
    let over = ["revoked", "erased"];
    Ok(row.is_some_and(|row| !over.contains(&row.get::<String, _>("state").as_str())))
}
