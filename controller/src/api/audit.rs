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
use crate::audit::Event;
use crate::error::AppError;
use crate::policy::Action;
use crate::problem::Problem;
use crate::scope::TenantScope;
use crate::store::audit_log;

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .add(Action::AuditRead, routes!(list))
        .add(Action::AuditRead, routes!(head))
        .merge(super::audit_export::routes())
        .merge(super::audit_proofs::routes())
        .merge(super::audit_witnesses::routes())
        .merge(super::erasures::routes())
}

/// One record. What is null and named in `erased` was about a person who was erased.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AuditRecord {
    id: String,
    /// Its leaf in the log; null until it is sequenced, a few seconds at most.
    sequence: Option<u64>,
    at: String,
    /// How far the controller's clock could be trusted: "synchronized", "unsynchronized", "unknown".
    clock: Option<String>,
    actor: AuditActor,
    authentication: Option<AuditAuthentication>,
    on_behalf_of: Option<String>,
    /// `kind:verb`.
    action: String,
    resource: AuditResource,
    /// "success", "denied" or "failure".
    outcome: String,
    reason: String,
    policy_version: Option<String>,
    approval: Option<String>,
    justification: Option<String>,
    request_id: String,
    trace_id: Option<String>,
    source: Option<String>,
    changes: Option<AuditChanges>,
    /// Fields whose values are gone: they were about a person who was erased.
    erased: Vec<String>,
}

/// Who did it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AuditActor {
    /// "user", "service_account", "token", "device", "system" or "installation".
    kind: String,
    id: String,
    name: Option<String>,
}

/// How the actor proved who it is.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AuditAuthentication {
    /// "token", "password", "password_totp", "recovery_code", "oidc" or "federated".
    method: String,
    at: String,
    session: Option<String>,
    /// The API token, of an actor that is not one itself.
    token: Option<String>,
}

/// What it was done to.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AuditResource {
    kind: String,
    id: String,
    name: Option<String>,
    version: Option<String>,
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

impl From<Event> for AuditRecord {
    fn from(event: Event) -> Self {
        let (actor_name, resource_name) = (event.actor_name(), event.resource_name());
        let (actor_name, resource_name) =
            (actor_name.map(str::to_owned), resource_name.map(str::to_owned));
        let (source, justification) =
            (event.source().map(str::to_owned), event.justification().map(str::to_owned));
        let (changes, erased) = (event.changes(), event.erased());
        let record = event.record;
        Self {
            id: record.id.to_string(),
            sequence: event.sequence,
            at: record.at,
            clock: record.clock.as_ref().map(word),
            actor: AuditActor {
                kind: word(&record.actor.kind),
                id: record.actor.id,
                name: actor_name,
            },
            authentication: record.authentication.map(|proof| AuditAuthentication {
                method: proof.method,
                at: proof.at,
                session: proof.session,
                token: proof.token,
            }),
            on_behalf_of: record.on_behalf_of,
            action: record.action,
            resource: AuditResource {
                kind: record.resource.kind,
                id: record.resource.id,
                name: resource_name,
                version: record.resource.version,
            },
            outcome: word(&record.outcome),
            reason: record.reason,
            policy_version: record.policy_version,
            approval: record.approval.map(|id| id.to_string()),
            justification,
            request_id: record.request_id,
            trace_id: record.trace_id,
            source,
            changes: changes.map(|c| AuditChanges { before: c.before, after: c.after }),
            erased,
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
    Ok(Json(Page::of(rows, limit, |row| row.id(), AuditRecord::from)))
}

/// Shows the head of the log.
#[utoipa::path(get, path = "/audit/head", tag = "audit", responses((status = 200, body = AuditHead)))]
async fn head(State(app): State<App>, scope: TenantScope) -> Result<Json<AuditHead>, Problem> {
    let mut read = app.store.read(&scope).await.map_err(AppError::from)?;
    let tree = audit_log::head(&mut read).await.map_err(AppError::from)?;
    Ok(Json(AuditHead { size: tree.size(), root_sha256: HEXLOWER.encode(&tree.root()) }))
}
