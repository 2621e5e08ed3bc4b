//! Requests that need other people's consent, and the signatures on them.

use std::collections::BTreeSet;

use edgeformer_proto::ids::ApprovalId;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Conn, StoreError, Write, parse_id, parse_json, to_json};
use crate::clock::Timestamp;
use crate::policy::{Action, Facts};
use crate::scope::{Scope, TenantScope};

/// How far an approval is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Others may sign it; with enough signatures the request may be repeated.
    Open,
    /// Somebody said no.
    Rejected,
    /// What was asked for was done.
    Used,
}

impl State {
    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Rejected => "rejected",
            Self::Used => "used",
        }
    }

    /// The state of this name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Open, Self::Rejected, Self::Used].into_iter().find(|one| one.as_str() == text)
    }
}

/// What a signature means (21 CFR 11.50).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// It may be done.
    Approved,
    /// It was looked at; counts for nothing by itself.
    Reviewed,
    /// It must not be done.
    Rejected,
}

impl Meaning {
    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Reviewed => "reviewed",
            Self::Rejected => "rejected",
        }
    }

    /// The meaning of this name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Approved, Self::Reviewed, Self::Rejected]
            .into_iter()
            .find(|one| one.as_str() == text)
    }
}

/// A request that needs consent.
#[derive(Debug, Clone)]
pub struct Approval {
    /// Its id.
    pub id: ApprovalId,
    /// What is asked for.
    pub action: Action,
    /// On what.
    pub facts: Facts,
    /// Method and path.
    pub request: String,
    /// SHA-256 of method, path and body.
    pub request_sha256: [u8; 32],
    /// Subject's id.
    pub requested_by: String,
    /// The subject with everybody who could act as it then.
    pub requested_behind: BTreeSet<String>,
    /// For people.
    pub requested_by_name: String,
    /// Why; empty if it was not said.
    pub justification: String,
    /// How many must approve.
    pub needed: u32,
    /// How far it is.
    pub state: State,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// Until when it can be signed and used.
    pub expires_at: Timestamp,
}

/// An electronic signature.
#[derive(Debug, Clone)]
pub struct Signature {
    /// Subject's id.
    pub signer: String,
    /// The subject with everybody who could act as it then.
    pub signer_behind: BTreeSet<String>,
    /// Printed name.
    pub signer_name: String,
    /// How the signer proved who they are.
    pub method: String,
    /// What it means.
    pub meaning: Meaning,
    /// What the signer adds.
    pub comment: String,
    /// When.
    pub signed_at: Timestamp,
}

fn read(row: &AnyRow) -> Result<Approval, StoreError> {
    let id: String = row.get("id");
    let damaged =
        |what: &str| StoreError::Damaged { table: "approvals", id: id.clone(), what: what.into() };
    let text = |column| row.get::<String, _>(column);
    let hash: Vec<u8> = row.get("request_sha256");
    Ok(Approval {
        action: Action::parse(&text("action")).ok_or_else(|| damaged("action"))?,
        facts: parse_json("approvals", &id, &text("facts"))?,
        request: text("request"),
        request_sha256: hash.try_into().map_err(|_| damaged("request_sha256"))?,
        requested_by: text("requested_by"),
        requested_behind: parse_json("approvals", &id, &text("requested_behind"))?,
        requested_by_name: text("requested_by_name"),
        justification: text("justification"),
        needed: u32::try_from(row.get::<i64, _>("needed")).map_err(|_| damaged("needed"))?,
        state: State::parse(&text("state")).ok_or_else(|| damaged("state"))?,
        created_at: Timestamp(row.get("created_at_us")),
        expires_at: Timestamp(row.get("expires_at_us")),
        id: parse_id("approvals", &id)?,
    })
}

/// Keeps a request that needs consent.
pub async fn insert(write: &mut Write<TenantScope>, new: &Approval) -> Result<(), StoreError> {
    let key = write.key();
    sqlx::query(
        "INSERT INTO approvals (tenant_id, id, action, facts, request, request_sha256, \
         requested_by, requested_by_name, justification, needed, state, created_at_us, \
         expires_at_us, requested_behind) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
    )
    .bind(key)
    .bind(new.id.to_string())
    .bind(new.action.as_str())
    .bind(to_json(&new.facts))
    .bind(new.request.clone())
    .bind(new.request_sha256.to_vec())
    .bind(new.requested_by.clone())
    .bind(new.requested_by_name.clone())
    .bind(new.justification.clone())
    .bind(i64::from(new.needed))
    .bind(new.state.as_str())
    .bind(new.created_at.0)
    .bind(new.expires_at.0)
    .bind(to_json(&new.requested_behind))
    .execute(write.db())
    .await
    .map_err(StoreError::doing("keeping a request for approval"))?;
    Ok(())
}

/// The approval of this id.
pub async fn get(
    conn: &mut Conn<TenantScope>,
    id: ApprovalId,
) -> Result<Option<Approval>, StoreError> {
    let key = conn.key();
    let row = sqlx::query("SELECT * FROM approvals WHERE tenant_id = $1 AND id = $2")
        .bind(key)
        .bind(id.to_string())
        .fetch_optional(conn.db())
        .await
        .map_err(StoreError::doing("reading an approval"))?;
    row.as_ref().map(read).transpose()
}

/// The open approval of the same request by the same subject, if it is still good at `now`.
pub async fn open_for(
    conn: &mut Conn<TenantScope>,
    requested_by: &str,
    request_sha256: &[u8; 32],
    now: Timestamp,
) -> Result<Option<Approval>, StoreError> {
    let key = conn.key();
    let row = sqlx::query(
        "SELECT * FROM approvals WHERE tenant_id = $1 AND request_sha256 = $2 \
         AND requested_by = $3 AND state = 'open' AND expires_at_us > $4 ORDER BY id LIMIT 1",
    )
    .bind(key)
    .bind(request_sha256.to_vec())
    .bind(requested_by.to_owned())
    .bind(now.0)
    .fetch_optional(conn.db())
    .await
    .map_err(StoreError::doing("looking for an approval"))?;
    row.as_ref().map(read).transpose()
}

/// Approvals, newest first, of this state if one is given.
pub async fn list(
    conn: &mut Conn<TenantScope>,
    state: Option<State>,
    before: Option<ApprovalId>,
    limit: i64,
) -> Result<Vec<Approval>, StoreError> {
    let key = conn.key();
    let rows = sqlx::query(
        "SELECT * FROM approvals WHERE tenant_id = $1 AND ($2 = '' OR state = $2) \
         AND ($3 = '' OR id < $3) ORDER BY id DESC LIMIT $4",
    )
    .bind(key)
    .bind(state.map(State::as_str).unwrap_or_default())
    .bind(before.map(|id| id.to_string()).unwrap_or_default())
    .bind(limit)
    .fetch_all(conn.db())
    .await
    .map_err(StoreError::doing("listing approvals"))?;
    rows.iter().map(read).collect()
}

/// Ends an open approval. False if it is not open.
pub async fn end<S: Scope>(
    write: &mut Write<S>,
    id: ApprovalId,
    state: State,
) -> Result<bool, StoreError> {
    let key = write.key();
    let done = sqlx::query(
        "UPDATE approvals SET state = $3 WHERE tenant_id = $1 AND id = $2 AND state = 'open'",
    )
    .bind(key)
    .bind(id.to_string())
    .bind(state.as_str())
    .execute(write.db())
    .await
    .map_err(StoreError::doing("ending an approval"))?;
    Ok(done.rows_affected() == 1)
}

/// Adds a signature; a conflict if the signer signed before.
pub async fn sign(
    write: &mut Write<TenantScope>,
    id: ApprovalId,
    signature: &Signature,
) -> Result<(), StoreError> {
    let key = write.key();
    sqlx::query(
        "INSERT INTO approval_signatures (tenant_id, approval_id, signer, signer_name, method, \
         meaning, comment, signed_at_us, signer_behind) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(key)
    .bind(id.to_string())
    .bind(signature.signer.clone())
    .bind(signature.signer_name.clone())
    .bind(signature.method.clone())
    .bind(signature.meaning.as_str())
    .bind(signature.comment.clone())
    .bind(signature.signed_at.0)
    .bind(to_json(&signature.signer_behind))
    .execute(write.db())
    .await
    .map_err(StoreError::doing("signing an approval"))?;
    Ok(())
}

/// The signatures on an approval, in their order.
pub async fn signatures(
    conn: &mut Conn<TenantScope>,
    id: ApprovalId,
) -> Result<Vec<Signature>, StoreError> {
    let key = conn.key();
    let rows = sqlx::query(
        "SELECT signer, signer_behind, signer_name, method, meaning, comment, signed_at_us \
         FROM approval_signatures WHERE tenant_id = $1 AND approval_id = $2 \
         ORDER BY signed_at_us, signer",
    )
    .bind(key)
    .bind(id.to_string())
    .fetch_all(conn.db())
    .await
    .map_err(StoreError::doing("reading signatures"))?;
    rows.iter()
        .map(|row| {
            let meaning: String = row.get("meaning");
            Ok(Signature {
                signer: row.get("signer"),
                signer_behind: parse_json(
                    "approval_signatures",
                    &id.to_string(),
                    &row.get::<String, _>("signer_behind"),
                )?,
                signer_name: row.get("signer_name"),
                method: row.get("method"),
                meaning: Meaning::parse(&meaning).ok_or_else(|| StoreError::Damaged {
                    table: "approval_signatures",
                    id: id.to_string(),
                    what: format!("meaning {meaning:?}"),
                })?,
                comment: row.get("comment"),
                signed_at: Timestamp(row.get("signed_at_us")),
            })
        })
        .collect()
}
