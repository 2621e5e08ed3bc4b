//! Everything that a tenant has, whatever table it is in: counted, exported, removed. Like `dump` it
//! works on rows without knowing what they mean, so a table that a later migration adds is part of it
//! by itself; unlike `dump` it sees one tenant's rows and leaves secrets out.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::TryStreamExt;
use serde_json::{Map, Value, json};
use sqlx::{AssertSqlSafe, Row};

use super::dump::{self, Kind};
use super::{Backend, Conn, StoreError, Write};
use crate::scope::TenantScope;

/// Tables without anything worth keeping: answers that are kept for a day for those who repeat a
/// request, and may hold what was shown once; log-ins that are under way.
const PASSING: &[&str] = &["device_logins", "foreign_token_uses", "idempotency_keys", "sso_logins"];
/// A column whose name has one of these is withheld, so that a later table's secrets are too.
const SECRET: &[&str] =
    &["wrapped", "secret", "password", "salt", "token", "key", "hash", "code", "sha256"];
/// Columns that are public in spite of their names.
const PUBLIC: &[&str] = &[
    "enrolment_token_id",
    "hpke_public",
    "leaf_sha256",
    "manifest_sha256",
    "payload_sha256",
    "public_key",
    "request_sha256",
    "root_sha256",
    "sealed_index_key",
];

/// Whether a table holds only what passes within a day.
pub fn is_passing(table: &str) -> bool {
    PASSING.contains(&table)
}

/// Whether an export leaves this column out.
pub fn is_secret(column: &str) -> bool {
    !PUBLIC.contains(&column) && SECRET.iter().any(|part| column.contains(part))
}

/// The tables that hold tenants' rows, in alphabetical order.
pub async fn tables(conn: &mut Conn<TenantScope>) -> Result<Vec<String>, StoreError> {
    let mut found = Vec::new();
    for table in dump::tables(conn).await? {
        let columns = dump::columns(conn, &table).await?;
        if columns.iter().any(|(name, _)| name == "tenant_id") {
            found.push(table);
        }
    }
    Ok(found)
}

/// How many rows the tenant has, by table.
pub async fn counts(conn: &mut Conn<TenantScope>) -> Result<BTreeMap<String, u64>, StoreError> {
    let mut counts = BTreeMap::new();
    for table in tables(conn).await? {
        let key = conn.key();
        // Safe: names come from the schema.
        let sql = format!("SELECT count(*) AS n FROM \"{table}\" WHERE tenant_id = $1");
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(key)
            .fetch_one(conn.db())
            .await
            .map_err(StoreError::doing("counting a tenant's rows"))?;
        counts.insert(table, row.get::<i64, _>("n").unsigned_abs());
    }
    Ok(counts)
}

/// Hands the tenant's rows of one table to `take`, as JSON without secrets. Returns how many.
pub async fn export(
    conn: &mut Conn<TenantScope>,
    table: &str,
    take: &mut (dyn FnMut(Value) -> std::io::Result<()> + Send),
) -> Result<std::io::Result<u64>, StoreError> {
    if PASSING.contains(&table) {
        return Ok(Ok(0));
    }
    let columns: Vec<(String, Kind)> = dump::columns(conn, table)
        .await?
        .into_iter()
        .filter(|(name, _)| name != "tenant_id" && !is_secret(name))
        .collect();
    if columns.is_empty() {
        return Ok(Ok(0));
    }
    let key = conn.key();
    let list = columns.iter().map(|(name, _)| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    let sql = format!("SELECT {list} FROM \"{table}\" WHERE tenant_id = $1");
    let mut rows = sqlx::query(AssertSqlSafe(sql)).bind(key).fetch(conn.db());
    let mut count = 0;
    while let Some(row) =
        rows.try_next().await.map_err(StoreError::doing("exporting a tenant's rows"))?
    {
        let cells: Map<String, Value> = columns
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

/// The tenant's own row without its secrets.
pub async fn export_own(conn: &mut Conn<TenantScope>) -> Result<Option<Value>, StoreError> {
    let key = conn.key();
    let sql = "SELECT id, name, state, ca_cert_der, release_public, created_at_us \
               FROM tenants WHERE id = $1";
    let row = sqlx::query(sql)
        .bind(key)
        .fetch_optional(conn.db())
        .await
        .map_err(StoreError::doing("exporting a tenant"))?;
    let bytes = |row: &sqlx::any::AnyRow, name: &str| BASE64.encode(row.get::<Vec<u8>, _>(name));
    Ok(row.map(|row| {
        json!({
            "id": row.get::<String, _>("id"),
            "name": row.get::<String, _>("name"),
            "state": row.get::<String, _>("state"),
            "ca_cert_der": bytes(&row, "ca_cert_der"),
            "release_public": bytes(&row, "release_public"),
            "created_at_us": row.get::<i64, _>("created_at_us"),
        })
    }))
}

/// Removes at most `limit` of the tenant's rows of one table. Returns how many.
pub async fn remove(
    write: &mut Write<TenantScope>,
    table: &str,
    limit: i64,
) -> Result<u64, StoreError> {
    let (key, backend) = (write.key(), write.backend());
    let row_id = match backend {
        Backend::Sqlite => "rowid",
        Backend::Postgres => "ctid",
    };
    let sql = format!(
        "DELETE FROM \"{table}\" WHERE tenant_id = $1 AND {row_id} IN \
         (SELECT {row_id} FROM \"{table}\" WHERE tenant_id = $1 LIMIT $2)"
    );
    let done = sqlx::query(AssertSqlSafe(sql))
        .bind(key)
        .bind(limit)
        .execute(write.db())
        .await
        .map_err(StoreError::doing("removing a tenant's rows"))?;
    Ok(done.rows_affected())
}

/// How many devices the tenant has that are not revoked.
pub async fn enrolled_devices(conn: &mut Conn<TenantScope>) -> Result<u64, StoreError> {
    let key = conn.key();
    let row = sqlx::query(
        "SELECT count(*) AS n FROM devices WHERE tenant_id = $1 \
         AND state NOT IN ('revoked', 'erased')",
    )
    .bind(key)
    .fetch_one(conn.db())
    .await
    .map_err(StoreError::doing("counting devices"))?;
    Ok(row.get::<i64, _>("n").unsigned_abs())
}

/// Sealed bytes of the tenant's versions.
pub async fn stored_bytes(conn: &mut Conn<TenantScope>) -> Result<u64, StoreError> {
    let key = conn.key();
    let row = sqlx::query(
        "SELECT CAST((SELECT coalesce(sum(stored_bytes), 0) FROM versions WHERE tenant_id = $1) + \
         (SELECT coalesce(sum(length(body)), 0) FROM version_documents WHERE tenant_id = $1) \
         AS BIGINT) AS n",
    )
    .bind(key)
    .fetch_one(conn.db())
    .await
    .map_err(StoreError::doing("adding up stored bytes"))?;
    Ok(row.get::<i64, _>("n").unsigned_abs())
}
