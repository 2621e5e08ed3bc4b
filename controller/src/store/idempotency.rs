//! Idempotency keys: what a POST with `Idempotency-Key` answered, so that a repeat gets the same
//! answer and does nothing twice.
//!
//! A row goes `running` → `done` → `answered`. `done` is written in the transaction of the action
//! itself, so after a crash it is known whether the action took effect.

use std::time::Duration;

use sqlx::Row;

use super::{StoreError, Write};
use crate::clock::Timestamp;
use crate::scope::Scope;

/// The first request is running.
const RUNNING: i64 = 0;
/// The action is committed, its answer is not stored (yet).
const DONE: i64 = 1;

/// A request that has not taken effect after this long died with its controller; its key is free.
/// No handler of a POST runs longer: bodies are bounded and the listener cuts requests before.
pub const RUNNING_LEASE: Duration = Duration::from_secs(120);
/// Answers are kept this long; a client that retries later repeats the action.
pub const KEEP: Duration = Duration::from_secs(24 * 3600);

/// What is known about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// It is ours: do the action.
    Ours,
    /// The same request was answered: status and stored answer.
    Answered(u16, String),
    /// The same request took effect, and its answer was lost with the controller.
    AnswerLost,
    /// The same request is running now.
    Running,
    /// The key was used for another request.
    OtherRequest,
}

/// Claims `key` for a request, or says what became of the one that has it.
pub async fn claim<S: Scope>(
    write: &mut Write<S>,
    principal: &str,
    key: &str,
    request_sha256: &[u8; 32],
    now: Timestamp,
) -> Result<Claim, StoreError> {
    let doing = "claiming an idempotency key";
    let tenant = write.key();
    sqlx::query(
        "DELETE FROM idempotency_keys WHERE tenant_id = $1 AND principal = $2 AND key = $3 \
         AND (created_at_us < $4 OR (status = $5 AND created_at_us < $6))",
    )
    .bind(tenant.clone())
    .bind(principal.to_owned())
    .bind(key.to_owned())
    .bind(now.minus(KEEP).0)
    .bind(RUNNING)
    .bind(now.minus(RUNNING_LEASE).0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing(doing))?;
    let inserted = sqlx::query(
        "INSERT INTO idempotency_keys \
         (tenant_id, principal, key, request_sha256, status, response, created_at_us) \
         VALUES ($1, $2, $3, $4, $5, '', $6) \
         ON CONFLICT (tenant_id, principal, key) DO NOTHING",
    )
    .bind(tenant.clone())
    .bind(principal.to_owned())
    .bind(key.to_owned())
    .bind(request_sha256.to_vec())
    .bind(RUNNING)
    .bind(now.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing(doing))?;
    if inserted.rows_affected() == 1 {
        return Ok(Claim::Ours);
    }
    let row = sqlx::query(
        "SELECT request_sha256, status, response FROM idempotency_keys \
         WHERE tenant_id = $1 AND principal = $2 AND key = $3",
    )
    .bind(tenant)
    .bind(principal.to_owned())
    .bind(key.to_owned())
    .fetch_optional(write.db())
    .await
    .map_err(StoreError::doing(doing))?;
    let Some(row) = row else {
        return Ok(Claim::Running);
    };
    if row.get::<Vec<u8>, _>("request_sha256") != request_sha256 {
        return Ok(Claim::OtherRequest);
    }
    Ok(match row.get::<i64, _>("status") {
        RUNNING => Claim::Running,
        DONE => Claim::AnswerLost,
        status => Claim::Answered(u16::try_from(status).unwrap_or(500), row.get("response")),
    })
}

/// In the action's own transaction: it took effect. Nothing when the request has no key.
pub(super) async fn mark_done<S: Scope>(write: &mut Write<S>) -> Result<(), StoreError> {
    let Some(claim) = write.scope().context().idempotency.clone() else {
        return Ok(());
    };
    let tenant = write.key();
    sqlx::query(
        "UPDATE idempotency_keys SET status = $4 \
         WHERE tenant_id = $1 AND principal = $2 AND key = $3 AND status = $5",
    )
    .bind(tenant)
    .bind(claim.principal)
    .bind(claim.key)
    .bind(DONE)
    .bind(RUNNING)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("marking an idempotency key"))?;
    Ok(())
}

/// Stores the answer; `None` frees the key, because nothing happened.
pub async fn settle<S: Scope>(
    write: &mut Write<S>,
    principal: &str,
    key: &str,
    answer: Option<(u16, String)>,
) -> Result<(), StoreError> {
    let doing = "settling an idempotency key";
    let tenant = write.key();
    let query = match answer {
        Some((status, response)) => sqlx::query(
            "UPDATE idempotency_keys SET status = $4, response = $5 \
             WHERE tenant_id = $1 AND principal = $2 AND key = $3",
        )
        .bind(tenant)
        .bind(principal.to_owned())
        .bind(key.to_owned())
        .bind(i64::from(status))
        .bind(response),
        None => sqlx::query(
            "DELETE FROM idempotency_keys \
             WHERE tenant_id = $1 AND principal = $2 AND key = $3 AND status = $4",
        )
        .bind(tenant)
        .bind(principal.to_owned())
        .bind(key.to_owned())
        .bind(RUNNING),
    };
    query.execute(write.db()).await.map_err(StoreError::doing(doing))?;
    Ok(())
}

/// Forgets what was kept before `before`.
pub async fn sweep<S: Scope>(write: &mut Write<S>, before: Timestamp) -> Result<u64, StoreError> {
    let key = write.key();
    let sql = "DELETE FROM idempotency_keys WHERE tenant_id = $1 AND created_at_us < $2";
    let done = sqlx::query(sql)
        .bind(key)
        .bind(before.0)
        .execute(write.db())
        .await
        .map_err(StoreError::doing("forgetting old idempotency keys"))?;
    Ok(done.rows_affected())
}
