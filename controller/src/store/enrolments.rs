//! Trading a token for a place in the fleet, and what a device may prove itself with afterwards.

pub mod claim_cas;
pub mod requests;

use std::collections::BTreeMap;

use edgeformer_proto::ids::{DeviceId, TenantId, TokenId};
use sqlx::Row;

use super::devices::DeviceState;
use super::past_cas::PastCa;
use super::{Conn, StoreError, Write, parse_id, parse_json, to_json};
use crate::clock::Timestamp;
use crate::scope::{InstallationScope, TenantScope};

/// A token, found by what somebody presented.
#[derive(Debug, Clone)]
pub struct PresentedToken {
    /// The tenant it enrols into.
    pub tenant: TenantId,
    /// Its id.
    pub id: TokenId,
    /// Given to each device that uses it.
    pub labels: BTreeMap<String, String>,
    /// How many more devices it enrols.
    pub uses_left: u32,
    /// When it stops working.
    pub expires_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// The device whose place it gives.
    pub replaces: Option<DeviceId>,
}

/// The token with this SHA-256, of whichever tenant.
pub async fn find_token(
    conn: &mut Conn<InstallationScope>,
    secret_sha256: &[u8; 32],
) -> Result<Option<PresentedToken>, StoreError> {
    let row = sqlx::query(
        "SELECT tenant_id, id, labels, uses_left, expires_at_us, revoked_at_us, replaces \
         FROM enrolment_tokens WHERE secret_sha256 = $1",
    )
    .bind(secret_sha256.to_vec())
    .fetch_optional(conn.db())
    .await
    .map_err(StoreError::doing("looking an enrolment token up"))?;
    row.map(|row| {
        let id: String = row.get("id");
        let tenant: String = row.get("tenant_id");
        let labels: String = row.get("labels");
        let replaces: String = row.get("replaces");
        Ok(PresentedToken {
            replaces: (!replaces.is_empty())
                .then(|| parse_id("enrolment_tokens", &replaces))
                .transpose()?,
            tenant: parse_id("enrolment_tokens", &tenant)?,
            labels: parse_json("enrolment_tokens", &id, &labels)?,
            id: parse_id("enrolment_tokens", &id)?,
            uses_left: u32::try_from(row.get::<i64, _>("uses_left")).unwrap_or(0),
            expires_at: Timestamp(row.get("expires_at_us")),
            revoked_at: row.get::<Option<i64>, _>("revoked_at_us").map(Timestamp),
        })
    })
    .transpose()
}

/// Takes one use. False when the token was used up, revoked or expired meanwhile.
pub async fn redeem(
    write: &mut Write<TenantScope>,
    token: TokenId,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let key = write.key();
    let done = sqlx::query(
        "UPDATE enrolment_tokens SET uses_left = uses_left - 1 \
         WHERE tenant_id = $1 AND id = $2 AND uses_left > 0 AND revoked_at_us IS NULL \
           AND expires_at_us > $3",
    )
    .bind(key)
    .bind(token.to_string())
    .bind(now.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("redeeming an enrolment token"))?;
    Ok(done.rows_affected() == 1)
}

/// A device about to join.
#[derive(Debug, Clone)]
pub struct NewDevice {
    /// Its new id.
    pub id: DeviceId,
    /// For people.
    pub name: String,
    /// Its own labels and the token's.
    pub labels: BTreeMap<String, String>,
    /// What it says of itself.
    pub facts: serde_json::Value,
    /// SubjectPublicKeyInfo, DER.
    pub public_key: Vec<u8>,
    /// HPKE public key, 65 bytes.
    pub hpke_public: Vec<u8>,
    /// What let it in: a token's id, or a word and what it names.
    pub credential: String,
    /// End of its certificate.
    pub cert_expires_at_us: i64,
    /// Which CA made it.
    pub ca_id: String,
}

/// Adds a device. A conflict means that its key is enrolled.
pub async fn insert_device(
    write: &mut Write<TenantScope>,
    device: &NewDevice,
    now: Timestamp,
) -> Result<(), StoreError> {
    let key = write.key();
    sqlx::query(
        "INSERT INTO devices (tenant_id, id, name, state, labels, facts, public_key, hpke_public, \
         enrolment_token_id, cert_expires_at_us, ca_id, desired_epoch, desired_counter, revision, \
         created_at_us) VALUES ($1, $2, $3, 'enrolled', $4, $5, $6, $7, $8, $9, $10, 0, 0, 1, $11)",
    )
    .bind(key)
    .bind(device.id.to_string())
    .bind(device.name.clone())
    .bind(to_json(&device.labels))
    .bind(to_json(&device.facts))
    .bind(device.public_key.clone())
    .bind(device.hpke_public.clone())
    .bind(device.credential.clone())
    .bind(device.cert_expires_at_us)
    .bind(device.ca_id.clone())
    .bind(now.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("adding a device"))?;
    Ok(())
}

/// The device that enrolled with this key: its id and standing, and the token it used.
pub async fn device_by_key(
    conn: &mut Conn<TenantScope>,
    public_key: &[u8],
) -> Result<Option<(DeviceId, Standing, String)>, StoreError> {
    let key = conn.key();
    let row = sqlx::query(
        "SELECT id, enrolment_token_id FROM devices WHERE tenant_id = $1 AND public_key = $2",
    )
    .bind(key)
    .bind(public_key.to_vec())
    .fetch_optional(conn.db())
    .await
    .map_err(StoreError::doing("looking a device up by its key"))?;
    let Some(row) = row else { return Ok(None) };
    let id: DeviceId = parse_id("devices", &row.get::<String, _>("id"))?;
    let standing = standing(conn, id).await?;
    Ok(standing.map(|standing| (id, standing, row.get("enrolment_token_id"))))
}

/// What a device's claim to be itself is checked against.
#[derive(Debug, Clone)]
pub struct Standing {
    /// For people.
    pub name: String,
    /// Where it is in its life.
    pub state: DeviceState,
    /// SubjectPublicKeyInfo, DER.
    pub public_key: Vec<u8>,
    /// Issuing CA of its tenant, DER.
    pub ca_cert_der: Vec<u8>,
    /// Issuing CAs before it, if somebody had to look for them.
    pub past_cas: Vec<PastCa>,
}

/// The standing of one device; `None` when this tenant has no such device.
pub async fn standing(
    conn: &mut Conn<TenantScope>,
    device: DeviceId,
) -> Result<Option<Standing>, StoreError> {
    let key = conn.key();
    let row = sqlx::query(
        "SELECT d.name, d.state, d.public_key, t.ca_cert_der \
         FROM devices d JOIN tenants t ON t.id = d.tenant_id \
         WHERE d.tenant_id = $1 AND d.id = $2",
    )
    .bind(key)
    .bind(device.to_string())
    .fetch_optional(conn.db())
    .await
    .map_err(StoreError::doing("reading a device's standing"))?;
    row.map(|row| {
        Ok(Standing {
            name: row.get("name"),
            state: DeviceState::read(&device.to_string(), &row.get::<String, _>("state"))?,
            public_key: row.get("public_key"),
            ca_cert_der: row.get("ca_cert_der"),
            past_cas: Vec::new(),
        })
    })
    .transpose()
}

/// Notes until when a device's newest certificate is valid, and which CA made it. False when it may have
/// none.
pub async fn set_certificate(
    write: &mut Write<TenantScope>,
    device: DeviceId,
    expires_at_us: i64,
    ca_id: &str,
) -> Result<bool, StoreError> {
    let key = write.key();
    let done = sqlx::query(
        "UPDATE devices SET cert_expires_at_us = $3, ca_id = $4 WHERE tenant_id = $1 AND id = $2 \
         AND state IN ('enrolled', 'quarantined', 'decommissioning')",
    )
    .bind(key)
    .bind(device.to_string())
    .bind(expires_at_us)
    .bind(ca_id.to_owned())
    .execute(write.db())
    .await
    .map_err(StoreError::doing("noting a renewed certificate"))?;
    Ok(done.rows_affected() == 1)
}
