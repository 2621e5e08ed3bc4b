//! A record as JSON: what the API shows, and what a line of JSON Lines is.

use serde::Serialize;

use crate::audit::event::Event;

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
    /// Class of the log-in at an identity provider, in its words.
    acr: Option<String>,
    /// Methods of the log-in there.
    amr: Vec<String>,
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
                acr: proof.assurance.acr,
                amr: proof.assurance.amr,
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
