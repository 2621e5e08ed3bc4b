//! The tenant's key that signs models for others to verify; wrapped.

use sqlx::Row;

use super::{Conn, StoreError, Write};
use crate::clock::Timestamp;
use crate::scope::TenantScope;

/// The wrapped key, once there is one.
pub async fn get(conn: &mut Conn<TenantScope>) -> Result<Option<Vec<u8>>, StoreError> {
    let tenant = conn.key();
    let row = sqlx::query("SELECT wrapped_key FROM model_signing_keys WHERE tenant_id = $1")
        .bind(tenant)
        .fetch_optional(conn.db())
        .await
        .map_err(StoreError::doing("reading the key that signs models"))?;
    Ok(row.map(|row| row.get("wrapped_key")))
}

/// Keeps the key. False if there is one: whoever is first wins.
pub async fn insert(
    write: &mut Write<TenantScope>,
    wrapped: &[u8],
    now: Timestamp,
) -> Result<bool, StoreError> {
    let tenant = write.key();
    let done = sqlx::query(
        "INSERT INTO model_signing_keys (tenant_id, wrapped_key, created_at_us) \
         VALUES ($1, $2, $3) ON CONFLICT (tenant_id) DO NOTHING",
    )
    .bind(tenant)
    .bind(wrapped.to_vec())
    .bind(now.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("keeping the key that signs models"))?;
    Ok(done.rows_affected() > 0)
}
