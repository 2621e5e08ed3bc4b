//! Rows of the Merkle tree: tiles, the log's key, checkpoints.

use edgeformer_proto::audit::merkle::Hash;
use edgeformer_proto::audit::tile::TileId;
use sqlx::Row;

use super::{Conn, StoreError, Write};
use crate::clock::Timestamp;
use crate::scope::Scope;

/// The hashes of a tile; none if it is not there.
pub async fn tile<S: Scope>(
    conn: &mut Conn<S>,
    id: TileId,
) -> Result<Option<Vec<Hash>>, StoreError> {
    let key = conn.key();
    let row = sqlx::query(
        "SELECT hashes FROM audit_tiles WHERE tenant_id = $1 AND level = $2 AND tile = $3",
    )
    .bind(key)
    .bind(i64::from(id.level))
    .bind(id.index.cast_signed())
    .fetch_optional(conn.db())
    .await
    .map_err(StoreError::doing("reading a tile of the audit log"))?;
    row.map(|row| split(&row.get::<Vec<u8>, _>("hashes"), id)).transpose()
}

fn split(bytes: &[u8], id: TileId) -> Result<Vec<Hash>, StoreError> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    if !rest.is_empty() || hashes.is_empty() {
        return Err(StoreError::Damaged {
            table: "audit_tiles",
            id: format!("{}/{}", id.level, id.index),
            what: format!("{} bytes are no hashes", bytes.len()),
        });
    }
    Ok(hashes.to_vec())
}

/// Replaces a tile.
pub async fn put_tile<S: Scope>(
    write: &mut Write<S>,
    id: TileId,
    hashes: &[Hash],
) -> Result<(), StoreError> {
    let key = write.key();
    sqlx::query(
        "INSERT INTO audit_tiles (tenant_id, level, tile, hashes) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (tenant_id, level, tile) DO UPDATE SET hashes = excluded.hashes",
    )
    .bind(key)
    .bind(i64::from(id.level))
    .bind(id.index.cast_signed())
    .bind(hashes.concat())
    .execute(write.db())
    .await
    .map_err(StoreError::doing("writing a tile of the audit log"))?;
    Ok(())
}

/// How many leaves the tiles hold.
pub async fn leaves<S: Scope>(conn: &mut Conn<S>) -> Result<u64, StoreError> {
    let key = conn.key();
    let row = sqlx::query(
        "SELECT tile, hashes FROM audit_tiles WHERE tenant_id = $1 AND level = 0 \
         ORDER BY tile DESC LIMIT 1",
    )
    .bind(key)
    .fetch_optional(conn.db())
    .await
    .map_err(StoreError::doing("counting the leaves of the audit log"))?;
    Ok(row.map_or(0, |row| {
        let last: i64 = row.get("tile");
        last.unsigned_abs() * 256 + row.get::<Vec<u8>, _>("hashes").len() as u64 / 32
    }))
}

/// Leaf hashes of the log from `first` on.
pub async fn leaf_hashes<S: Scope>(
    conn: &mut Conn<S>,
    first: u64,
    limit: i64,
) -> Result<Vec<Hash>, StoreError> {
    let key = conn.key();
    let rows = sqlx::query(
        "SELECT leaf_sha256 FROM audit_log WHERE tenant_id = $1 AND sequence >= $2 \
         ORDER BY sequence LIMIT $3",
    )
    .bind(key)
    .bind(first.cast_signed())
    .bind(limit)
    .fetch_all(conn.db())
    .await
    .map_err(StoreError::doing("reading leaves of the audit log"))?;
    rows.iter()
        .zip(first..)
        .map(|(row, sequence)| {
            row.get::<Vec<u8>, _>("leaf_sha256").try_into().map_err(|_| StoreError::Damaged {
                table: "audit_log",
                id: sequence.to_string(),
                what: "its leaf is not a hash".to_owned(),
            })
        })
        .collect()
}

/// A log's key.
#[derive(Debug, Clone)]
pub struct LogKey {
    /// Ed25519.
    pub public: [u8; 32],
    /// PKCS#8, wrapped.
    pub wrapped: Vec<u8>,
}

/// The key of this log.
pub async fn key<S: Scope>(conn: &mut Conn<S>) -> Result<Option<LogKey>, StoreError> {
    let tenant = conn.key();
    let row = sqlx::query("SELECT public_key, wrapped_key FROM audit_keys WHERE tenant_id = $1")
        .bind(tenant.clone())
        .fetch_optional(conn.db())
        .await
        .map_err(StoreError::doing("reading the key of the audit log"))?;
    let Some(row) = row else { return Ok(None) };
    let public = row.get::<Vec<u8>, _>("public_key").try_into().map_err(|_| {
        let what = "a public key's length".to_owned();
        StoreError::Damaged { table: "audit_keys", id: tenant, what }
    })?;
    Ok(Some(LogKey { public, wrapped: row.get("wrapped_key") }))
}

/// Keeps the key of this log. Whoever is first wins.
pub async fn insert_key<S: Scope>(
    write: &mut Write<S>,
    new: &LogKey,
    now: Timestamp,
) -> Result<(), StoreError> {
    let key = write.key();
    sqlx::query(
        "INSERT INTO audit_keys (tenant_id, public_key, wrapped_key, created_at_us) \
         VALUES ($1, $2, $3, $4) ON CONFLICT (tenant_id) DO NOTHING",
    )
    .bind(key)
    .bind(new.public.to_vec())
    .bind(new.wrapped.clone())
    .bind(now.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("keeping the key of the audit log"))?;
    Ok(())
}

/// The newest checkpoint: its size and the signed note, without cosignatures.
pub async fn checkpoint<S: Scope>(conn: &mut Conn<S>) -> Result<Option<(u64, String)>, StoreError> {
    checkpoint_up_to(conn, i64::MAX as u64).await
}

/// The newest checkpoint of at most `size` records.
pub async fn checkpoint_up_to<S: Scope>(
    conn: &mut Conn<S>,
    size: u64,
) -> Result<Option<(u64, String)>, StoreError> {
    let key = conn.key();
    let row = sqlx::query(
        "SELECT size, note FROM audit_checkpoints WHERE tenant_id = $1 AND size <= $2 \
         ORDER BY size DESC LIMIT 1",
    )
    .bind(key)
    .bind(size.cast_signed())
    .fetch_optional(conn.db())
    .await
    .map_err(StoreError::doing("reading the newest checkpoint"))?;
    Ok(row.map(|row| (row.get::<i64, _>("size").unsigned_abs(), row.get("note"))))
}

/// Adds a checkpoint. One of this size that is there stays.
pub async fn insert_checkpoint<S: Scope>(
    write: &mut Write<S>,
    size: u64,
    note: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let key = write.key();
    sqlx::query(
        "INSERT INTO audit_checkpoints (tenant_id, size, note, created_at_us) \
         VALUES ($1, $2, $3, $4) ON CONFLICT (tenant_id, size) DO NOTHING",
    )
    .bind(key)
    .bind(size.cast_signed())
    .bind(note.to_owned())
    .bind(now.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("keeping a checkpoint"))?;
    Ok(())
}
