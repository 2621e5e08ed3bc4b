//! People of a tenant, and what they prove themselves with.

use std::collections::BTreeSet;

use edgeformer_proto::ids::UserId;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::{Conn, StoreError, Write, parse_id, parse_json, to_json};
use crate::clock::Timestamp;
use crate::policy::Role;
use crate::scope::TenantScope;

/// Where an account comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Made here; has a password.
    Local,
    /// Of an OpenID provider.
    Oidc,
    /// Brought in over SCIM.
    Scim,
}

impl Source {
    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Oidc => "oidc",
            Self::Scim => "scim",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        [Self::Local, Self::Oidc, Self::Scim].into_iter().find(|one| one.as_str() == text)
    }
}

/// A person.
#[derive(Debug, Clone)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// Unique in the tenant, lower case.
    pub user_name: String,
    /// For people.
    pub display_name: String,
    /// Empty if it is not known.
    pub email: String,
    /// Of an identity provider; empty for local accounts.
    pub external_id: String,
    /// Where it comes from.
    pub source: Source,
    /// Whether it may log in.
    pub active: bool,
    /// Its own roles; groups give more.
    pub roles: BTreeSet<Role>,
    /// PHC string; empty without a password.
    pub password_hash: String,
    /// Log-ins failed in a row.
    pub failures: u32,
    /// No log-in until then.
    pub locked_until: Timestamp,
    /// Wrapped secret for one-time codes.
    pub totp_secret: Option<Vec<u8>>,
    /// Whether one-time codes are asked for.
    pub totp_confirmed: bool,
    /// Newest time step that was used.
    pub totp_last_step: i64,
    /// Grows with each change by an admin.
    pub revision: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it logged in last.
    pub last_login_at: Option<Timestamp>,
}

const COLUMNS: &str = "id, user_name, display_name, email, external_id, source, active, roles, \
    password_hash, failures, locked_until_us, totp_secret, totp_confirmed, totp_last_step, \
    revision, created_at_us, last_login_at_us";

/// Roles out of a JSON column. A name that this version does not know gives nothing.
pub(super) fn roles(
    table: &'static str,
    id: &str,
    text: &str,
) -> Result<BTreeSet<Role>, StoreError> {
    let names: Vec<String> = parse_json(table, id, text)?;
    Ok(names.iter().filter_map(|name| Role::parse(name)).collect())
}

pub(super) fn role_names(roles: &BTreeSet<Role>) -> String {
    to_json(&roles.iter().map(|role| role.as_str()).collect::<Vec<_>>())
}

fn read(row: &AnyRow) -> Result<User, StoreError> {
    let id: String = row.get("id");
    let text = |column| row.get::<String, _>(column);
    let flag = |column| row.get::<i64, _>(column) != 0;
    let source = text("source");
    Ok(User {
        source: Source::parse(&source).ok_or_else(|| StoreError::Damaged {
            table: "users",
            id: id.clone(),
            what: format!("source {source:?}"),
        })?,
        user_name: text("user_name"),
        display_name: text("display_name"),
        email: text("email"),
        external_id: text("external_id"),
        active: flag("active"),
        roles: roles("users", &id, &text("roles"))?,
        password_hash: text("password_hash"),
        failures: u32::try_from(row.get::<i64, _>("failures")).unwrap_or(u32::MAX),
        locked_until: Timestamp(row.get("locked_until_us")),
        totp_secret: row.get("totp_secret"),
        totp_confirmed: flag("totp_confirmed"),
        totp_last_step: row.get("totp_last_step"),
        revision: row.get::<i64, _>("revision").unsigned_abs(),
        created_at: Timestamp(row.get("created_at_us")),
        last_login_at: row.get::<Option<i64>, _>("last_login_at_us").map(Timestamp),
        id: parse_id("users", &id)?,
    })
}

/// Adds a user. A conflict means that the name is taken.
pub async fn insert(write: &mut Write<TenantScope>, user: &User) -> Result<(), StoreError> {
    let key = write.key();
    sqlx::query(
        "INSERT INTO users (tenant_id, id, user_name, display_name, email, external_id, source, \
         active, roles, password_hash, failures, locked_until_us, totp_confirmed, totp_last_step, \
         invite_expires_at_us, revision, created_at_us) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0, 0, 0, 0, 0, 1, $11)",
    )
    .bind(key)
    .bind(user.id.to_string())
    .bind(user.user_name.clone())
    .bind(user.display_name.clone())
    .bind(user.email.clone())
    .bind(user.external_id.clone())
    .bind(user.source.as_str())
    .bind(i64::from(user.active))
    .bind(role_names(&user.roles))
    .bind(user.password_hash.clone())
    .bind(user.created_at.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("adding a user"))?;
    Ok(())
}

/// The user of this id.
pub async fn get(conn: &mut Conn<TenantScope>, id: UserId) -> Result<Option<User>, StoreError> {
    one(conn, "id = $2", id.to_string()).await
}

/// The user of this name, in lower case.
pub async fn by_name(
    conn: &mut Conn<TenantScope>,
    user_name: &str,
) -> Result<Option<User>, StoreError> {
    one(conn, "user_name = $2", user_name.to_owned()).await
}

async fn one(
    conn: &mut Conn<TenantScope>,
    condition: &str,
    value: String,
) -> Result<Option<User>, StoreError> {
    let key = conn.key();
    // Safe: the condition is one of the literals above.
    let sql = format!("SELECT {COLUMNS} FROM users WHERE tenant_id = $1 AND {condition}");
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(key)
        .bind(value)
        .fetch_optional(conn.db())
        .await
        .map_err(StoreError::doing("reading a user"))?;
    row.as_ref().map(read).transpose()
}

/// Users in the order they were made, after `after`.
pub async fn list(
    conn: &mut Conn<TenantScope>,
    after: Option<UserId>,
    limit: i64,
) -> Result<Vec<User>, StoreError> {
    let key = conn.key();
    let sql = format!(
        "SELECT {COLUMNS} FROM users WHERE tenant_id = $1 AND id > $2 ORDER BY id LIMIT $3"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(key)
        .bind(after.map(|id| id.to_string()).unwrap_or_default())
        .bind(limit)
        .fetch_all(conn.db())
        .await
        .map_err(StoreError::doing("listing users"))?;
    rows.iter().map(read).collect()
}

/// Changes what admins change, of a user that is still at `revision`. Returns whether it was.
pub async fn update(
    write: &mut Write<TenantScope>,
    user: &User,
    revision: u64,
) -> Result<bool, StoreError> {
    let key = write.key();
    let done = sqlx::query(
        "UPDATE users SET display_name = $4, email = $5, active = $6, roles = $7, \
         revision = revision + 1 WHERE tenant_id = $1 AND id = $2 AND revision = $3",
    )
    .bind(key)
    .bind(user.id.to_string())
    .bind(i64::try_from(revision).unwrap_or(i64::MAX))
    .bind(user.display_name.clone())
    .bind(user.email.clone())
    .bind(i64::from(user.active))
    .bind(role_names(&user.roles))
    .execute(write.db())
    .await
    .map_err(StoreError::doing("changing a user"))?;
    Ok(done.rows_affected() == 1)
}

/// The roles and names of the groups that a user is in.
pub async fn groups(
    conn: &mut Conn<TenantScope>,
    id: UserId,
) -> Result<(BTreeSet<Role>, BTreeSet<String>), StoreError> {
    let key = conn.key();
    let rows = sqlx::query(
        "SELECT g.id, g.name, g.roles FROM groups g JOIN group_members m \
           ON m.tenant_id = g.tenant_id AND m.group_id = g.id \
         WHERE g.tenant_id = $1 AND m.user_id = $2",
    )
    .bind(key)
    .bind(id.to_string())
    .fetch_all(conn.db())
    .await
    .map_err(StoreError::doing("reading a user's groups"))?;
    let (mut all, mut names) = (BTreeSet::new(), BTreeSet::new());
    for row in &rows {
        let text: String = row.get("roles");
        all.extend(roles("groups", &row.get::<String, _>("id"), &text)?);
        names.insert(row.get("name"));
    }
    Ok((all, names))
}

/// Notes how a log-in went.
pub async fn note_login(
    write: &mut Write<TenantScope>,
    id: UserId,
    failures: u32,
    locked_until: Timestamp,
    success: Option<Timestamp>,
) -> Result<(), StoreError> {
    let key = write.key();
    sqlx::query(
        "UPDATE users SET failures = $3, locked_until_us = $4, \
         last_login_at_us = coalesce($5, last_login_at_us) WHERE tenant_id = $1 AND id = $2",
    )
    .bind(key)
    .bind(id.to_string())
    .bind(i64::from(failures))
    .bind(locked_until.0)
    .bind(success.map(|at| at.0))
    .execute(write.db())
    .await
    .map_err(StoreError::doing("noting a log-in"))?;
    Ok(())
}

/// Counts a failed log-in; attempts at once wait for each other. Returns how many in a row.
pub async fn count_failure(write: &mut Write<TenantScope>, id: UserId) -> Result<u32, StoreError> {
    let key = write.key();
    let row = sqlx::query(
        "UPDATE users SET failures = failures + 1 WHERE tenant_id = $1 AND id = $2 \
         RETURNING failures",
    )
    .bind(key)
    .bind(id.to_string())
    .fetch_optional(write.db())
    .await
    .map_err(StoreError::doing("counting a failed log-in"))?;
    let failures = row.map_or(0, |row| row.get::<i64, _>("failures"));
    Ok(u32::try_from(failures).unwrap_or(u32::MAX))
}

/// Sets the password, which ends invitations and locks.
pub async fn set_password(
    write: &mut Write<TenantScope>,
    id: UserId,
    hash: &str,
) -> Result<(), StoreError> {
    let key = write.key();
    sqlx::query(
        "UPDATE users SET password_hash = $3, failures = 0, locked_until_us = 0, \
         invite_sha256 = NULL, invite_expires_at_us = 0 WHERE tenant_id = $1 AND id = $2",
    )
    .bind(key)
    .bind(id.to_string())
    .bind(hash.to_owned())
    .execute(write.db())
    .await
    .map_err(StoreError::doing("setting a password"))?;
    Ok(())
}

/// Keeps an invitation in place of any other.
pub async fn set_invitation(
    write: &mut Write<TenantScope>,
    id: UserId,
    sha256: &[u8; 32],
    expires_at: Timestamp,
) -> Result<(), StoreError> {
    let key = write.key();
    sqlx::query(
        "UPDATE users SET invite_sha256 = $3, invite_expires_at_us = $4 \
         WHERE tenant_id = $1 AND id = $2",
    )
    .bind(key)
    .bind(id.to_string())
    .bind(sha256.to_vec())
    .bind(expires_at.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("keeping an invitation"))?;
    Ok(())
}

/// The user whom an invitation is for, if it is good at `now`.
pub async fn invited(
    conn: &mut Conn<TenantScope>,
    sha256: &[u8; 32],
    now: Timestamp,
) -> Result<Option<User>, StoreError> {
    let key = conn.key();
    let sql = format!(
        "SELECT {COLUMNS} FROM users WHERE tenant_id = $1 AND invite_sha256 = $2 \
         AND invite_expires_at_us > $3"
    );
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(key)
        .bind(sha256.to_vec())
        .bind(now.0)
        .fetch_optional(conn.db())
        .await
        .map_err(StoreError::doing("looking an invitation up"))?;
    row.as_ref().map(read).transpose()
}

/// Sets or removes the secret for one-time codes.
pub async fn set_totp(
    write: &mut Write<TenantScope>,
    id: UserId,
    wrapped: Option<&[u8]>,
    confirmed: bool,
) -> Result<(), StoreError> {
    let key = write.key();
    sqlx::query(
        "UPDATE users SET totp_secret = $3, totp_confirmed = $4 WHERE tenant_id = $1 AND id = $2",
    )
    .bind(key)
    .bind(id.to_string())
    .bind(wrapped.map(<[u8]>::to_vec))
    .bind(i64::from(confirmed))
    .execute(write.db())
    .await
    .map_err(StoreError::doing("setting a second factor"))?;
    Ok(())
}

/// Uses up a time step. False if it, or a later one, was used before.
pub async fn use_step(
    write: &mut Write<TenantScope>,
    id: UserId,
    step: i64,
) -> Result<bool, StoreError> {
    let key = write.key();
    let done = sqlx::query(
        "UPDATE users SET totp_last_step = $3 \
         WHERE tenant_id = $1 AND id = $2 AND totp_last_step < $3",
    )
    .bind(key)
    .bind(id.to_string())
    .bind(step)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("using a one-time code"))?;
    Ok(done.rows_affected() == 1)
}

/// Replaces a user's recovery codes.
pub async fn set_recovery_codes(
    write: &mut Write<TenantScope>,
    id: UserId,
    codes: &[[u8; 32]],
) -> Result<(), StoreError> {
    let key = write.key();
    sqlx::query("DELETE FROM recovery_codes WHERE tenant_id = $1 AND user_id = $2")
        .bind(key.clone())
        .bind(id.to_string())
        .execute(write.db())
        .await
        .map_err(StoreError::doing("replacing recovery codes"))?;
    for code in codes {
        sqlx::query(
            "INSERT INTO recovery_codes (tenant_id, user_id, code_sha256) VALUES ($1, $2, $3)",
        )
        .bind(key.clone())
        .bind(id.to_string())
        .bind(code.to_vec())
        .execute(write.db())
        .await
        .map_err(StoreError::doing("keeping a recovery code"))?;
    }
    Ok(())
}

/// Uses a recovery code up. False if it is none, or was used.
pub async fn use_recovery_code(
    write: &mut Write<TenantScope>,
    id: UserId,
    code: &[u8; 32],
    now: Timestamp,
) -> Result<bool, StoreError> {
    let key = write.key();
    let done = sqlx::query(
        "UPDATE recovery_codes SET used_at_us = $4 \
         WHERE tenant_id = $1 AND user_id = $2 AND code_sha256 = $3 AND used_at_us IS NULL",
    )
    .bind(key)
    .bind(id.to_string())
    .bind(code.to_vec())
    .bind(now.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("using a recovery code"))?;
    Ok(done.rows_affected() == 1)
}

/// How many recovery codes are left.
pub async fn recovery_codes_left(
    conn: &mut Conn<TenantScope>,
    id: UserId,
) -> Result<u64, StoreError> {
    let key = conn.key();
    let row = sqlx::query(
        "SELECT CAST(count(*) AS BIGINT) AS n FROM recovery_codes \
         WHERE tenant_id = $1 AND user_id = $2 AND used_at_us IS NULL",
    )
    .bind(key)
    .bind(id.to_string())
    .fetch_one(conn.db())
    .await
    .map_err(StoreError::doing("counting recovery codes"))?;
    Ok(row.get::<i64, _>("n").unsigned_abs())
}

/// Removes a user with everything it has: log-ins, codes, memberships.
pub async fn delete(write: &mut Write<TenantScope>, id: UserId) -> Result<(), StoreError> {
    let key = write.key();
    for sql in [
        "DELETE FROM login_sessions WHERE tenant_id = $1 AND user_id = $2",
        "DELETE FROM recovery_codes WHERE tenant_id = $1 AND user_id = $2",
        "DELETE FROM group_members WHERE tenant_id = $1 AND user_id = $2",
        "DELETE FROM users WHERE tenant_id = $1 AND id = $2",
    ] {
        sqlx::query(sql)
            .bind(key.clone())
            .bind(id.to_string())
            .execute(write.db())
            .await
            .map_err(StoreError::doing("removing a user"))?;
    }
    Ok(())
}
