//! Rows of the audit log: the outbox that actions write, and the log that the sequencer writes.

use edgeformer_proto::ids::AuditId;
use sqlx::Row;

use super::{Conn, StoreError, Write};
use crate::audit::merkle::{Hash, Tree};
use crate::audit::{Intent, Outcome, Record};
use crate::clock::Timestamp;
use crate::scope::Scope;

/// Puts a record into the outbox of the running transaction.
pub(crate) async fn enqueue<S: Scope>(
    write: &mut Write<S>,
    intent: Intent,
    outcome: Outcome,
    now: Timestamp,
) -> Result<(), StoreError> {
    let record = Record::of(write.scope().context(), intent, outcome, now);
    let text = serde_json::to_string(&record).expect("a record has string keys only");
    let key = write.key();
    sqlx::query(
        "INSERT INTO audit_outbox (tenant_id, id, record, created_at_us) VALUES ($1, $2, $3, $4)",
    )
    .bind(key)
    .bind(record.id.to_string())
    .bind(text)
    .bind(now.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("writing an audit record"))?;
    Ok(())
}

/// The head of this scope's log; empty before the first record was sequenced.
pub async fn head<S: Scope>(conn: &mut Conn<S>) -> Result<Tree, StoreError> {
    let key = conn.key();
    let row = sqlx::query("SELECT size, frontier FROM audit_heads WHERE tenant_id = $1")
        .bind(key.clone())
        .fetch_optional(conn.db())
        .await
        .map_err(StoreError::doing("reading the audit head"))?;
    let Some(row) = row else {
        return Ok(Tree::default());
    };
    let size: i64 = row.get("size");
    let frontier: Vec<u8> = row.get("frontier");
    Tree::load(size.unsigned_abs(), &frontier).map_err(|error| StoreError::Damaged {
        table: "audit_heads",
        id: key,
        what: error.to_string(),
    })
}

/// The oldest records of the outbox, as stored: id and the bytes that are hashed.
pub async fn waiting<S: Scope>(
    conn: &mut Conn<S>,
    limit: i64,
) -> Result<Vec<(String, String)>, StoreError> {
    let key = conn.key();
    sqlx::query_as("SELECT id, record FROM audit_outbox WHERE tenant_id = $1 ORDER BY id LIMIT $2")
        .bind(key)
        .bind(limit)
        .fetch_all(conn.db())
        .await
        .map_err(StoreError::doing("reading the audit outbox"))
}

/// Moves one record from the outbox to the log at `sequence`.
pub async fn append<S: Scope>(
    write: &mut Write<S>,
    sequence: u64,
    id: &str,
    record: &str,
    leaf: &Hash,
) -> Result<(), StoreError> {
    let doing = "appending to the audit log";
    let key = write.key();
    sqlx::query(
        "INSERT INTO audit_log (tenant_id, sequence, id, record, leaf_sha256) \
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(key.clone())
    .bind(sequence.cast_signed())
    .bind(id.to_owned())
    .bind(record.to_owned())
    .bind(leaf.to_vec())
    .execute(write.db())
    .await
    .map_err(StoreError::doing(doing))?;
    sqlx::query("DELETE FROM audit_outbox WHERE tenant_id = $1 AND id = $2")
        .bind(key)
        .bind(id.to_owned())
        .execute(write.db())
        .await
        .map_err(StoreError::doing(doing))?;
    Ok(())
}

/// Replaces the head if it still has `old_size` leaves. False when another controller was faster.
pub async fn advance<S: Scope>(
    write: &mut Write<S>,
    old_size: u64,
    tree: &Tree,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let key = write.key();
    let sql = if old_size == 0 {
        "INSERT INTO audit_heads (tenant_id, size, root_sha256, frontier, updated_at_us) \
         SELECT $1, $2, $3, $4, $5 WHERE CAST($6 AS BIGINT) = 0 ON CONFLICT (tenant_id) DO NOTHING"
    } else {
        "UPDATE audit_heads SET size = $2, root_sha256 = $3, frontier = $4, updated_at_us = $5 \
         WHERE tenant_id = $1 AND size = $6"
    };
    let done = sqlx::query(sql)
        .bind(key)
        .bind(tree.size().cast_signed())
        .bind(tree.root().to_vec())
        .bind(tree.frontier_bytes())
        .bind(now.0)
        .bind(old_size.cast_signed())
        .execute(write.db())
        .await
        .map_err(StoreError::doing("advancing the audit head"))?;
    Ok(done.rows_affected() == 1)
}

/// A record, with its place in the log once it has one.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Position in the tree, from 0; none while in the outbox.
    pub sequence: Option<u64>,
    /// The record.
    pub record: Record,
}

/// Newest first, outbox included; `before` is the id of the last one seen.
pub async fn list<S: Scope>(
    conn: &mut Conn<S>,
    before: Option<AuditId>,
    limit: i64,
) -> Result<Vec<Entry>, StoreError> {
    let key = conn.key();
    // '~' is greater than every hexadecimal digit.
    let before = before.map_or_else(|| "~".to_owned(), |id| id.to_string());
    let rows = sqlx::query(
        "SELECT id, sequence, record FROM ( \
           SELECT id, sequence, record FROM audit_log WHERE tenant_id = $1 AND id < $2 \
           UNION ALL \
           SELECT id, CAST(-1 AS BIGINT) AS sequence, record FROM audit_outbox \
           WHERE tenant_id = $1 AND id < $2 \
         ) AS entries ORDER BY id DESC LIMIT $3",
    )
    .bind(key)
    .bind(before)
    .bind(limit)
    .fetch_all(conn.db())
    .await
    .map_err(StoreError::doing("listing the audit log"))?;
    rows.iter()
        .map(|row| {
            let id: String = row.get("id");
            let record: String = row.get("record");
            let record = serde_json::from_str(&record).map_err(|error| StoreError::Damaged {
                table: "audit_log",
                id,
                what: error.to_string(),
            })?;
            let sequence: i64 = row.get("sequence");
            Ok(Entry { sequence: u64::try_from(sequence).ok(), record })
        })
        .collect()
}
