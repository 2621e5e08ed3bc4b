//! Rows of the audit log: the outbox that actions write, and the log that the sequencer writes.

use edgeformer_proto::ids::AuditId;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::{Conn, StoreError, Write, audit_subjects, parse_json, to_json};
use crate::audit::record::Draft;
use crate::audit::seal::Beside;
use crate::audit::{Event, Intent, Outcome};
use crate::clock::{ClockQuality, Timestamp};
use crate::scope::Scope;
use edgeformer_proto::audit::merkle::{Hash, Tree};

/// Puts a record into the outbox of the running transaction.
pub(crate) async fn enqueue<S: Scope>(
    write: &mut Write<S>,
    intent: Intent,
    outcome: Outcome,
    now: Timestamp,
) -> Result<(), StoreError> {
    let quality = ClockQuality::of_system();
    let draft = Draft::of(write.scope().context(), intent, outcome, now, quality);
    let subjects: Vec<_> = draft.subjects().cloned().collect();
    let salts = audit_subjects::salts_for(write, &subjects, now).await?;
    let (record, beside) = draft.seal(&salts);
    let text = serde_json::to_string(&record).expect("a record has string keys only");
    let key = write.key();
    sqlx::query(
        "INSERT INTO audit_outbox (tenant_id, id, record, beside, created_at_us) \
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(key)
    .bind(record.id.to_string())
    .bind(text)
    .bind(to_json(&beside))
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

/// A record that is not in the log yet.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// Its id.
    pub id: String,
    /// The bytes that are hashed.
    pub record: String,
    /// What stands beside it.
    pub beside: Vec<Beside>,
}

/// The oldest records of the outbox.
pub async fn waiting<S: Scope>(conn: &mut Conn<S>, limit: i64) -> Result<Vec<Waiting>, StoreError> {
    let key = conn.key();
    let rows = sqlx::query(
        "SELECT id, record, beside FROM audit_outbox WHERE tenant_id = $1 ORDER BY id LIMIT $2",
    )
    .bind(key)
    .bind(limit)
    .fetch_all(conn.db())
    .await
    .map_err(StoreError::doing("reading the audit outbox"))?;
    rows.iter()
        .map(|row| {
            let id: String = row.get("id");
            let beside = parse_json("audit_outbox", &id, &row.get::<String, _>("beside"))?;
            Ok(Waiting { id, record: row.get("record"), beside })
        })
        .collect()
}

/// How many records wait.
pub async fn waiting_count<S: Scope>(conn: &mut Conn<S>) -> Result<u64, StoreError> {
    let key = conn.key();
    let row =
        sqlx::query("SELECT CAST(count(*) AS BIGINT) AS n FROM audit_outbox WHERE tenant_id = $1")
            .bind(key)
            .fetch_one(conn.db())
            .await
            .map_err(StoreError::doing("counting the audit outbox"))?;
    Ok(row.get::<i64, _>("n").unsigned_abs())
}

/// Records moved by one statement: five values each, of which a database takes some tens of thousands.
const MOVED_AT_ONCE: usize = 100;

/// Moves records from the outbox to their places in the log. A few statements for many records: they
/// hold the one writer that everybody waits for.
pub async fn append<S: Scope>(
    write: &mut Write<S>,
    records: &[(u64, &Waiting, Hash)],
) -> Result<(), StoreError> {
    let doing = "appending to the audit log";
    for some in records.chunks(MOVED_AT_ONCE) {
        audit_subjects::keep(write, some.iter().map(|(_, waiting, _)| *waiting)).await?;
        let key = write.key();
        let rows = placeholders(some.len(), 3);
        // The texts are there already: they do not travel once more.
        let sql = format!(
            "WITH v (sequence, id, leaf_sha256) AS (VALUES {rows}) \
             INSERT INTO audit_log (tenant_id, sequence, id, record, leaf_sha256) \
             SELECT $1, v.sequence, o.id, o.record, v.leaf_sha256 \
             FROM v JOIN audit_outbox o ON o.tenant_id = $1 AND o.id = v.id"
        );
        let mut insert = sqlx::query(AssertSqlSafe(sql)).bind(key.clone());
        for (sequence, Waiting { id, .. }, leaf) in some {
            insert = insert.bind(sequence.cast_signed()).bind(id.clone()).bind(leaf.to_vec());
        }
        let moved = insert.execute(write.db()).await.map_err(StoreError::doing(doing))?;
        if moved.rows_affected() != some.len() as u64 {
            let what = format!("{} of {} records are left", moved.rows_affected(), some.len());
            return Err(StoreError::Damaged { table: "audit_outbox", id: key, what });
        }
        // By name: others commit records with older ids meanwhile.
        let ids: Vec<String> = (2..some.len() + 2).map(|n| format!("${n}")).collect();
        let sql =
            format!("DELETE FROM audit_outbox WHERE tenant_id = $1 AND id IN ({})", ids.join(", "));
        let mut delete = sqlx::query(AssertSqlSafe(sql)).bind(key);
        for (_, waiting, _) in some {
            delete = delete.bind(waiting.id.clone());
        }
        delete.execute(write.db()).await.map_err(StoreError::doing(doing))?;
    }
    Ok(())
}

/// `($2, $3), ($4, $5)`: so many rows of so many values, after `$1`.
pub(super) fn placeholders(rows: usize, width: usize) -> String {
    let row = |row: usize| {
        let values: Vec<_> = (0..width).map(|n| format!("${}", 2 + row * width + n)).collect();
        format!("({})", values.join(", "))
    };
    (0..rows).map(row).collect::<Vec<_>>().join(", ")
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

/// Newest first, outbox included, but for records whose texts were deleted; `before` is the id of the last one seen.
pub async fn list<S: Scope>(
    conn: &mut Conn<S>,
    before: Option<AuditId>,
    limit: i64,
) -> Result<Vec<Event>, StoreError> {
    let key = conn.key();
    // '~' is greater than every hexadecimal digit.
    let before = before.map_or_else(|| "~".to_owned(), |id| id.to_string());
    let rows = sqlx::query(
        "SELECT id, sequence, record, beside FROM ( \
           SELECT id, sequence, record, '[]' AS beside FROM audit_log \
           WHERE tenant_id = $1 AND id < $2 AND record <> '' \
           UNION ALL \
           SELECT id, CAST(-1 AS BIGINT) AS sequence, record, beside FROM audit_outbox \
           WHERE tenant_id = $1 AND id < $2 \
         ) AS entries ORDER BY id DESC LIMIT $3",
    )
    .bind(key)
    .bind(before)
    .bind(limit)
    .fetch_all(conn.db())
    .await
    .map_err(StoreError::doing("listing the audit log"))?;
    events(conn, &rows).await
}

/// The log in its order from `first`: what is exported and streamed. The outbox is not part of it, and
/// neither are records whose texts were deleted.
pub async fn from<S: Scope>(
    conn: &mut Conn<S>,
    first: u64,
    limit: i64,
) -> Result<Vec<Event>, StoreError> {
    let key = conn.key();
    let rows = sqlx::query(
        "SELECT id, sequence, record, '[]' AS beside FROM audit_log \
         WHERE tenant_id = $1 AND sequence >= $2 AND record <> '' ORDER BY sequence LIMIT $3",
    )
    .bind(key)
    .bind(i64::try_from(first).unwrap_or(i64::MAX))
    .bind(limit)
    .fetch_all(conn.db())
    .await
    .map_err(StoreError::doing("reading the audit log"))?;
    events(conn, &rows).await
}

/// A row of the log as it is hashed.
#[derive(Debug, Clone)]
pub struct Raw {
    /// Its place.
    pub sequence: u64,
    /// Its id.
    pub id: String,
    /// The bytes that are hashed; empty if they were deleted.
    pub record: String,
    /// The hash that the log has for them.
    pub leaf: Vec<u8>,
}

/// Rows of the log from `first` on.
pub async fn raw<S: Scope>(
    conn: &mut Conn<S>,
    first: u64,
    limit: u64,
) -> Result<Vec<Raw>, StoreError> {
    let key = conn.key();
    let rows = sqlx::query(
        "SELECT sequence, id, record, leaf_sha256 FROM audit_log \
         WHERE tenant_id = $1 AND sequence >= $2 ORDER BY sequence LIMIT $3",
    )
    .bind(key)
    .bind(first.cast_signed())
    .bind(limit.cast_signed())
    .fetch_all(conn.db())
    .await
    .map_err(StoreError::doing("reading rows of the audit log"))?;
    let read = |row: &AnyRow| Raw {
        sequence: row.get::<i64, _>("sequence").unsigned_abs(),
        id: row.get("id"),
        record: row.get("record"),
        leaf: row.get("leaf_sha256"),
    };
    Ok(rows.iter().map(read).collect())
}

async fn events<S: Scope>(conn: &mut Conn<S>, rows: &[AnyRow]) -> Result<Vec<Event>, StoreError> {
    let ids: Vec<String> = rows.iter().map(|row| row.get("id")).collect();
    let mut beside = match (ids.iter().min(), ids.iter().max()) {
        (Some(first), Some(last)) => audit_subjects::beside(conn, first, last).await?,
        _ => return Ok(Vec::new()),
    };
    rows.iter()
        .zip(ids)
        .map(|(row, id)| {
            let record = parse_json("audit_log", &id, &row.get::<String, _>("record"))?;
            let sequence = u64::try_from(row.get::<i64, _>("sequence")).ok();
            let waiting: String = row.get("beside");
            let mut values: Vec<Beside> = parse_json("audit_outbox", &id, &waiting)?;
            values.extend(beside.remove(&id).unwrap_or_default());
            Ok(Event::new(sequence, record, values))
        })
        .collect()
}
