//! API tokens, of tenants and of the installation.

use std::time::Duration;

use edgeformer_proto::ids::{ServiceAccountId, TenantId, TokenId};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Conn, StoreError, Write, parse_id, parse_json, to_json};
use crate::clock::Timestamp;
use crate::policy::{Authentication, Principal, Role, TokenScopes};
use crate::scope::{InstallationScope, Scope};
use crate::store::service_accounts::ServiceAccount;

/// How exact `last_used` is: a busy token costs one write a minute, not one a request.
pub const LAST_USED_EVERY: Duration = Duration::from_secs(60);

/// Whose rights a token has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StandsFor {
    /// Its own.
    Itself(Role),
    /// Those of a service account.
    Account(ServiceAccountId),
}

/// A token as stored: everything but the secret.
#[derive(Debug, Clone)]
pub struct ApiToken {
    /// Its id.
    pub id: TokenId,
    /// For people.
    pub name: String,
    /// Whose rights it has.
    pub stands_for: StandsFor,
    /// What it is narrowed to; none is all that the rights allow.
    pub scopes: Option<TokenScopes>,
    /// The token whose place it takes.
    pub rotates: Option<TokenId>,
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
     created_by, scopes, service_account_id, rotates";

fn read(row: &AnyRow) -> Result<ApiToken, StoreError> {
    let id: String = row.get("id");
    let text = |column| row.get::<String, _>(column);
    let (role, account, scopes, rotates) =
        (text("role"), text("service_account_id"), text("scopes"), text("rotates"));
    let stands_for = match account.as_str() {
        "" => StandsFor::Itself(Role::parse(&role).ok_or_else(|| StoreError::Damaged {
            table: "api_tokens",
            id: id.clone(),
            what: format!("role {role:?}"),
        })?),
        account => StandsFor::Account(parse_id("api_tokens", account)?),
    };
    let scopes = match scopes.as_str() {
        "" => None,
        names => Some(TokenScopes::new(parse_json::<Vec<String>>("api_tokens", &id, names)?)),
    };
    Ok(ApiToken {
        stands_for,
        scopes,
        rotates: (!rotates.is_empty()).then(|| parse_id("api_tokens", &rotates)).transpose()?,
        id: parse_id("api_tokens", &id)?,
        name: row.get("name"),
        created_at: Timestamp(row.get("created_at_us")),
        expires_at: row.get::<Option<i64>, _>("expires_at_us").map(Timestamp),
        last_used_at: row.get::<Option<i64>, _>("last_used_at_us").map(Timestamp),
        revoked_at: row.get::<Option<i64>, _>("revoked_at_us").map(Timestamp),
        created_by: row.get("created_by"),
    })
}

impl ApiToken {
    /// A token that stands for itself, is not narrowed and does not expire.
    pub fn plain(name: &str, role: Role, now: Timestamp) -> Self {
        Self {
            id: TokenId::new(),
            name: name.to_owned(),
            stands_for: StandsFor::Itself(role),
            scopes: None,
            rotates: None,
            created_at: now,
            expires_at: None,
            last_used_at: None,
            revoked_at: None,
            created_by: String::new(),
        }
    }
}

/// Adds a token. `secret_sha256` is all that is kept of it.
pub async fn insert<S: Scope>(
    write: &mut Write<S>,
    token: &ApiToken,
    secret_sha256: &[u8; 32],
) -> Result<(), StoreError> {
    let key = write.key();
    let (role, account) = match token.stands_for {
        StandsFor::Itself(role) => (role.as_str(), String::new()),
        StandsFor::Account(id) => ("", id.to_string()),
    };
    let scopes = token.scopes.as_ref().map(|scopes| to_json(scopes.names()));
    sqlx::query(
        "INSERT INTO api_tokens \
         (tenant_id, id, name, role, secret_sha256, created_at_us, expires_at_us, created_by, \
         scopes, service_account_id, rotates) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(key)
    .bind(token.id.to_string())
    .bind(token.name.clone())
    .bind(role)
    .bind(secret_sha256.to_vec())
    .bind(token.created_at.0)
    .bind(token.expires_at.map(|at| at.0))
    .bind(token.created_by.clone())
    .bind(scopes.unwrap_or_default())
    .bind(account)
    .bind(token.rotates.map(|id| id.to_string()).unwrap_or_default())
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

/// Who made a token, or what still gets in as a service account, tokens and trust rules: subjects' ids.
pub async fn makers<S: Scope>(
    conn: &mut Conn<S>,
    subject: &str,
) -> Result<Vec<String>, StoreError> {
    let key = conn.key();
    let rows = sqlx::query(
        "SELECT created_by FROM api_tokens WHERE tenant_id = $1 \
         AND (id = $2 OR (service_account_id = $2 AND revoked_at_us IS NULL)) \
         UNION SELECT created_by FROM federation_rules \
         WHERE tenant_id = $1 AND service_account_id = $2",
    )
    .bind(key)
    .bind(subject.to_owned())
    .fetch_all(conn.db())
    .await
    .map_err(StoreError::doing("reading who made a token"))?;
    Ok(rows.iter().map(|row| row.get("created_by")).collect())
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
    /// The account that it stands for.
    pub account: Option<ServiceAccount>,
}

impl Found {
    /// Who it stands for, if it works at `now`.
    pub fn principal(self, now: Timestamp) -> Option<Principal> {
        let Self { tenant, token, account } = self;
        if token.revoked_at.is_some() || token.expires_at.is_some_and(|at| at <= now) {
            return None;
        }
        let principal = match token.stands_for {
            StandsFor::Itself(role) => {
                Principal::of_token(token.id, &token.name, role, tenant, now)
            }
            StandsFor::Account(_) => {
                let account = account.filter(|account| account.active)?;
                let authentication = Authentication::by_token(token.id, now);
                let (id, name) = (account.id, &account.name);
                Principal::of_account(id, name, account.roles, tenant?, authentication)
            }
        };
        Some(Principal { scopes: token.scopes, ..principal })
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
    Ok(Some(Found { tenant, token, account: None }))
}

/// The token that takes the place of another and works.
pub async fn successor<S: Scope>(
    conn: &mut Conn<S>,
    id: TokenId,
) -> Result<Option<TokenId>, StoreError> {
    let key = conn.key();
    let row = sqlx::query(
        "SELECT id FROM api_tokens WHERE tenant_id = $1 AND rotates = $2 \
         AND revoked_at_us IS NULL LIMIT 1",
    )
    .bind(key)
    .bind(id.to_string())
    .fetch_optional(conn.db())
    .await
    .map_err(StoreError::doing("looking for the token in another's place"))?;
    row.map(|row| parse_id("api_tokens", &row.get::<String, _>("id"))).transpose()
}

/// Lets a token end at `at`, if it does not end before. The one that takes its place is there.
pub async fn end_at<S: Scope>(
    write: &mut Write<S>,
    id: TokenId,
    at: Timestamp,
) -> Result<(), StoreError> {
    let key = write.key();
    sqlx::query(
        "UPDATE api_tokens SET expires_at_us = $3 WHERE tenant_id = $1 AND id = $2 \
         AND (expires_at_us IS NULL OR expires_at_us > $3)",
    )
    .bind(key)
    .bind(id.to_string())
    .bind(at.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("ending an API token"))?;
    Ok(())
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
