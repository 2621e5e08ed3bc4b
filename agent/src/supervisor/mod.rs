//! Starts, watches and ends worker processes, and moves traffic between them. A crash, hang or
//! out-of-memory kill of a worker costs its running requests an error and nothing else. Must never
//! serve a version that did not load and pass its probe.

mod exit;
mod link;
pub mod liveness;
mod memory;
mod process;
mod request;
mod table;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant, SystemTime};

use edgeformer_proto::ids::VersionId;
use tokio::sync::{broadcast, watch};

use self::liveness::Patience;
use self::memory::{MemoryFacts, MemoryPlan};
use self::process::Worker;
pub use self::request::{Event, RunningRequest};
use self::table::{Active, Table};
pub use self::table::{RouteError, ServedModel};
use crate::slots::{
    PayloadSource, Serving, SlotName, SlotSpec, SupervisorError, TrialError, TrialReport,
    WorkerEvent, Workers,
};
use crate::worker::message::Generate;

/// A trial that takes longer than this has failed: 1 GiB from the slowest storage in use (10 MB/s),
/// opened and laid out, with room to spare.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(600);

/// Requests that run when their version is replaced have this long to finish.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);

/// Exits that a reader of [`Workers::events`] may be behind; a slot crashes at most once per load.
const EVENTS_KEPT: usize = 256;

/// How the supervisor works.
#[derive(Debug, Clone)]
pub struct SupervisorConfig {
    /// What all workers may hold together, in bytes; none leaves it to the system.
    pub memory_limit_bytes: Option<u64>,
    /// The program that is started with the argument `worker`.
    pub worker_program: PathBuf,
    /// When a worker counts as hanging.
    pub patience: Patience,
    /// How long requests of a replaced version may go on.
    pub drain_timeout: Duration,
}

impl Default for SupervisorConfig {
    /// Workers are this very program, even when its file was replaced by an update meanwhile.
    fn default() -> Self {
        Self {
            memory_limit_bytes: None,
            worker_program: PathBuf::from("/proc/self/exe"),
            patience: Patience::default(),
            drain_timeout: DRAIN_TIMEOUT,
        }
    }
}

/// Handle to all workers of this device.
#[derive(Debug, Clone)]
pub struct Supervisor {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: SupervisorConfig,
    table: Mutex<Table>,
    /// Held for a whole trial: two at once would count the same free memory.
    trial: tokio::sync::Mutex<()>,
    events: broadcast::Sender<WorkerEvent>,
}

impl Supervisor {
    /// No worker runs yet. Call inside a tokio runtime.
    pub fn start(config: SupervisorConfig) -> Self {
        let inner = Inner {
            config,
            table: Mutex::default(),
            trial: tokio::sync::Mutex::default(),
            events: broadcast::channel(EVENTS_KEPT).0,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Says what a slot waits for before it can answer, for the error that applications get until
    /// then; none when it is no longer known here.
    pub fn set_waiting(&self, slot: &SlotName, waits_for: Option<String>) {
        self.inner.table().set_waiting(slot, waits_for);
    }

    /// Models that answer requests, by slot.
    pub fn served(&self) -> Vec<ServedModel> {
        self.inner.table().served()
    }

    /// What slots wait for that do not answer yet.
    pub fn waiting(&self) -> Vec<(SlotName, String)> {
        self.inner.table().waiting()
    }

    /// Starts a request on what serves `model`: a slot name, or `slot@version`.
    pub fn request(&self, model: &str, request: Generate) -> Result<RunningRequest, RouteError> {
        let worker = self.inner.table().route(model)?;
        let (id, answers) = worker.ask(request).map_err(|_| RouteError::NotReady {
            slot: worker.spec.slot.clone(),
            waits_for: "its worker process has just ended and is being replaced".into(),
        })?;
        Ok(RunningRequest::new(worker, id, answers))
    }

    async fn run_trial(
        &self,
        spec: SlotSpec,
        payload: Arc<dyn PayloadSource>,
    ) -> Result<TrialReport, TrialError> {
        let _one_at_a_time = self.inner.trial.lock().await;
        self.discard_where(&spec.slot, |_| true).await;
        let stated = spec.memory.total_bytes(spec.settings);
        let need = stated.max(payload.size_bytes());
        let stopped_serving_first = self.make_room(&spec.slot, need).await?;
        let started = Instant::now();
        let (worker, mut unaddressed) = Worker::spawn(&self.inner.config.worker_program, spec)
            .map_err(|error| TrialError::Start(error.to_string()))?;
        let limit = memory::process_limit_bytes(stated);
        worker.load(payload, limit, &mut unaddressed).await?;
        let load_time = started.elapsed();
        let patience = self.inner.config.patience;
        tokio::spawn(process::watch_liveness(Arc::downgrade(&worker), unaddressed, patience));
        let probe_tokens = worker.probe().await?;
        let report = TrialReport {
            pid: worker.pid,
            rss_bytes: worker.rss_bytes(),
            load_time,
            probe_tokens,
            stopped_serving_first,
        };
        tokio::spawn(watch_exit(Arc::downgrade(&self.inner), Arc::downgrade(&worker)));
        self.inner.table().set_standby(worker);
        Ok(report)
    }

    /// Returns whether the serving worker was stopped.
    async fn make_room(&self, slot: &SlotName, need: u64) -> Result<bool, TrialError> {
        let facts = self.inner.memory_facts(slot, need);
        match memory::plan(facts) {
            MemoryPlan::Beside => Ok(false),
            MemoryPlan::Refuse { available_bytes } => {
                Err(TrialError::Memory { needs_bytes: need, available_bytes })
            }
            MemoryPlan::StopFirst => {
                tracing::warn!(
                    %slot, need_bytes = need, available_bytes = facts.available,
                    "memory does not hold the old and the new version: the old one is stopped first"
                );
                let old = self.inner.table().take_serving(slot);
                if let Some(Active { worker, .. }) = old {
                    let text = "the version before was stopped, as memory does not hold both; the \
                                new one is being loaded";
                    self.set_waiting(slot, Some(text.to_owned()));
                    self.retire(worker).await;
                }
                Ok(true)
            }
        }
    }

    /// Ends a standby worker and waits until its memory is free.
    async fn discard_where(&self, slot: &SlotName, which: impl Fn(&SlotSpec) -> bool) {
        let standby = self.inner.table().take_standby_if(slot, which);
        if let Some(worker) = standby {
            let exit = worker.exit_watch();
            drop(worker);
            wait_for_exit(exit).await;
        }
    }

    /// Waits until a worker that is out of the table has ended: when its last request is done, or at
    /// the drain timeout.
    fn retire(&self, worker: Arc<Worker>) -> impl Future<Output = ()> + Send + 'static {
        let timeout = self.inner.config.drain_timeout;
        let exit = worker.exit_watch();
        let weak = Arc::downgrade(&worker);
        drop(worker);
        async move {
            if tokio::time::timeout(timeout, wait_for_exit(exit.clone())).await.is_err() {
                if let Some(worker) = weak.upgrade() {
                    worker.end(&format!(
                        "its version was replaced, and this request was not done {} s later",
                        timeout.as_secs()
                    ));
                }
                wait_for_exit(exit).await;
            }
        }
    }
}

impl Workers for Supervisor {
    async fn trial(
        &self,
        spec: SlotSpec,
        payload: Arc<dyn PayloadSource>,
    ) -> Result<TrialReport, TrialError> {
        match tokio::time::timeout(TRIAL_TIMEOUT, self.run_trial(spec, payload)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(TrialError::Timeout(TRIAL_TIMEOUT)),
        }
    }

    async fn activate(
        &self,
        slot: &SlotName,
        version_id: VersionId,
    ) -> Result<(), SupervisorError> {
        let switched = self.inner.table().activate(slot, version_id, SystemTime::now());
        let old = switched
            .ok_or_else(|| SupervisorError::NoStandby { slot: slot.clone(), version_id })?;
        if let Some(Active { worker, .. }) = old {
            tokio::spawn(self.retire(worker));
        }
        Ok(())
    }

    async fn discard(&self, slot: &SlotName, version_id: VersionId) {
        self.discard_where(slot, |spec| spec.version_id == version_id).await;
    }

    async fn stop(&self, slot: &SlotName) {
        self.discard_where(slot, |_| true).await;
        let old = self.inner.table().remove(slot);
        if let Some(Active { worker, .. }) = old {
            self.retire(worker).await;
        }
    }

    fn serving(&self) -> Vec<Serving> {
        let table = self.inner.table();
        let serving = table.active().map(|Active { worker, since }| Serving {
            slot: worker.spec.slot.clone(),
            version_id: worker.spec.version_id,
            pid: worker.pid,
            rss_bytes: worker.rss_bytes(),
            since: *since,
            paging: worker.paging(),
        });
        serving.collect()
    }

    fn events(&self) -> broadcast::Receiver<WorkerEvent> {
        self.inner.events.subscribe()
    }
}

impl Inner {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("no panic under the lock of the table of workers")
    }

    fn memory_facts(&self, slot: &SlotName, need: u64) -> MemoryFacts {
        let table = self.table();
        let old = table.active().filter(|a| a.worker.spec.slot == *slot);
        MemoryFacts {
            need,
            old: old.map(|active| active.worker.rss_bytes()).sum(),
            all_workers: table.workers().map(|worker| worker.rss_bytes()).sum(),
            available: memory::available_bytes(),
            limit: self.config.memory_limit_bytes,
        }
    }
}

async fn wait_for_exit(mut exit: watch::Receiver<Option<Arc<str>>>) {
    let _sender_gone_means_the_same = exit.wait_for(Option::is_some).await;
}

/// Reports the end of a worker that nobody asked to end: one that is still in the table.
async fn watch_exit(inner: Weak<Inner>, worker: Weak<Worker>) {
    let Some(mut exit) = worker.upgrade().map(|worker| worker.exit_watch()) else { return };
    let Ok(reason) = exit.wait_for(Option::is_some).await.map(|reason| reason.clone()) else {
        return;
    };
    let reason = reason.unwrap_or_default().to_string();
    let Some(inner) = inner.upgrade() else { return };
    let Some((spec, was)) = inner.table().remove_ended(&worker, &reason) else { return };
    tracing::error!(slot = %spec.slot, version = %spec.version, ?was, reason, "a model worker ended");
    let event = WorkerEvent::Exited { slot: spec.slot, version_id: spec.version_id, was, reason };
    let _nobody_listens = inner.events.send(event);
}
