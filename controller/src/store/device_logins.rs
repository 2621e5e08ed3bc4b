//! Programs that wait for a person to let them log in (RFC 8628).

use edgeformer_proto::ids::{DeviceLoginId, IdentityProviderId, SessionId, TenantId};
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::{Conn, StoreError, Write, parse_id};
use crate::clock::Timestamp;
use crate::scope::{InstallationScope, TenantScope};

/// Programs of one tenant that wait at most; beyond, the oldest are forgotten.
const MAX_WAITING: i64 = 1_000;

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Nobody decided yet.
    Waiting,
    /// The person with this log-in let it in.
    Allowed(SessionId),
    /// A person refused it.
    Refused,
}

/// A program that waits.
#[derive(Debug, Clone)]
pub struct DeviceLogin {
    /// Its id.
    pub id: DeviceLoginId,
    /// Where the person is to log in.
    pub provider: IdentityProviderId,
    /// Address of the program.
    pub source: String,
    /// What became of it.
    pub decision: Decision,
    /// How long it has to wait between two questions, in seconds.
    pub interval_s: i64,
    /// When it asked last.
    pub polled_at: Timestamp,
    /// When it began.
    pub created_at: Timestamp,
    /// When it is over.
    pub expires_at: Timestamp,
}

const COLUMNS: &str = "tenant_id, id, provider_id, source, state, session_id, interval_s, \
                       polled_at_us, created_at_us, expires_at_us";

fn read(row: &AnyRow) -> Result<DeviceLogin, StoreError> {
    let id: String = row.get("id");
    let state: String = row.get("state");
    let decision = match state.as_str() {
        "waiting" => Decision::Waiting,
        "refused" => Decision::Refused,
        "allowed" => {
            Decision::Allowed(parse_id("device_logins", &row.get::<String, _>("session_id"))?)
        }
        other => {
            let what = format!("state {other:?}");
            return Err(StoreError::Damaged { table: "device_logins", id, what });
        }
    };
    Ok(DeviceLogin {
        provider: parse_id("device_logins", &row.get::<String, _>("provider_id"))?,
        source: row.get("source"),
        decision,
        interval_s: row.get("interval_s"),
        polled_at: Timestamp(row.get("polled_at_us")),
        created_at: Timestamp(row.get("created_at_us")),
        expires_at: Timestamp(row.get("expires_at_us")),
        id: parse_id("device_logins", &id)?,
    })
}

/// Keeps a program that begins to wait, and forgets those whose time is over.
pub async fn insert(
    write: &mut Write<TenantScope>,
    login: &DeviceLogin,
    device_sha256: &[u8; 32],
    user_code_sha256: &[u8; 32],
) -> Result<(), StoreError> {
    forget(write, login.created_at).await?;
    let key = write.key();
    sqlx::query(
        "DELETE FROM device_logins WHERE tenant_id = $1 AND id IN \
         (SELECT id FROM device_logins WHERE tenant_id = $1 \
          ORDER BY id DESC LIMIT 1000000 OFFSET $2)",
    )
    .bind(key.clone())
    .bind(MAX_WAITING - 1)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("forgetting the oldest waiting programs"))?;
    sqlx::query(
        "INSERT INTO device_logins (tenant_id, id, provider_id, device_sha256, user_code_sha256, \
         source, state, session_id, interval_s, polled_at_us, created_at_us, expires_at_us) \
         VALUES ($1, $2, $3, $4, $5, $6, 'waiting', '', $7, $8, $9, $10)",
    )
    .bind(key)
    .bind(login.id.to_string())
    .bind(login.provider.to_string())
    .bind(device_sha256.to_vec())
    .bind(user_code_sha256.to_vec())
    .bind(login.source.clone())
    .bind(login.interval_s)
    .bind(login.polled_at.0)
    .bind(login.created_at.0)
    .bind(login.expires_at.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("keeping a program that waits"))?;
    Ok(())
}

/// By which secret a waiting program is looked for.
#[derive(Debug, Clone, Copy)]
pub enum By {
    /// What the program polls with.
    Device,
    /// What the person compares.
    UserCode,
}

/// The waiting program with this SHA-256, of whichever tenant.
pub async fn find(
    conn: &mut Conn<InstallationScope>,
    by: By,
    sha256: &[u8; 32],
) -> Result<Option<(TenantId, DeviceLogin)>, StoreError> {
    let column = match by {
        By::Device => "device_sha256",
        By::UserCode => "user_code_sha256",
    };
    // Safe: the column is one of the literals above.
    let sql = format!("SELECT {COLUMNS} FROM device_logins WHERE {column} = $1 LIMIT 2");
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(sha256.to_vec())
        .fetch_all(conn.db())
        .await
        .map_err(StoreError::doing("looking a waiting program up"))?;
    match rows.as_slice() {
        [row] => {
            let tenant = parse_id("device_logins", &row.get::<String, _>("tenant_id"))?;
            Ok(Some((tenant, read(row)?)))
        }
        // Two with the same code are both unknown: nobody is let in by accident.
        _ => Ok(None),
    }
}

/// The waiting program of this id.
pub async fn get(
    conn: &mut Conn<TenantScope>,
    id: DeviceLoginId,
) -> Result<Option<DeviceLogin>, StoreError> {
    let key = conn.key();
    let sql = format!("SELECT {COLUMNS} FROM device_logins WHERE tenant_id = $1 AND id = $2");
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(key)
        .bind(id.to_string())
        .fetch_optional(conn.db())
        .await
        .map_err(StoreError::doing("reading a waiting program"))?;
    row.as_ref().map(read).transpose()
}

/// Notes what a person decided. False if somebody decided before, or it is gone.
pub async fn decide(
    write: &mut Write<TenantScope>,
    id: DeviceLoginId,
    allowed_by: Option<SessionId>,
) -> Result<bool, StoreError> {
    let key = write.key();
    let state = if allowed_by.is_some() { "allowed" } else { "refused" };
    let done = sqlx::query(
        "UPDATE device_logins SET state = $3, session_id = $4 \
         WHERE tenant_id = $1 AND id = $2 AND state = 'waiting'",
    )
    .bind(key)
    .bind(id.to_string())
    .bind(state)
    .bind(allowed_by.map(|id| id.to_string()).unwrap_or_default())
    .execute(write.db())
    .await
    .map_err(StoreError::doing("noting a decision on a waiting program"))?;
    Ok(done.rows_affected() == 1)
}

/// Notes that it asked, and how long it has to wait from now on.
pub async fn polled(
    write: &mut Write<TenantScope>,
    id: DeviceLoginId,
    interval_s: i64,
    now: Timestamp,
) -> Result<(), StoreError> {
    let key = write.key();
    sqlx::query(
        "UPDATE device_logins SET interval_s = $3, polled_at_us = $4 \
         WHERE tenant_id = $1 AND id = $2",
    )
    .bind(key)
    .bind(id.to_string())
    .bind(interval_s)
    .bind(now.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("noting a question of a waiting program"))?;
    Ok(())
}

/// Takes it out. False if it was gone: it is good once.
pub async fn take(write: &mut Write<TenantScope>, id: DeviceLoginId) -> Result<bool, StoreError> {
    let key = write.key();
    let done = sqlx::query("DELETE FROM device_logins WHERE tenant_id = $1 AND id = $2")
        .bind(key)
        .bind(id.to_string())
        .execute(write.db())
        .await
        .map_err(StoreError::doing("taking a waiting program out"))?;
    Ok(done.rows_affected() == 1)
}

/// Forgets what is over at `now`.
pub async fn forget(write: &mut Write<TenantScope>, now: Timestamp) -> Result<u64, StoreError> {
    let key = write.key();
    let sql = "DELETE FROM device_logins WHERE tenant_id = $1 AND expires_at_us <= $2";
    let done = sqlx::query(sql)
        .bind(key)
        .bind(now.0)
        .execute(write.db())
        .await
        .map_err(StoreError::doing("forgetting programs that waited"))?;
    Ok(done.rows_affected())
}
