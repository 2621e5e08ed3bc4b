//! The audit log: what is recorded, in which words. A record is written in the transaction of the
//! action it describes (see `store::Write`), never after it; the sequencer makes leaves of records.

pub mod merkle;
pub mod sequencer;

use edgeformer_proto::ids::AuditId;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::policy::Action;
use crate::scope::{Actor, Context};

/// Longest reason kept, in characters: a record stays a few KiB, whatever an error says.
const MAX_REASON_CHARS: usize = 500;

/// What an action acts on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// "device", "token", …
    pub kind: String,
    /// Its id; empty when it was not made.
    pub id: String,
    /// Its name, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl Resource {
    /// A resource without a name.
    pub fn new(kind: &str, id: impl ToString) -> Self {
        Self { kind: kind.to_owned(), id: id.to_string(), name: None }
    }

    /// The same, named.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}

/// How an action ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done.
    Success,
    /// Policy refused it.
    Denied,
    /// It was allowed and failed.
    Failure,
}

/// What was before and after, for those who read the log years later. Never a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// Null when the thing was made.
    pub before: serde_json::Value,
    /// Null when it was removed.
    pub after: serde_json::Value,
}

/// What is about to be done: the part of a record that the acting code knows.
#[derive(Debug, Clone)]
pub struct Intent {
    pub(crate) action: Action,
    pub(crate) resource: Resource,
    pub(crate) reason: Option<String>,
    pub(crate) changes: Option<Changes>,
}

impl Intent {
    /// `action` on `resource`.
    pub fn new(action: Action, resource: Resource) -> Self {
        Self { action, resource, reason: None, changes: None }
    }

    /// Why, when the policy's name does not say it.
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// What it was and what it is now.
    pub fn changes(mut self, before: serde_json::Value, after: serde_json::Value) -> Self {
        self.changes = Some(Changes { before, after });
        self
    }
}

/// One record, as hashed, stored and shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its id, version 7: sorts by time.
    pub id: AuditId,
    /// RFC 3339.
    pub at: String,
    /// Who.
    pub actor: Actor,
    /// `kind:verb`.
    pub action: String,
    /// On what.
    pub resource: Resource,
    /// How it ended.
    pub outcome: Outcome,
    /// Why.
    pub reason: String,
    /// The request, or empty.
    pub request_id: String,
    /// Where the request came from, or the component.
    pub source: String,
    /// Before and after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Changes>,
}

impl Record {
    /// The record of `intent` by whoever `context` says.
    pub fn of(context: &Context, intent: Intent, outcome: Outcome, now: Timestamp) -> Self {
        let reason = intent.reason.unwrap_or_else(|| format!("allowed by {}", context.policy));
        Self {
            id: AuditId::new(),
            at: now.rfc3339(),
            actor: context.actor.clone(),
            action: intent.action.as_str().to_owned(),
            resource: intent.resource,
            outcome,
            reason: reason.chars().take(MAX_REASON_CHARS).collect(),
            request_id: context.origin.request_id.clone(),
            source: context.origin.source.clone(),
            changes: intent.changes,
        }
    }
}
