//! From audit records to what ran. Pure and bounded: what is kept grows with the number of slots,
//! versions, rollouts and approvals, never with the length of the log.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::{
    Act, Actor, Approval, Certainty, Cited, Deployment, Ended, Rollout, Signature, Version, micros,
};

/// Things of one kind that are followed at a time; a million slots take about a gigabyte.
const MAX_TRACKED: usize = 1_000_000;

/// Actions that are read.
const PUBLISH: &str = "version:publish";
const CREATE: &str = "rollout:create";
const ROLL_BACK: &str = "rollout:rollback";
const ABORT: &str = "rollout:abort";
const FINISH: &str = "rollout:finish";
const ASSIGN: &str = "desired_state:assign";
const REPORT: &str = "deployment:report";
const REVOKE: &str = "device:revoke";
const ASK: &str = "approval:request";
const SIGN: &str = "approval:sign";
/// All of them.
const EVIDENCE: [&str; 10] =
    [PUBLISH, CREATE, ROLL_BACK, ABORT, FINISH, ASSIGN, REPORT, REVOKE, ASK, SIGN];

/// Says how far retention deleted texts; a checker looks at it.
pub(super) const DELETED: &str = "audit_texts:delete";

/// Fields beside a record that are read.
const ACTOR_NAME: &str = "actor.name";
const AFTER: &str = "changes.after";
pub(super) const BEFORE: &str = "changes.before";

/// Whether a report looks at records of this action, and then at this field beside them. What it does
/// not look at can be withheld from whoever checks it.
pub fn is_evidence(action: &str, field: &str) -> bool {
    let evidence = EVIDENCE.contains(&action) && [ACTOR_NAME, AFTER, BEFORE].contains(&field);
    evidence || (action == DELETED && field == BEFORE)
}

/// Why a record cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeriveError {
    /// It is not a record.
    #[error("record {record} cannot be read: {why}")]
    Record {
        /// Which.
        record: u64,
        /// Why.
        why: String,
    },
    /// The period is none.
    #[error("{0:?} is not a time in UTC, like 2026-07-01T00:00:00Z")]
    Time(String),
    /// More than can be followed.
    #[error("there are more than {MAX_TRACKED} slots, versions, rollouts or approvals to follow")]
    TooMany,
}

/// The part of a record that is looked at.
#[derive(Deserialize)]
struct Record {
    at: String,
    actor: RecordActor,
    #[serde(default)]
    authentication: Option<Authentication>,
    action: String,
    resource: Resource,
    outcome: String,
    #[serde(default)]
    approval: Option<String>,
    /// Of the first schema only; later ones keep it beside.
    #[serde(default)]
    changes: Option<Changes>,
    /// What it commits to, by field.
    #[serde(default)]
    sealed: BTreeMap<String, IgnoredAny>,
}

#[derive(Deserialize)]
struct RecordActor {
    kind: String,
    id: String,
    #[serde(default)]
    name: Option<String>,
}

#[derive(Deserialize)]
struct Authentication {
    method: String,
}

#[derive(Deserialize)]
struct Resource {
    id: String,
    #[serde(default)]
    name: Option<String>,
}

#[derive(Deserialize)]
struct Changes {
    after: Value,
}

/// What a slot runs now.
#[derive(Debug, Clone)]
struct Running {
    device_name: String,
    since: String,
    version_id: String,
    certainty: Certainty,
    phase: Option<String>,
    rollout_id: Option<String>,
    record: u64,
}

/// Device and slot.
type Key = (String, String);

/// Takes the records of a log in their order.
#[derive(Debug)]
pub struct Derive {
    from_us: i64,
    to_us: i64,
    running: BTreeMap<Key, Running>,
    /// The rollout that assigned a version to a slot, newest first.
    assigned: BTreeMap<Key, Vec<(String, String)>>,
    versions: BTreeMap<String, Version>,
    rollouts: BTreeMap<String, Rollout>,
    approvals: BTreeMap<String, Approval>,
    done: Vec<Deployment>,
    cited_versions: BTreeSet<String>,
    cited_rollouts: BTreeSet<String>,
    withheld: u64,
}

impl Derive {
    /// For the period from `from` (inclusive) to `to` (exclusive).
    pub fn new(from: &str, to: &str) -> Result<Self, DeriveError> {
        let time = |text: &str| micros(text).ok_or_else(|| DeriveError::Time(text.to_owned()));
        Ok(Self {
            from_us: time(from)?,
            to_us: time(to)?,
            running: BTreeMap::new(),
            assigned: BTreeMap::new(),
            versions: BTreeMap::new(),
            rollouts: BTreeMap::new(),
            approvals: BTreeMap::new(),
            done: Vec::new(),
            cited_versions: BTreeSet::new(),
            cited_rollouts: BTreeSet::new(),
            withheld: 0,
        })
    }

    /// Takes the next record: its exact text, and the values that stand beside it.
    pub fn record(
        &mut self,
        number: u64,
        text: &str,
        values: &BTreeMap<String, String>,
    ) -> Result<(), DeriveError> {
        // Deleted after its retention: there is nothing left to learn from it.
        if text.is_empty() {
            return Ok(());
        }
        let wrong = |why: String| DeriveError::Record { record: number, why };
        let record: Record = serde_json::from_str(text).map_err(|e| wrong(e.to_string()))?;
        let at_us =
            micros(&record.at).ok_or_else(|| wrong(format!("{:?} is not a time", record.at)))?;
        // Every controller's clock stamps its own records, so a later one may follow.
        let relevant = EVIDENCE.contains(&record.action.as_str());
        if !relevant || record.outcome != "success" || at_us >= self.to_us {
            return Ok(());
        }
        let after: Value = match (&record.changes, values.get(AFTER)) {
            (Some(changes), _) => changes.after.clone(),
            (None, Some(text)) => serde_json::from_str(text)
                .map_err(|error| wrong(format!("what changed is not JSON: {error}")))?,
            (None, None) => {
                // It says that something changed, and not what: it may be what a report would tell.
                self.withheld += u64::from(record.sealed.contains_key(AFTER));
                Value::Null
            }
        };
        let seen = Seen { number, record: &record, after: &after, values };
        match record.action.as_str() {
            PUBLISH => self.publish(&seen),
            CREATE | ROLL_BACK => self.create(&seen),
            ABORT | FINISH => self.end_rollout(&seen),
            ASSIGN => self.assign(&seen),
            REPORT => self.report(&seen),
            REVOKE => self.revoke(&seen),
            ASK => self.ask(&seen),
            SIGN => self.sign(&seen),
            _ => {}
        }
        let most = [
            self.running.len(),
            self.assigned.len(),
            self.versions.len(),
            self.rollouts.len(),
            self.approvals.len(),
        ];
        if most.into_iter().max() > Some(MAX_TRACKED) { Err(DeriveError::TooMany) } else { Ok(()) }
    }

    /// Records that should say what changed, and whose values are not there. No erasure takes them: they
    /// are about no person.
    pub fn withheld(&self) -> u64 {
        self.withheld
    }

    /// Deployments that ended since this was asked last, in the order of their ends.
    pub fn take(&mut self) -> Vec<Deployment> {
        std::mem::take(&mut self.done)
    }

    /// After the last record: what had not ended, and what all deployments refer to.
    pub fn finish(mut self) -> (Vec<Deployment>, Cited) {
        for key in self.running.keys().cloned().collect::<Vec<_>>() {
            self.close(&key, None);
        }
        let mut approved: BTreeSet<String> = BTreeSet::new();
        let versions: Vec<Version> = self
            .cited_versions
            .iter()
            .map(|id| self.versions.remove(id).unwrap_or_else(|| unknown_version(id)))
            .collect();
        let rollouts: Vec<Rollout> = self
            .cited_rollouts
            .iter()
            .map(|id| self.rollouts.remove(id).unwrap_or_else(|| unknown_rollout(id)))
            .collect();
        let acts = versions.iter().filter_map(|version| version.published.as_ref());
        let acts = acts.chain(rollouts.iter().filter_map(|rollout| rollout.created.as_ref()));
        approved.extend(acts.filter_map(|act| act.approval_id.clone()));
        let approvals = approved
            .iter()
            .map(|id| self.approvals.remove(id).unwrap_or_else(|| unknown_approval(id)))
            .collect();
        (self.done, Cited { versions, rollouts, approvals })
    }

    fn publish(&mut self, seen: &Seen<'_>) {
        let text = |field: &str| seen.after[field].as_str().map(str::to_owned);
        let resource = &seen.record.resource;
        let version = Version {
            version_id: resource.id.clone(),
            name: resource.name.clone(),
            manifest_sha256: text("manifest_sha256"),
            payload_sha256: text("payload_sha256"),
            details: seen.after["details"].clone(),
            evaluation: seen.after.get("evaluation").filter(|value| !value.is_null()).cloned(),
            published: Some(seen.act()),
        };
        self.versions.insert(resource.id.clone(), version);
    }

    fn create(&mut self, seen: &Seen<'_>) {
        let id = seen.record.resource.id.clone();
        let rolls_back = seen.after["rolls_back"].as_str().map(str::to_owned);
        let rollout = Rollout { created: Some(seen.act()), rolls_back, ..unknown_rollout(&id) };
        self.rollouts.insert(id, rollout);
    }

    fn end_rollout(&mut self, seen: &Seen<'_>) {
        let Some(rollout) = self.rollouts.get_mut(&seen.record.resource.id) else { return };
        rollout.ended = Some(Ended {
            at: seen.record.at.clone(),
            state: seen.after["state"].as_str().unwrap_or("ended").to_owned(),
            record: seen.number,
        });
    }

    fn assign(&mut self, seen: &Seen<'_>) {
        let Some(slot) = seen.after["slot"].as_str() else { return };
        let key = (seen.record.resource.id.clone(), slot.to_owned());
        let version = seen.after["version_id"].as_str().map(str::to_owned);
        let rollout = seen.after["rollout_id"].as_str().map(str::to_owned);
        if let (Some(version), Some(rollout)) = (&version, &rollout) {
            let known = self.assigned.entry(key.clone()).or_default();
            known.retain(|(other, _)| other != version);
            known.insert(0, (version.clone(), rollout.clone()));
            // What is rolled back to was assigned before; more is not asked for.
            known.truncate(8);
        }
        // What the device says stands above what it is to do.
        let said = self.running.get(&key).is_some_and(|one| one.certainty == Certainty::Reported);
        if said {
            return;
        }
        self.close(&key, Some(seen));
        if let Some(version_id) = version {
            let running = seen.running(version_id, Certainty::Assigned, None, rollout);
            self.running.insert(key, running);
        }
    }

    fn report(&mut self, seen: &Seen<'_>) {
        let Some(slot) = seen.after["slot"].as_str() else { return };
        let key = (seen.record.resource.id.clone(), slot.to_owned());
        self.close(&key, Some(seen));
        let Some(version_id) = seen.after["serving_version_id"].as_str() else { return };
        let phase = seen.after["phase"].as_str().map(str::to_owned);
        let by = self.assigned.get(&key).into_iter().flatten();
        let rollout =
            by.into_iter().find(|(version, _)| version == version_id).map(|(_, id)| id.clone());
        let running = seen.running(version_id.to_owned(), Certainty::Reported, phase, rollout);
        self.running.insert(key, running);
    }

    fn revoke(&mut self, seen: &Seen<'_>) {
        let device = &seen.record.resource.id;
        let first = (device.clone(), String::new());
        let slots: Vec<Key> = self
            .running
            .range(first..)
            .map(|(key, _)| key.clone())
            .take_while(|(of, _)| of == device)
            .collect();
        for key in slots {
            let Some(was) = self.running.get(&key).cloned() else { continue };
            self.close(&key, Some(seen));
            self.running.insert(
                key,
                Running {
                    since: seen.record.at.clone(),
                    certainty: Certainty::Unknown,
                    record: seen.number,
                    ..was
                },
            );
        }
    }

    fn ask(&mut self, seen: &Seen<'_>) {
        let id = seen.record.resource.id.clone();
        let text = |field: &str| seen.after[field].as_str().map(str::to_owned);
        let approval = Approval {
            requested: Some(seen.act()),
            action: text("action"),
            request: text("request"),
            needed: seen.after["needed"].as_u64(),
            ..unknown_approval(&id)
        };
        self.approvals.insert(id, approval);
    }

    fn sign(&mut self, seen: &Seen<'_>) {
        let id = &seen.record.resource.id;
        let text = |field: &str| seen.after[field].as_str().map(str::to_owned);
        let signature = Signature {
            by: seen.actor(),
            printed_name: text("signer_name"),
            at: seen.record.at.clone(),
            meaning: text("meaning").unwrap_or_else(|| "withheld".to_owned()),
            comment: text("comment").unwrap_or_default(),
            record: seen.number,
        };
        let approval = self.approvals.entry(id.clone()).or_insert_with(|| unknown_approval(id));
        approval.signatures.push(signature);
    }

    /// Ends what runs in a slot; a stretch that is outside the period is not told.
    fn close(&mut self, key: &Key, by: Option<&Seen<'_>>) {
        let Some(running) = self.running.remove(key) else { return };
        let until = by.map(|seen| seen.record.at.clone());
        let until_us = until.as_deref().and_then(micros);
        if until_us.is_some_and(|until| until <= self.from_us) {
            return;
        }
        let mut records = vec![running.record];
        records.extend(by.map(|seen| seen.number));
        self.cited_versions.insert(running.version_id.clone());
        self.cited_rollouts.extend(running.rollout_id.clone());
        self.done.push(Deployment {
            device_id: key.0.clone(),
            device_name: running.device_name,
            slot: key.1.clone(),
            since: running.since,
            until,
            version_id: running.version_id,
            certainty: running.certainty,
            phase: running.phase,
            rollout_id: running.rollout_id,
            records,
        });
    }
}

/// A record that is being looked at.
struct Seen<'a> {
    number: u64,
    record: &'a Record,
    after: &'a Value,
    values: &'a BTreeMap<String, String>,
}

impl Seen<'_> {
    fn actor(&self) -> Actor {
        let RecordActor { kind, id, name } = &self.record.actor;
        Actor {
            kind: kind.clone(),
            id: id.clone(),
            name: name.clone().or_else(|| self.values.get(ACTOR_NAME).cloned()),
            method: self.record.authentication.as_ref().map(|proof| proof.method.clone()),
        }
    }

    fn act(&self) -> Act {
        Act {
            at: self.record.at.clone(),
            by: self.actor(),
            approval_id: self.record.approval.clone(),
            record: self.number,
        }
    }

    fn running(
        &self,
        version_id: String,
        certainty: Certainty,
        phase: Option<String>,
        rollout_id: Option<String>,
    ) -> Running {
        Running {
            device_name: self.record.resource.name.clone().unwrap_or_default(),
            since: self.record.at.clone(),
            version_id,
            certainty,
            phase,
            rollout_id,
            record: self.number,
        }
    }
}

fn unknown_version(id: &str) -> Version {
    Version {
        version_id: id.to_owned(),
        name: None,
        manifest_sha256: None,
        payload_sha256: None,
        details: Value::Null,
        evaluation: None,
        published: None,
    }
}

fn unknown_rollout(id: &str) -> Rollout {
    Rollout { rollout_id: id.to_owned(), created: None, rolls_back: None, ended: None }
}

fn unknown_approval(id: &str) -> Approval {
    Approval {
        approval_id: id.to_owned(),
        requested: None,
        action: None,
        request: None,
        needed: None,
        signatures: Vec::new(),
    }
}
