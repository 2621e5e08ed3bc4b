//! Rows of a log's witnesses, and of what they signed.

use edgeformer_proto::audit::note::VerifierKey;
use edgeformer_proto::ids::WitnessId;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Conn, StoreError, Write, parse_id};
use crate::clock::Timestamp;
use crate::scope::Scope;

/// How it stands with a witness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WitnessState {
    /// It was not asked yet.
    Waiting,
    /// It signed what it was asked last.
    Cosigned,
    /// It does not answer, or not in time.
    Unreachable,
    /// It does not know the log, or answers with something else.
    Refused,
    /// It holds another history of this log.
    Contradicted,
}

impl WitnessState {
    const ALL: [Self; 5] =
        [Self::Waiting, Self::Cosigned, Self::Unreachable, Self::Refused, Self::Contradicted];

    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Cosigned => "cosigned",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::Contradicted => "contradicted",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// A witness.
#[derive(Debug, Clone)]
pub struct Witness {
    /// Its id.
    pub id: WitnessId,
    /// What verifies its cosignatures; holds its name.
    pub key: VerifierKey,
    /// Submission prefix.
    pub url: String,
    /// How it stands.
    pub state: WitnessState,
    /// Records of the log as the witness holds it, as far as is known.
    pub held_size: u64,
    /// When it signed last.
    pub cosigned_at: Option<Timestamp>,
    /// Why it did not sign the last time; empty if it did.
    pub last_error: String,
    /// Failures in a row.
    pub failures: u32,
    /// When it is asked again at the earliest.
    pub next_try_at: Timestamp,
    /// When it was added.
    pub created_at: Timestamp,
}

const COLUMNS: &str = "id, verifier, url, state, held_size, cosigned_at_us, last_error, failures, \
     next_try_at_us, created_at_us";

fn read(row: &AnyRow) -> Result<Witness, StoreError> {
    let id: String = row.get("id");
    let damaged =
        |what: String| StoreError::Damaged { table: "audit_witnesses", id: row.get("id"), what };
    let (key, state): (String, String) = (row.get("verifier"), row.get("state"));
    Ok(Witness {
        id: parse_id("audit_witnesses", &id)?,
        key: key.parse().map_err(|error| damaged(format!("{error}")))?,
        url: row.get("url"),
        state: WitnessState::parse(&state).ok_or_else(|| damaged(format!("state {state:?}")))?,
        held_size: row.get::<i64, _>("held_size").unsigned_abs(),
        cosigned_at: row.get::<Option<i64>, _>("cosigned_at_us").map(Timestamp),
        last_error: row.get("last_error"),
        failures: u32::try_from(row.get::<i64, _>("failures")).unwrap_or(u32::MAX),
        next_try_at: Timestamp(row.get("next_try_at_us")),
        created_at: Timestamp(row.get("created_at_us")),
    })
}

/// Adds a witness.
pub async fn insert<S: Scope>(write: &mut Write<S>, new: &Witness) -> Result<(), StoreError> {
    let key = write.key();
    sqlx::query(
        "INSERT INTO audit_witnesses (tenant_id, id, name, verifier, url, state, held_size, \
           cosigned_at_us, last_error, failures, next_try_at_us, created_at_us) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(key)
    .bind(new.id.to_string())
    .bind(new.key.name().to_owned())
    .bind(new.key.to_string())
    .bind(new.url.clone())
    .bind(new.state.as_str())
    .bind(new.held_size.cast_signed())
    .bind(new.cosigned_at.map(|at| at.0))
    .bind(new.last_error.clone())
    .bind(i64::from(new.failures))
    .bind(new.next_try_at.0)
    .bind(new.created_at.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("adding a witness"))?;
    Ok(())
}

/// The witnesses of this log, in the order they were added. They are few.
pub async fn list<S: Scope>(conn: &mut Conn<S>) -> Result<Vec<Witness>, StoreError> {
    let key = conn.key();
    let sql = format!("SELECT {COLUMNS} FROM audit_witnesses WHERE tenant_id = $1 ORDER BY id");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(key)
        .fetch_all(conn.db())
        .await
        .map_err(StoreError::doing("listing witnesses"))?;
    rows.iter().map(read).collect()
}

/// One witness of this log.
pub async fn get<S: Scope>(
    conn: &mut Conn<S>,
    id: WitnessId,
) -> Result<Option<Witness>, StoreError> {
    let key = conn.key();
    let sql = format!("SELECT {COLUMNS} FROM audit_witnesses WHERE tenant_id = $1 AND id = $2");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(key)
        .bind(id.to_string())
        .fetch_optional(conn.db())
        .await
        .map_err(StoreError::doing("reading a witness"))?;
    row.as_ref().map(read).transpose()
}

/// Replaces what changes about a witness: its address and how it stands. False if it is gone.
pub async fn update<S: Scope>(write: &mut Write<S>, to: &Witness) -> Result<bool, StoreError> {
    let key = write.key();
    let done = sqlx::query(
        "UPDATE audit_witnesses SET url = $3, state = $4, held_size = $5, cosigned_at_us = $6, \
           last_error = $7, failures = $8, next_try_at_us = $9 WHERE tenant_id = $1 AND id = $2",
    )
    .bind(key)
    .bind(to.id.to_string())
    .bind(to.url.clone())
    .bind(to.state.as_str())
    .bind(to.held_size.cast_signed())
    .bind(to.cosigned_at.map(|at| at.0))
    .bind(to.last_error.clone())
    .bind(i64::from(to.failures))
    .bind(to.next_try_at.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("changing a witness"))?;
    Ok(done.rows_affected() == 1)
}

/// Removes a witness. False if it is not there.
pub async fn delete<S: Scope>(write: &mut Write<S>, id: WitnessId) -> Result<bool, StoreError> {
    let key = write.key();
    let done = sqlx::query("DELETE FROM audit_witnesses WHERE tenant_id = $1 AND id = $2")
        .bind(key)
        .bind(id.to_string())
        .execute(write.db())
        .await
        .map_err(StoreError::doing("removing a witness"))?;
    Ok(done.rows_affected() == 1)
}

/// Keeps a cosignature of the checkpoint of this size. One of this witness that is there stays.
pub async fn keep<S: Scope>(
    write: &mut Write<S>,
    size: u64,
    witness: &VerifierKey,
    line: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let key = write.key();
    sqlx::query(
        "INSERT INTO audit_cosignatures (tenant_id, size, verifier, line, created_at_us) \
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (tenant_id, size, verifier) DO NOTHING",
    )
    .bind(key)
    .bind(size.cast_signed())
    .bind(witness.to_string())
    .bind(line.to_owned())
    .bind(now.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("keeping a cosignature"))?;
    Ok(())
}

/// The signature lines of witnesses under the checkpoint of this size, one after the other.
pub async fn lines<S: Scope>(conn: &mut Conn<S>, size: u64) -> Result<String, StoreError> {
    let key = conn.key();
    let rows = sqlx::query(
        "SELECT line FROM audit_cosignatures WHERE tenant_id = $1 AND size = $2 \
         ORDER BY verifier LIMIT $3",
    )
    .bind(key)
    .bind(size.cast_signed())
    // What a note may carry beside the log's own.
    .bind(edgeformer_proto::audit::note::MAX_SIGNATURES as i64 - 1)
    .fetch_all(conn.db())
    .await
    .map_err(StoreError::doing("reading cosignatures"))?;
    Ok(rows.iter().map(|row| row.get::<String, _>("line")).collect())
}

/// The size of the newest checkpoint that at least `count` witnesses signed.
pub async fn newest<S: Scope>(conn: &mut Conn<S>, count: u32) -> Result<Option<u64>, StoreError> {
    let key = conn.key();
    let row = sqlx::query(
        "SELECT size FROM audit_cosignatures WHERE tenant_id = $1 \
         GROUP BY size HAVING count(*) >= $2 ORDER BY size DESC LIMIT 1",
    )
    .bind(key)
    .bind(i64::from(count))
    .fetch_optional(conn.db())
    .await
    .map_err(StoreError::doing("looking for a cosigned checkpoint"))?;
    Ok(row.map(|row| row.get::<i64, _>("size").unsigned_abs()))
}
