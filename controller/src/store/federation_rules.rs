//! Rules by which another system's tokens stand for a service account.

use std::collections::BTreeMap;

use edgeformer_proto::ids::{FederationRuleId, ServiceAccountId};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Conn, StoreError, Write, parse_id, parse_json, to_json};
use crate::clock::Timestamp;
use crate::scope::TenantScope;

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FederationRule {
    /// Its id.
    pub id: FederationRuleId,
    /// Whom such tokens stand for.
    pub account: ServiceAccountId,
    /// Exactly as the other system names itself.
    pub issuer: String,
    /// For whom the other system must have made them.
    pub audience: String,
    /// Patterns by claim: all must fit.
    pub conditions: BTreeMap<String, String>,
    /// Who made it: subject's id.
    pub created_by: String,
    /// When it was made.
    pub created_at: Timestamp,
}

fn read(row: &AnyRow) -> Result<FederationRule, StoreError> {
    let id: String = row.get("id");
    Ok(FederationRule {
        account: parse_id("federation_rules", &row.get::<String, _>("service_account_id"))?,
        issuer: row.get("issuer"),
        audience: row.get("audience"),
        conditions: parse_json("federation_rules", &id, &row.get::<String, _>("conditions"))?,
        created_by: row.get("created_by"),
        created_at: Timestamp(row.get("created_at_us")),
        id: parse_id("federation_rules", &id)?,
    })
}

/// Adds a rule.
pub async fn insert(
    write: &mut Write<TenantScope>,
    rule: &FederationRule,
) -> Result<(), StoreError> {
    let key = write.key();
    sqlx::query(
        "INSERT INTO federation_rules (tenant_id, id, service_account_id, issuer, audience, \
         conditions, created_at_us, created_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(key)
    .bind(rule.id.to_string())
    .bind(rule.account.to_string())
    .bind(rule.issuer.clone())
    .bind(rule.audience.clone())
    .bind(to_json(&rule.conditions))
    .bind(rule.created_at.0)
    .bind(rule.created_by.clone())
    .execute(write.db())
    .await
    .map_err(StoreError::doing("adding a trust rule"))?;
    Ok(())
}

/// The rules of an account in the order they were made. There are at most
/// `admin::federation::MAX_RULES`.
pub async fn of_account(
    conn: &mut Conn<TenantScope>,
    account: ServiceAccountId,
) -> Result<Vec<FederationRule>, StoreError> {
    let key = conn.key();
    let rows = sqlx::query(
        "SELECT * FROM federation_rules WHERE tenant_id = $1 AND service_account_id = $2 \
         ORDER BY id",
    )
    .bind(key)
    .bind(account.to_string())
    .fetch_all(conn.db())
    .await
    .map_err(StoreError::doing("listing trust rules"))?;
    rows.iter().map(read).collect()
}

/// The rule of this id.
pub async fn get(
    conn: &mut Conn<TenantScope>,
    id: FederationRuleId,
) -> Result<Option<FederationRule>, StoreError> {
    let key = conn.key();
    let row = sqlx::query("SELECT * FROM federation_rules WHERE tenant_id = $1 AND id = $2")
        .bind(key)
        .bind(id.to_string())
        .fetch_optional(conn.db())
        .await
        .map_err(StoreError::doing("reading a trust rule"))?;
    row.as_ref().map(read).transpose()
}

/// Removes a rule.
pub async fn delete(
    write: &mut Write<TenantScope>,
    id: FederationRuleId,
) -> Result<(), StoreError> {
    let key = write.key();
    sqlx::query("DELETE FROM federation_rules WHERE tenant_id = $1 AND id = $2")
        .bind(key)
        .bind(id.to_string())
        .execute(write.db())
        .await
        .map_err(StoreError::doing("removing a trust rule"))?;
    Ok(())
}
