//! Tenants: their certificate authority and the wrapped keys that everything of theirs hangs on.

use edgeformer_proto::ids::TenantId;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Conn, StoreError, Write, parse_id};
use crate::clock::Timestamp;
use crate::scope::{InstallationScope, Scope, TenantScope};

/// A tenant with its key material, as stored.
#[derive(Debug, Clone)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// Unique in the installation.
    pub name: String,
    /// Issuing CA certificate, DER.
    pub ca_cert_der: Vec<u8>,
    /// The CA's key, wrapped.
    pub wrapped_ca_key: Vec<u8>,
    /// Ed25519 public key that devices pin: 32 bytes.
    pub release_public: Vec<u8>,
    /// The key that signs manifests, wrapped.
    pub wrapped_release_key: Vec<u8>,
    /// The secret that chunk keys derive from, wrapped.
    pub wrapped_chunk_secret: Vec<u8>,
    /// The tenant's key-encryption key, wrapped.
    pub wrapped_kek: Vec<u8>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What a list shows of a tenant.
#[derive(Debug, Clone)]
pub struct TenantSummary {
    /// Its id.
    pub id: TenantId,
    /// Unique in the installation.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
}

const COLUMNS: &str = "id, name, ca_cert_der, wrapped_ca_key, release_public, \
                       wrapped_release_key, wrapped_chunk_secret, wrapped_kek, created_at_us";

fn read(row: &AnyRow) -> Result<Tenant, StoreError> {
    let id: String = row.get("id");
    Ok(Tenant {
        id: parse_id("tenants", &id)?,
        name: row.get("name"),
        ca_cert_der: row.get("ca_cert_der"),
        wrapped_ca_key: row.get("wrapped_ca_key"),
        release_public: row.get("release_public"),
        wrapped_release_key: row.get("wrapped_release_key"),
        wrapped_chunk_secret: row.get("wrapped_chunk_secret"),
        wrapped_kek: row.get("wrapped_kek"),
        created_at: Timestamp(row.get("created_at_us")),
    })
}

/// Adds a tenant. A conflict means that the name is taken.
pub async fn insert(
    write: &mut Write<InstallationScope>,
    tenant: &Tenant,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO tenants (id, name, state, ca_cert_der, wrapped_ca_key, release_public, \
         wrapped_release_key, wrapped_chunk_secret, wrapped_kek, created_at_us) \
         VALUES ($1, $2, 'active', $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(tenant.id.to_string())
    .bind(tenant.name.clone())
    .bind(tenant.ca_cert_der.clone())
    .bind(tenant.wrapped_ca_key.clone())
    .bind(tenant.release_public.clone())
    .bind(tenant.wrapped_release_key.clone())
    .bind(tenant.wrapped_chunk_secret.clone())
    .bind(tenant.wrapped_kek.clone())
    .bind(tenant.created_at.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("adding a tenant"))?;
    Ok(())
}

/// Tenants in the order they were made, after `after`.
pub async fn list(
    conn: &mut Conn<InstallationScope>,
    after: Option<TenantId>,
    limit: i64,
) -> Result<Vec<TenantSummary>, StoreError> {
    let rows = sqlx::query(
        "SELECT id, name, created_at_us FROM tenants WHERE id > $1 ORDER BY id LIMIT $2",
    )
    .bind(after.map(|id| id.to_string()).unwrap_or_default())
    .bind(limit)
    .fetch_all(conn.db())
    .await
    .map_err(StoreError::doing("listing tenants"))?;
    rows.iter()
        .map(|row| {
            let id: String = row.get("id");
            Ok(TenantSummary {
                id: parse_id("tenants", &id)?,
                name: row.get("name"),
                created_at: Timestamp(row.get("created_at_us")),
            })
        })
        .collect()
}

/// The tenant of this scope, with its key material.
pub async fn own(conn: &mut Conn<TenantScope>) -> Result<Option<Tenant>, StoreError> {
    let key = conn.scope().key();
    let row =
        sqlx::query(sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM tenants WHERE id = $1")))
            .bind(key)
            .fetch_optional(conn.db())
            .await
            .map_err(StoreError::doing("reading the tenant"))?;
    row.as_ref().map(read).transpose()
}

/// Every tenant's certificate authority, for the listener that devices connect to: id and
/// certificate in DER.
pub async fn authorities(
    conn: &mut Conn<InstallationScope>,
) -> Result<Vec<(TenantId, Vec<u8>)>, StoreError> {
    let rows = sqlx::query("SELECT id, ca_cert_der FROM tenants ORDER BY id")
        .fetch_all(conn.db())
        .await
        .map_err(StoreError::doing("reading the certificate authorities"))?;
    rows.iter()
        .map(|row| {
            let id: String = row.get("id");
            Ok((parse_id("tenants", &id)?, row.get("ca_cert_der")))
        })
        .collect()
}
