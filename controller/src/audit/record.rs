//! What a record of the audit log says, in which words. The text of a record is what is hashed into
//! the tree, so nothing in it may ever have to be forgotten: names, addresses and what changed are
//! commitments here and stand beside the log (see [`super::seal`]).

use std::collections::BTreeMap;

use edgeformer_proto::ids::{ApprovalId, AuditId};
use serde::{Deserialize, Serialize};

use super::seal::{Beside, Commitments, Salt, Sealer, Subject};
use super::{Changes, Intent, Outcome, Resource};
use crate::clock::{ClockQuality, Timestamp};
use crate::policy::Assurance;
use crate::scope::{Actor, ActorKind, Context};

/// Of the records that this program writes. 1 had no commitments.
pub const SCHEMA: u32 = 2;
/// Longest reason kept, in characters: a record stays a few KiB, whatever an error says.
const MAX_REASON_CHARS: usize = 500;

/// Names of the fields that stand beside the log.
pub mod field {
    /// Name of the actor.
    pub const ACTOR_NAME: &str = "actor.name";
    /// Network address.
    pub const SOURCE: &str = "source";
    /// Name of a resource that is a person.
    pub const RESOURCE_NAME: &str = "resource.name";
    /// Why the actor says it was done.
    pub const JUSTIFICATION: &str = "justification";
    /// JSON of what it was.
    pub const BEFORE: &str = "changes.before";
    /// JSON of what it became.
    pub const AFTER: &str = "changes.after";
}

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedActor {
    /// What it is.
    pub kind: ActorKind,
    /// User id, token id, device id or component name.
    pub id: String,
    /// Of devices and components; a person's stands beside the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// How the actor proved who it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedAuthentication {
    /// "token", "password", "password_totp", "recovery_code", "oidc", "federated".
    pub method: String,
    /// RFC 3339: when.
    pub at: String,
    /// The log-in session, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The API token, of an actor that is not one itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// What the identity provider says of the log-in.
    #[serde(flatten)]
    pub assurance: Assurance,
}

/// One record, as hashed and stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Version of this shape; absent in the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<u32>,
    /// Its id, version 7: sorts by time.
    pub id: AuditId,
    /// RFC 3339.
    pub at: String,
    /// How far the clock can be trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<ClockQuality>,
    /// Who.
    pub actor: RecordedActor,
    /// How it proved so; absent for devices, which prove it by certificate, and for components.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<RecordedAuthentication>,
    /// For whom, when the actor acts for another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<String>,
    /// `kind:verb`.
    pub action: String,
    /// On what.
    pub resource: Resource,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it was allowed, refused or failed.
    pub reason: String,
    /// Version of the policies that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_version: Option<String>,
    /// The approval that it needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalId>,
    /// The request, or empty.
    pub request_id: String,
    /// W3C trace id of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// Address of a device, or the component; a person's address stands beside the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Of the first schema only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Changes>,
    /// What the record commits to without saying it.
    #[serde(default, skip_serializing_if = "Commitments::is_empty")]
    pub sealed: Commitments,
}

/// A record whose values are not sealed yet.
#[derive(Debug)]
pub struct Draft {
    record: Record,
    sealer: Sealer,
}

impl Draft {
    /// The record of `intent` by whoever `context` says.
    pub fn of(
        context: &Context,
        intent: Intent,
        outcome: Outcome,
        now: Timestamp,
        clock: ClockQuality,
    ) -> Self {
        let mut sealer = Sealer::default();
        let actor = recorded_actor(&context.actor, &mut sealer);
        let person = person(&context.actor);
        let source = match &person {
            Some(subject) if !context.origin.source.is_empty() => {
                sealer.put(subject.clone(), field::SOURCE, &context.origin.source);
                None
            }
            _ => Some(context.origin.source.clone()),
        };
        if let Some(text) = &context.origin.justification {
            sealer.put(person.unwrap_or(Subject::NOBODY), field::JUSTIFICATION, text);
        }
        let (resource, owner) = recorded_resource(intent.resource, &mut sealer);
        if let Some(Changes { before, after }) = intent.changes {
            sealer.put(owner.clone(), field::BEFORE, before.to_string());
            sealer.put(owner, field::AFTER, after.to_string());
        }
        let reason = intent.reason.unwrap_or_else(|| format!("allowed by {}", context.policy));
        let record = Record {
            schema: Some(SCHEMA),
            id: AuditId::new(),
            at: now.rfc3339(),
            clock: Some(clock),
            authentication: context.authentication.as_ref().map(|proof| RecordedAuthentication {
                method: proof.method.as_str().to_owned(),
                at: proof.at.rfc3339(),
                session: proof.session.map(|id| id.to_string()),
                token: proof.token.map(|id| id.to_string()).filter(|id| *id != actor.id),
                assurance: proof.assurance.clone(),
            }),
            actor,
            on_behalf_of: context.on_behalf_of.clone(),
            action: intent.action.as_str().to_owned(),
            resource,
            outcome,
            reason: reason.chars().take(MAX_REASON_CHARS).collect(),
            policy_version: Some(context.policy_version.clone()).filter(|text| !text.is_empty()),
            approval: context.approval,
            request_id: context.origin.request_id.clone(),
            trace_id: Some(context.origin.trace_id.clone()).filter(|text| !text.is_empty()),
            source,
            changes: None,
            sealed: Commitments::new(),
        };
        Self { record, sealer }
    }

    /// Whose salts [`Self::seal`] needs.
    pub fn subjects(&self) -> impl Iterator<Item = &Subject> {
        self.sealer.subjects()
    }

    /// The record as it will be hashed, and what stands beside it.
    pub fn seal(self, salts: &BTreeMap<Subject, Salt>) -> (Record, Vec<Beside>) {
        let Self { mut record, sealer } = self;
        let (sealed, beside) = sealer.seal(salts);
        record.sealed = sealed;
        (record, beside)
    }
}

/// Whose data an actor's name and address are.
fn person(actor: &Actor) -> Option<Subject> {
    match actor.kind {
        ActorKind::User => Some(Subject::of("user", &actor.id)),
        ActorKind::Token | ActorKind::Installation => Some(Subject::of("token", &actor.id)),
        ActorKind::ServiceAccount => Some(Subject::of("service_account", &actor.id)),
        ActorKind::Device | ActorKind::System => None,
    }
}

fn recorded_actor(actor: &Actor, sealer: &mut Sealer) -> RecordedActor {
    let name = match person(actor) {
        Some(subject) => {
            sealer.put(subject, field::ACTOR_NAME, &actor.name);
            None
        }
        None => Some(actor.name.clone()),
    };
    RecordedActor { kind: actor.kind, id: actor.id.clone(), name }
}

/// The resource as the leaf names it, and whose its changes are.
fn recorded_resource(mut resource: Resource, sealer: &mut Sealer) -> (Resource, Subject) {
    // A token's name is often its owner's.
    if !["user", "token"].contains(&resource.kind.as_str()) {
        return (resource, Subject::NOBODY);
    }
    // Somebody who could not be identified, e.g. a mistyped name at log-in.
    let id = if resource.id.is_empty() { "unidentified" } else { &resource.id };
    let subject = Subject::of(&resource.kind, id);
    if let Some(name) = resource.name.take() {
        sealer.put(subject.clone(), field::RESOURCE_NAME, name);
    }
    (resource, subject)
}
