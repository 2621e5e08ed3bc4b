//! Carries out the steps of one slot, one after the other. Records what it is about to do before it
//! does it, so that a kill at any point is seen at the next start.

use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::{broadcast, watch};

use super::collector::Collector;
use super::desired::Target;
use super::ledger::{LedgerError, LedgerStore};
use super::report::{Board, Live, report};
use super::state::{Event, Failure, SlotState};
use super::step::{Observation, Step, next_step};
use crate::clock::{Clock, UnixMicros};
use crate::fetch::error::{FetchError, Verdict};
use crate::fetch::{Artifacts, Known, Progress};
use crate::session::backoff;
use crate::slots::{
    PayloadError, SlotName, SlotSpec, TrialError, WorkerEvent, WorkerRole, Workers,
};

/// How often the progress of a fetch is reported.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

/// A slot whose ledger cannot be written looks again after this.
const STORAGE_RETRY: Duration = Duration::from_secs(5);

/// Wrong chunks in a row before the version is given up: one may be a damaged transfer.
const MAX_WRONG_CHUNKS: u32 = 3;

/// Why a fetch waits that has nothing wrong with it.
const BANDWIDTH: &str = "bandwidth";

/// What every slot shares.
#[derive(Clone)]
pub struct Shared<W, A> {
    /// Durable state.
    pub ledger: Arc<LedgerStore>,
    /// Model workers.
    pub workers: W,
    /// Versions.
    pub artifacts: A,
    /// What takes off the disk what nothing needs.
    pub collector: Collector<A>,
    /// Of the lengths of waits.
    pub seed: u64,
    /// Time.
    pub clock: Clock,
    /// Where slots report.
    pub board: Arc<watch::Sender<Board>>,
    /// Changes when a session begins or ends, and when a file brought something.
    pub sessions: watch::Receiver<u64>,
}

/// The executor of one slot.
pub struct SlotTask<W, A> {
    name: SlotName,
    shared: Shared<W, A>,
    ledger: watch::Receiver<super::ledger::Ledger>,
    exits: broadcast::Receiver<WorkerEvent>,
    seen: Observation,
    live: Live,
    progress: Arc<Progress>,
    failures: u32,
    wrong_chunks: u32,
    /// What is damaged of the confirmed version.
    damage: String,
    rng: StdRng,
}

impl<W: Workers, A: Artifacts> SlotTask<W, A> {
    /// For one slot.
    pub fn new(name: SlotName, shared: Shared<W, A>) -> Self {
        Self {
            name,
            ledger: shared.ledger.watch(),
            exits: shared.workers.events(),
            rng: StdRng::seed_from_u64(shared.seed),
            shared,
            seen: Observation::default(),
            live: Live::default(),
            progress: Arc::default(),
            failures: 0,
            wrong_chunks: 0,
            damage: String::new(),
        }
    }

    /// Runs until the slot is no longer in the ledger. Cancelling it at any point is a crash that the
    /// next start recovers from.
    pub async fn run(mut self) {
        loop {
            if !self.shared.ledger.snapshot().slots.contains_key(&self.name) {
                self.shared.board.send_if_modified(|board| board.remove(&self.name).is_some());
                return;
            }
            if let Err(error) = self.turn().await {
                tracing::error!(slot = %self.name, %error, "the ledger cannot be written; trying again");
                self.live.waiting = Some(Failure::new("storage", error.to_string()));
                self.publish();
                self.shared.clock.pause(STORAGE_RETRY).await;
            }
        }
    }

    async fn turn(&mut self) -> Result<(), LedgerError> {
        while let Ok(event) = self.exits.try_recv() {
            self.note_exit(event)?;
        }
        self.ledger.mark_unchanged();
        let state = self.state();
        self.discard_unwanted_standby(&state).await;
        self.look();
        let now_us = self.shared.clock.now_us();
        let step = next_step(&state, &self.seen, now_us);
        self.publish();
        tracing::debug!(slot = %self.name, ?step, "next step");
        match step {
            Step::Wait { until_us } => return self.wait(until_us).await,
            Step::Start(target) => return self.start(target).await,
            Step::StandIn(target) => self.stand_in(target).await,
            Step::Repair(target) => return self.repair(target).await,
            Step::Fetch(target) => return self.fetch(target).await,
            Step::Verify(target) => return self.verify(target).await,
            Step::Trial(target) => return self.trial(target).await,
            Step::Activate(target) => return self.activate(target).await,
            Step::Record(target, event) => self.record(&target, event)?,
            Step::RecordDeath(version) => self.change(|state| state.died(version, now_us))?,
            Step::Revert(failure) => {
                tracing::error!(slot = %self.name, message = failure.message, "reverting");
                self.change(|state| state.revert_to_previous(failure, now_us))?;
            }
            Step::Remove => {
                self.shared.workers.stop(&self.name).await;
                self.change(|state| state.removed(now_us))?;
                tracing::info!(slot = %self.name, "slot removed");
            }
            Step::Stop => self.shared.workers.stop(&self.name).await,
        }
        Ok(())
    }

    async fn wait(&mut self, until_us: Option<i64>) -> Result<(), LedgerError> {
        let now_us = self.shared.clock.now_us();
        let sleep = async {
            match until_us.map(|until| u64::try_from(until - now_us).unwrap_or(0)) {
                Some(micros) => self.shared.clock.pause(Duration::from_micros(micros)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = sleep => {}
            _ = self.ledger.changed() => {}
            Ok(_) = self.shared.sessions.changed() => self.seen.fetch_not_before_us = 0,
            event = self.exits.recv() => if let Ok(event) = event {
                self.note_exit(event)?;
            }
        }
        Ok(())
    }

    /// Starts the confirmed version from disk.
    async fn start(&mut self, target: Target) -> Result<(), LedgerError> {
        tracing::info!(slot = %self.name, version = %target, "starting the confirmed version");
        let failed = match self.try_out(&target).await {
            Ok(()) => match self.shared.workers.activate(&self.name, target.version_id).await {
                Ok(()) => {
                    self.live.waiting = None;
                    return Ok(());
                }
                Err(error) => Failure::new("worker_start", error.to_string()),
            },
            Err(TrialOutcome::Damaged(what)) => {
                tracing::warn!(slot = %self.name, version = %target, what, "damaged on disk");
                self.seen.damaged = Some(target.version_id);
                self.seen.unfit.clear();
                self.damage = what;
                return Ok(());
            }
            Err(TrialOutcome::Waits(error)) => {
                self.hold_start(&error);
                return Ok(());
            }
            Err(TrialOutcome::Failed(failure)) => failure,
        };
        tracing::error!(
            slot = %self.name, version = %target, reason = failed.reason, message = failed.message,
            "the confirmed version does not start"
        );
        self.live.waiting = Some(failed);
        let now_us = self.shared.clock.now_us();
        self.change(|state| state.died(target.version_id, now_us))
    }

    /// Serves an older version while the confirmed one is fetched again, which may take until there is a
    /// connection.
    async fn stand_in(&mut self, target: Target) {
        let failed = match self.try_out(&target).await {
            Ok(()) => match self.shared.workers.activate(&self.name, target.version_id).await {
                Ok(()) => {
                    tracing::warn!(
                        slot = %self.name, version = %target,
                        "serves in the place of the confirmed version, which is damaged on disk"
                    );
                    return;
                }
                Err(error) => error.to_string(),
            },
            Err(TrialOutcome::Waits(error)) => return self.hold_start(&error),
            Err(TrialOutcome::Damaged(what)) => what,
            Err(TrialOutcome::Failed(failure)) => failure.message,
        };
        tracing::error!(
            slot = %self.name, version = %target, failed,
            "it cannot take the place of the confirmed version either"
        );
        self.seen.unfit.push(target.version_id);
    }

    async fn repair(&mut self, target: Target) -> Result<(), LedgerError> {
        let fetched = match self.fetch_unless_interrupted(&target, Known::Before).await {
            // Durable too, or the next power loss takes it away again.
            Some(Ok(())) => Some(self.shared.artifacts.verify(&target).await),
            fetched => fetched,
        };
        match fetched {
            None => {}
            Some(Ok(())) => {
                self.seen.damaged = None;
                self.live.waiting = None;
                self.failures = 0;
            }
            Some(Err(error)) => {
                self.hold_fetch(&error);
                // What did not take its place is tried again, no more often than this.
                self.seen.unfit.clear();
                if error.verdict() == Verdict::Fail {
                    let now_us = self.shared.clock.now_us();
                    self.change(|state| state.died(target.version_id, now_us))?;
                }
            }
        }
        Ok(())
    }

    async fn fetch(&mut self, target: Target) -> Result<(), LedgerError> {
        // What is no longer wanted makes room first.
        let swept = self.shared.collector.sweep().await;
        let brought = self.shared.ledger.snapshot().was_brought(&target);
        let known = match brought || self.state().confirmed_before(&target) {
            true => Known::Before,
            false => Known::New,
        };
        let Some(outcome) = self.fetch_unless_interrupted(&target, known).await else {
            return Ok(());
        };
        self.wrong_chunks = match outcome {
            Err(FetchError::WrongChunk { .. }) => self.wrong_chunks + 1,
            _ => 0,
        };
        match outcome {
            Ok(()) => {
                self.failures = 0;
                self.live.waiting = None;
                self.record(&target, Event::Fetched)
            }
            Err(error @ FetchError::Disk { .. }) if !swept => {
                self.hold_fetch(&error);
                Ok(())
            }
            Err(FetchError::Disk { needs_bytes, available_bytes })
                if self.shared.collector.make_room(needs_bytes - available_bytes).await? =>
            {
                Ok(())
            }
            Err(error)
                if error.verdict() == Verdict::Fail || self.wrong_chunks >= MAX_WRONG_CHUNKS =>
            {
                self.wrong_chunks = 0;
                self.fail(&target, Failure::new(error.reason(), error.to_string()))
            }
            Err(error) => {
                self.hold_fetch(&error);
                Ok(())
            }
        }
    }

    /// `None` if something else is to be looked at first; what was fetched is kept.
    async fn fetch_unless_interrupted(
        &mut self,
        target: &Target,
        known: Known,
    ) -> Option<Result<(), FetchError>> {
        self.progress = Arc::default();
        let artifacts = self.shared.artifacts.clone();
        let fetching = artifacts.fetch(target, known, Arc::clone(&self.progress));
        tokio::pin!(fetching);
        let before = self.state();
        let mut tick = self.shared.clock.pause(PROGRESS_INTERVAL);
        loop {
            tokio::select! {
                biased;
                _ = self.ledger.changed() => {
                    self.ledger.mark_unchanged();
                    if self.state() != before {
                        return None;
                    }
                }
                event = self.exits.recv() => if let Ok(event) = event
                    && self.note_exit(event).is_ok_and(|ours| ours)
                {
                    return None;
                },
                outcome = &mut fetching => {
                    (self.live.bytes_done, self.live.bytes_total) = self.progress.get();
                    return Some(outcome);
                }
                () = &mut tick => {
                    tick = self.shared.clock.pause(PROGRESS_INTERVAL);
                    (self.live.bytes_done, self.live.bytes_total) = self.progress.get();
                    self.note_turn();
                    self.publish();
                }
            }
        }
    }

    /// Says that a fetch waits for its turn, and no longer when it had it.
    fn note_turn(&mut self) {
        let waits = self.progress.waits().map(|text| Failure::new(BANDWIDTH, text));
        let said = self.live.waiting.as_ref().is_some_and(|waiting| waiting.reason == BANDWIDTH);
        if waits.is_some() || said {
            self.live.waiting = waits;
        }
    }

    fn hold_fetch(&mut self, error: &FetchError) {
        self.seen.fetch_not_before_us = self.hold(error, "fetching waits");
    }

    fn hold_start(&mut self, error: &FetchError) {
        self.seen.start_not_before_us = self.hold(error, "starting waits");
    }

    /// Until when to wait for what failed with `error`.
    fn hold(&mut self, error: &FetchError, what: &str) -> UnixMicros {
        self.failures = self.failures.saturating_add(1);
        let wait = backoff::wait(self.failures, Duration::from_secs(1), &mut self.rng);
        let wait_us = i64::try_from(wait.as_micros()).unwrap_or(i64::MAX);
        tracing::warn!(slot = %self.name, %error, retry_in_s = wait.as_secs(), what);
        self.live.waiting = Some(Failure::new(error.reason(), error.to_string()));
        self.shared.clock.now_us().saturating_add(wait_us)
    }

    async fn verify(&mut self, target: Target) -> Result<(), LedgerError> {
        match self.shared.artifacts.verify(&target).await {
            Ok(()) => self.record(&target, Event::Verified),
            Err(error) => match error.verdict() {
                Verdict::Fail => {
                    self.fail(&target, Failure::new(error.reason(), error.to_string()))
                }
                Verdict::Refetch | Verdict::Wait => {
                    self.hold_fetch(&error);
                    self.record(&target, Event::Incomplete)
                }
            },
        }
    }

    async fn trial(&mut self, target: Target) -> Result<(), LedgerError> {
        self.record(&target, Event::TrialBegins)?;
        self.publish();
        match self.try_out(&target).await {
            Ok(()) => {
                self.seen.standby = Some(target);
                self.live.waiting = None;
                Ok(())
            }
            Err(TrialOutcome::Damaged(what)) => {
                tracing::warn!(slot = %self.name, version = %target, what, "damaged on disk");
                self.record(&target, Event::Incomplete)
            }
            Err(TrialOutcome::Waits(error)) => {
                self.hold_fetch(&error);
                self.record(&target, Event::Incomplete)
            }
            Err(TrialOutcome::Failed(failure)) => self.fail(&target, failure),
        }
    }

    async fn activate(&mut self, target: Target) -> Result<(), LedgerError> {
        self.record(&target, Event::ActivationBegins)?;
        self.seen.standby = None;
        if let Err(error) = self.shared.workers.activate(&self.name, target.version_id).await {
            // Not serving, although active: the next look records that.
            tracing::warn!(slot = %self.name, %error, "activation failed");
        }
        Ok(())
    }

    async fn try_out(&self, target: &Target) -> Result<(), TrialOutcome> {
        let prepared = match self.shared.artifacts.prepare(target).await {
            Ok(prepared) => prepared,
            Err(FetchError::Incomplete(what)) => return Err(TrialOutcome::Damaged(what)),
            Err(error) if error.is_of_key_holder() => return Err(TrialOutcome::Waits(error)),
            Err(error) => {
                return Err(TrialOutcome::Failed(Failure::new(error.reason(), error.to_string())));
            }
        };
        let spec = SlotSpec {
            slot: self.name.clone(),
            version_id: target.version_id,
            model: target.model.clone(),
            version: target.version.clone(),
            rollout_id: target.rollout_id.clone(),
            settings: target.settings,
            memory: prepared.memory,
        };
        match self.shared.workers.trial(spec, prepared.payload).await {
            Ok(report) => {
                tracing::info!(
                    slot = %self.name, version = %target, pid = report.pid,
                    rss_bytes = report.rss_bytes, load_ms = report.load_time.as_millis(),
                    stopped_serving_first = report.stopped_serving_first, "trial passed"
                );
                Ok(())
            }
            Err(TrialError::Payload(
                error @ (PayloadError::Missing { .. } | PayloadError::Corrupt { .. }),
            )) => Err(TrialOutcome::Damaged(error.to_string())),
            Err(error) => {
                let message = format!("{target}: {error}");
                Err(TrialOutcome::Failed(Failure::new(error.code(), message)))
            }
        }
    }

    fn fail(&mut self, target: &Target, failure: Failure) -> Result<(), LedgerError> {
        tracing::error!(
            slot = %self.name, version = %target, reason = failure.reason,
            message = failure.message, "the update failed"
        );
        self.record(target, Event::Failed(failure))
    }

    fn record(&mut self, target: &Target, event: Event) -> Result<(), LedgerError> {
        let confirms = event == Event::Confirmed;
        let now_us = self.shared.clock.now_us();
        self.change(|state| state.apply(target, event, now_us))?;
        if confirms {
            tracing::info!(slot = %self.name, version = %target, "confirmed");
        }
        Ok(())
    }

    fn change(&mut self, change: impl FnOnce(SlotState) -> SlotState) -> Result<(), LedgerError> {
        // A small file: shorter than a hop to another thread is worth.
        self.shared.ledger.change_slot(&self.name, change)
    }

    /// Returns whether the event was about this slot.
    fn note_exit(&mut self, event: WorkerEvent) -> Result<bool, LedgerError> {
        let WorkerEvent::Exited { slot, version_id, was, reason } = event;
        if slot != self.name {
            return Ok(false);
        }
        match was {
            WorkerRole::Standby => self.seen.standby = None,
            WorkerRole::Serving => {
                self.live.waiting = Some(Failure::new("worker_died", reason));
                if self.seen.damaged.is_some_and(|damaged| damaged != version_id) {
                    self.seen.unfit.push(version_id);
                }
                let now_us = self.shared.clock.now_us();
                self.change(|state| state.died(version_id, now_us))?;
            }
        }
        Ok(true)
    }

    async fn discard_unwanted_standby(&mut self, state: &SlotState) {
        let wanted = |standby: &Target| {
            matches!(&state.update, Some(super::state::Update::Install {
                target, phase: super::phase::Phase::Trial(_), ..
            }) if target.same_work(standby))
        };
        if let Some(standby) = self.seen.standby.take_if(|standby| !wanted(standby)) {
            self.shared.workers.discard(&self.name, standby.version_id).await;
        }
    }

    fn state(&self) -> SlotState {
        self.shared.ledger.slot(&self.name)
    }

    fn look(&mut self) {
        let serving = self.shared.workers.serving();
        let ours = serving.iter().find(|one| one.slot == self.name);
        self.seen.serving = ours.map(|one| one.version_id);
        self.live.serving = self.seen.serving;
    }

    fn publish(&mut self) {
        self.look();
        let state = self.state();
        let next = report(&state, &self.told(&state));
        self.shared.board.send_if_modified(|board| match next {
            Some(next) if board.get(&self.name) != Some(&next) => {
                board.insert(self.name.clone(), next);
                true
            }
            _ => false,
        });
    }
}

impl<W: Workers, A: Artifacts> SlotTask<W, A> {
    /// What is true now, in words: damage of the confirmed version comes first.
    fn told(&self, state: &SlotState) -> Live {
        let confirmed = state.confirmed.as_ref();
        let damaged = confirmed.filter(|one| self.seen.damaged == Some(one.version_id));
        let Some(damaged) = damaged else { return self.live.clone() };
        let serving = state.older_versions().find(|one| Some(one.version_id) == self.live.serving);
        let meanwhile = match serving {
            Some(stand_in) => format!("{stand_in} serves in its place until it is fetched again"),
            None => "nothing can take its place until it is fetched again".to_owned(),
        };
        let waits = self.live.waiting.iter().map(|failure| format!("; {}", failure.message));
        let message = format!(
            "{damaged} is damaged on disk ({}): {meanwhile}{}",
            self.damage,
            waits.collect::<String>()
        );
        Live { waiting: Some(Failure::new("damaged", message)), ..self.live.clone() }
    }
}

enum TrialOutcome {
    /// Not now: what holds the device's key does not answer.
    Waits(FetchError),
    /// Bytes on disk are missing or wrong.
    Damaged(String),
    /// It cannot run here.
    Failed(Failure),
}
