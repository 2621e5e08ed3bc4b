//! Takes off the disk what nothing needs any more: versions that were replaced, failed or removed,
//! staged chunks, leftovers. Takes no input, may run at any time, and its next run is the retry. Must
//! never remove what the ledger names: a version is forgotten, durably, before its bytes go.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::ledger::{Ledger, LedgerError, LedgerStore};
use super::retention::{self, Older, Retention};
use crate::clock::Clock;
use crate::facts::human_bytes;
use crate::fetch::{Artifacts, Collected};

/// How long a collection that could not run waits for the next attempt.
const RETRY: Duration = Duration::from_secs(30);

/// What older versions take, for people.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    /// How many there are.
    pub versions: usize,
    /// What going without them would free.
    pub bytes: u64,
}

/// Keeps the disk to what the ledger names.
#[derive(Clone)]
pub struct Collector<A> {
    /// What is needed.
    pub ledger: Arc<LedgerStore>,
    /// What is there.
    pub artifacts: A,
    /// What may stay.
    pub policy: Retention,
    /// Time.
    pub clock: Clock,
    /// What stays now.
    pub kept: Arc<watch::Sender<Kept>>,
}

impl<A: Artifacts> Collector<A> {
    /// Collects at the start and whenever what is needed changes. Never ends.
    pub async fn run(self) {
        let mut changes = self.ledger.watch();
        let mut collected = None;
        loop {
            let reserved = self.ledger.hold_reserve();
            // With the generation: a version may come and fail between two looks at the ledger.
            let ledger = changes.borrow_and_update().clone();
            let seen = (ledger.desired.as_ref().map(|desired| desired.generation), ledger.wanted());
            if collected.as_ref() != Some(&seen) {
                collected = self.collect().await.then_some(seen);
            }
            let waits = collected.is_none() || !reserved;
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = self.retry(waits) => collected = None,
            }
        }
    }

    async fn retry(&self, waits: bool) {
        match waits {
            true => self.clock.pause(RETRY).await,
            false => std::future::pending().await,
        }
    }

    /// Applies the policy and removes what is not named. False if that has to wait.
    async fn collect(&self) -> bool {
        let older = self.measure(self.ledger.snapshot()).await;
        let going = retention::surplus(&older, &self.policy);
        if let Err(error) = self.forget(&going) {
            tracing::warn!(%error, "old versions are kept, as the ledger cannot be written");
            return false;
        }
        let stay: Vec<_> = older.iter().filter(|one| !going.contains(one)).collect();
        let bytes = stay.iter().filter_map(|one| one.frees_bytes).sum();
        self.kept.send_replace(Kept { versions: stay.len(), bytes });
        self.sweep().await
    }

    /// Removes what the ledger does not name. False if that has to wait.
    pub async fn sweep(&self) -> bool {
        let ledger = Arc::clone(&self.ledger);
        match self.artifacts.collect(move || ledger.snapshot().wanted()).await {
            Collected::Done { freed_bytes } => {
                if freed_bytes > 0 {
                    tracing::info!(freed = human_bytes(freed_bytes), "removed what nothing needs");
                }
                true
            }
            Collected::Busy => false,
            Collected::Failed(error) => {
                tracing::warn!(%error, "what nothing needs was not removed yet");
                false
            }
        }
    }

    /// Gives up the fewest older versions that free `missing_bytes`. False if even all of them are not
    /// enough; then all stay.
    pub async fn make_room(&self, missing_bytes: u64) -> Result<bool, LedgerError> {
        let older = self.measure(self.ledger.snapshot()).await;
        let Some(going) = retention::for_room(&older, missing_bytes) else { return Ok(false) };
        tracing::warn!(
            missing = human_bytes(missing_bytes),
            versions = going.len(),
            "older versions make room for a new one"
        );
        self.forget(going)?;
        Ok(self.sweep().await)
    }

    async fn measure(&self, ledger: Ledger) -> Vec<Older> {
        let mut older = retention::older(&ledger);
        let target = |one: &Older| {
            let mut all = ledger.slots.get(&one.slot)?.older_versions();
            all.find(|target| target.version_id == one.version_id).cloned()
        };
        let candidates = older.iter().filter_map(target).collect();
        let frees = self.artifacts.frees(ledger.needed(), candidates).await;
        for (one, frees_bytes) in older.iter_mut().zip(frees) {
            one.frees_bytes = frees_bytes;
        }
        older
    }

    fn forget(&self, going: &[Older]) -> Result<(), LedgerError> {
        for one in going {
            tracing::info!(slot = %one.slot, version = %one.version_id, "an older version goes");
        }
        let going = retention::by_slot(going);
        self.ledger.change(|ledger| ledger.forget(&going))
    }
}
