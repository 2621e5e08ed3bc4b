//! Log-ins that went to a provider and are not back yet. Nothing in here is a secret: the state and the
//! browser's cookie are kept as SHA-256, and what else has to be remembered follows from the cookie.

use edgeformer_proto::ids::IdentityProviderId;
use sqlx::Row;

use super::{StoreError, Write, parse_id};
use crate::clock::Timestamp;
use crate::scope::TenantScope;

/// Log-ins of one tenant that are under way at most. Beyond, the oldest are forgotten: whoever floods
/// this has to be faster than people log in.
const MAX_PENDING: i64 = 5_000;

/// A log-in that is under way.
#[derive(Debug, Clone)]
pub struct SsoLogin {
    /// Of the `state`.
    pub state_sha256: [u8; 32],
    /// Of the cookie of the browser that began it.
    pub browser_sha256: [u8; 32],
    /// Where it went.
    pub provider: IdentityProviderId,
    /// The provider as it was then.
    pub provider_revision: u64,
    /// Where it goes afterwards.
    pub next_path: String,
    /// When it began.
    pub created_at: Timestamp,
    /// When it is over.
    pub expires_at: Timestamp,
}

/// Keeps a log-in that begins, and forgets those that are over.
pub async fn insert(write: &mut Write<TenantScope>, login: &SsoLogin) -> Result<(), StoreError> {
    forget(write, login.created_at).await?;
    let key = write.key();
    sqlx::query(
        "DELETE FROM sso_logins WHERE tenant_id = $1 AND state_sha256 IN \
         (SELECT state_sha256 FROM sso_logins WHERE tenant_id = $1 \
          ORDER BY created_at_us DESC LIMIT 1000000 OFFSET $2)",
    )
    .bind(key.clone())
    .bind(MAX_PENDING - 1)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("forgetting the oldest log-ins"))?;
    sqlx::query(
        "INSERT INTO sso_logins (tenant_id, state_sha256, browser_sha256, provider_id, \
         provider_revision, next_path, created_at_us, expires_at_us) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(key)
    .bind(login.state_sha256.to_vec())
    .bind(login.browser_sha256.to_vec())
    .bind(login.provider.to_string())
    .bind(i64::try_from(login.provider_revision).unwrap_or(i64::MAX))
    .bind(login.next_path.clone())
    .bind(login.created_at.0)
    .bind(login.expires_at.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("keeping a log-in"))?;
    Ok(())
}

/// Takes a log-in out: its state is good once.
pub async fn take(
    write: &mut Write<TenantScope>,
    state_sha256: &[u8; 32],
) -> Result<Option<SsoLogin>, StoreError> {
    let key = write.key();
    let row = sqlx::query(
        "DELETE FROM sso_logins WHERE tenant_id = $1 AND state_sha256 = $2 \
         RETURNING browser_sha256, provider_id, provider_revision, next_path, created_at_us, \
         expires_at_us",
    )
    .bind(key)
    .bind(state_sha256.to_vec())
    .fetch_optional(write.db())
    .await
    .map_err(StoreError::doing("taking a log-in out"))?;
    row.map(|row| {
        let browser: Vec<u8> = row.get("browser_sha256");
        let damaged = |_| StoreError::Damaged {
            table: "sso_logins",
            id: String::new(),
            what: "the browser's hash is not 32 bytes".to_owned(),
        };
        Ok(SsoLogin {
            state_sha256: *state_sha256,
            browser_sha256: browser.try_into().map_err(damaged)?,
            provider: parse_id("sso_logins", &row.get::<String, _>("provider_id"))?,
            provider_revision: row.get::<i64, _>("provider_revision").unsigned_abs(),
            next_path: row.get("next_path"),
            created_at: Timestamp(row.get("created_at_us")),
            expires_at: Timestamp(row.get("expires_at_us")),
        })
    })
    .transpose()
}

/// Forgets what is over at `now`.
pub async fn forget(write: &mut Write<TenantScope>, now: Timestamp) -> Result<u64, StoreError> {
    let key = write.key();
    let done = sqlx::query("DELETE FROM sso_logins WHERE tenant_id = $1 AND expires_at_us <= $2")
        .bind(key)
        .bind(now.0)
        .execute(write.db())
        .await
        .map_err(StoreError::doing("forgetting old log-ins"))?;
    Ok(done.rows_affected())
}
