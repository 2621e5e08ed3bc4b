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

/// Puts another root in the place of `old_der`. False when that is not the present one any more.
pub async fn replace_root(
    write: &mut Write<InstallationScope>,
    old_der: &[u8],
    cert_der: &[u8],
    wrapped_key: &[u8],
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "UPDATE installation SET root_cert_der = $2, wrapped_root_key = $3 \
         WHERE id = 1 AND root_cert_der = $1",
    )
    .bind(old_der.to_vec())
    .bind(cert_der.to_vec())
    .bind(wrapped_key.to_vec())
    .execute(write.db())
    .await
    .map_err(StoreError::doing("replacing the installation's root"))?;
    Ok(done.rows_affected() == 1)
}

/// The epoch that new generations belong to. Read in the transaction that assigns one.
pub async fn epoch<S: Scope>(conn: &mut Conn<S>) -> Result<u64, StoreError> {
    let row = sqlx::query("SELECT epoch FROM installation WHERE id = 1")
        .fetch_optional(conn.db())
        .await
        .map_err(StoreError::doing("reading the epoch"))?;
    Ok(row.map_or(1, |row| row.get::<i64, _>("epoch").unsigned_abs()))
}

/// After a restore: a new epoch, and every device's desired state moved into it, so that devices
/// which saw newer generations than the backup has take what it holds. The epoch follows the clock,
/// so that restoring the same backup twice gives two epochs.
pub async fn raise_epoch(
    write: &mut Write<InstallationScope>,
    now: Timestamp,
) -> Result<u64, StoreError> {
    const MICROS_PER_SECOND: i64 = 1_000_000;
    let epoch = i64::try_from(epoch(write).await?).unwrap_or(i64::MAX);
    let raised = epoch.saturating_add(1).max(now.0 / MICROS_PER_SECOND);
    for sql in [
        "UPDATE installation SET epoch = $1",
        "UPDATE devices SET desired_epoch = $1, desired_counter = desired_counter + 1",
    ] {
        sqlx::query(sql)
            .bind(raised)
            .execute(write.db())
            .await
            .map_err(StoreError::doing("raising the epoch"))?;
    }
    Ok(raised.unsigned_abs())
}
