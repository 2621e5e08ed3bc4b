//! One life of an agent on a simulated device, from its start to the loss of power or to the point
//! where nothing is left to do, and the scenario that it lives through.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use edgeformer_agent::clock::Clock;
use edgeformer_agent::fetch::trust::Trust;
use edgeformer_agent::fetch::versions::Opening;
use edgeformer_agent::fetch::{Limits, Store};
use edgeformer_agent::reconcile::Handle;
use edgeformer_agent::reconcile::ledger::{Ledger, LedgerStore};
use edgeformer_agent::reconcile::report::Stage;
use edgeformer_agent::reconcile::retention::Retention;
use edgeformer_agent::reconcile::state::Update;
use edgeformer_proto::Generation;
use edgeformer_proto::ids::{DeviceId, VersionId};
use edgeformer_proto::v1;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::disk::SimDisk;
use crate::publish::Publisher;
use crate::world::{Model, SimKeys, SimOrigin, SimTime, SimWorkers};

/// The only slot.
pub const SLOT: &str = "m";

/// Simulated time after which a life that still does something is stuck: longer than every delay and
/// retry in it.
const STUCK_US: i64 = 3_600_000_000;

/// Desired states in a row that could not be stored, after which they never can be: more than a disk
/// that is full for some operations refuses.
const MAX_REFUSED: u32 = 100;

/// In a life without a controller, what was confirmed serves after this. Workers that died often are
/// started again within a minute.
const OFFLINE_US: i64 = 70_000_000;

/// What is published, and by whom.
pub struct Fleet {
    pub publisher: Arc<Publisher>,
    pub models: Arc<HashMap<VersionId, Model>>,
    /// What the tenant's owner signed of it.
    pub metadata: Arc<BTreeMap<String, Vec<u8>>>,
}

/// What one desired state of a scenario leads to.
#[derive(Clone, Copy)]
pub struct Wish {
    /// The version wanted; none empties the slot.
    pub wants: Option<VersionId>,
    /// How the update ends.
    pub ends: Stage,
    /// What serves then.
    pub serves: Option<VersionId>,
}

/// Why a life ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// The power is gone.
    PowerLoss,
    /// Every wish was fulfilled.
    Done,
}

/// A device, across its lives.
pub struct Device<'a> {
    pub fleet: &'a Fleet,
    pub disk: SimDisk,
    pub time: SimTime,
    pub wishes: &'a [Wish],
    pub seed: u64,
    /// Wishes that were fulfilled.
    pub fulfilled: usize,
    /// What serves without a controller, if it is not what was confirmed.
    pub stands_in: Option<VersionId>,
    /// Steps counted when the first wish was.
    pub first_fulfilled_at: usize,
    /// The newest generation that was accepted.
    accepted: Option<Generation>,
    /// Whether a version was ever seen to be confirmed since the slot was last emptied.
    confirmed_once: bool,
}

struct Life {
    handle: Handle,
    workers: SimWorkers,
    ledger: Arc<LedgerStore>,
    online: Arc<AtomicBool>,
    sessions: watch::Sender<u64>,
    _stop: CancellationToken,
}

impl<'a> Device<'a> {
    pub fn new(fleet: &'a Fleet, disk: SimDisk, wishes: &'a [Wish], seed: u64) -> Self {
        Self {
            fleet,
            disk,
            time: SimTime::default(),
            wishes,
            seed,
            fulfilled: 0,
            stands_in: None,
            first_fulfilled_at: 0,
            accepted: None,
            confirmed_once: false,
        }
    }

    /// Lives until power is lost or all is done. After a restart, first without a controller.
    pub fn live(&mut self, restarted: bool) -> End {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        // Dropping the runtime ends everything at once, as a kill does.
        runtime.block_on(async {
            let Some(life) = self.start() else { return End::PowerLoss };
            if restarted {
                self.offline(&life).await;
                life.online.store(true, Ordering::Relaxed);
                life.sessions.send_modify(|session| *session += 1);
            }
            self.fulfil(&life).await
        })
    }

    /// A life that reaches its controller from the start.
    pub fn live_online(&mut self) -> End {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let Some(life) = self.start() else { return End::PowerLoss };
            life.online.store(true, Ordering::Relaxed);
            self.fulfil(&life).await
        })
    }

    /// A last life that never reaches its controller.
    pub fn live_offline(&mut self) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            match self.start() {
                Some(life) => self.offline(&life).await,
                None => assert!(!self.disk.has_power(), "the power is on"),
            }
        });
    }

    fn start(&self) -> Option<Life> {
        let folder = self.disk.folder();
        let started = folder.remove_leftovers().and_then(|_| folder.create());
        let opened = started.map(|()| LedgerStore::open(&folder));
        let (ledger, _) = match opened {
            Ok(Ok(opened)) => opened,
            _ if !self.disk.has_power() => return None,
            // The service manager starts it again.
            Err(_) => return self.start(),
            Ok(Err(error)) => panic!("the ledger is lost: {error}"),
        };
        let clock = Clock::injected(self.time.clone());
        ledger.recover(clock.now_us());
        let ledger = Arc::new(ledger);
        let handle_clock = clock.clone();
        let policy = Retention { versions: 2, bytes: u64::MAX };
        let handle = Handle::new(Arc::clone(&ledger), clock, policy).seeded(self.seed);
        let workers =
            SimWorkers::new(self.disk.clone(), self.time.clone(), Arc::clone(&self.fleet.models));
        let online = Arc::new(AtomicBool::new(self.fulfilled == 0 && self.accepted.is_none()));
        let origin = SimOrigin {
            disk: self.disk.clone(),
            online: Arc::clone(&online),
            publisher: Arc::clone(&self.fleet.publisher),
            models: Arc::clone(&self.fleet.models),
            metadata: Arc::clone(&self.fleet.metadata),
        };
        let opening = Opening {
            tenant_id: self.fleet.publisher.tenant,
            device_id: DeviceId::from_bytes([1; 16]),
            release_public: self.fleet.publisher.release.public(),
            keys: Arc::new(SimKeys),
        };
        let limits = Limits { memory_bytes: Some(u64::MAX) };
        // Not pinned at enrolment: that is a part of the first update.
        let trust = Trust::open(&folder, handle_clock, "box");
        let store = Store::new(&folder, opening, Arc::new(origin), trust, limits);
        let (sessions, stop) = (watch::channel(0).0, CancellationToken::new());
        let (running, slot_workers) = (handle.clone(), workers.clone());
        let (session, until) = (sessions.subscribe(), stop.clone());
        tokio::spawn(async move { running.run(slot_workers, store, session, until).await });
        Some(Life { handle, workers, ledger, online, sessions, _stop: stop })
    }

    /// Without a controller: what was confirmed serves again, and nothing accepted is forgotten.
    async fn offline(&mut self, life: &Life) {
        assert!(life.handle.held() >= self.accepted, "the generation went back");
        let until_us = self.time.passed_us() + OFFLINE_US;
        loop {
            self.idle().await;
            let ledger = life.ledger.snapshot();
            let state = life.ledger.slot(&SLOT.parse().unwrap());
            let emptied =
                matches!(state.update, Some(Update::Removing { .. } | Update::Removed { .. }));
            if emptied || !self.disk.has_power() {
                return;
            }
            assert!(
                !self.confirmed_once || state.confirmed.is_some(),
                "what was confirmed is lost"
            );
            let serves = life.workers.serves(SLOT);
            let confirmed = state.should_serve().map(|target| target.version_id);
            let right = serves == self.stands_in.or(confirmed);
            if right && (serves.is_some() || state.confirmed.is_none()) {
                return;
            }
            let goes_on = self.time.advance(until_us);
            assert!(goes_on, "without a controller {serves:?} serves: {ledger:?}");
        }
    }

    async fn fulfil(&mut self, life: &Life) -> End {
        let stuck_us = self.time.passed_us() + STUCK_US;
        let mut refused = 0;
        loop {
            self.idle().await;
            if !self.disk.has_power() {
                return End::PowerLoss;
            }
            let ledger = life.ledger.snapshot();
            self.note(&ledger);
            let wish = self.wishes[self.fulfilled];
            let generation = Generation { epoch: 1, counter: self.fulfilled as u64 + 1 };
            if life.handle.held() != Some(generation) {
                let offered = life.handle.offer(self.desired(generation, wish.wants));
                match offered {
                    Ok(accepted) => {
                        self.accepted = Some(accepted);
                        self.confirmed_once &= wish.wants.is_some();
                        continue;
                    }
                    Err(error) => {
                        refused += 1;
                        let passes = error.to_string().contains("stored") && refused < MAX_REFUSED;
                        assert!(passes, "{error}");
                    }
                }
                // The session is tried again later; here, at once unless something else is due.
                self.time.advance(stuck_us);
                continue;
            }
            if self.time.advance(stuck_us) {
                continue;
            }
            self.check(life, &wish);
            self.fulfilled += 1;
            if self.fulfilled == 1 {
                self.first_fulfilled_at = self.disk.count();
            }
            if self.fulfilled == self.wishes.len() {
                return End::Done;
            }
        }
    }

    fn check(&self, life: &Life, wish: &Wish) {
        let board = life.handle.board();
        let report = board.borrow().get(&SLOT.parse().unwrap()).cloned();
        let report = report.unwrap_or_else(|| panic!("no report: {:?}", life.ledger.snapshot()));
        let ledger = life.ledger.snapshot();
        assert_eq!(report.stage, wish.ends, "{ledger:?}");
        assert_eq!(life.workers.serves(SLOT), wish.serves, "{ledger:?}");
    }

    fn note(&mut self, ledger: &Ledger) {
        self.confirmed_once |= ledger.slots.values().any(|state| {
            state.confirmed.is_some()
                && !matches!(state.update, Some(Update::Removing { .. } | Update::Removed { .. }))
        });
    }

    fn desired(&self, generation: Generation, wants: Option<VersionId>) -> v1::DesiredState {
        let slot = |id: VersionId| {
            let version = &self.fleet.models[&id].version;
            v1::DesiredSlot {
                slot: SLOT.to_owned(),
                model: SLOT.to_owned(),
                version: version.subject.version.to_string(),
                version_id: id.to_string(),
                manifest_sha256: version.manifest_sha256().as_bytes().to_vec().into(),
                rollout_id: format!("rollout-{}", generation.counter),
                settings: None,
            }
        };
        v1::DesiredState {
            generation: Some(generation.into()),
            slots: wants.into_iter().map(slot).collect(),
        }
    }

    /// Until nothing happens any more without time passing. Everything runs on this thread.
    async fn idle(&self) {
        loop {
            let before = (self.disk.count(), self.time.waits());
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            if before == (self.disk.count(), self.time.waits()) {
                return;
            }
        }
    }
}
