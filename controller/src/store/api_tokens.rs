//! API tokens, of tenants and of the installation.

use std::time::Duration;

use edgeformer_proto::ids::{TenantId, TokenId};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Conn, StoreError, Write, parse_id};
use crate::clock::Timestamp;
use crate::policy::{Principal, Role};
use crate::scope::{InstallationScope, Scope};

/// How exact `last_used` is: a busy token costs one write a minute, not one a request.
pub const LAST_USED_EVERY: Duration = Duration::from_secs(60);

/// A token as stored: everything but the secret.
#[derive(Debug, Clone)]
pub struct ApiToken {
    /// Its id.
    pub id: TokenId,
    /// For people.
    pub name: String,
    /// What it may.
    pub role: Role,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
    /// To the minute.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// Who made it: a subject's id; empty if it is not known.
    pub created_by: String,
}

const COLUMNS: &str = "tenant_id, id, name, role, created_at_us, expires_at_us, last_used_at_us, revoked_at_us, \
     created_by";

fn read(row: &AnyRow) -> Result<ApiToken, StoreError> {
    let id: String = row.get("id");
    let role: String = row.get("role");
    Ok(ApiToken {
        role: Role::parse(&role).ok_or_else(|| StoreError::Damaged {
            table: "api_tokens",
            id: id.clone(),
            what: format!("role {role:?}"),
        })?,
        id: parse_id("api_tokens", &id)?,
        name: row.get("name"),
        created_at: Timestamp(row.get("created_at_us")),
        expires_at: row.get::<Option<i64>, _>("expires_at_us").map(Timestamp),
        last_used_at: row.get::<Option<i64>, _>("last_used_at_us").map(Timestamp),
        revoked_at: row.get::<Option<i64>, _>("revoked_at_us").map(Timestamp),
        created_by: row.get("created_by"),
    })
}

/// Adds a token. `secret_sha256` is all that is kept of it.
pub async fn insert<S: Scope>(
    write: &mut Write<S>,
    token: &ApiToken,
    secret_sha256: &[u8; 32],
) -> Result<(), StoreError> {
    let key = write.key();
    sqlx::query(
        "INSERT INTO api_tokens \
         (tenant_id, id, name, role, secret_sha256, created_at_us, expires_at_us, created_by) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(key)
    .bind(token.id.to_string())
    .bind(token.name.clone())
    .bind(token.role.as_str())
    .bind(secret_sha256.to_vec())
    .bind(token.created_at.0)
    .bind(token.expires_at.map(|at| at.0))
    .bind(token.created_by.clone())
    .execute(write.db())
    .await
    .map_err(StoreError::doing("adding an API token"))?;
    Ok(())
}

/// Tokens in the order they were made, after `after`; revoked ones included.
pub async fn list<S: Scope>(
    conn: &mut Conn<S>,
    after: Option<TokenId>,
    limit: i64,
) -> Result<Vec<ApiToken>, StoreError> {
    let key = conn.key();
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM api_tokens WHERE tenant_id = $1 AND id > $2 ORDER BY id LIMIT $3"
    )))
    .bind(key)
    .bind(after.map(|id| id.to_string()).unwrap_or_default())
    .bind(limit)
    .fetch_all(conn.db())
    .await
    .map_err(StoreError::doing("listing API tokens"))?;
    rows.iter().map(read).collect()
}

/// One token of this scope.
pub async fn get<S: Scope>(
    conn: &mut Conn<S>,
    id: TokenId,
) -> Result<Option<ApiToken>, StoreError> {
    let key = conn.key();
    let row = sqlx::query(sqlx::AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM api_tokens WHERE tenant_id = $1 AND id = $2"
    )))
    .bind(key)
    .bind(id.to_string())
    .fetch_optional(conn.db())
    .await
    .map_err(StoreError::doing("reading an API token"))?;
    row.as_ref().map(read).transpose()
}

/// Who made a token: a subject's id, empty if it is not known; none if there is no such token.
pub async fn created_by<S: Scope>(
    conn: &mut Conn<S>,
    id: TokenId,
) -> Result<Option<String>, StoreError> {
    Ok(get(conn, id).await?.map(|token| token.created_by))
}

/// Revokes a token. False if it was revoked before or is not there.
pub async fn revoke<S: Scope>(
    write: &mut Write<S>,
    id: TokenId,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let key = write.key();
    let done = sqlx::query(
        "UPDATE api_tokens SET revoked_at_us = $3 \
         WHERE tenant_id = $1 AND id = $2 AND revoked_at_us IS NULL",
    )
    .bind(key)
    .bind(id.to_string())
    .bind(now.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("revoking an API token"))?;
    Ok(done.rows_affected() == 1)
}

/// A token found by its secret, before it is known whose it is.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its tenant; none for the installation's own.
    pub tenant: Option<TenantId>,
    /// The token.
    pub token: ApiToken,
}

impl Found {
    /// Who it stands for.
    pub fn principal(self, now: Timestamp) -> Principal {
        Principal::of_token(self.token.id, &self.token.name, self.token.role, self.tenant, now)
    }
}

/// Looks a secret up across tenants. Only authentication may: hence the installation's scope.
pub async fn find_by_secret(
    conn: &mut Conn<InstallationScope>,
    secret_sha256: &[u8; 32],
) -> Result<Option<Found>, StoreError> {
    let row = sqlx::query(sqlx::AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM api_tokens WHERE secret_sha256 = $1"
    )))
    .bind(secret_sha256.to_vec())
    .fetch_optional(conn.db())
    .await
    .map_err(StoreError::doing("looking up an API token"))?;
    let Some(row) = row else {
        return Ok(None);
    };
    let token = read(&row)?;
    let tenant: String = row.get("tenant_id");
    let tenant: Option<TenantId> = match tenant.as_str() {
        "" => None,
        id => Some(parse_id("api_tokens", id)?),
    };
    Ok(Some(Found { tenant, token }))
}

/// Notes that a token was used, at most once per [`LAST_USED_EVERY`].
pub async fn touch<S: Scope>(
    write: &mut Write<S>,
    id: TokenId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let key = write.key();
    sqlx::query(
        "UPDATE api_tokens SET last_used_at_us = $3 WHERE tenant_id = $1 AND id = $2 \
         AND (last_used_at_us IS NULL OR last_used_at_us <= $4)",
    )
    .bind(key)
    .bind(id.to_string())
    .bind(now.0)
    .bind(now.minus(LAST_USED_EVERY).0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("noting the use of an API token"))?;
    Ok(())
}
