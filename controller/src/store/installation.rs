//! The one row that says which installation this is.

use sqlx::Row;

use super::{Conn, StoreError, Write};
use crate::clock::Timestamp;
use crate::scope::{InstallationScope, Scope};

/// The installation, as stored.
#[derive(Debug, Clone)]
pub struct Installation {
    /// Name in the devices' SPIFFE ids.
    pub trust_domain: String,
    /// First number of every generation; raised by restoring a backup.
    pub epoch: u64,
    /// Root certificate, DER.
    pub root_cert_der: Vec<u8>,
    /// The root's key, wrapped.
    pub wrapped_root_key: Vec<u8>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Makes the row. A conflict means that the installation exists.
pub async fn insert(
    write: &mut Write<InstallationScope>,
    installation: &Installation,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO installation \
         (id, trust_domain, epoch, root_cert_der, wrapped_root_key, created_at_us) \
         VALUES (1, $1, $2, $3, $4, $5)",
    )
    .bind(installation.trust_domain.clone())
    .bind(installation.epoch.cast_signed())
    .bind(installation.root_cert_der.clone())
    .bind(installation.wrapped_root_key.clone())
    .bind(installation.created_at.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("making the installation"))?;
    Ok(())
}

/// The installation; none before `init`.
pub async fn get(conn: &mut Conn<InstallationScope>) -> Result<Option<Installation>, StoreError> {
    let row = sqlx::query(
        "SELECT trust_domain, epoch, root_cert_der, wrapped_root_key, created_at_us \
         FROM installation WHERE id = 1",
    )
    .fetch_optional(conn.db())
    .await
    .map_err(StoreError::doing("reading the installation"))?;
    Ok(row.map(|row| Installation {
        trust_domain: row.get("trust_domain"),
        epoch: row.get::<i64, _>("epoch").unsigned_abs(),
        root_cert_der: row.get("root_cert_der"),
        wrapped_root_key: row.get("wrapped_root_key"),
        created_at: Timestamp(row.get("created_at_us")),
    }))
}

/// The epoch that new generations belong to. Read in the transaction that assigns one.
pub async fn epoch<S: Scope>(conn: &mut Conn<S>) -> Result<u64, StoreError> {
    let row = sqlx::query("SELECT epoch FROM installation WHERE id = 1")
        .fetch_optional(conn.db())
        .await
        .map_err(StoreError::doing("reading the epoch"))?;
    Ok(row.map_or(1, |row| row.get::<i64, _>("epoch").unsigned_abs()))
}
