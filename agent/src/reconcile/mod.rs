//! Makes the device run what its controller wants, one durable step at a time. Must never leave a
//! slot without its last confirmed version because an update was interrupted, and never take an
//! older desired state than it holds.

pub mod collector;
pub mod desired;
pub mod ledger;
pub mod phase;
pub mod report;
pub mod retention;
pub mod slot_task;
pub mod state;
pub mod step;

use std::collections::HashMap;
use std::sync::Arc;

use edgeformer_proto::{Generation, v1};
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

use self::collector::{Collector, Kept};
use self::desired::{Desired, Offer, Rejection, Target};
use self::ledger::{Importing, Ledger, LedgerError, LedgerStore};
use self::report::Board;
use self::retention::Retention;
use self::slot_task::{Shared, SlotTask};
use crate::clock::Clock;
use crate::fetch::Artifacts;
use crate::slots::{SlotName, Workers};

/// A slot's task that ended with an error is started again after this.
const TASK_RESTART: std::time::Duration = std::time::Duration::from_secs(1);

/// What a session needs of reconciliation.
#[derive(Clone)]
pub struct Handle {
    ledger: Arc<LedgerStore>,
    board: Arc<watch::Sender<Board>>,
    clock: Clock,
    policy: Retention,
    kept: Arc<watch::Sender<Kept>>,
    seed: u64,
}

impl Handle {
    /// Over an open ledger.
    pub fn new(ledger: Arc<LedgerStore>, clock: Clock, policy: Retention) -> Self {
        let board = Arc::new(watch::channel(Board::new()).0);
        let kept = Arc::new(watch::channel(Kept::default()).0);
        Self { ledger, board, clock, policy, kept, seed: rand::random() }
    }

    /// With waits that follow from `seed`, for tests that must take the same way again.
    #[must_use]
    pub fn seeded(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// What older versions take.
    pub fn kept(&self) -> Kept {
        *self.kept.borrow()
    }

    /// The generation that is durable here.
    pub fn held(&self) -> Option<Generation> {
        self.ledger.snapshot().desired.map(|desired| desired.generation)
    }

    /// Reports of all slots, now and whenever they change.
    pub fn board(&self) -> watch::Receiver<Board> {
        self.board.subscribe()
    }

    /// Takes a desired state, durably, or says why not.
    pub fn offer(&self, wire: v1::DesiredState) -> Result<Generation, Rejection> {
        let desired = desired::parse(wire)?;
        let generation = desired.generation;
        if self.ledger.offer(desired, self.clock.now_us())? == Offer::New {
            tracing::info!(%generation, "accepted a new desired state");
        }
        Ok(generation)
    }

    /// Whether a desired state could be taken now.
    pub fn weigh(&self, desired: &Desired) -> Result<Offer, Rejection> {
        desired::weigh(self.ledger.snapshot().desired.as_ref(), desired)
    }

    /// As [`Self::offer`], with a version of it that a file brought whole.
    pub fn offer_brought(
        &self,
        desired: Desired,
        target: &Target,
    ) -> Result<Generation, Rejection> {
        let generation = desired.generation;
        if self.ledger.offer_brought(desired, target, self.clock.now_us())? == Offer::New {
            tracing::info!(%generation, "accepted a new desired state from a file");
        }
        Ok(generation)
    }

    /// Keeps what is stored of a version that a file brings, before its desired state is accepted.
    pub fn begin_import(&self, generation: Generation, target: Target) -> Result<(), LedgerError> {
        let importing = Some(Importing { generation, target });
        self.ledger.change(|ledger| Ledger { importing, ..ledger })
    }

    /// Keeps it no longer for the file's sake.
    pub fn end_import(&self) -> Result<(), LedgerError> {
        self.ledger.change(|ledger| Ledger { importing: None, ..ledger })
    }

    /// What takes off the disk what nothing needs.
    pub fn collector<A: Artifacts>(&self, artifacts: A) -> Collector<A> {
        Collector {
            ledger: Arc::clone(&self.ledger),
            artifacts,
            policy: self.policy,
            clock: self.clock.clone(),
            kept: Arc::clone(&self.kept),
        }
    }

    /// Runs one task per slot of the ledger until `stop`.
    pub async fn run<W: Workers, A: Artifacts>(
        &self,
        workers: W,
        artifacts: A,
        sessions: watch::Receiver<u64>,
        stop: CancellationToken,
    ) {
        let collector = self.collector(artifacts.clone());
        let shared = Shared {
            ledger: Arc::clone(&self.ledger),
            workers,
            artifacts,
            collector: collector.clone(),
            seed: self.seed,
            clock: self.clock.clone(),
            board: Arc::clone(&self.board),
            sessions,
        };
        let mut ledger = self.ledger.watch();
        let mut running: HashMap<Id, SlotName> = HashMap::new();
        let mut tasks = JoinSet::new();
        let mut collecting = JoinSet::new();
        collecting.spawn(collector.run());
        loop {
            let slots: Vec<_> = ledger.borrow_and_update().slots.keys().cloned().collect();
            for name in slots {
                if !running.values().any(|one| *one == name) {
                    let task = SlotTask::new(name.clone(), shared.clone());
                    running.insert(tasks.spawn(task.run()).id(), name);
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                changed = ledger.changed() => if changed.is_err() { return },
                Some(ended) = tasks.join_next_with_id() => {
                    let id = match &ended {
                        Ok((id, ())) => *id,
                        Err(error) => error.id(),
                    };
                    let slot = running.remove(&id);
                    if let Err(error) = ended {
                        tracing::error!(?slot, %error, "the task of a slot ended; starting it again");
                        self.clock.pause(TASK_RESTART).await;
                    }
                }
            }
        }
    }
}
