//! Devices without a token that ask to be let in, and the public name of the tenant that they ask.

use std::collections::BTreeMap;

use edgeformer_proto::ids::{DeviceId, EnrolmentRequestId, TenantId};
use sqlx::Row;
use sqlx::any::AnyRow;

use crate::clock::Timestamp;
use crate::scope::{InstallationScope, TenantScope};
use crate::store::{Conn, StoreError, Write, parse_id, parse_json, to_json};

/// Where a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestState {
    /// Nobody decided.
    Waiting,
    /// The device may come and get its certificate.
    Approved,
    /// It may not.
    Rejected,
    /// It did.
    Done,
}

impl RequestState {
    const ALL: [Self; 4] = [Self::Waiting, Self::Approved, Self::Rejected, Self::Done];

    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Done => "done",
        }
    }
}

/// A request.
#[derive(Debug, Clone)]
pub struct EnrolmentRequest {
    /// Its id.
    pub id: EnrolmentRequestId,
    /// SubjectPublicKeyInfo, DER.
    pub public_key: Vec<u8>,
    /// Of that key, as the device shows it.
    pub fingerprint: String,
    /// As the device says; may be empty.
    pub name: String,
    /// As the device says.
    pub labels: BTreeMap<String, String>,
    /// As the device says.
    pub facts: serde_json::Value,
    /// Where it came from.
    pub address: String,
    /// Where it is.
    pub state: RequestState,
    /// The name that the operator gave; may be empty.
    pub given_name: String,
    /// Labels that the operator gave.
    pub given_labels: BTreeMap<String, String>,
    /// Why it was rejected.
    pub reason: String,
    /// The device that it became.
    pub device: Option<DeviceId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it is forgotten.
    pub expires_at: Timestamp,
}

const COLUMNS: &str = "id, public_key, fingerprint, name, labels, facts, address, state, given_name, \
    given_labels, reason, device_id, created_at_us, expires_at_us";

fn read(row: &AnyRow) -> Result<EnrolmentRequest, StoreError> {
    const TABLE: &str = "enrolment_requests";
    let id: String = row.get("id");
    let json = |column: &str| parse_json(TABLE, &id, &row.get::<String, _>(column));
    let (state, device): (String, String) = (row.get("state"), row.get("device_id"));
    let known = RequestState::ALL.into_iter().find(|one| one.as_str() == state);
    Ok(EnrolmentRequest {
        state: known.ok_or_else(|| StoreError::Damaged {
            table: TABLE,
            id: id.clone(),
            what: format!("state {state:?}"),
        })?,
        labels: json("labels")?,
        given_labels: json("given_labels")?,
        facts: parse_json(TABLE, &id, &row.get::<String, _>("facts"))?,
        device: (!device.is_empty()).then(|| parse_id(TABLE, &device)).transpose()?,
        public_key: row.get("public_key"),
        fingerprint: row.get("fingerprint"),
        name: row.get("name"),
        address: row.get("address"),
        given_name: row.get("given_name"),
        reason: row.get("reason"),
        created_at: Timestamp(row.get("created_at_us")),
        expires_at: Timestamp(row.get("expires_at_us")),
        id: parse_id(TABLE, &id)?,
    })
}

/// The tenant that devices name by this, by its SHA-256.
pub async fn tenant_of(
    conn: &mut Conn<InstallationScope>,
    public_sha256: &[u8; 32],
) -> Result<Option<TenantId>, StoreError> {
    let row = sqlx::query("SELECT tenant_id FROM enrolment_doors WHERE public_sha256 = $1")
        .bind(public_sha256.to_vec())
        .fetch_optional(conn.db())
        .await
        .map_err(StoreError::doing("looking an enrolment id up"))?;
    row.map(|row| parse_id("enrolment_doors", &row.get::<String, _>("tenant_id"))).transpose()
}

/// By what devices name this tenant; none while they may not ask.
pub async fn door(conn: &mut Conn<TenantScope>) -> Result<Option<String>, StoreError> {
    let key = conn.key();
    let row = sqlx::query("SELECT public_id FROM enrolment_doors WHERE tenant_id = $1")
        .bind(key)
        .fetch_optional(conn.db())
        .await
        .map_err(StoreError::doing("reading the enrolment id"))?;
    Ok(row.map(|row| row.get("public_id")))
}

/// Lets devices ask under this id. False if they may already.
pub async fn open_door(
    write: &mut Write<TenantScope>,
    public_id: &str,
    public_sha256: &[u8; 32],
    now: Timestamp,
) -> Result<bool, StoreError> {
    let key = write.key();
    let done = sqlx::query(
        "INSERT INTO enrolment_doors (tenant_id, public_id, public_sha256, created_at_us) \
         VALUES ($1, $2, $3, $4) ON CONFLICT (tenant_id) DO NOTHING",
    )
    .bind(key)
    .bind(public_id.to_owned())
    .bind(public_sha256.to_vec())
    .bind(now.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("letting devices ask"))?;
    Ok(done.rows_affected() == 1)
}

/// Lets no device ask any more. False if none could.
pub async fn close_door(write: &mut Write<TenantScope>) -> Result<bool, StoreError> {
    let key = write.key();
    let done = sqlx::query("DELETE FROM enrolment_doors WHERE tenant_id = $1")
        .bind(key)
        .execute(write.db())
        .await
        .map_err(StoreError::doing("letting no device ask"))?;
    Ok(done.rows_affected() == 1)
}

/// Requests in the order they were made, after `after`.
pub async fn list(
    conn: &mut Conn<TenantScope>,
    after: Option<EnrolmentRequestId>,
    limit: i64,
) -> Result<Vec<EnrolmentRequest>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM enrolment_requests WHERE tenant_id = $1 AND id > $2 \
         ORDER BY id LIMIT $3"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(conn.key())
        .bind(after.map(|id| id.to_string()).unwrap_or_default())
        .bind(limit)
        .fetch_all(conn.db())
        .await
        .map_err(StoreError::doing("listing enrolment requests"))?;
    rows.iter().map(read).collect()
}

/// One request.
pub async fn get(
    conn: &mut Conn<TenantScope>,
    id: EnrolmentRequestId,
) -> Result<Option<EnrolmentRequest>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM enrolment_requests WHERE tenant_id = $1 AND id = $2");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(conn.key())
        .bind(id.to_string())
        .fetch_optional(conn.db())
        .await
        .map_err(StoreError::doing("reading an enrolment request"))?;
    row.as_ref().map(read).transpose()
}

/// The request of a key.
pub async fn by_key(
    conn: &mut Conn<TenantScope>,
    public_key: &[u8],
) -> Result<Option<EnrolmentRequest>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM enrolment_requests WHERE tenant_id = $1 AND public_key = $2"
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(conn.key())
        .bind(public_key.to_vec())
        .fetch_optional(conn.db())
        .await
        .map_err(StoreError::doing("looking an enrolment request up by its key"))?;
    row.as_ref().map(read).transpose()
}

/// How many wait: of the tenant, and from one address.
pub async fn waiting(
    conn: &mut Conn<TenantScope>,
    address: &str,
) -> Result<(u64, u64), StoreError> {
    let key = conn.key();
    let row = sqlx::query(
        "SELECT count(*) AS everyone, \
                CAST(coalesce(sum(CASE WHEN address = $2 THEN 1 ELSE 0 END), 0) AS BIGINT) AS same \
         FROM enrolment_requests WHERE tenant_id = $1 AND state = 'waiting'",
    )
    .bind(key)
    .bind(address.to_owned())
    .fetch_one(conn.db())
    .await
    .map_err(StoreError::doing("counting enrolment requests"))?;
    let count = |column| row.get::<i64, _>(column).unsigned_abs();
    Ok((count("everyone"), count("same")))
}

/// Adds a request that waits. A conflict means that its key asked already.
pub async fn insert(
    write: &mut Write<TenantScope>,
    request: &EnrolmentRequest,
) -> Result<(), StoreError> {
    let key = write.key();
    let sql = format!(
        "INSERT INTO enrolment_requests (tenant_id, {COLUMNS}) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"
    );
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(key)
        .bind(request.id.to_string())
        .bind(request.public_key.clone())
        .bind(request.fingerprint.clone())
        .bind(request.name.clone())
        .bind(to_json(&request.labels))
        .bind(request.facts.to_string())
        .bind(request.address.clone())
        .bind(request.state.as_str())
        .bind(request.given_name.clone())
        .bind(to_json(&request.given_labels))
        .bind(request.reason.clone())
        .bind(request.device.map(|id| id.to_string()).unwrap_or_default())
        .bind(request.created_at.0)
        .bind(request.expires_at.0)
        .execute(write.db())
        .await
        .map_err(StoreError::doing("adding an enrolment request"))?;
    Ok(())
}

/// What an operator decides.
#[derive(Debug, Clone, Default)]
pub struct Decision {
    /// A name; empty for the device's own.
    pub name: String,
    /// Labels beside the device's own.
    pub labels: BTreeMap<String, String>,
    /// Why not.
    pub reason: String,
}

/// Decides about a request that waits. False if it does not.
pub async fn decide(
    write: &mut Write<TenantScope>,
    id: EnrolmentRequestId,
    state: RequestState,
    decision: &Decision,
    expires_at: Timestamp,
) -> Result<bool, StoreError> {
    let key = write.key();
    let done = sqlx::query(
        "UPDATE enrolment_requests SET state = $3, given_name = $4, given_labels = $5, \
         reason = $6, expires_at_us = $7 WHERE tenant_id = $1 AND id = $2 AND state = 'waiting'",
    )
    .bind(key)
    .bind(id.to_string())
    .bind(state.as_str())
    .bind(decision.name.clone())
    .bind(to_json(&decision.labels))
    .bind(decision.reason.clone())
    .bind(expires_at.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("deciding about an enrolment request"))?;
    Ok(done.rows_affected() == 1)
}

/// Notes that an approved request became a device. False if it is not approved any more.
pub async fn finish(
    write: &mut Write<TenantScope>,
    id: EnrolmentRequestId,
    device: DeviceId,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let key = write.key();
    let done = sqlx::query(
        "UPDATE enrolment_requests SET state = 'done', device_id = $3 \
         WHERE tenant_id = $1 AND id = $2 AND state = 'approved' AND expires_at_us > $4",
    )
    .bind(key)
    .bind(id.to_string())
    .bind(device.to_string())
    .bind(now.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("noting an enrolment that was approved"))?;
    Ok(done.rows_affected() == 1)
}

/// Forgets requests whose time is over.
pub async fn forget_expired(
    write: &mut Write<TenantScope>,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let key = write.key();
    let done =
        sqlx::query("DELETE FROM enrolment_requests WHERE tenant_id = $1 AND expires_at_us <= $2")
            .bind(key)
            .bind(now.0)
            .execute(write.db())
            .await
            .map_err(StoreError::doing("forgetting enrolment requests"))?;
    Ok(done.rows_affected())
}
