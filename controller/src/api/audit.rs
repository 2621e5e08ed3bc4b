//! The audit log over REST.

use axum::Json;
use axum::extract::State;
use data_encoding::HEXLOWER;
use serde::Serialize;
use utoipa_axum::routes;

use super::extract::InQuery;
use super::page::{Page, PageQuery};
use super::route::Routes;
use crate::app::App;
use crate::error::AppError;
use crate::policy::Action;
use crate::problem::Problem;
use crate::scope::TenantScope;
use crate::store::audit_log::{self, Entry};

/// The routes.
pub fn routes() -> Routes {
    Routes::new().add(Action::AuditRead, routes!(list)).add(Action::AuditRead, routes!(head))
}

/// One record.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AuditRecord {
    id: String,
    /// Its leaf in the log; null until it is sequenced, a few seconds at most.
    sequence: Option<u64>,
    at: String,
    actor: AuditActor,
    /// `kind:verb`.
    action: String,
    resource: AuditResource,
    /// "success", "denied" or "failure".
    outcome: String,
    reason: String,
    request_id: String,
    source: String,
    changes: Option<AuditChanges>,
}

/// Who did it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AuditActor {
    /// "token", "device", "system" or "installation".
    kind: String,
    id: String,
    name: String,
}

/// What it was done to.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AuditResource {
    kind: String,
    id: String,
    name: Option<String>,
}

/// What it was and what it became.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AuditChanges {
    before: serde_json::Value,
    after: serde_json::Value,
}

/// The head of the log: its Merkle tree (RFC 6962).
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AuditHead {
    /// Leaves.
    size: u64,
    /// Hexadecimal.
    root_sha256: String,
}

/// A unit variant as serde writes it.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        _ => String::new(),
    }
}

impl From<Entry> for AuditRecord {
    fn from(Entry { sequence, record }: Entry) -> Self {
        Self {
            id: record.id.to_string(),
            sequence,
            at: record.at,
            actor: AuditActor {
                kind: word(&record.actor.kind),
                id: record.actor.id,
                name: record.actor.name,
            },
            action: record.action,
            resource: AuditResource {
                kind: record.resource.kind,
                id: record.resource.id,
                name: record.resource.name,
            },
            outcome: word(&record.outcome),
            reason: record.reason,
            request_id: record.request_id,
            source: record.source,
            changes: record
                .changes
                .map(|changes| AuditChanges { before: changes.before, after: changes.after }),
        }
    }
}

/// Lists records, newest first.
#[utoipa::path(get, path = "/audit", tag = "audit", params(PageQuery),
    responses((status = 200, body = Page<AuditRecord>)))]
async fn list(
    State(app): State<App>,
    scope: TenantScope,
    InQuery(page): InQuery<PageQuery>,
) -> Result<Json<Page<AuditRecord>>, Problem> {
    let limit = page.limit()?;
    let mut read = app.store.read(&scope).await.map_err(AppError::from)?;
    let rows =
        audit_log::list(&mut read, page.after()?, limit + 1).await.map_err(AppError::from)?;
    Ok(Json(Page::of(rows, limit, |row| row.record.id, AuditRecord::from)))
}

/// Shows the head of the log.
#[utoipa::path(get, path = "/audit/head", tag = "audit", responses((status = 200, body = AuditHead)))]
async fn head(State(app): State<App>, scope: TenantScope) -> Result<Json<AuditHead>, Problem> {
    let mut read = app.store.read(&scope).await.map_err(AppError::from)?;
    let tree = audit_log::head(&mut read).await.map_err(AppError::from)?;
    Ok(Json(AuditHead { size: tree.size(), root_sha256: HEXLOWER.encode(&tree.root()) }))
}
