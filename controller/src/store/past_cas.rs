//! Certificate authorities that were replaced: roots of the installation, issuing CAs of a tenant. What
//! they signed counts until they are retired.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Conn, StoreError, Write};
use crate::ca;
use crate::clock::Timestamp;
use crate::scope::{Scope, TenantScope};

/// Retired ones that are remembered, so that who comes with their certificates is told to renew.
const RETIRED_KEPT: usize = 8;
/// Names of devices that a preview shows.
const NAMES_SHOWN: i64 = 10;
/// Devices that may connect, with a certificate of this CA that is valid.
const HOLDERS: &str = "FROM devices WHERE tenant_id = $1 AND ca_id = $2 AND cert_expires_at_us > $3 \
                       AND state IN ('enrolled', 'quarantined', 'decommissioning')";

/// A certificate authority that was replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastCa {
    /// SHA-256 of its certificate.
    pub id: String,
    /// Certificate, DER.
    pub cert_der: Vec<u8>,
    /// Of a root: its certificate for the root after it. Empty for an issuing CA.
    pub cross_der: Vec<u8>,
    /// Since when another one signs.
    pub replaced_at: Timestamp,
    /// Since when what it signed counts no more.
    pub retired_at: Option<Timestamp>,
}

/// Who needs a CA.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holders {
    /// Devices with a certificate from it that is valid.
    pub devices: u64,
    /// Names of some of them.
    pub names: Vec<String>,
    /// When the last of these certificates ends.
    pub until: Option<Timestamp>,
}

impl Holders {
    /// These and others.
    pub fn add(&mut self, other: Self) {
        self.devices += other.devices;
        self.names.extend(other.names);
        self.names.truncate(NAMES_SHOWN.unsigned_abs() as usize);
        self.until = self.until.max(other.until);
    }
}

fn read(row: &AnyRow) -> PastCa {
    PastCa {
        id: row.get("id"),
        cert_der: row.get("cert_der"),
        cross_der: row.get("cross_der"),
        replaced_at: Timestamp(row.get("replaced_at_us")),
        retired_at: row.get::<Option<i64>, _>("retired_at_us").map(Timestamp),
    }
}

/// All of this scope, newest first; there are a handful.
pub async fn list<S: Scope>(conn: &mut Conn<S>) -> Result<Vec<PastCa>, StoreError> {
    let key = conn.key();
    let rows = sqlx::query(
        "SELECT id, cert_der, cross_der, replaced_at_us, retired_at_us FROM past_cas \
         WHERE tenant_id = $1 ORDER BY replaced_at_us DESC, id",
    )
    .bind(key)
    .fetch_all(conn.db())
    .await
    .map_err(StoreError::doing("listing past certificate authorities"))?;
    Ok(rows.iter().map(read).collect())
}

/// Notes that a CA was replaced. Issuing CAs that were retired long ago are forgotten; roots never are,
/// as devices that were off for years find the present one through them.
pub async fn insert<S: Scope>(
    write: &mut Write<S>,
    cert_der: &[u8],
    cross_der: &[u8],
    now: Timestamp,
) -> Result<(), StoreError> {
    let key = write.key();
    sqlx::query(
        "INSERT INTO past_cas (tenant_id, id, cert_der, cross_der, replaced_at_us) \
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(key.clone())
    .bind(ca::id_of(cert_der))
    .bind(cert_der.to_vec())
    .bind(cross_der.to_vec())
    .bind(now.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("keeping a replaced certificate authority"))?;
    if !cross_der.is_empty() {
        return Ok(());
    }
    let all = list(write).await?;
    for old in all.iter().filter(|ca| ca.retired_at.is_some()).skip(RETIRED_KEPT) {
        sqlx::query("DELETE FROM past_cas WHERE tenant_id = $1 AND id = $2")
            .bind(key.clone())
            .bind(old.id.clone())
            .execute(write.db())
            .await
            .map_err(StoreError::doing("forgetting a certificate authority"))?;
    }
    Ok(())
}

/// What it signed counts no more. False when it was retired already.
pub async fn retire<S: Scope>(
    write: &mut Write<S>,
    id: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let key = write.key();
    let done = sqlx::query(
        "UPDATE past_cas SET retired_at_us = $3 \
         WHERE tenant_id = $1 AND id = $2 AND retired_at_us IS NULL",
    )
    .bind(key)
    .bind(id.to_owned())
    .bind(now.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("retiring a certificate authority"))?;
    Ok(done.rows_affected() == 1)
}

/// Notes of devices of which it is not known that their certificates are from `id`.
pub async fn note_holders(write: &mut Write<TenantScope>, id: &str) -> Result<(), StoreError> {
    let key = write.key();
    sqlx::query("UPDATE devices SET ca_id = $2 WHERE tenant_id = $1 AND ca_id = ''")
        .bind(key)
        .bind(id.to_owned())
        .execute(write.db())
        .await
        .map_err(StoreError::doing("noting whose certificates devices have"))?;
    Ok(())
}

/// Who has a certificate from the CA `id` that is valid at `now`. `''` for a CA that is not noted with
/// devices yet.
pub async fn holders(
    conn: &mut Conn<TenantScope>,
    id: &str,
    now: Timestamp,
) -> Result<Holders, StoreError> {
    let key = conn.key();
    let sql = format!("SELECT count(*) AS n, max(cert_expires_at_us) AS until {HOLDERS}");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(key.clone())
        .bind(id.to_owned())
        .bind(now.0)
        .fetch_one(conn.db())
        .await
        .map_err(StoreError::doing("counting who needs a certificate authority"))?;
    let devices = row.get::<i64, _>("n").unsigned_abs();
    if devices == 0 {
        return Ok(Holders::default());
    }
    let sql = format!("SELECT name {HOLDERS} ORDER BY name, id LIMIT $4");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(key)
        .bind(id.to_owned())
        .bind(now.0)
        .bind(NAMES_SHOWN)
        .fetch_all(conn.db())
        .await
        .map_err(StoreError::doing("listing who needs a certificate authority"))?;
    let names = rows.iter().map(|row| row.get("name")).collect();
    let until = row.get::<Option<i64>, _>("until").map(Timestamp);
    Ok(Holders { devices, names, until })
}
