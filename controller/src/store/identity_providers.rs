//! OpenID providers at which a tenant's people log in.

use std::collections::{BTreeMap, BTreeSet};

use edgeformer_proto::ids::IdentityProviderId;
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::{Conn, StoreError, Write, parse_id, parse_json, to_json};
use crate::clock::Timestamp;
use crate::scope::TenantScope;

/// What of a provider only this program reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// What is asked for; always with "openid".
    pub scopes: Vec<String>,
    /// The claim that carries groups.
    pub groups_claim: String,
    /// Names of roles, by group.
    pub role_mapping: BTreeMap<String, BTreeSet<String>>,
    /// Domains of e-mail addresses that may log in; empty for any.
    pub email_domains: BTreeSet<String>,
    /// Signature algorithms that are taken.
    pub algorithms: BTreeSet<String>,
    /// Whether somebody unknown gets an account at the first log-in.
    pub creates_users: bool,
    /// Whether somebody unknown is taken for the account with their verified e-mail address.
    pub matches_email: bool,
    /// Whether accounts that were brought in over SCIM are its people's, by their external id.
    #[serde(default = "yes")]
    pub matches_provisioned: bool,
    /// Classes of authentication, one of which is asked for and must have been; empty for any.
    #[serde(default)]
    pub acr_values: Vec<String>,
}

fn yes() -> bool {
    true
}

/// A provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityProvider {
    /// Its id.
    pub id: IdentityProviderId,
    /// As people choose it; unique in the tenant.
    pub name: String,
    /// Exactly as it names itself.
    pub issuer: String,
    /// As it knows this controller.
    pub client_id: String,
    /// Wrapped; none for a client that has no secret.
    pub wrapped_secret: Option<Vec<u8>>,
    /// The rest.
    pub settings: Settings,
    /// Whether people may log in with it.
    pub enabled: bool,
    /// Grows with each change; from 1.
    pub revision: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

fn read(row: &AnyRow) -> Result<IdentityProvider, StoreError> {
    let id: String = row.get("id");
    Ok(IdentityProvider {
        name: row.get("name"),
        issuer: row.get("issuer"),
        client_id: row.get("client_id"),
        wrapped_secret: row.get("wrapped_secret"),
        settings: parse_json("identity_providers", &id, &row.get::<String, _>("settings"))?,
        enabled: row.get::<i64, _>("enabled") != 0,
        revision: row.get::<i64, _>("revision").unsigned_abs(),
        created_at: Timestamp(row.get("created_at_us")),
        updated_at: Timestamp(row.get("updated_at_us")),
        id: parse_id("identity_providers", &id)?,
    })
}

/// The tenant's providers in the order they were made. There are at most
/// `admin::identity_providers::MAX_PROVIDERS`.
pub async fn all(conn: &mut Conn<TenantScope>) -> Result<Vec<IdentityProvider>, StoreError> {
    let key = conn.key();
    let rows = sqlx::query("SELECT * FROM identity_providers WHERE tenant_id = $1 ORDER BY id")
        .bind(key)
        .fetch_all(conn.db())
        .await
        .map_err(StoreError::doing("listing identity providers"))?;
    rows.iter().map(read).collect()
}

/// The provider of this id.
pub async fn get(
    conn: &mut Conn<TenantScope>,
    id: IdentityProviderId,
) -> Result<Option<IdentityProvider>, StoreError> {
    one(conn, "id = $2", id.to_string()).await
}

/// The provider of this name.
pub async fn by_name(
    conn: &mut Conn<TenantScope>,
    name: &str,
) -> Result<Option<IdentityProvider>, StoreError> {
    one(conn, "name = $2", name.to_owned()).await
}

async fn one(
    conn: &mut Conn<TenantScope>,
    condition: &str,
    value: String,
) -> Result<Option<IdentityProvider>, StoreError> {
    let key = conn.key();
    // Safe: the condition is one of the literals above.
    let sql = format!("SELECT * FROM identity_providers WHERE tenant_id = $1 AND {condition}");
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(key)
        .bind(value)
        .fetch_optional(conn.db())
        .await
        .map_err(StoreError::doing("reading an identity provider"))?;
    row.as_ref().map(read).transpose()
}

/// Adds a provider. A conflict means that the name is taken.
pub async fn insert(
    write: &mut Write<TenantScope>,
    provider: &IdentityProvider,
) -> Result<(), StoreError> {
    let key = write.key();
    sqlx::query(
        "INSERT INTO identity_providers (tenant_id, id, name, issuer, client_id, wrapped_secret, \
         settings, enabled, revision, created_at_us, updated_at_us) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1, $9, $9)",
    )
    .bind(key)
    .bind(provider.id.to_string())
    .bind(provider.name.clone())
    .bind(provider.issuer.clone())
    .bind(provider.client_id.clone())
    .bind(provider.wrapped_secret.clone())
    .bind(to_json(&provider.settings))
    .bind(i64::from(provider.enabled))
    .bind(provider.created_at.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("adding an identity provider"))?;
    Ok(())
}

/// Changes a provider that is still at `revision`. Returns whether it was.
pub async fn update(
    write: &mut Write<TenantScope>,
    provider: &IdentityProvider,
    revision: u64,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let key = write.key();
    let done = sqlx::query(
        "UPDATE identity_providers SET name = $4, issuer = $5, client_id = $6, \
         wrapped_secret = $7, settings = $8, enabled = $9, revision = revision + 1, \
         updated_at_us = $10 WHERE tenant_id = $1 AND id = $2 AND revision = $3",
    )
    .bind(key)
    .bind(provider.id.to_string())
    .bind(i64::try_from(revision).unwrap_or(i64::MAX))
    .bind(provider.name.clone())
    .bind(provider.issuer.clone())
    .bind(provider.client_id.clone())
    .bind(provider.wrapped_secret.clone())
    .bind(to_json(&provider.settings))
    .bind(i64::from(provider.enabled))
    .bind(now.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("changing an identity provider"))?;
    Ok(done.rows_affected() == 1)
}

/// Removes a provider, and who its subjects are.
pub async fn delete(
    write: &mut Write<TenantScope>,
    id: IdentityProviderId,
) -> Result<(), StoreError> {
    let key = write.key();
    sqlx::query("DELETE FROM identity_providers WHERE tenant_id = $1 AND id = $2")
        .bind(key)
        .bind(id.to_string())
        .execute(write.db())
        .await
        .map_err(StoreError::doing("removing an identity provider"))?;
    forget_subjects(write, id).await
}

/// Forgets who the subjects of a provider are: another issuer's subjects are other people.
pub async fn forget_subjects(
    write: &mut Write<TenantScope>,
    id: IdentityProviderId,
) -> Result<(), StoreError> {
    let key = write.key();
    sqlx::query("DELETE FROM user_identities WHERE tenant_id = $1 AND provider_id = $2")
        .bind(key)
        .bind(id.to_string())
        .execute(write.db())
        .await
        .map_err(StoreError::doing("forgetting a provider's subjects"))?;
    Ok(())
}
