//! Which worker answers for which slot. Pure state behind the supervisor's lock: no waiting and no
//! input or output in here.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use edgeformer_proto::ids::VersionId;

use super::process::Worker;
use crate::slots::{SlotName, SlotSpec, WorkerRole};

/// All slots of this device.
#[derive(Debug, Default)]
pub struct Table {
    slots: BTreeMap<SlotName, Entry>,
    /// Why a slot does not answer yet, for people.
    waiting: BTreeMap<SlotName, String>,
}

#[derive(Debug, Default)]
struct Entry {
    serving: Option<Active>,
    standby: Option<Arc<Worker>>,
}

/// A worker that answers requests.
#[derive(Debug)]
pub struct Active {
    /// The process.
    pub worker: Arc<Worker>,
    /// Since when it answers.
    pub since: SystemTime,
}

/// Why a request found no worker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// Nothing of this name is known here.
    #[error("the model {0:?} does not exist on this device")]
    Unknown(String),
    /// The slot runs another version than the one asked for.
    #[error("{slot} runs version {serving} on this device, not {asked}")]
    OtherVersion {
        /// The slot.
        slot: SlotName,
        /// What was asked for.
        asked: String,
        /// What runs.
        serving: String,
    },
    /// The slot is known but does not answer yet.
    #[error("{slot} does not answer yet: {waits_for}")]
    NotReady {
        /// The slot.
        slot: SlotName,
        /// What must happen first.
        waits_for: String,
    },
}

/// A model that answers requests.
#[derive(Debug, Clone, PartialEq)]
pub struct ServedModel {
    /// What runs.
    pub spec: SlotSpec,
    /// Since when.
    pub since: SystemTime,
}

impl Table {
    /// The worker for a slot name or `slot@version`.
    pub fn route(&self, model: &str) -> Result<Arc<Worker>, RouteError> {
        let (name, asked) = match model.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (model, None),
        };
        let unknown = || RouteError::Unknown(model.chars().take(100).collect());
        let slot: SlotName = name.parse().map_err(|_| unknown())?;
        let Some(active) = self.slots.get(&slot).and_then(|entry| entry.serving.as_ref()) else {
            let waits_for = self.waiting.get(&slot).ok_or_else(unknown)?.clone();
            return Err(RouteError::NotReady { slot, waits_for });
        };
        match asked {
            Some(asked) if asked != active.worker.spec.version => Err(RouteError::OtherVersion {
                slot,
                asked: asked.chars().take(100).collect(),
                serving: active.worker.spec.version.clone(),
            }),
            _ => Ok(active.worker.clone()),
        }
    }

    /// Workers that answer requests, by slot.
    pub fn active(&self) -> impl Iterator<Item = &Active> {
        self.slots.values().filter_map(|entry| entry.serving.as_ref())
    }

    /// All workers, those on standby too.
    pub fn workers(&self) -> impl Iterator<Item = &Arc<Worker>> {
        self.active()
            .map(|active| &active.worker)
            .chain(self.slots.values().filter_map(|entry| entry.standby.as_ref()))
    }

    /// Models that answer requests, by slot.
    pub fn served(&self) -> Vec<ServedModel> {
        let model = |a: &Active| ServedModel { spec: a.worker.spec.clone(), since: a.since };
        self.active().map(model).collect()
    }

    /// What slots wait for that do not answer.
    pub fn waiting(&self) -> Vec<(SlotName, String)> {
        let answers = |slot: &SlotName| self.slots.get(slot).is_some_and(|e| e.serving.is_some());
        let waits = self.waiting.iter().filter(|(slot, _)| !answers(slot));
        waits.map(|(slot, text)| (slot.clone(), text.clone())).collect()
    }

    /// Says what a slot waits for, or that it waits for nothing.
    pub fn set_waiting(&mut self, slot: &SlotName, waits_for: Option<String>) {
        match waits_for {
            Some(text) => self.waiting.insert(slot.clone(), text),
            None => self.waiting.remove(slot),
        };
    }

    /// A worker passed its trial.
    pub fn set_standby(&mut self, worker: Arc<Worker>) {
        let slot = worker.spec.slot.clone();
        self.slots.entry(slot).or_default().standby = Some(worker);
    }

    /// Takes out the standby worker if it is the one meant.
    pub fn take_standby_if(
        &mut self,
        slot: &SlotName,
        which: impl Fn(&SlotSpec) -> bool,
    ) -> Option<Arc<Worker>> {
        self.slots.get_mut(slot)?.standby.take_if(|worker| which(&worker.spec))
    }

    /// Takes out the serving worker.
    pub fn take_serving(&mut self, slot: &SlotName) -> Option<Active> {
        self.slots.get_mut(slot)?.serving.take()
    }

    /// The standby worker of this version becomes the serving one. Returns the one before, if any;
    /// `None` if there is no such standby.
    pub fn activate(
        &mut self,
        slot: &SlotName,
        version_id: VersionId,
        since: SystemTime,
    ) -> Option<Option<Active>> {
        let entry = self.slots.get_mut(slot)?;
        let worker = entry.standby.take_if(|worker| worker.spec.version_id == version_id)?;
        self.waiting.remove(slot);
        Some(entry.serving.replace(Active { worker, since }))
    }

    /// Forgets a slot. Returns what served it.
    pub fn remove(&mut self, slot: &SlotName) -> Option<Active> {
        self.waiting.remove(slot);
        self.slots.remove(slot)?.serving
    }

    /// Takes out a worker whose process has ended. `None` if it was taken out on purpose before.
    pub fn remove_ended(
        &mut self,
        ended: &Weak<Worker>,
        reason: &str,
    ) -> Option<(SlotSpec, WorkerRole)> {
        let is_it = |worker: &mut Arc<Worker>| std::ptr::eq(Arc::as_ptr(worker), ended.as_ptr());
        for (slot, entry) in &mut self.slots {
            if let Some(worker) = entry.standby.take_if(is_it) {
                return Some((worker.spec.clone(), WorkerRole::Standby));
            }
            if let Some(active) = entry.serving.take_if(|active| is_it(&mut active.worker)) {
                let text =
                    format!("its worker process ended ({reason}) and is to be started again");
                self.waiting.insert(slot.clone(), text);
                return Some((active.worker.spec.clone(), WorkerRole::Serving));
            }
        }
        None
    }
}
