//! Model workers without processes: they read the payload that they are given and keep it, and die
//! when a test says so.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use edgeformer_agent::slots::{
    Paging, PayloadSource, Serving, SlotName, SlotSpec, SupervisorError, TrialError, TrialReport,
    WorkerEvent, WorkerRole, Workers,
};
use edgeformer_proto::ids::VersionId;
use tokio::sync::broadcast;

#[derive(Clone)]
pub struct Scripted(Arc<State>);

struct State {
    standby: Mutex<HashMap<SlotName, (VersionId, Vec<u8>)>>,
    serving: Mutex<HashMap<SlotName, (VersionId, Vec<u8>)>>,
    events: broadcast::Sender<WorkerEvent>,
}

impl Scripted {
    pub fn new() -> Self {
        let events = broadcast::channel(64).0;
        Self(Arc::new(State { standby: Mutex::default(), serving: Mutex::default(), events }))
    }

    /// The plaintext that the slot's serving worker was given.
    pub fn payload(&self, slot: &str) -> Option<Vec<u8>> {
        let serving = self.0.serving.lock().unwrap();
        serving.get(&slot.parse::<SlotName>().unwrap()).map(|(_, payload)| payload.clone())
    }

    /// Ends the serving worker of a slot.
    pub fn kill(&self, slot: &str) {
        let slot: SlotName = slot.parse().unwrap();
        let (version_id, _) = self.0.serving.lock().unwrap().remove(&slot).unwrap();
        let reason = "killed by the test".to_owned();
        let was = WorkerRole::Serving;
        self.0.events.send(WorkerEvent::Exited { slot, version_id, was, reason }).unwrap();
    }
}

impl Workers for Scripted {
    async fn trial(
        &self,
        spec: SlotSpec,
        payload: Arc<dyn PayloadSource>,
    ) -> Result<TrialReport, TrialError> {
        let mut bytes = Vec::new();
        for piece in payload.open()? {
            bytes.extend_from_slice(&piece?);
        }
        assert_eq!(bytes.len() as u64, payload.size_bytes());
        self.0.standby.lock().unwrap().insert(spec.slot, (spec.version_id, bytes));
        Ok(TrialReport {
            pid: 1,
            rss_bytes: 1,
            load_time: Duration::from_millis(1),
            probe_tokens: 4,
            stopped_serving_first: false,
        })
    }

    async fn activate(
        &self,
        slot: &SlotName,
        version_id: VersionId,
    ) -> Result<(), SupervisorError> {
        match self.0.standby.lock().unwrap().remove(slot) {
            Some(worker) if worker.0 == version_id => {
                self.0.serving.lock().unwrap().insert(slot.clone(), worker);
                Ok(())
            }
            _ => Err(SupervisorError::NoStandby { slot: slot.clone(), version_id }),
        }
    }

    async fn discard(&self, slot: &SlotName, _: VersionId) {
        self.0.standby.lock().unwrap().remove(slot);
    }

    async fn stop(&self, slot: &SlotName) {
        self.0.standby.lock().unwrap().remove(slot);
        self.0.serving.lock().unwrap().remove(slot);
    }

    fn serving(&self) -> Vec<Serving> {
        let serving = self.0.serving.lock().unwrap();
        let all = serving.iter().map(|(slot, (version_id, _))| Serving {
            slot: slot.clone(),
            version_id: *version_id,
            pid: 1,
            rss_bytes: 1,
            since: SystemTime::UNIX_EPOCH,
            paging: Paging::Locked,
        });
        all.collect()
    }

    fn events(&self) -> broadcast::Receiver<WorkerEvent> {
        self.0.events.subscribe()
    }
}
