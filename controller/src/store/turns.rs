//! The one writer of a SQLite database. Writers take turns inside one transaction, and whoever waited
//! for a turn before the first of them was done is in it too: what many wait for together reaches the
//! disk with one flush. Nobody is answered before that flush, and a turn that fails undoes itself alone.
//!
//! A transaction that cannot be committed fails every turn in it. It must never be left open.

use std::sync::Arc;

use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, OwnedMutexGuard, watch};

use super::StoreError;

/// Where writers wait. The lock is fair: turns are taken in the order of asking.
#[derive(Debug, Clone)]
pub(super) struct Turns {
    pool: AnyPool,
    seat: Arc<Mutex<Seat>>,
}

#[derive(Debug, Default)]
struct Seat {
    group: Option<Group>,
}

/// A transaction that is open, and what became of the turns in it.
#[derive(Debug)]
struct Group {
    connection: PoolConnection<Any>,
    /// Where the turn that runs, or ran last, began.
    began: Began,
    /// That turn has not ended, or its owner went away.
    unfinished: bool,
    /// Somebody is in the queue to commit.
    closing: bool,
    outcome: watch::Sender<Option<Outcome>>,
}

type Outcome = Result<(), Arc<sqlx::Error>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Began {
    /// With the transaction: nobody is in it yet.
    Transaction,
    /// After others, at a savepoint.
    Savepoint,
}

impl Turns {
    pub(super) fn new(pool: AnyPool) -> Self {
        Self { pool, seat: Arc::default() }
    }

    /// Waits for a turn.
    pub(super) async fn next(&self) -> Result<Turn, sqlx::Error> {
        let seat = Arc::clone(&self.seat).lock_owned().await;
        let turns = self.clone();
        // In a task: if whoever asked gives up meanwhile, it is still known how far it came.
        let begin = async move {
            let mut turn = Turn { turns, seat: Some(seat) };
            turn.begin().await.map(|()| turn)
        };
        tokio::spawn(begin).await.unwrap_or(Err(sqlx::Error::WorkerCrashed))
    }

    /// Keeps everybody else from writing while the guard lives; no transaction is open then.
    pub(super) async fn pause(&self) -> impl Sized + use<> {
        let mut seat = Arc::clone(&self.seat).lock_owned().await;
        seat.close().await;
        seat
    }

    /// Returns when what was written before is on the disk; an error if it was undone.
    pub(super) async fn settled(&self) -> Result<(), StoreError> {
        let mut seat = self.seat.lock().await;
        let Some(group) = &mut seat.group else { return Ok(()) };
        let (ended, close) = group.ending();
        drop(seat);
        if close {
            self.close_later();
        }
        ended.await
    }

    /// Gets in the queue and commits what is open by then.
    fn close_later(&self) {
        let seat = Arc::clone(&self.seat);
        // Without a runtime nothing waits for the transaction, and its connection undoes it.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { seat.lock_owned().await.close().await });
        }
    }
}

impl Seat {
    /// Ends the transaction that is open and tells everybody in it what became of it.
    async fn close(&mut self) {
        let Some(mut group) = self.group.take() else { return };
        let statement = match (group.unfinished, group.began) {
            (false, _) => "COMMIT",
            (true, Began::Transaction) => "ROLLBACK",
            (true, Began::Savepoint) => "ROLLBACK TO turn; COMMIT",
        };
        match group.run(statement).await {
            Ok(()) => _ = group.outcome.send_replace(Some(Ok(()))),
            Err(error) => group.fail(error).await,
        }
    }
}

impl Group {
    async fn open(pool: &AnyPool) -> Result<Self, sqlx::Error> {
        let mut group = Self {
            connection: pool.acquire().await?,
            began: Began::Transaction,
            unfinished: true,
            closing: false,
            outcome: watch::Sender::new(None),
        };
        match group.run("BEGIN IMMEDIATE").await {
            Ok(()) => Ok(group),
            Err(error) => {
                group.connection.close_on_drop();
                Err(error)
            }
        }
    }

    /// Begins another turn, after the last one that ended or was left.
    async fn join(&mut self) -> Result<(), sqlx::Error> {
        let statement = match (self.unfinished, self.began) {
            (false, Began::Transaction) => "SAVEPOINT turn",
            (false, Began::Savepoint) => "RELEASE turn; SAVEPOINT turn",
            (true, Began::Transaction) => "ROLLBACK; BEGIN IMMEDIATE",
            (true, Began::Savepoint) => "ROLLBACK TO turn",
        };
        if !self.unfinished {
            self.began = Began::Savepoint;
        }
        self.unfinished = true;
        self.run(statement).await
    }

    async fn run(&mut self, statement: &'static str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(statement).execute(&mut *self.connection).await.map(|_| ())
    }

    /// What becomes of the transaction, and whether the caller is the one to have it closed.
    fn ending(&mut self) -> (impl Future<Output = Result<(), StoreError>> + use<>, bool) {
        let close = !std::mem::replace(&mut self.closing, true);
        let mut outcome = self.outcome.subscribe();
        let ended = async move {
            let ended = match outcome.wait_for(Option::is_some).await {
                Ok(outcome) => outcome.clone().unwrap_or(Ok(())),
                Err(_) => Err(Arc::new(sqlx::Error::WorkerCrashed)),
            };
            ended.map_err(StoreError::Commit)
        };
        (ended, close)
    }

    /// Gives the transaction up. The connection may be in any state: it is not used again.
    async fn fail(mut self, error: sqlx::Error) {
        tracing::error!(%error, "changes could not be committed and are undone");
        _ = self.run("ROLLBACK").await;
        self.connection.close_on_drop();
        self.outcome.send_replace(Some(Err(Arc::new(error))));
    }
}

/// A turn at writing. Dropping it undoes what was done in it.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Turns,
    seat: Option<OwnedMutexGuard<Seat>>,
}

impl Turn {
    fn group(&mut self) -> &mut Option<Group> {
        &mut self.seat.as_mut().expect("a turn has the seat until it ends").group
    }

    async fn begin(&mut self) -> Result<(), sqlx::Error> {
        let joined = match self.group() {
            Some(group) => group.join().await,
            None => Err(sqlx::Error::RowNotFound),
        };
        if joined.is_ok() {
            return Ok(());
        }
        // Not those in a transaction that broke are to blame, nor is this turn.
        if let (Some(group), Err(error)) = (self.group().take(), joined) {
            group.fail(error).await;
        }
        let group = Group::open(&self.turns.pool).await?;
        *self.group() = Some(group);
        Ok(())
    }

    /// The connection, inside the transaction.
    pub(super) fn db(&mut self) -> &mut AnyConnection {
        &mut self.group().as_mut().expect("a turn has a transaction").connection
    }

    /// Ends the turn, and returns when what was done in it is on the disk.
    pub(super) async fn commit(mut self) -> Result<(), StoreError> {
        let group = self.group().as_mut().expect("a turn has a transaction");
        group.unfinished = false;
        let (ended, close) = group.ending();
        self.seat = None;
        if close {
            self.turns.close_later();
        }
        ended.await
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(mut seat) = self.seat.take() else { return };
        let Some(group) = &mut seat.group else { return };
        // Whoever is next undoes it; if nobody is, the one who closes does.
        let close = !std::mem::replace(&mut group.closing, true);
        drop(seat);
        if close {
            self.turns.close_later();
        }
    }
}

#[cfg(test)]
mod tests;
