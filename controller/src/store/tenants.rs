//! Tenants: their certificate authority and the wrapped keys that everything of theirs hangs on.

use edgeformer_proto::ids::TenantId;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Backend, Conn, StoreError, Write, parse_id};
use crate::clock::Timestamp;
use crate::scope::{InstallationScope, Scope, TenantScope};
use crate::tenancy::{Lifecycle, Limits, Standing, Suspension};

/// A tenant with its key material, as stored.
#[derive(Debug, Clone)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// Unique in the installation.
    pub name: String,
    /// Issuing CA certificate, DER.
    pub ca_cert_der: Vec<u8>,
    /// The CA's key, wrapped.
    pub wrapped_ca_key: Vec<u8>,
    /// Ed25519 public key that devices pin: 32 bytes.
    pub release_public: Vec<u8>,
    /// The key that signs manifests, wrapped.
    pub wrapped_release_key: Vec<u8>,
    /// The secret that chunk keys derive from, wrapped.
    pub wrapped_chunk_secret: Vec<u8>,
    /// The tenant's key-encryption key, wrapped.
    pub wrapped_kek: Vec<u8>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What a list shows of a tenant.
#[derive(Debug, Clone)]
pub struct TenantSummary {
    /// Its id.
    pub id: TenantId,
    /// Its name, unique in the installation, its state and what it may use.
    pub standing: Standing,
    /// When it was made.
    pub created_at: Timestamp,
}

const SUMMARY: &str = "id, name, created_at_us, state, suspended_at_us, suspended_reason, \
                       deleted_at_us, purge_at_us, max_devices, max_stored_bytes, \
                       max_requests_per_second";

fn read_summary(row: &AnyRow) -> Result<TenantSummary, StoreError> {
    let id: String = row.get("id");
    Ok(TenantSummary {
        standing: Standing {
            name: row.get("name"),
            lifecycle: read_lifecycle(row, &id)?,
            limits: read_limits(row),
        },
        id: parse_id("tenants", &id)?,
        created_at: Timestamp(row.get("created_at_us")),
    })
}

fn read_lifecycle(row: &AnyRow, id: &str) -> Result<Lifecycle, StoreError> {
    let at = |column: &str| row.get::<Option<i64>, _>(column).map(Timestamp);
    let suspended = at("suspended_at_us")
        .map(|at| Suspension { at, reason: row.get::<String, _>("suspended_reason") });
    let deleted = at("deleted_at_us").zip(at("purge_at_us"));
    let state: String = row.get("state");
    match (state.as_str(), suspended, deleted) {
        ("active", None, None) => Ok(Lifecycle::Active),
        ("suspended", Some(suspension), None) => Ok(Lifecycle::Suspended(suspension)),
        ("deleted", suspended, Some((at, purge_at))) => {
            Ok(Lifecycle::Deleted { at, purge_at, suspended })
        }
        ("purging", _, Some((at, purge_at))) => Ok(Lifecycle::Purging { at, purge_at }),
        (state, ..) => Err(StoreError::Damaged {
            table: "tenants",
            id: id.to_owned(),
            what: format!("state {state:?} does not fit the times beside it"),
        }),
    }
}

fn read_limits(row: &AnyRow) -> Limits {
    let limit = |column: &str| row.get::<Option<i64>, _>(column).map(i64::unsigned_abs);
    Limits {
        devices: limit("max_devices"),
        stored_bytes: limit("max_stored_bytes"),
        requests_per_second: limit("max_requests_per_second")
            .map(|limit| u32::try_from(limit).unwrap_or(u32::MAX)),
    }
}

const COLUMNS: &str = "id, name, ca_cert_der, wrapped_ca_key, release_public, \
                       wrapped_release_key, wrapped_chunk_secret, wrapped_kek, created_at_us";

fn read(row: &AnyRow) -> Result<Tenant, StoreError> {
    let id: String = row.get("id");
    Ok(Tenant {
        id: parse_id("tenants", &id)?,
        name: row.get("name"),
        ca_cert_der: row.get("ca_cert_der"),
        wrapped_ca_key: row.get("wrapped_ca_key"),
        release_public: row.get("release_public"),
        wrapped_release_key: row.get("wrapped_release_key"),
        wrapped_chunk_secret: row.get("wrapped_chunk_secret"),
        wrapped_kek: row.get("wrapped_kek"),
        created_at: Timestamp(row.get("created_at_us")),
    })
}

/// Adds a tenant. A conflict means that the name is taken.
pub async fn insert(
    write: &mut Write<InstallationScope>,
    tenant: &Tenant,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO tenants (id, name, state, ca_cert_der, wrapped_ca_key, release_public, \
         wrapped_release_key, wrapped_chunk_secret, wrapped_kek, created_at_us) \
         VALUES ($1, $2, 'active', $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(tenant.id.to_string())
    .bind(tenant.name.clone())
    .bind(tenant.ca_cert_der.clone())
    .bind(tenant.wrapped_ca_key.clone())
    .bind(tenant.release_public.clone())
    .bind(tenant.wrapped_release_key.clone())
    .bind(tenant.wrapped_chunk_secret.clone())
    .bind(tenant.wrapped_kek.clone())
    .bind(tenant.created_at.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("adding a tenant"))?;
    Ok(())
}

/// Tenants in the order they were made, after `after`.
pub async fn list(
    conn: &mut Conn<InstallationScope>,
    after: Option<TenantId>,
    limit: i64,
) -> Result<Vec<TenantSummary>, StoreError> {
    let sql = format!("SELECT {SUMMARY} FROM tenants WHERE id > $1 ORDER BY id LIMIT $2");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(after.map(|id| id.to_string()).unwrap_or_default())
        .bind(limit)
        .fetch_all(conn.db())
        .await
        .map_err(StoreError::doing("listing tenants"))?;
    rows.iter().map(read_summary).collect()
}

/// One tenant.
pub async fn get(
    conn: &mut Conn<InstallationScope>,
    id: TenantId,
) -> Result<Option<TenantSummary>, StoreError> {
    summary(conn.db(), id.to_string()).await
}

/// The name, state and limits of the tenant of this scope.
pub async fn standing(conn: &mut Conn<TenantScope>) -> Result<Option<Standing>, StoreError> {
    let key = conn.scope().key();
    Ok(summary(conn.db(), key).await?.map(|tenant| tenant.standing))
}

async fn summary(
    db: &mut sqlx::AnyConnection,
    id: String,
) -> Result<Option<TenantSummary>, StoreError> {
    let sql = format!("SELECT {SUMMARY} FROM tenants WHERE id = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(id)
        .fetch_optional(db)
        .await
        .map_err(StoreError::doing("reading a tenant's standing"))?;
    row.as_ref().map(read_summary).transpose()
}

/// Moves a tenant from the state `from` to the state `to`. False if it is not there any more.
pub async fn set_lifecycle(
    write: &mut Write<InstallationScope>,
    id: TenantId,
    from: &Lifecycle,
    to: &Lifecycle,
) -> Result<bool, StoreError> {
    let (suspended, deleted) = match to {
        Lifecycle::Active => (None, None),
        Lifecycle::Suspended(suspension) => (Some(suspension), None),
        Lifecycle::Deleted { at, purge_at, suspended } => {
            (suspended.as_ref(), Some((at.0, purge_at.0)))
        }
        Lifecycle::Purging { at, purge_at } => (None, Some((at.0, purge_at.0))),
    };
    let done = sqlx::query(
        "UPDATE tenants SET state = $3, suspended_at_us = $4, suspended_reason = $5, \
         deleted_at_us = $6, purge_at_us = $7 WHERE id = $1 AND state = $2",
    )
    .bind(id.to_string())
    .bind(from.as_str())
    .bind(to.as_str())
    .bind(suspended.map(|suspension| suspension.at.0))
    .bind(suspended.map(|suspension| suspension.reason.clone()).unwrap_or_default())
    .bind(deleted.map(|(at, _)| at))
    .bind(deleted.map(|(_, purge_at)| purge_at))
    .execute(write.db())
    .await
    .map_err(StoreError::doing("changing a tenant's state"))?;
    Ok(done.rows_affected() == 1)
}

/// Sets what a tenant may use. False if there is no such tenant.
pub async fn set_limits(
    write: &mut Write<InstallationScope>,
    id: TenantId,
    limits: Limits,
) -> Result<bool, StoreError> {
    let column = |limit: u64| i64::try_from(limit).unwrap_or(i64::MAX);
    let done = sqlx::query(
        "UPDATE tenants SET max_devices = $2, max_stored_bytes = $3, \
         max_requests_per_second = $4 WHERE id = $1",
    )
    .bind(id.to_string())
    .bind(limits.devices.map(column))
    .bind(limits.stored_bytes.map(column))
    .bind(limits.requests_per_second.map(i64::from))
    .execute(write.db())
    .await
    .map_err(StoreError::doing("setting a tenant's limits"))?;
    Ok(done.rows_affected() == 1)
}

/// Removes the row of a tenant whose data is gone, with its wrapped keys.
pub async fn remove(
    write: &mut Write<InstallationScope>,
    id: TenantId,
) -> Result<bool, StoreError> {
    let done = sqlx::query("DELETE FROM tenants WHERE id = $1 AND state = 'purging'")
        .bind(id.to_string())
        .execute(write.db())
        .await
        .map_err(StoreError::doing("removing a tenant"))?;
    Ok(done.rows_affected() == 1)
}

/// The id of the tenant of this name.
pub async fn by_name(
    conn: &mut Conn<InstallationScope>,
    name: &str,
) -> Result<Option<TenantId>, StoreError> {
    let row = sqlx::query("SELECT id FROM tenants WHERE name = $1")
        .bind(name.to_owned())
        .fetch_optional(conn.db())
        .await
        .map_err(StoreError::doing("looking a tenant up"))?;
    row.map(|row| parse_id("tenants", &row.get::<String, _>("id"))).transpose()
}

/// The tenant of this scope, with its key material.
pub async fn own(conn: &mut Conn<TenantScope>) -> Result<Option<Tenant>, StoreError> {
    let key = conn.scope().key();
    let row =
        sqlx::query(sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM tenants WHERE id = $1")))
            .bind(key)
            .fetch_optional(conn.db())
            .await
            .map_err(StoreError::doing("reading the tenant"))?;
    row.as_ref().map(read).transpose()
}

/// Waits for others that lock the tenant of this scope, and makes them wait until the commit.
pub async fn lock(write: &mut Write<TenantScope>) -> Result<(), StoreError> {
    // SQLite has one writer as it is.
    if write.backend() == Backend::Postgres {
        let key = write.key();
        sqlx::query("SELECT id FROM tenants WHERE id = $1 FOR UPDATE")
            .bind(key)
            .execute(write.db())
            .await
            .map_err(StoreError::doing("locking the tenant"))?;
    }
    Ok(())
}

/// Puts another issuing CA in the place of `old_der`. False when that is not the present one any more.
pub async fn replace_ca(
    write: &mut Write<TenantScope>,
    old_der: &[u8],
    cert_der: &[u8],
    wrapped_key: &[u8],
) -> Result<bool, StoreError> {
    let key = write.key();
    let done = sqlx::query(
        "UPDATE tenants SET ca_cert_der = $3, wrapped_ca_key = $4 \
         WHERE id = $1 AND ca_cert_der = $2",
    )
    .bind(key)
    .bind(old_der.to_vec())
    .bind(cert_der.to_vec())
    .bind(wrapped_key.to_vec())
    .execute(write.db())
    .await
    .map_err(StoreError::doing("replacing a tenant's certificate authority"))?;
    Ok(done.rows_affected() == 1)
}
