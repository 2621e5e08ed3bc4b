//! Rows of a tenant's TUF repository: the keys that the controller holds, and signed metadata.

use edgeformer_proto::tuf::TopLevel;
use sqlx::Row;

use super::{Conn, StoreError, Write};
use crate::clock::Timestamp;
use crate::scope::TenantScope;

/// Signed metadata, as served.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its version.
    pub version: u64,
    /// The bytes.
    pub file: Vec<u8>,
}

/// The wrapped private key of a role; none if somebody else holds it.
pub async fn key(
    conn: &mut Conn<TenantScope>,
    role: TopLevel,
) -> Result<Option<Vec<u8>>, StoreError> {
    let tenant = conn.key();
    let row = sqlx::query("SELECT wrapped_key FROM trust_keys WHERE tenant_id = $1 AND role = $2")
        .bind(tenant)
        .bind(role.name())
        .fetch_optional(conn.db())
        .await
        .map_err(StoreError::doing("reading a key of the trust repository"))?;
    Ok(row.map(|row| row.get("wrapped_key")))
}

/// Keeps a role's private key. A conflict means that another controller was faster.
pub async fn insert_key(
    write: &mut Write<TenantScope>,
    role: TopLevel,
    wrapped: Vec<u8>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let tenant = write.key();
    sqlx::query(
        "INSERT INTO trust_keys (tenant_id, role, wrapped_key, created_at_us) \
         VALUES ($1, $2, $3, $4)",
    )
    .bind(tenant)
    .bind(role.name())
    .bind(wrapped)
    .bind(now.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("keeping a key of the trust repository"))?;
    Ok(())
}

/// Forgets a role's private key.
pub async fn delete_key(write: &mut Write<TenantScope>, role: TopLevel) -> Result<(), StoreError> {
    let tenant = write.key();
    sqlx::query("DELETE FROM trust_keys WHERE tenant_id = $1 AND role = $2")
        .bind(tenant)
        .bind(role.name())
        .execute(write.db())
        .await
        .map_err(StoreError::doing("forgetting a key of the trust repository"))?;
    Ok(())
}

/// A role's metadata of this version, or the newest.
pub async fn metadata(
    conn: &mut Conn<TenantScope>,
    role: TopLevel,
    version: Option<u64>,
) -> Result<Option<Stored>, StoreError> {
    let tenant = conn.key();
    let row = sqlx::query(
        "SELECT version, file FROM trust_metadata WHERE tenant_id = $1 AND role = $2 \
         AND (version = $3 OR $3 < 0) ORDER BY version DESC LIMIT 1",
    )
    .bind(tenant)
    .bind(role.name())
    .bind(version.map_or(-1, |version| i64::try_from(version).unwrap_or(i64::MAX)))
    .fetch_optional(conn.db())
    .await
    .map_err(StoreError::doing("reading metadata of the trust repository"))?;
    Ok(row.map(|row| Stored {
        version: row.get::<i64, _>("version").unsigned_abs(),
        file: row.get("file"),
    }))
}

/// Adds signed metadata. A conflict means that another controller was faster.
pub async fn insert_metadata(
    write: &mut Write<TenantScope>,
    role: TopLevel,
    new: Stored,
    now: Timestamp,
) -> Result<(), StoreError> {
    let tenant = write.key();
    sqlx::query(
        "INSERT INTO trust_metadata (tenant_id, role, version, file, created_at_us) \
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(tenant)
    .bind(role.name())
    .bind(new.version.cast_signed())
    .bind(new.file)
    .bind(now.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("adding metadata to the trust repository"))?;
    Ok(())
}

/// Removes metadata older than `before` that has a successor. Roots stay: they lead from one to the next.
pub async fn forget_metadata(
    write: &mut Write<TenantScope>,
    before: Timestamp,
) -> Result<u64, StoreError> {
    let tenant = write.key();
    let done = sqlx::query(
        "DELETE FROM trust_metadata WHERE tenant_id = $1 AND role <> 'root' \
         AND created_at_us < $2 AND version < (SELECT max(n.version) FROM trust_metadata n \
           WHERE n.tenant_id = trust_metadata.tenant_id AND n.role = trust_metadata.role)",
    )
    .bind(tenant)
    .bind(before.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("forgetting metadata of the trust repository"))?;
    Ok(done.rows_affected())
}
