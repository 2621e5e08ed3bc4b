//! What is around the agent in these tests: time that passes only when nothing else can happen, worker
//! processes that are entries in a map, and a controller that has the versions.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use edgeformer_agent::clock::{Pause, TimeSource, UnixMicros};
use edgeformer_agent::fetch::Progress;
use edgeformer_agent::fetch::error::FetchError;
use edgeformer_agent::fetch::origin::{Origin, ServedChunk, ServedChunks, ServedVersion};
use edgeformer_agent::identity::{DeviceKeys, KeyError};
use edgeformer_agent::slots::{
    Paging, PayloadSource, Serving, SlotName, SlotSpec, SupervisorError, TrialError, TrialReport,
    WorkerEvent, WorkerRole, Workers,
};
use edgeformer_agent::tuf::SourceError;
use edgeformer_proto::Generation;
use edgeformer_proto::artifact::{ChunkId, DataKey};
use edgeformer_proto::ids::VersionId;
use edgeformer_proto::keywrap::{
    Agreed, HpkeError, HpkePublic, KeyAgreement, KeyContext, KeyWrapError, PUBLIC_BYTES, WrappedKey,
};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use tokio::sync::{broadcast, oneshot};

use crate::disk::SimDisk;
use crate::publish::{Publisher, Version};

/// A Tuesday.
pub const START_US: UnixMicros = 1_790_000_000_000_000;

/// Time of the simulation.
#[derive(Clone, Default)]
pub struct SimTime(Arc<Mutex<Timers>>);

#[derive(Default)]
struct Timers {
    passed_us: UnixMicros,
    number: u64,
    due: BTreeMap<(UnixMicros, u64), oneshot::Sender<()>>,
}

impl SimTime {
    /// Lets time pass up to the next thing that waits for it, if that is before `until_us`.
    pub fn advance(&self, until_us: UnixMicros) -> bool {
        let mut timers = self.0.lock().unwrap();
        while let Some(((at_us, number), waiter)) = timers.due.pop_first() {
            if waiter.is_closed() {
                continue;
            }
            if at_us > until_us {
                timers.due.insert((at_us, number), waiter);
                return false;
            }
            timers.passed_us = timers.passed_us.max(at_us);
            let _ = waiter.send(());
            return true;
        }
        false
    }

    /// Microseconds since the simulation began.
    pub fn passed_us(&self) -> UnixMicros {
        self.0.lock().unwrap().passed_us
    }

    /// How often somebody began to wait: a measure of what happens.
    pub fn waits(&self) -> u64 {
        self.0.lock().unwrap().number
    }
}

impl TimeSource for SimTime {
    fn now_us(&self) -> UnixMicros {
        START_US + self.passed_us()
    }

    fn pause(&self, duration: Duration) -> Pause {
        let (done, waiting) = oneshot::channel();
        let mut timers = self.0.lock().unwrap();
        timers.number += 1;
        let at_us = timers.passed_us + duration.as_micros() as i64;
        let number = timers.number;
        timers.due.insert((at_us, number), done);
        Box::pin(waiting.map(drop))
    }
}

/// How a version behaves in a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// It serves.
    Good,
    /// It does not load.
    FailsTrial,
    /// It dies after so long, each time.
    DiesAfter(Duration),
}

/// A published version and how it behaves.
#[derive(Clone)]
pub struct Model {
    pub version: Version,
    pub behaviour: Behaviour,
}

/// Worker processes of one life of the agent.
#[derive(Clone)]
pub struct SimWorkers(Arc<WorkersState>);

struct WorkersState {
    disk: SimDisk,
    time: SimTime,
    models: Arc<HashMap<VersionId, Model>>,
    next_pid: AtomicU64,
    standby: Mutex<HashMap<SlotName, (VersionId, u64)>>,
    serving: Mutex<HashMap<SlotName, (VersionId, u64)>>,
    events: broadcast::Sender<WorkerEvent>,
}

impl SimWorkers {
    pub fn new(disk: SimDisk, time: SimTime, models: Arc<HashMap<VersionId, Model>>) -> Self {
        Self(Arc::new(WorkersState {
            disk,
            time,
            models,
            next_pid: AtomicU64::new(1),
            standby: Mutex::default(),
            serving: Mutex::default(),
            events: broadcast::channel(64).0,
        }))
    }

    /// What serves a slot.
    pub fn serves(&self, slot: &str) -> Option<VersionId> {
        let serving = self.0.serving.lock().unwrap();
        serving.get(&slot.parse::<SlotName>().unwrap()).map(|(version, _)| *version)
    }

    /// Counts an act. Without power, nothing that follows it happens.
    async fn act(&self) {
        if self.0.disk.act().is_err() {
            std::future::pending().await
        }
    }

    fn die_after(&self, slot: SlotName, version_id: VersionId, pid: u64, after: Duration) {
        let state = Arc::clone(&self.0);
        tokio::spawn(async move {
            state.time.pause(after).await;
            let mut serving = state.serving.lock().unwrap();
            if serving.get(&slot) == Some(&(version_id, pid)) {
                serving.remove(&slot);
                let (was, reason) = (WorkerRole::Serving, "died as ordered".to_owned());
                let _ = state.events.send(WorkerEvent::Exited { slot, version_id, was, reason });
            }
        });
    }
}

impl Workers for SimWorkers {
    async fn trial(
        &self,
        spec: SlotSpec,
        payload: Arc<dyn PayloadSource>,
    ) -> Result<TrialReport, TrialError> {
        self.act().await;
        let model = &self.0.models[&spec.version_id];
        let mut bytes = Vec::new();
        for piece in payload.open()? {
            bytes.extend_from_slice(&piece?);
        }
        assert_eq!(bytes, model.version.payload, "a worker gets what was published");
        if model.behaviour == Behaviour::FailsTrial {
            return Err(TrialError::Load("as ordered".to_owned()));
        }
        let pid = self.0.next_pid.fetch_add(1, Ordering::Relaxed);
        self.0.standby.lock().unwrap().insert(spec.slot, (spec.version_id, pid));
        Ok(TrialReport {
            pid: 1,
            rss_bytes: 1,
            load_time: Duration::ZERO,
            probe_tokens: 1,
            stopped_serving_first: false,
        })
    }

    async fn activate(
        &self,
        slot: &SlotName,
        version_id: VersionId,
    ) -> Result<(), SupervisorError> {
        self.act().await;
        let standby = self.0.standby.lock().unwrap().remove(slot);
        let Some((_, pid)) = standby.filter(|(version, _)| *version == version_id) else {
            return Err(SupervisorError::NoStandby { slot: slot.clone(), version_id });
        };
        self.0.serving.lock().unwrap().insert(slot.clone(), (version_id, pid));
        if let Behaviour::DiesAfter(after) = self.0.models[&version_id].behaviour {
            self.die_after(slot.clone(), version_id, pid, after);
        }
        Ok(())
    }

    async fn discard(&self, slot: &SlotName, _: VersionId) {
        self.act().await;
        self.0.standby.lock().unwrap().remove(slot);
    }

    async fn stop(&self, slot: &SlotName) {
        self.act().await;
        self.0.standby.lock().unwrap().remove(slot);
        self.0.serving.lock().unwrap().remove(slot);
    }

    fn serving(&self) -> Vec<Serving> {
        let serving = self.0.serving.lock().unwrap();
        let one = |(slot, (version_id, _)): (&SlotName, &(VersionId, u64))| Serving {
            slot: slot.clone(),
            version_id: *version_id,
            pid: 1,
            rss_bytes: 1,
            since: SystemTime::UNIX_EPOCH,
            paging: Paging::Locked,
        };
        serving.iter().map(one).collect()
    }

    fn events(&self) -> broadcast::Receiver<WorkerEvent> {
        self.0.events.subscribe()
    }
}

/// The controller's side of a fetch, while it is reachable.
pub struct SimOrigin {
    pub disk: SimDisk,
    pub online: Arc<AtomicBool>,
    pub publisher: Arc<Publisher>,
    pub models: Arc<HashMap<VersionId, Model>>,
    /// Files of the tenant's TUF repository.
    pub metadata: Arc<BTreeMap<String, Vec<u8>>>,
}

impl SimOrigin {
    async fn version(&self, id: VersionId) -> Result<&Version, FetchError> {
        if self.disk.act().is_err() {
            std::future::pending::<()>().await;
        }
        match self.online.load(Ordering::Relaxed) {
            true => Ok(&self.models[&id].version),
            false => Err(FetchError::Offline),
        }
    }
}

impl Origin for SimOrigin {
    fn trust_metadata<'a>(
        &'a self,
        name: &'a str,
        _: usize,
    ) -> BoxFuture<'a, Result<Option<Vec<u8>>, SourceError>> {
        Box::pin(async move {
            if self.disk.act().is_err() {
                std::future::pending::<()>().await;
            }
            match self.online.load(Ordering::Relaxed) {
                true => Ok(self.metadata.get(name).cloned()),
                false => Err(SourceError::Offline),
            }
        })
    }

    fn version(&self, id: VersionId) -> BoxFuture<'_, Result<ServedVersion, FetchError>> {
        Box::pin(async move {
            let version = self.version(id).await?;
            Ok(ServedVersion {
                manifest_envelope: version.envelope.clone().into(),
                sealed_index: version.sealed_index.clone().into(),
            })
        })
    }

    fn data_key(&self, id: VersionId) -> BoxFuture<'_, Result<WrappedKey, FetchError>> {
        Box::pin(async move {
            let version = self.version(id).await?;
            let (mut encapsulated, mut ciphertext) = ([4; 65], [0; 48]);
            encapsulated[..16].copy_from_slice(id.as_bytes());
            ciphertext[..32].copy_from_slice(version.data_key.expose());
            let generation = Generation { epoch: 1, counter: 1 };
            Ok(WrappedKey { generation, encapsulated, ciphertext })
        })
    }

    fn chunks<'a>(&'a self, wanted: Vec<(ChunkId, u32)>, _: &'a Progress) -> ServedChunks<'a> {
        let online = self.online.load(Ordering::Relaxed);
        let chunk = move |(id, _): (ChunkId, u32)| match online {
            true => {
                let sealed = Bytes::from(self.publisher.chunk(id.as_bytes()));
                Ok(ServedChunk { id: id.as_bytes().to_vec().into(), sealed })
            }
            false => Err(FetchError::Offline),
        };
        futures::stream::iter(wanted).map(chunk).boxed()
    }
}

/// Keys whose arithmetic costs nothing: what is wrapped for a version opens for that version.
#[derive(Debug)]
pub struct SimKeys;

impl KeyAgreement for SimKeys {
    fn hpke_public(&self) -> [u8; PUBLIC_BYTES] {
        [0; PUBLIC_BYTES]
    }

    fn agree(&self, _: &HpkePublic) -> Result<Agreed, HpkeError> {
        Err(HpkeError::Agreement("nothing is agreed on in the simulation".to_owned()))
    }
}

impl DeviceKeys for SimKeys {
    fn public_point(&self) -> &[u8] {
        &[]
    }

    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, KeyError> {
        Err(KeyError::Sign)
    }

    fn unwrap(&self, wrapped: &WrappedKey, context: &KeyContext) -> Result<DataKey, KeyWrapError> {
        if wrapped.encapsulated[..16] != context.version.as_bytes()[..] {
            return Err(KeyWrapError::Open(context.version));
        }
        let mut key = [0; 32];
        key.copy_from_slice(&wrapped.ciphertext[..32]);
        Ok(DataKey::from(key))
    }
}
