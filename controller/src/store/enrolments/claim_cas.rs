//! Manufacturers whose certificates let devices in, and which certificates did.

use std::collections::{BTreeMap, BTreeSet};

use edgeformer_proto::ids::{ClaimCaId, DeviceId};
use sqlx::Row;
use sqlx::any::AnyRow;

use crate::clock::Timestamp;
use crate::scope::TenantScope;
use crate::store::{Conn, StoreError, Write, parse_id, parse_json, to_json};

/// A manufacturer's CA.
#[derive(Debug, Clone)]
pub struct ClaimCa {
    /// Its id.
    pub id: ClaimCaId,
    /// For people.
    pub name: String,
    /// Certificate, DER.
    pub cert_der: Vec<u8>,
    /// Given to each device that it lets in.
    pub labels: BTreeMap<String, String>,
    /// Patterns of names that it lets in; empty: any.
    pub names: Vec<String>,
    /// Serial numbers that it does not, hexadecimal.
    pub revoked: BTreeSet<String>,
    /// When it was added.
    pub created_at: Timestamp,
    /// How many devices it let in.
    pub uses: u64,
}

const SELECT: &str = "SELECT c.id, c.name, c.cert_der, c.labels, c.names, c.revoked, c.created_at_us, \
    (SELECT count(*) FROM claim_uses u WHERE u.tenant_id = c.tenant_id AND u.ca_id = c.id) AS uses \
    FROM claim_cas c WHERE c.tenant_id = $1";

fn read(row: &AnyRow) -> Result<ClaimCa, StoreError> {
    const TABLE: &str = "claim_cas";
    let id: String = row.get("id");
    Ok(ClaimCa {
        labels: parse_json(TABLE, &id, &row.get::<String, _>("labels"))?,
        names: parse_json(TABLE, &id, &row.get::<String, _>("names"))?,
        revoked: parse_json(TABLE, &id, &row.get::<String, _>("revoked"))?,
        id: parse_id(TABLE, &id)?,
        name: row.get("name"),
        cert_der: row.get("cert_der"),
        created_at: Timestamp(row.get("created_at_us")),
        uses: row.get::<i64, _>("uses").unsigned_abs(),
    })
}

/// All of the tenant; there are a handful.
pub async fn list(conn: &mut Conn<TenantScope>) -> Result<Vec<ClaimCa>, StoreError> {
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!("{SELECT} ORDER BY c.id")))
        .bind(conn.key())
        .fetch_all(conn.db())
        .await
        .map_err(StoreError::doing("listing claim CAs"))?;
    rows.iter().map(read).collect()
}

/// One of them.
pub async fn get(
    conn: &mut Conn<TenantScope>,
    id: ClaimCaId,
) -> Result<Option<ClaimCa>, StoreError> {
    let row = sqlx::query(sqlx::AssertSqlSafe(format!("{SELECT} AND c.id = $2")))
        .bind(conn.key())
        .bind(id.to_string())
        .fetch_optional(conn.db())
        .await
        .map_err(StoreError::doing("reading a claim CA"))?;
    row.as_ref().map(read).transpose()
}

/// Adds one.
pub async fn insert(write: &mut Write<TenantScope>, ca: &ClaimCa) -> Result<(), StoreError> {
    let key = write.key();
    sqlx::query(
        "INSERT INTO claim_cas (tenant_id, id, name, cert_der, labels, names, revoked, \
         created_at_us) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(key)
    .bind(ca.id.to_string())
    .bind(ca.name.clone())
    .bind(ca.cert_der.clone())
    .bind(to_json(&ca.labels))
    .bind(to_json(&ca.names))
    .bind(to_json(&ca.revoked))
    .bind(ca.created_at.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("adding a claim CA"))?;
    Ok(())
}

/// Removes one. Which certificates it let in stays: they do so once, also if it is added again.
pub async fn remove(write: &mut Write<TenantScope>, id: ClaimCaId) -> Result<bool, StoreError> {
    let key = write.key();
    let done = sqlx::query("DELETE FROM claim_cas WHERE tenant_id = $1 AND id = $2")
        .bind(key)
        .bind(id.to_string())
        .execute(write.db())
        .await
        .map_err(StoreError::doing("removing a claim CA"))?;
    Ok(done.rows_affected() == 1)
}

/// Replaces the serial numbers that a CA does not let in.
pub async fn set_revoked(
    write: &mut Write<TenantScope>,
    id: ClaimCaId,
    revoked: &BTreeSet<String>,
) -> Result<(), StoreError> {
    let key = write.key();
    sqlx::query("UPDATE claim_cas SET revoked = $3 WHERE tenant_id = $1 AND id = $2")
        .bind(key)
        .bind(id.to_string())
        .bind(to_json(revoked))
        .execute(write.db())
        .await
        .map_err(StoreError::doing("revoking factory certificates"))?;
    Ok(())
}

/// Notes that a certificate let a device in. False if it let one in before.
pub async fn take(
    write: &mut Write<TenantScope>,
    certificate: &str,
    ca: ClaimCaId,
    serial: &str,
    device: DeviceId,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let key = write.key();
    let done = sqlx::query(
        "INSERT INTO claim_uses (tenant_id, certificate, ca_id, serial, device_id, used_at_us) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (tenant_id, certificate) DO NOTHING",
    )
    .bind(key)
    .bind(certificate.to_owned())
    .bind(ca.to_string())
    .bind(serial.to_owned())
    .bind(device.to_string())
    .bind(now.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("noting the use of a factory certificate"))?;
    Ok(done.rows_affected() == 1)
}

/// Lets the certificates with this serial number of a CA let a device in again. How many that were.
pub async fn release(
    write: &mut Write<TenantScope>,
    ca: ClaimCaId,
    serial: &str,
) -> Result<u64, StoreError> {
    let key = write.key();
    let done =
        sqlx::query("DELETE FROM claim_uses WHERE tenant_id = $1 AND ca_id = $2 AND serial = $3")
            .bind(key)
            .bind(ca.to_string())
            .bind(serial.to_owned())
            .execute(write.db())
            .await
            .map_err(StoreError::doing("releasing a factory certificate"))?;
    Ok(done.rows_affected())
}
