//! Documents that go with versions. Rows are added with their version and read; nothing changes one.

use edgeformer_proto::ids::VersionId;
use sqlx::Row;

use super::{Conn, StoreError, Write};
use crate::scope::TenantScope;

/// Adds a document to a version that was just added.
pub async fn insert(
    write: &mut Write<TenantScope>,
    version: VersionId,
    kind: &str,
    body: &[u8],
) -> Result<(), StoreError> {
    let tenant = write.key();
    sqlx::query(
        "INSERT INTO version_documents (tenant_id, version_id, kind, body) \
         VALUES ($1, $2, $3, $4)",
    )
    .bind(tenant)
    .bind(version.to_string())
    .bind(kind.to_owned())
    .bind(body.to_vec())
    .execute(write.db())
    .await
    .map_err(StoreError::doing("adding a document of a version"))?;
    Ok(())
}

/// A version's document of this kind.
pub async fn get(
    conn: &mut Conn<TenantScope>,
    version: VersionId,
    kind: &str,
) -> Result<Option<Vec<u8>>, StoreError> {
    let tenant = conn.key();
    let row = sqlx::query(
        "SELECT body FROM version_documents \
         WHERE tenant_id = $1 AND version_id = $2 AND kind = $3",
    )
    .bind(tenant)
    .bind(version.to_string())
    .bind(kind.to_owned())
    .fetch_optional(conn.db())
    .await
    .map_err(StoreError::doing("reading a document of a version"))?;
    Ok(row.map(|row| row.get("body")))
}
