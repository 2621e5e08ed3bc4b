//! Log-ins, and the keys that sign their access tokens.

use edgeformer_proto::ids::{IdentityProviderId, SessionId, TenantId, UserId};
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::{Conn, StoreError, Write, parse_id, parse_json, to_json};
use crate::clock::Timestamp;
use crate::policy::{Assurance, AuthMethod};
use crate::scope::{InstallationScope, TenantScope};

/// The provider at which somebody logged in.
#[derive(Debug, Clone)]
pub struct Via {
    /// Which.
    pub provider: IdentityProviderId,
    /// What the provider calls the session there; empty if it does not say.
    pub sid: String,
    /// Its ID token, wrapped, for logging out there too.
    pub wrapped_id_token: Option<Vec<u8>>,
    /// How it says that they logged in.
    pub assurance: Assurance,
}

/// A log-in.
#[derive(Debug, Clone)]
pub struct LoginSession {
    /// Its id.
    pub id: SessionId,
    /// Whose.
    pub user: UserId,
    /// How the user proved who they are.
    pub method: AuthMethod,
    /// At which provider; none for those with a password here.
    pub via: Option<Via>,
    /// Address of the log-in.
    pub source: String,
    /// When.
    pub signed_in_at: Timestamp,
    /// When its refresh token was changed last.
    pub rotated_at: Timestamp,
    /// Over then if it is not used.
    pub idle_ends_at: Timestamp,
    /// Over then at the latest.
    pub ends_at: Timestamp,
    /// When it was ended.
    pub ended_at: Option<Timestamp>,
}

impl LoginSession {
    /// Whether it goes on at `now`.
    pub fn lasts(&self, now: Timestamp) -> bool {
        self.ended_at.is_none() && self.ends_at > now && self.idle_ends_at > now
    }
}

const COLUMNS: &str = "tenant_id, id, user_id, method, source, signed_in_at_us, rotated_at_us, \
                       idle_ends_at_us, ends_at_us, ended_at_us, provider_id, provider_sid, \
                       wrapped_id_token, assurance";

fn read(row: &AnyRow) -> Result<LoginSession, StoreError> {
    let id: String = row.get("id");
    let method: String = row.get("method");
    let provider: String = row.get("provider_id");
    let via = match provider.as_str() {
        "" => None,
        provider => Some(Via {
            provider: parse_id("login_sessions", provider)?,
            sid: row.get("provider_sid"),
            wrapped_id_token: row.get("wrapped_id_token"),
            assurance: parse_json("login_sessions", &id, &row.get::<String, _>("assurance"))?,
        }),
    };
    Ok(LoginSession {
        via,
        user: parse_id("login_sessions", &row.get::<String, _>("user_id"))?,
        method: AuthMethod::parse(&method).ok_or_else(|| StoreError::Damaged {
            table: "login_sessions",
            id: id.clone(),
            what: format!("method {method:?}"),
        })?,
        source: row.get("source"),
        signed_in_at: Timestamp(row.get("signed_in_at_us")),
        rotated_at: Timestamp(row.get("rotated_at_us")),
        idle_ends_at: Timestamp(row.get("idle_ends_at_us")),
        ends_at: Timestamp(row.get("ends_at_us")),
        ended_at: row.get::<Option<i64>, _>("ended_at_us").map(Timestamp),
        id: parse_id("login_sessions", &id)?,
    })
}

/// Adds a log-in with the SHA-256 of its refresh token.
pub async fn insert(
    write: &mut Write<TenantScope>,
    session: &LoginSession,
    secret_sha256: &[u8; 32],
) -> Result<(), StoreError> {
    let (key, via) = (write.key(), session.via.as_ref());
    sqlx::query(
        "INSERT INTO login_sessions (tenant_id, id, user_id, method, source, signed_in_at_us, \
         secret_sha256, rotated_at_us, idle_ends_at_us, ends_at_us, ended_because, provider_id, \
         provider_sid, wrapped_id_token, assurance) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, '', $11, $12, $13, $14)",
    )
    .bind(key)
    .bind(session.id.to_string())
    .bind(session.user.to_string())
    .bind(session.method.as_str())
    .bind(session.source.clone())
    .bind(session.signed_in_at.0)
    .bind(secret_sha256.to_vec())
    .bind(session.rotated_at.0)
    .bind(session.idle_ends_at.0)
    .bind(session.ends_at.0)
    .bind(via.map(|via| via.provider.to_string()).unwrap_or_default())
    .bind(via.map(|via| via.sid.clone()).unwrap_or_default())
    .bind(via.and_then(|via| via.wrapped_id_token.clone()))
    .bind(to_json(&via.map(|via| via.assurance.clone()).unwrap_or_default()))
    .execute(write.db())
    .await
    .map_err(StoreError::doing("adding a log-in"))?;
    Ok(())
}

/// The log-in of this id.
pub async fn get(
    conn: &mut Conn<TenantScope>,
    id: SessionId,
) -> Result<Option<LoginSession>, StoreError> {
    let key = conn.key();
    let sql = format!("SELECT {COLUMNS} FROM login_sessions WHERE tenant_id = $1 AND id = $2");
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(key)
        .bind(id.to_string())
        .fetch_optional(conn.db())
        .await
        .map_err(StoreError::doing("reading a log-in"))?;
    row.as_ref().map(read).transpose()
}

/// A log-in found by a refresh token.
#[derive(Debug, Clone)]
pub struct Presented {
    /// Its tenant.
    pub tenant: TenantId,
    /// The log-in.
    pub session: LoginSession,
    /// Whether the token is the newest, or the one before it.
    pub newest: bool,
}

/// The log-in that a refresh token with this SHA-256 belongs or belonged to, of whichever tenant.
pub async fn find_by_secret(
    conn: &mut Conn<InstallationScope>,
    sha256: &[u8; 32],
) -> Result<Option<Presented>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS}, CASE WHEN secret_sha256 = $1 THEN 1 ELSE 0 END AS newest \
         FROM login_sessions WHERE secret_sha256 = $1 OR previous_sha256 = $1"
    );
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(sha256.to_vec())
        .fetch_optional(conn.db())
        .await
        .map_err(StoreError::doing("looking a log-in up"))?;
    row.map(|row| {
        Ok(Presented {
            tenant: parse_id("login_sessions", &row.get::<String, _>("tenant_id"))?,
            newest: i64::from(row.get::<i32, _>("newest")) == 1,
            session: read(&row)?,
        })
    })
    .transpose()
}

/// Changes the refresh token from `old` to `new`. False if somebody was faster.
pub async fn rotate(
    write: &mut Write<TenantScope>,
    id: SessionId,
    old: &[u8; 32],
    new: &[u8; 32],
    now: Timestamp,
    idle_ends_at: Timestamp,
) -> Result<bool, StoreError> {
    let key = write.key();
    let done = sqlx::query(
        "UPDATE login_sessions SET secret_sha256 = $4, previous_sha256 = $3, rotated_at_us = $5, \
         idle_ends_at_us = $6 WHERE tenant_id = $1 AND id = $2 AND secret_sha256 = $3 \
         AND ended_at_us IS NULL",
    )
    .bind(key)
    .bind(id.to_string())
    .bind(old.to_vec())
    .bind(new.to_vec())
    .bind(now.0)
    .bind(idle_ends_at.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("going on with a log-in"))?;
    Ok(done.rows_affected() == 1)
}

/// Puts the end by idleness off: for log-ins whose secret does not change with use.
pub async fn touch(
    write: &mut Write<TenantScope>,
    id: SessionId,
    now: Timestamp,
    idle_ends_at: Timestamp,
) -> Result<(), StoreError> {
    let key = write.key();
    sqlx::query(
        "UPDATE login_sessions SET rotated_at_us = $3, idle_ends_at_us = $4 \
         WHERE tenant_id = $1 AND id = $2 AND ended_at_us IS NULL",
    )
    .bind(key)
    .bind(id.to_string())
    .bind(now.0)
    .bind(idle_ends_at.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("going on with a log-in"))?;
    Ok(())
}

/// Which log-ins are ended.
#[derive(Debug, Clone)]
pub enum Ending {
    /// This one.
    One(SessionId),
    /// All of a user.
    AllOf(UserId),
    /// All of a user but this one.
    OthersOf(UserId, SessionId),
    /// All that came from a provider.
    From(IdentityProviderId),
    /// All that came from one session at a provider.
    FromSession(IdentityProviderId, String),
    /// All of a user that came from a provider.
    OfUserFrom(IdentityProviderId, UserId),
}

/// Ends log-ins that last. Returns how many.
pub async fn end(
    write: &mut Write<TenantScope>,
    which: Ending,
    because: &'static str,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let key = write.key();
    let (condition, first, second) = match which {
        Ending::One(id) => ("id = $4 AND $5 = ''", id.to_string(), String::new()),
        Ending::AllOf(user) => ("user_id = $4 AND $5 = ''", user.to_string(), String::new()),
        Ending::OthersOf(user, id) => {
            ("user_id = $4 AND id <> $5", user.to_string(), id.to_string())
        }
        Ending::From(provider) => {
            ("provider_id = $4 AND $5 = ''", provider.to_string(), String::new())
        }
        Ending::FromSession(provider, sid) => {
            ("provider_id = $4 AND provider_sid = $5", provider.to_string(), sid)
        }
        Ending::OfUserFrom(provider, user) => {
            ("provider_id = $4 AND user_id = $5", provider.to_string(), user.to_string())
        }
    };
    // Safe: the condition is one of the literals above.
    let sql = format!(
        "UPDATE login_sessions SET ended_at_us = $2, ended_because = $3, wrapped_id_token = NULL \
         WHERE tenant_id = $1 AND ended_at_us IS NULL AND {condition}"
    );
    let done = sqlx::query(AssertSqlSafe(sql))
        .bind(key)
        .bind(now.0)
        .bind(because)
        .bind(first)
        .bind(second)
        .execute(write.db())
        .await
        .map_err(StoreError::doing("ending log-ins"))?;
    Ok(done.rows_affected())
}

/// The log-ins of a user that were not ended, newest first.
pub async fn of_user(
    conn: &mut Conn<TenantScope>,
    user: UserId,
    limit: i64,
) -> Result<Vec<LoginSession>, StoreError> {
    let key = conn.key();
    let sql = format!(
        "SELECT {COLUMNS} FROM login_sessions WHERE tenant_id = $1 AND user_id = $2 \
         AND ended_at_us IS NULL ORDER BY id DESC LIMIT $3"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(key)
        .bind(user.to_string())
        .bind(limit)
        .fetch_all(conn.db())
        .await
        .map_err(StoreError::doing("listing log-ins"))?;
    rows.iter().map(read).collect()
}

/// Forgets log-ins that ended, by whatever, before `before`.
pub async fn forget(write: &mut Write<TenantScope>, before: Timestamp) -> Result<u64, StoreError> {
    let key = write.key();
    let done = sqlx::query(
        "DELETE FROM login_sessions WHERE tenant_id = $1 \
         AND (ends_at_us < $2 OR idle_ends_at_us < $2 OR ended_at_us < $2)",
    )
    .bind(key)
    .bind(before.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("forgetting old log-ins"))?;
    Ok(done.rows_affected())
}

/// A key that signs access tokens.
#[derive(Debug, Clone)]
pub struct SessionKey {
    /// The `kid` of tokens.
    pub id: String,
    /// Ed25519, 32 bytes.
    pub public: Vec<u8>,
    /// PKCS#8, wrapped.
    pub wrapped: Vec<u8>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// The installation's keys, newest first.
pub async fn keys(conn: &mut Conn<InstallationScope>) -> Result<Vec<SessionKey>, StoreError> {
    let key = conn.key();
    let rows = sqlx::query(
        "SELECT id, public_key, wrapped_key, created_at_us FROM session_keys \
         WHERE tenant_id = $1 ORDER BY created_at_us DESC, id DESC",
    )
    .bind(key)
    .fetch_all(conn.db())
    .await
    .map_err(StoreError::doing("reading session keys"))?;
    Ok(rows
        .iter()
        .map(|row| SessionKey {
            id: row.get("id"),
            public: row.get("public_key"),
            wrapped: row.get("wrapped_key"),
            created_at: Timestamp(row.get("created_at_us")),
        })
        .collect())
}

/// Adds a key, and forgets those made before `before`.
pub async fn add_key(
    write: &mut Write<InstallationScope>,
    new: &SessionKey,
    before: Timestamp,
) -> Result<(), StoreError> {
    let key = write.key();
    sqlx::query(
        "INSERT INTO session_keys (tenant_id, id, public_key, wrapped_key, created_at_us) \
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(key.clone())
    .bind(new.id.clone())
    .bind(new.public.clone())
    .bind(new.wrapped.clone())
    .bind(new.created_at.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("adding a session key"))?;
    sqlx::query("DELETE FROM session_keys WHERE tenant_id = $1 AND created_at_us < $2")
        .bind(key)
        .bind(before.0)
        .execute(write.db())
        .await
        .map_err(StoreError::doing("forgetting old session keys"))?;
    Ok(())
}
