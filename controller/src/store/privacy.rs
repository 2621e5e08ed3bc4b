//! A tenant's privacy settings, and everything that is held about one person or device. Subjects are
//! found in every table that has rows of tenants, also in those of later migrations.

use futures::TryStreamExt;
use serde_json::{Map, Value};
use sqlx::{AssertSqlSafe, Row};

use super::dump::{self, Kind};
use super::{Conn, StoreError, Write, parse_json, tenant_rows, to_json};
use crate::clock::Timestamp;
use crate::privacy::Settings;
use crate::scope::TenantScope;

/// The tenant's settings; the defaults if it made none.
pub async fn settings(conn: &mut Conn<TenantScope>) -> Result<Settings, StoreError> {
    let key = conn.key();
    let row = sqlx::query("SELECT settings FROM privacy_settings WHERE tenant_id = $1")
        .bind(key.clone())
        .fetch_optional(conn.db())
        .await
        .map_err(StoreError::doing("reading privacy settings"))?;
    row.map_or_else(
        || Ok(Settings::default()),
        |row| parse_json("privacy_settings", &key, &row.get::<String, _>("settings")),
    )
}

/// Replaces the tenant's settings.
pub async fn set_settings(
    write: &mut Write<TenantScope>,
    settings: &Settings,
    now: Timestamp,
) -> Result<(), StoreError> {
    let key = write.key();
    sqlx::query(
        "INSERT INTO privacy_settings (tenant_id, settings, updated_at_us) VALUES ($1, $2, $3) \
         ON CONFLICT (tenant_id) DO UPDATE SET settings = excluded.settings, \
         updated_at_us = excluded.updated_at_us",
    )
    .bind(key)
    .bind(to_json(settings))
    .bind(now.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("keeping privacy settings"))?;
    Ok(())
}

/// Whose data is looked for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// A UUID: what contains it is about the subject, be it a column, a list, or a record.
    pub id: String,
    /// Patterns of names that attributes of telemetry may hold, see [`names_of`].
    pub names: Vec<String>,
}

/// Patterns for attributes that hold a person's name or address as their whole value; `!` escapes.
pub async fn names_of(conn: &mut Conn<TenantScope>, user: &str) -> Result<Vec<String>, StoreError> {
    let key = conn.key();
    let row = sqlx::query(
        "SELECT user_name, display_name, email FROM users WHERE tenant_id = $1 AND id = $2",
    )
    .bind(key)
    .bind(user.to_owned())
    .fetch_optional(conn.db())
    .await
    .map_err(StoreError::doing("reading a person's names"))?;
    let Some(row) = row else { return Ok(Vec::new()) };
    let names = ["user_name", "display_name", "email"].map(|name| row.get::<String, _>(name));
    let pattern = |name: &String| {
        let quoted = Value::from(name.as_str()).to_string();
        let escaped = quoted.replace('!', "!!").replace('%', "!%").replace('_', "!_");
        format!("%{escaped}%")
    };
    Ok(names.iter().filter(|name| !name.is_empty()).map(pattern).collect())
}

/// Hands every row of one table that is about the subject to `take`, as JSON without secrets.
pub async fn mentions(
    conn: &mut Conn<TenantScope>,
    table: &str,
    wanted: &Wanted,
    take: &mut (dyn FnMut(Value) -> std::io::Result<()> + Send),
) -> Result<std::io::Result<u64>, StoreError> {
    let columns = dump::columns(conn, table).await?;
    let shown: Vec<&(String, Kind)> = columns
        .iter()
        .filter(|(name, _)| name != "tenant_id" && !tenant_rows::is_secret(name))
        .collect();
    let mut texts: Vec<String> = columns
        .iter()
        .filter(|(name, kind)| *kind == Kind::Text && name != "tenant_id")
        .map(|(name, _)| format!("\"{name}\" LIKE $2"))
        .collect();
    if shown.is_empty() || texts.is_empty() || tenant_rows::is_passing(table) {
        return Ok(Ok(0));
    }
    let names = if table == "telemetry_points" { &wanted.names[..] } else { &[] };
    let places = (0..names.len()).map(|at| format!("attributes LIKE ${} ESCAPE '!'", at + 3));
    texts.extend(places);
    let list = shown.iter().map(|(name, _)| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    let any = texts.join(" OR ");
    // Safe: names come from the schema.
    let sql = format!("SELECT {list} FROM \"{table}\" WHERE tenant_id = $1 AND ({any})");
    let key = conn.key();
    let mut query = sqlx::query(AssertSqlSafe(sql)).bind(key).bind(format!("%{}%", wanted.id));
    for name in names {
        query = query.bind(name.clone());
    }
    let mut rows = query.fetch(conn.db());
    let mut count = 0;
    while let Some(row) =
        rows.try_next().await.map_err(StoreError::doing("looking for what is held"))?
    {
        let cells: Map<String, Value> = shown
            .iter()
            .enumerate()
            .map(|(at, (name, kind))| (name.clone(), dump::cell(&row, at, *kind)))
            .collect();
        if let Err(error) = take(Value::Object(cells)) {
            return Ok(Err(error));
        }
        count += 1;
    }
    Ok(Ok(count))
}

/// Removes what revoked devices said of themselves that were not seen since `before`. The devices
/// stay, with their names and keys. Returns how many.
pub async fn forget_device_facts(
    write: &mut Write<TenantScope>,
    before: Timestamp,
) -> Result<u64, StoreError> {
    let key = write.key();
    let done = sqlx::query(
        "UPDATE devices SET facts = '{}' WHERE tenant_id = $1 AND state IN ('revoked', 'erased') \
         AND facts <> '{}' AND created_at_us < $2 AND NOT EXISTS ( \
           SELECT 1 FROM device_presence p WHERE p.tenant_id = devices.tenant_id \
             AND p.device_id = devices.id AND p.last_seen_at_us >= $2)",
    )
    .bind(key.clone())
    .bind(before.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("forgetting facts of revoked devices"))?;
    for table in ["device_presence", "slot_status"] {
        let sql = format!(
            "DELETE FROM {table} WHERE tenant_id = $1 AND device_id IN ( \
               SELECT id FROM devices WHERE tenant_id = $1 AND state IN ('revoked', 'erased') AND facts = '{{}}')"
        );
        sqlx::query(AssertSqlSafe(sql))
            .bind(key.clone())
            .execute(write.db())
            .await
            .map_err(StoreError::doing("forgetting the state of revoked devices"))?;
    }
    Ok(done.rows_affected())
}
