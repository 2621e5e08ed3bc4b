//! The audit log: what is recorded, in which words. A record is written in the transaction of the
//! action it describes (see `store::Write`), never after it; the sequencer makes leaves of records.

pub mod capacity;
pub mod checkpointer;
pub mod event;
pub mod export;
pub mod record;
pub mod retention;
pub mod seal;
pub mod sequencer;
pub mod sinks;
pub mod tree;
pub mod witnessing;

use serde::{Deserialize, Serialize};

use crate::policy::Action;
pub use event::Event;
pub use record::Record;

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
    /// Its version or revision, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

impl Resource {
    /// A resource without a name.
    pub fn new(kind: &str, id: impl ToString) -> Self {
        Self { kind: kind.to_owned(), id: id.to_string(), name: None, version: None }
    }

    /// The same, named.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The same, at this version.
    pub fn at_version(mut self, version: impl ToString) -> Self {
        self.version = Some(version.to_string());
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
