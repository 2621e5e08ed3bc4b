//! Rows of a log's sinks: where it is streamed to, and how far each has come. A position only grows, and
//! only in the hands of the controller that holds the sink's lease.

use edgeformer_proto::ids::SinkId;
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Conn, StoreError, Write, parse_id, parse_json, to_json};
use crate::audit::export::Format;
use crate::clock::Timestamp;
use crate::scope::Scope;

/// Where records go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Target {
    /// Syslog over TLS (RFC 5425).
    Syslog {
        /// Name or address.
        host: String,
        /// 6514 by the standard.
        port: u16,
        /// PEM of the only authorities to trust.
        ca_pem: String,
        /// PEM of the certificate that we show; its key is wrapped.
        client_cert_pem: Option<String>,
    },
    /// Batches posted to a URL.
    Webhook {
        /// The URL.
        url: String,
        /// Base64 of the Ed25519 key that verifies our batches; the private one is wrapped.
        public_key: Option<String>,
    },
}

/// A sink.
#[derive(Debug, Clone)]
pub struct Sink {
    /// Its id.
    pub id: SinkId,
    /// For people; unique.
    pub name: String,
    /// Where records go.
    pub target: Target,
    /// As what.
    pub format: Format,
    /// Whether it is delivered to.
    pub enabled: bool,
    /// The private key, wrapped; empty without.
    pub wrapped_key: Vec<u8>,
    /// First record that was not delivered yet.
    pub next_sequence: u64,
    /// When something was delivered last.
    pub delivered_at: Option<Timestamp>,
    /// Why nothing was delivered the last time; empty if something was.
    pub last_error: String,
    /// Failures in a row.
    pub failures: u32,
    /// When it is tried again at the earliest.
    pub next_try_at: Timestamp,
    /// When it was made.
    pub created_at: Timestamp,
}

const COLUMNS: &str = "id, name, target, format, enabled, wrapped_key, next_sequence, \
     delivered_at_us, last_error, failures, next_try_at_us, created_at_us";

fn read(row: &AnyRow) -> Result<Sink, StoreError> {
    let id: String = row.get("id");
    let format: String = row.get("format");
    let damaged = || StoreError::Damaged {
        table: "audit_sinks",
        id: row.get("id"),
        what: format!("format {format:?}"),
    };
    Ok(Sink {
        target: parse_json("audit_sinks", &id, &row.get::<String, _>("target"))?,
        format: Format::parse(&format).ok_or_else(damaged)?,
        id: parse_id("audit_sinks", &id)?,
        name: row.get("name"),
        enabled: row.get::<i64, _>("enabled") != 0,
        wrapped_key: row.get("wrapped_key"),
        next_sequence: row.get::<i64, _>("next_sequence").unsigned_abs(),
        delivered_at: row.get::<Option<i64>, _>("delivered_at_us").map(Timestamp),
        last_error: row.get("last_error"),
        failures: u32::try_from(row.get::<i64, _>("failures")).unwrap_or(u32::MAX),
        next_try_at: Timestamp(row.get("next_try_at_us")),
        created_at: Timestamp(row.get("created_at_us")),
    })
}

/// Adds a sink.
pub async fn insert<S: Scope>(write: &mut Write<S>, new: &Sink) -> Result<(), StoreError> {
    let key = write.key();
    sqlx::query(
        "INSERT INTO audit_sinks (tenant_id, id, name, target, format, enabled, wrapped_key, \
           next_sequence, delivered_at_us, last_error, failures, next_try_at_us, lease_holder, \
           lease_until_us, created_at_us) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, NULL, '', 0, $9, '', 0, $10)",
    )
    .bind(key)
    .bind(new.id.to_string())
    .bind(new.name.clone())
    .bind(to_json(&new.target))
    .bind(new.format.as_str())
    .bind(i64::from(new.enabled))
    .bind(new.wrapped_key.clone())
    .bind(new.next_sequence.cast_signed())
    .bind(new.next_try_at.0)
    .bind(new.created_at.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("adding a sink"))?;
    Ok(())
}

/// The sinks of this log, in the order they were made. They are few.
pub async fn list<S: Scope>(conn: &mut Conn<S>) -> Result<Vec<Sink>, StoreError> {
    let key = conn.key();
    let sql = format!("SELECT {COLUMNS} FROM audit_sinks WHERE tenant_id = $1 ORDER BY id");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(key)
        .fetch_all(conn.db())
        .await
        .map_err(StoreError::doing("listing sinks"))?;
    rows.iter().map(read).collect()
}

/// One sink of this log.
pub async fn get<S: Scope>(conn: &mut Conn<S>, id: SinkId) -> Result<Option<Sink>, StoreError> {
    let key = conn.key();
    let sql = format!("SELECT {COLUMNS} FROM audit_sinks WHERE tenant_id = $1 AND id = $2");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(key)
        .bind(id.to_string())
        .fetch_optional(conn.db())
        .await
        .map_err(StoreError::doing("reading a sink"))?;
    row.as_ref().map(read).transpose()
}

/// Replaces what an operator may change: where and as what, and whether at all. It is tried again at
/// once. False if the sink is gone.
pub async fn update<S: Scope>(write: &mut Write<S>, to: &Sink) -> Result<bool, StoreError> {
    let key = write.key();
    let done = sqlx::query(
        "UPDATE audit_sinks SET target = $3, format = $4, enabled = $5, failures = 0, \
           next_try_at_us = $6 WHERE tenant_id = $1 AND id = $2",
    )
    .bind(key)
    .bind(to.id.to_string())
    .bind(to_json(&to.target))
    .bind(to.format.as_str())
    .bind(i64::from(to.enabled))
    .bind(to.next_try_at.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("changing a sink"))?;
    Ok(done.rows_affected() == 1)
}

/// Removes a sink. False if it is not there.
pub async fn delete<S: Scope>(write: &mut Write<S>, id: SinkId) -> Result<bool, StoreError> {
    let key = write.key();
    let done = sqlx::query("DELETE FROM audit_sinks WHERE tenant_id = $1 AND id = $2")
        .bind(key)
        .bind(id.to_string())
        .execute(write.db())
        .await
        .map_err(StoreError::doing("removing a sink"))?;
    Ok(done.rows_affected() == 1)
}

/// A controller that delivers.
#[derive(Debug, Clone)]
pub struct Lease {
    /// Which one: made up when it starts.
    pub holder: String,
    /// Until when nobody else delivers.
    pub until: Timestamp,
}

/// Takes or renews the lease. False if another holds it, or the sink is gone or disabled.
pub async fn claim<S: Scope>(
    write: &mut Write<S>,
    id: SinkId,
    lease: &Lease,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let key = write.key();
    let done = sqlx::query(
        "UPDATE audit_sinks SET lease_holder = $3, lease_until_us = $4 \
         WHERE tenant_id = $1 AND id = $2 AND enabled = 1 \
           AND (lease_holder = $3 OR lease_until_us < $5)",
    )
    .bind(key)
    .bind(id.to_string())
    .bind(lease.holder.clone())
    .bind(lease.until.0)
    .bind(now.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("claiming a sink"))?;
    Ok(done.rows_affected() == 1)
}

/// Moves the position from `from` to `to`. False if another controller took over.
pub async fn advance<S: Scope>(
    write: &mut Write<S>,
    id: SinkId,
    holder: &str,
    (from, to): (u64, u64),
    now: Timestamp,
) -> Result<bool, StoreError> {
    let key = write.key();
    let done = sqlx::query(
        "UPDATE audit_sinks SET next_sequence = $5, delivered_at_us = $6, last_error = '', \
           failures = 0, next_try_at_us = $6, lease_until_us = 0 \
         WHERE tenant_id = $1 AND id = $2 AND lease_holder = $3 AND next_sequence = $4",
    )
    .bind(key)
    .bind(id.to_string())
    .bind(holder.to_owned())
    .bind(from.cast_signed())
    .bind(to.cast_signed())
    .bind(now.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("moving the position of a sink"))?;
    Ok(done.rows_affected() == 1)
}

/// Notes a failure and gives the lease back.
pub async fn fail<S: Scope>(
    write: &mut Write<S>,
    id: SinkId,
    holder: &str,
    error: &str,
    next_try_at: Timestamp,
) -> Result<(), StoreError> {
    let key = write.key();
    sqlx::query(
        "UPDATE audit_sinks SET last_error = $4, failures = failures + 1, next_try_at_us = $5, \
           lease_until_us = 0 WHERE tenant_id = $1 AND id = $2 AND lease_holder = $3",
    )
    .bind(key)
    .bind(id.to_string())
    .bind(holder.to_owned())
    .bind(error.to_owned())
    .bind(next_try_at.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("noting a sink's failure"))?;
    Ok(())
}
