//! A tenant's own policies, and what they go by.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Conn, StoreError, Write};
use crate::clock::Timestamp;
use crate::scope::TenantScope;

/// A policy of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPolicy {
    /// Unique in the tenant.
    pub name: String,
    /// One or more Cedar statements.
    pub text: String,
    /// Grows with each change; from 1.
    pub revision: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// What a tenant's policies go by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Grows with every change of a policy or a setting; 0 if nothing was ever changed.
    pub revision: u64,
    /// IANA name.
    pub time_zone: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { revision: 0, time_zone: "UTC".to_owned() }
    }
}

fn read(row: &AnyRow) -> StoredPolicy {
    StoredPolicy {
        name: row.get("name"),
        text: row.get("text"),
        revision: row.get::<i64, _>("revision").unsigned_abs(),
        created_at: Timestamp(row.get("created_at_us")),
        updated_at: Timestamp(row.get("updated_at_us")),
    }
}

/// The tenant's policies, by name. There are at most `admin::policies::MAX_POLICIES`.
pub async fn all(conn: &mut Conn<TenantScope>) -> Result<Vec<StoredPolicy>, StoreError> {
    let key = conn.key();
    let rows = sqlx::query("SELECT * FROM policies WHERE tenant_id = $1 ORDER BY name")
        .bind(key)
        .fetch_all(conn.db())
        .await
        .map_err(StoreError::doing("reading policies"))?;
    Ok(rows.iter().map(read).collect())
}

/// The policy of this name.
pub async fn get(
    conn: &mut Conn<TenantScope>,
    name: &str,
) -> Result<Option<StoredPolicy>, StoreError> {
    let key = conn.key();
    let row = sqlx::query("SELECT * FROM policies WHERE tenant_id = $1 AND name = $2")
        .bind(key)
        .bind(name.to_owned())
        .fetch_optional(conn.db())
        .await
        .map_err(StoreError::doing("reading a policy"))?;
    Ok(row.as_ref().map(read))
}

/// Makes a policy.
pub async fn insert(
    write: &mut Write<TenantScope>,
    name: &str,
    text: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let key = write.key();
    sqlx::query(
        "INSERT INTO policies (tenant_id, name, text, revision, created_at_us, updated_at_us) \
         VALUES ($1, $2, $3, 1, $4, $4)",
    )
    .bind(key)
    .bind(name.to_owned())
    .bind(text.to_owned())
    .bind(now.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("making a policy"))?;
    Ok(())
}

/// Changes a policy that is still at `revision`. Returns whether it was.
pub async fn update(
    write: &mut Write<TenantScope>,
    name: &str,
    revision: u64,
    text: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let key = write.key();
    let done = sqlx::query(
        "UPDATE policies SET text = $4, revision = revision + 1, updated_at_us = $5 \
         WHERE tenant_id = $1 AND name = $2 AND revision = $3",
    )
    .bind(key)
    .bind(name.to_owned())
    .bind(i64::try_from(revision).unwrap_or(i64::MAX))
    .bind(text.to_owned())
    .bind(now.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("changing a policy"))?;
    Ok(done.rows_affected() == 1)
}

/// Removes a policy. Returns whether it was there.
pub async fn delete(write: &mut Write<TenantScope>, name: &str) -> Result<bool, StoreError> {
    let key = write.key();
    let done = sqlx::query("DELETE FROM policies WHERE tenant_id = $1 AND name = $2")
        .bind(key)
        .bind(name.to_owned())
        .execute(write.db())
        .await
        .map_err(StoreError::doing("removing a policy"))?;
    Ok(done.rows_affected() == 1)
}

/// What the tenant's policies go by.
pub async fn settings(conn: &mut Conn<TenantScope>) -> Result<Settings, StoreError> {
    let key = conn.key();
    let row = sqlx::query("SELECT revision, time_zone FROM access_settings WHERE tenant_id = $1")
        .bind(key)
        .fetch_optional(conn.db())
        .await
        .map_err(StoreError::doing("reading access settings"))?;
    Ok(row.map_or_else(Settings::default, |row| Settings {
        revision: row.get::<i64, _>("revision").unsigned_abs(),
        time_zone: row.get("time_zone"),
    }))
}

/// Notes that a policy or a setting changed, and keeps the time zone. Serialises such changes: what
/// the tenant's policies are together is checked after this.
pub async fn touch(
    write: &mut Write<TenantScope>,
    time_zone: Option<&str>,
) -> Result<(), StoreError> {
    let key = write.key();
    sqlx::query(
        "INSERT INTO access_settings (tenant_id, revision, time_zone) \
         VALUES ($1, 1, coalesce($2, 'UTC')) \
         ON CONFLICT (tenant_id) DO UPDATE SET revision = access_settings.revision + 1, \
           time_zone = coalesce($2, access_settings.time_zone)",
    )
    .bind(key)
    .bind(time_zone.map(str::to_owned))
    .execute(write.db())
    .await
    .map_err(StoreError::doing("noting a change of policies"))?;
    Ok(())
}
