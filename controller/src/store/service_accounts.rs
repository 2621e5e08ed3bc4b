//! Programs with an account.

use std::collections::BTreeSet;

use edgeformer_proto::ids::ServiceAccountId;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::users::{role_names, roles};
use super::{Conn, StoreError, Write, parse_id};
use crate::clock::Timestamp;
use crate::policy::Role;
use crate::scope::TenantScope;

/// A program.
#[derive(Debug, Clone)]
pub struct ServiceAccount {
    /// Its id.
    pub id: ServiceAccountId,
    /// Unique in the tenant.
    pub name: String,
    /// What it may be.
    pub roles: BTreeSet<Role>,
    /// Whether its tokens work.
    pub active: bool,
    /// Grows with each change.
    pub revision: u64,
    /// When it was made.
    pub created_at: Timestamp,
}

const COLUMNS: &str = "id, name, roles, active, revision, created_at_us";

fn read(row: &AnyRow) -> Result<ServiceAccount, StoreError> {
    let id: String = row.get("id");
    Ok(ServiceAccount {
        name: row.get("name"),
        roles: roles("service_accounts", &id, &row.get::<String, _>("roles"))?,
        active: row.get::<i64, _>("active") != 0,
        revision: row.get::<i64, _>("revision").unsigned_abs(),
        created_at: Timestamp(row.get("created_at_us")),
        id: parse_id("service_accounts", &id)?,
    })
}

/// Adds an account. A conflict means that the name is taken.
pub async fn insert(
    write: &mut Write<TenantScope>,
    account: &ServiceAccount,
) -> Result<(), StoreError> {
    let key = write.key();
    sqlx::query(
        "INSERT INTO service_accounts (tenant_id, id, name, roles, active, revision, created_at_us) \
         VALUES ($1, $2, $3, $4, $5, 1, $6)",
    )
    .bind(key)
    .bind(account.id.to_string())
    .bind(account.name.clone())
    .bind(role_names(&account.roles))
    .bind(i64::from(account.active))
    .bind(account.created_at.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("adding a service account"))?;
    Ok(())
}

/// The account of this name.
pub async fn by_name(
    conn: &mut Conn<TenantScope>,
    name: &str,
) -> Result<Option<ServiceAccount>, StoreError> {
    let key = conn.key();
    let sql = format!("SELECT {COLUMNS} FROM service_accounts WHERE tenant_id = $1 AND name = $2");
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(key)
        .bind(name.to_owned())
        .fetch_optional(conn.db())
        .await
        .map_err(StoreError::doing("reading a service account"))?;
    row.as_ref().map(read).transpose()
}

/// The account of this id.
pub async fn get(
    conn: &mut Conn<TenantScope>,
    id: ServiceAccountId,
) -> Result<Option<ServiceAccount>, StoreError> {
    let key = conn.key();
    let sql = format!("SELECT {COLUMNS} FROM service_accounts WHERE tenant_id = $1 AND id = $2");
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(key)
        .bind(id.to_string())
        .fetch_optional(conn.db())
        .await
        .map_err(StoreError::doing("reading a service account"))?;
    row.as_ref().map(read).transpose()
}

/// Accounts in the order they were made, after `after`.
pub async fn list(
    conn: &mut Conn<TenantScope>,
    after: Option<ServiceAccountId>,
    limit: i64,
) -> Result<Vec<ServiceAccount>, StoreError> {
    let key = conn.key();
    let sql = format!(
        "SELECT {COLUMNS} FROM service_accounts WHERE tenant_id = $1 AND id > $2 \
         ORDER BY id LIMIT $3"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(key)
        .bind(after.map(|id| id.to_string()).unwrap_or_default())
        .bind(limit)
        .fetch_all(conn.db())
        .await
        .map_err(StoreError::doing("listing service accounts"))?;
    rows.iter().map(read).collect()
}

/// Changes an account that is still at `revision`. Returns whether it was; a conflict means that the
/// name is taken.
pub async fn update(
    write: &mut Write<TenantScope>,
    account: &ServiceAccount,
    revision: u64,
) -> Result<bool, StoreError> {
    let key = write.key();
    let done = sqlx::query(
        "UPDATE service_accounts SET name = $4, roles = $5, active = $6, revision = revision + 1 \
         WHERE tenant_id = $1 AND id = $2 AND revision = $3",
    )
    .bind(key)
    .bind(account.id.to_string())
    .bind(i64::try_from(revision).unwrap_or(i64::MAX))
    .bind(account.name.clone())
    .bind(role_names(&account.roles))
    .bind(i64::from(account.active))
    .execute(write.db())
    .await
    .map_err(StoreError::doing("changing a service account"))?;
    Ok(done.rows_affected() == 1)
}
