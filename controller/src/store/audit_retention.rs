//! How long texts of a log are kept, the hold that stops every deletion, and the deletion itself. The
//! hold is part of the statement that deletes, so that no deletion slips past one that is being set.

use sqlx::Row;

use super::{Conn, StoreError, Write};
use crate::clock::Timestamp;
use crate::scope::Scope;

/// A legal hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Why.
    pub reason: String,
    /// Kind and id of who set it.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// What is kept of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retention {
    /// Days that texts are kept; none: for ever.
    pub keep_days: Option<u32>,
    /// Records before this one have no text any longer.
    pub deleted_to: u64,
    /// What stops every deletion.
    pub hold: Option<Hold>,
}

/// Of this log.
pub async fn get<S: Scope>(conn: &mut Conn<S>) -> Result<Retention, StoreError> {
    let key = conn.key();
    let row = sqlx::query(
        "SELECT keep_days, deleted_to, hold_reason, hold_by, hold_at_us FROM audit_retention \
         WHERE tenant_id = $1",
    )
    .bind(key)
    .fetch_optional(conn.db())
    .await
    .map_err(StoreError::doing("reading the retention of the audit log"))?;
    let Some(row) = row else { return Ok(Retention::default()) };
    let reason: String = row.get("hold_reason");
    let at = Timestamp(row.get::<Option<i64>, _>("hold_at_us").unwrap_or_default());
    let days: Option<i64> = row.get("keep_days");
    Ok(Retention {
        keep_days: days.map(|days| u32::try_from(days).unwrap_or(u32::MAX)),
        deleted_to: row.get::<i64, _>("deleted_to").unsigned_abs(),
        hold: (!reason.is_empty()).then(|| Hold { reason, by: row.get("hold_by"), at }),
    })
}

/// The same, and nobody changes it before `write` ends: who reads it to decide on a change or a deletion
/// would else decide on what another transaction is just changing.
pub async fn locked<S: Scope>(write: &mut Write<S>) -> Result<Retention, StoreError> {
    for sql in [
        "INSERT INTO audit_retention \
           (tenant_id, keep_days, deleted_to, hold_reason, hold_by, hold_at_us) \
         VALUES ($1, NULL, 0, '', '', NULL) ON CONFLICT (tenant_id) DO NOTHING",
        "UPDATE audit_retention SET deleted_to = deleted_to WHERE tenant_id = $1",
    ] {
        let key = write.key();
        sqlx::query(sql)
            .bind(key)
            .execute(write.db())
            .await
            .map_err(StoreError::doing("locking the retention of the audit log"))?;
    }
    get(write).await
}

/// Replaces period and hold; how far texts were deleted stays.
pub async fn put<S: Scope>(write: &mut Write<S>, to: &Retention) -> Result<(), StoreError> {
    let key = write.key();
    let hold = to.hold.as_ref();
    sqlx::query(
        "INSERT INTO audit_retention \
           (tenant_id, keep_days, deleted_to, hold_reason, hold_by, hold_at_us) \
         VALUES ($1, $2, 0, $3, $4, $5) \
         ON CONFLICT (tenant_id) DO UPDATE SET keep_days = excluded.keep_days, \
           hold_reason = excluded.hold_reason, hold_by = excluded.hold_by, \
           hold_at_us = excluded.hold_at_us",
    )
    .bind(key)
    .bind(to.keep_days.map(i64::from))
    .bind(hold.map(|hold| hold.reason.clone()).unwrap_or_default())
    .bind(hold.map(|hold| hold.by.clone()).unwrap_or_default())
    .bind(hold.map(|hold| hold.at.0))
    .execute(write.db())
    .await
    .map_err(StoreError::doing("changing the retention of the audit log"))?;
    Ok(())
}

/// The first UUID of version 7 of a time: record ids before it are of earlier records.
fn first_id_of(at: Timestamp) -> String {
    let millis = u64::try_from(at.0 / 1000).unwrap_or_default() & 0xffff_ffff_ffff;
    format!("{:08x}-{:04x}-7000-8000-000000000000", millis >> 16, millis & 0xffff)
}

/// How many records from `first` on are older than `before`, about: a text that waits for its turn among
/// younger ones counts.
pub async fn older<S: Scope>(
    conn: &mut Conn<S>,
    first: u64,
    before: Timestamp,
) -> Result<u64, StoreError> {
    let key = conn.key();
    let row = sqlx::query(
        "SELECT CAST(count(*) AS BIGINT) AS n FROM audit_log \
         WHERE tenant_id = $1 AND id < $2 AND sequence >= $3",
    )
    .bind(key)
    .bind(first_id_of(before))
    .bind(first.cast_signed())
    .fetch_one(conn.db())
    .await
    .map_err(StoreError::doing("counting old audit records"))?;
    Ok(row.get::<i64, _>("n").unsigned_abs())
}

/// One after the last record that may go, at most `limit` from `first` on: the log is deleted from its
/// beginning, and the first record that is young enough ends it.
pub async fn end_of_old<S: Scope>(
    conn: &mut Conn<S>,
    first: u64,
    before: Timestamp,
    limit: i64,
) -> Result<u64, StoreError> {
    let key = conn.key();
    let rows = sqlx::query(
        "SELECT id FROM audit_log WHERE tenant_id = $1 AND sequence >= $2 \
         ORDER BY sequence LIMIT $3",
    )
    .bind(key)
    .bind(first.cast_signed())
    .bind(limit)
    .fetch_all(conn.db())
    .await
    .map_err(StoreError::doing("looking for old audit records"))?;
    let cut = first_id_of(before);
    let old = rows.iter().take_while(|row| row.get::<String, _>("id") < cut).count();
    Ok(first + old as u64)
}

/// Deletes the texts of the records `from..to`, and all that stands beside them. False if a hold was set,
/// or another controller was faster.
pub async fn delete<S: Scope>(
    write: &mut Write<S>,
    from: u64,
    to: u64,
) -> Result<bool, StoreError> {
    let doing = || StoreError::doing("deleting old audit records");
    let key = write.key();
    let moved = sqlx::query(
        "UPDATE audit_retention SET deleted_to = $3 \
         WHERE tenant_id = $1 AND deleted_to = $2 AND hold_reason = ''",
    )
    .bind(key.clone())
    .bind(from.cast_signed())
    .bind(to.cast_signed())
    .execute(write.db())
    .await
    .map_err(doing())?;
    if moved.rows_affected() != 1 {
        return Ok(false);
    }
    for sql in [
        "DELETE FROM audit_beside WHERE tenant_id = $1 AND id IN (SELECT id FROM audit_log \
         WHERE tenant_id = $1 AND sequence >= $2 AND sequence < $3)",
        "UPDATE audit_log SET record = '' WHERE tenant_id = $1 AND sequence >= $2 AND sequence < $3",
    ] {
        sqlx::query(sql)
            .bind(key.clone())
            .bind(from.cast_signed())
            .bind(to.cast_signed())
            .execute(write.db())
            .await
            .map_err(doing())?;
    }
    Ok(true)
}

/// Notes that a threshold was reached or left. True if it is another one than was noted before.
pub async fn note_capacity<S: Scope>(
    write: &mut Write<S>,
    what: &str,
    percent: u32,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let key = write.key();
    let done = sqlx::query(
        "INSERT INTO audit_capacity (tenant_id, what, percent, updated_at_us) \
         VALUES ($1, $2, $3, $4) ON CONFLICT (tenant_id, what) DO UPDATE \
         SET percent = excluded.percent, updated_at_us = excluded.updated_at_us \
         WHERE audit_capacity.percent <> excluded.percent",
    )
    .bind(key)
    .bind(what.to_owned())
    .bind(i64::from(percent))
    .bind(now.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("noting the capacity of the audit log"))?;
    Ok(done.rows_affected() == 1)
}

#[cfg(test)]
mod tests {
    use edgeformer_proto::ids::AuditId;

    use super::*;

    #[test]
    fn ids_sort_around_the_first_of_their_time() {
        let id = AuditId::new();
        let bytes = id.as_bytes();
        let millis = bytes[..6].iter().fold(0_i64, |all, byte| (all << 8) | i64::from(*byte));
        let (now, next) = (Timestamp(millis * 1000), Timestamp((millis + 1) * 1000));
        assert!(first_id_of(now) <= id.to_string());
        assert!(first_id_of(next) > id.to_string());
        assert!(first_id_of(Timestamp(-1)) < first_id_of(now));
    }
}
