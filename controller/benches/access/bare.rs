//! The reference: the same answers from the same tables, with nothing in between. It knows its tenant,
//! asks nobody who is asking, and writes an audit record that is ready made.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State as Extract;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use edgeformer_controller::clock::{Clock, SystemClock, Timestamp};
use edgeformer_proto::ids::{AuditId, DeviceId, TokenId};
use edgeformer_proto::token::{Kind, Token};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{AnyPool, AssertSqlSafe, Row};
use tokio::sync::Mutex;

/// What the handlers share.
#[derive(Clone)]
pub struct State {
    pool: AnyPool,
    tenant: String,
    /// SQLite has one writer: waiting for it here is fair and never times out.
    writer: Option<Arc<Mutex<()>>>,
}

impl State {
    pub fn new(pool: AnyPool, tenant: String, sqlite: bool) -> Self {
        Self { pool, tenant, writer: sqlite.then(Arc::default) }
    }
}

pub fn router(state: State) -> Router {
    Router::new()
        .route("/api/v1/devices", get(page))
        .route("/api/v1/enrolment-tokens", post(write))
        .with_state(state)
}

#[derive(Serialize)]
struct Device {
    id: String,
    name: String,
    state: String,
    state_reason: String,
    state_since: Option<String>,
    decommission: Option<Value>,
    replaces: Option<String>,
    replaced_by: Option<String>,
    labels: BTreeMap<String, String>,
    facts: Value,
    online: bool,
    last_seen_at: Option<String>,
    cert_expires_at: String,
    desired_generation: String,
    accepted_generation: String,
    slots: Vec<Value>,
    revision: i64,
    created_at: String,
}

#[derive(Serialize)]
struct Page {
    items: Vec<Device>,
    next_cursor: Option<String>,
}

fn failed(error: impl std::fmt::Display) -> StatusCode {
    eprintln!("the bare handler failed: {error}");
    StatusCode::INTERNAL_SERVER_ERROR
}

async fn page(Extract(state): Extract<State>) -> Result<Json<Page>, StatusCode> {
    let sql = "SELECT d.id, d.name, d.state, d.labels, d.facts, d.cert_expires_at_us, \
        d.desired_epoch, d.desired_counter, d.accepted_epoch, d.accepted_counter, d.revision, \
        d.created_at_us, d.state_reason, d.state_since_us, d.erase_until_us, d.erased, d.replaces, \
        d.replaced_by, p.last_seen_at_us FROM devices d \
        LEFT JOIN device_presence p ON p.tenant_id = d.tenant_id AND p.device_id = d.id \
        WHERE d.tenant_id = $1 AND d.id > $2 ORDER BY d.id LIMIT $3";
    let rows = sqlx::query(sql)
        .bind(state.tenant.clone())
        .bind("")
        .bind(51_i64)
        .fetch_all(&state.pool)
        .await
        .map_err(failed)?;
    let ids: Vec<String> = rows.iter().map(|row| row.get("id")).collect();
    let among: Vec<String> = (2..ids.len() + 2).map(|n| format!("${n}")).collect();
    let among = among.join(", ");
    let slots = format!(
        "SELECT device_id, slot FROM assignments WHERE tenant_id = $1 AND device_id IN ({among}) \
         UNION SELECT device_id, slot FROM slot_status \
         WHERE tenant_id = $1 AND device_id IN ({among})"
    );
    let mut query = sqlx::query(AssertSqlSafe(slots)).bind(state.tenant.clone());
    for id in &ids {
        query = query.bind(id.clone());
    }
    assert!(query.fetch_all(&state.pool).await.map_err(failed)?.is_empty());
    let time = |micros: i64| Timestamp(micros).rfc3339();
    let mut items = Vec::with_capacity(50);
    for row in rows.iter().take(50) {
        let number = |column: &str| row.get::<i64, _>(column);
        let text = |column: &str| row.get::<String, _>(column);
        items.push(Device {
            id: text("id"),
            name: text("name"),
            state: text("state"),
            state_reason: text("state_reason"),
            state_since: Some(number("state_since_us")).filter(|at| *at != 0).map(time),
            decommission: Some(text("erased")).filter(|text| !text.is_empty()).map(Value::String),
            replaces: Some(text("replaces")).filter(|id| !id.is_empty()),
            replaced_by: Some(text("replaced_by")).filter(|id| !id.is_empty()),
            labels: serde_json::from_str(&text("labels")).map_err(failed)?,
            facts: serde_json::from_str(&text("facts")).map_err(failed)?,
            online: false,
            last_seen_at: row.get::<Option<i64>, _>("last_seen_at_us").map(time),
            cert_expires_at: time(number("cert_expires_at_us")),
            desired_generation: format!(
                "{}.{}",
                number("desired_epoch"),
                number("desired_counter")
            ),
            accepted_generation: format!(
                "{}.{}",
                number("accepted_epoch"),
                number("accepted_counter")
            ),
            slots: Vec::new(),
            revision: number("revision"),
            created_at: time(number("created_at_us")),
        });
    }
    let next_cursor = (rows.len() > 50).then(|| ids[49].clone());
    Ok(Json(Page { items, next_cursor }))
}

#[derive(Deserialize)]
struct NewToken {
    labels: BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Made {
    id: String,
    token: String,
}

/// The token and its record, in one transaction.
async fn write(
    Extract(state): Extract<State>,
    Json(new): Json<NewToken>,
) -> Result<(StatusCode, Json<Made>), StatusCode> {
    let (id, token, now) = (TokenId::new(), Token::mint(Kind::Enrolment), SystemClock.now());
    let labels = serde_json::to_string(&new.labels).map_err(failed)?;
    let _turn = match &state.writer {
        Some(writer) => Some(writer.lock().await),
        None => None,
    };
    let begin = if state.writer.is_some() { "BEGIN IMMEDIATE" } else { "BEGIN" };
    let mut tx = state.pool.begin_with(begin).await.map_err(failed)?;
    sqlx::query(
        "INSERT INTO enrolment_tokens \
         (tenant_id, id, secret_sha256, labels, uses_left, created_at_us, expires_at_us) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(state.tenant.clone())
    .bind(id.to_string())
    .bind(token.sha256().to_vec())
    .bind(labels)
    .bind(1_i64)
    .bind(now.0)
    .bind(now.0 + 86_400_000_000)
    .execute(&mut *tx)
    .await
    .map_err(failed)?;
    sqlx::query(
        "INSERT INTO audit_outbox (tenant_id, id, record, beside, created_at_us) \
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(format!("bare-{}", state.tenant))
    .bind(AuditId::new().to_string())
    .bind(RECORD)
    .bind("[]")
    .bind(now.0)
    .execute(&mut *tx)
    .await
    .map_err(failed)?;
    tx.commit().await.map_err(failed)?;
    let made = Made { id: id.to_string(), token: token.reveal().to_owned() };
    Ok((StatusCode::CREATED, Json(made)))
}

/// As long as a real one.
const RECORD: &str = include_str!("record.json");

/// Devices as they enrol.
pub async fn fill(pool: &AnyPool, tenant: &str, devices: usize) {
    let facts = r#"{"agent_version":"0.1.0","os":"linux","arch":"aarch64","cpus":4,"memory_bytes":4000000000,"disk_free_bytes":20000000000,"cpu_features":["neon","dotprod"],"hostname":"press"}"#;
    let now = SystemClock.now().0;
    for n in 0..devices {
        sqlx::query(
            "INSERT INTO devices (tenant_id, id, name, state, labels, facts, public_key, \
             hpke_public, enrolment_token_id, cert_expires_at_us, desired_epoch, \
             desired_counter, revision, created_at_us) \
             VALUES ($1, $2, $3, 'enrolled', $4, $5, $6, $7, '', $8, 1, 3, 1, $8)",
        )
        .bind(tenant.to_owned())
        .bind(DeviceId::new().to_string())
        .bind(format!("press-{n}"))
        .bind(format!(r#"{{"line":"{}","site":"berlin"}}"#, n % 7))
        .bind(facts)
        .bind(n.to_be_bytes().to_vec())
        .bind(vec![4_u8; 65])
        .bind(now)
        .execute(pool)
        .await
        .expect("a device");
    }
}
