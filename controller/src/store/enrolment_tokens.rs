//! Enrolment tokens as operators see them. Redeeming one is part of enrolment.

use std::collections::BTreeMap;

use edgeformer_proto::ids::{DeviceId, TokenId};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Conn, StoreError, Write, parse_id, parse_json};
use crate::clock::Timestamp;
use crate::scope::TenantScope;

/// A token as stored: everything but the secret.
#[derive(Debug, Clone)]
pub struct EnrolmentToken {
    /// Its id.
    pub id: TokenId,
    /// How many more devices it enrols.
    pub uses_left: u32,
    /// Given to each device that uses it.
    pub labels: BTreeMap<String, String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops working.
    pub expires_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// The device whose place it gives.
    pub replaces: Option<DeviceId>,
}

fn read(row: &AnyRow) -> Result<EnrolmentToken, StoreError> {
    let id: String = row.get("id");
    let uses_left: i64 = row.get("uses_left");
    let labels: String = row.get("labels");
    let replaces: String = row.get("replaces");
    Ok(EnrolmentToken {
        labels: parse_json("enrolment_tokens", &id, &labels)?,
        id: parse_id("enrolment_tokens", &id)?,
        uses_left: u32::try_from(uses_left).unwrap_or(0),
        created_at: Timestamp(row.get("created_at_us")),
        expires_at: Timestamp(row.get("expires_at_us")),
        revoked_at: row.get::<Option<i64>, _>("revoked_at_us").map(Timestamp),
        replaces: (!replaces.is_empty())
            .then(|| parse_id("enrolment_tokens", &replaces))
            .transpose()?,
    })
}

/// Adds a token. `secret_sha256` is all that is kept of it.
pub async fn insert(
    write: &mut Write<TenantScope>,
    token: &EnrolmentToken,
    secret_sha256: &[u8; 32],
) -> Result<(), StoreError> {
    let key = write.key();
    sqlx::query(
        "INSERT INTO enrolment_tokens \
         (tenant_id, id, secret_sha256, labels, uses_left, created_at_us, expires_at_us, \
          replaces) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(key)
    .bind(token.id.to_string())
    .bind(secret_sha256.to_vec())
    .bind(super::to_json(&token.labels))
    .bind(i64::from(token.uses_left))
    .bind(token.created_at.0)
    .bind(token.expires_at.0)
    .bind(token.replaces.map(|id| id.to_string()).unwrap_or_default())
    .execute(write.db())
    .await
    .map_err(StoreError::doing("adding an enrolment token"))?;
    Ok(())
}

/// Tokens in the order they were made, after `after`; used and revoked ones included.
pub async fn list(
    conn: &mut Conn<TenantScope>,
    after: Option<TokenId>,
    limit: i64,
) -> Result<Vec<EnrolmentToken>, StoreError> {
    let key = conn.key();
    let rows = sqlx::query(
        "SELECT id, labels, uses_left, created_at_us, expires_at_us, revoked_at_us, replaces \
         FROM enrolment_tokens WHERE tenant_id = $1 AND id > $2 ORDER BY id LIMIT $3",
    )
    .bind(key)
    .bind(after.map(|id| id.to_string()).unwrap_or_default())
    .bind(limit)
    .fetch_all(conn.db())
    .await
    .map_err(StoreError::doing("listing enrolment tokens"))?;
    rows.iter().map(read).collect()
}

/// One token of this tenant.
pub async fn get(
    conn: &mut Conn<TenantScope>,
    id: TokenId,
) -> Result<Option<EnrolmentToken>, StoreError> {
    let key = conn.key();
    let row = sqlx::query(
        "SELECT id, labels, uses_left, created_at_us, expires_at_us, revoked_at_us, replaces \
         FROM enrolment_tokens WHERE tenant_id = $1 AND id = $2",
    )
    .bind(key)
    .bind(id.to_string())
    .fetch_optional(conn.db())
    .await
    .map_err(StoreError::doing("reading an enrolment token"))?;
    row.as_ref().map(read).transpose()
}

/// Revokes a token. False if it was revoked before or is not there.
pub async fn revoke(
    write: &mut Write<TenantScope>,
    id: TokenId,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let key = write.key();
    let done = sqlx::query(
        "UPDATE enrolment_tokens SET revoked_at_us = $3 \
         WHERE tenant_id = $1 AND id = $2 AND revoked_at_us IS NULL",
    )
    .bind(key)
    .bind(id.to_string())
    .bind(now.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("revoking an enrolment token"))?;
    Ok(done.rows_affected() == 1)
}
