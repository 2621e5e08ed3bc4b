//! A record as people and exports see it: what its leaf says, with what stands beside the log put
//! back in. A value that was erased is absent and named, never guessed.

use std::collections::BTreeMap;

use edgeformer_proto::ids::AuditId;

use super::Changes;
use super::record::{Record, field};
use super::seal::Beside;
use crate::clock::Timestamp;

/// A record with its place in the log and its opened values.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its leaf, from 0; none while it waits for the sequencer.
    pub sequence: Option<u64>,
    /// What the leaf says.
    pub record: Record,
    values: BTreeMap<String, String>,
}

impl Event {
    /// From a row and the rows beside it.
    pub fn new(sequence: Option<u64>, record: Record, beside: Vec<Beside>) -> Self {
        let values = beside.into_iter().flat_map(|one| one.values).collect();
        Self { sequence, record, values }
    }

    /// Its id.
    pub fn id(&self) -> AuditId {
        self.record.id
    }

    /// When it happened; the epoch for a time that cannot be read.
    pub fn at(&self) -> Timestamp {
        Timestamp::parse_rfc3339(&self.record.at).unwrap_or(Timestamp(0))
    }

    fn value(&self, field: &str) -> Option<&str> {
        self.values.get(field).map(String::as_str)
    }

    /// Name of who did it; none if it was erased.
    pub fn actor_name(&self) -> Option<&str> {
        self.record.actor.name.as_deref().or_else(|| self.value(field::ACTOR_NAME))
    }

    /// Where it came from; none if it was erased.
    pub fn source(&self) -> Option<&str> {
        self.record.source.as_deref().or_else(|| self.value(field::SOURCE))
    }

    /// Name of what it was done to, where it has one.
    pub fn resource_name(&self) -> Option<&str> {
        self.record.resource.name.as_deref().or_else(|| self.value(field::RESOURCE_NAME))
    }

    /// Why the actor says it was done.
    pub fn justification(&self) -> Option<&str> {
        self.value(field::JUSTIFICATION)
    }

    /// What it was and what it became, unless nothing changed or it was erased or pruned.
    pub fn changes(&self) -> Option<Changes> {
        if let Some(changes) = &self.record.changes {
            return Some(changes.clone());
        }
        let part = |name| self.value(name).and_then(|text| serde_json::from_str(text).ok());
        Some(Changes { before: part(field::BEFORE)?, after: part(field::AFTER)? })
    }

    /// Fields whose values are gone: the person they were about was erased.
    pub fn erased(&self) -> Vec<String> {
        let gone = |name: &&String| !self.values.contains_key(*name);
        self.record.sealed.keys().filter(gone).cloned().collect()
    }
}
