//! Streams the log to where its tenant wants it. In order and at least once: a position moves on when a
//! delivery ended well, and after a failure it begins where the last good one ended. Beside the
//! sequencer and never in its way; a sink that is away costs its own records a delay and nothing else.

mod syslog;
pub mod webhook;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use edgeformer_proto::ids::SinkId;
use futures::future::join_all;
use tokio::sync::Semaphore;

use super::export::Log;
use crate::app::App;
use crate::clock::Timestamp;
use crate::error::AppError;
use crate::scope::{InstallationScope, Scope, TenantScope};
use crate::store::audit_sinks::{self, Lease, Sink, Target};
use crate::store::{StoreError, audit_log, installation, tenants};
use crate::vault::{SecretKind, VaultError};

pub use syslog::check as check_syslog;

/// How often sinks that failed, or whose controller went away, are looked at without a nudge.
const INTERVAL: Duration = Duration::from_secs(5);
/// Records of a busy log go out together this often.
const PAUSE: Duration = Duration::from_millis(500);
/// Sinks delivered to at a time, each with a page of records in memory.
const SINKS_AT_A_TIME: usize = 32;
/// Records read at a time.
const PAGE: i64 = 100;
/// Records of one delivery: what is sent again when it does not end well.
const RECORDS_PER_DELIVERY: u64 = 1000;
/// Longer than a delivery takes at most, so that no second controller begins in the middle of it.
const LEASE: Duration = Duration::from_secs(300);
/// For one delivery, from connecting to its end.
const DELIVERY_LIMIT: Duration = Duration::from_secs(120);
/// First pause after a failure; doubled with each one, and then a random part of it.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// Longest pause after failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// Longest explanation kept, in characters.
const MAX_ERROR_CHARS: usize = 300;
/// Tenants read at a time.
const TENANTS_PER_PAGE: i64 = 200;
const COMPONENT: &str = "audit-sinks";

/// Why nothing was delivered. The text is kept with the sink and shown to its tenant.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The receiver, or the way to it.
    #[error("{0}")]
    Receiver(String),
    /// What we know of it cannot be used.
    #[error("the sink's certificates or keys cannot be used: {0}")]
    Settings(String),
    /// Our side.
    #[error("the controller failed; its log says why")]
    Store(#[from] StoreError),
    /// Our side.
    #[error("the sink's key does not open")]
    Vault(#[from] VaultError),
}

/// Whose sink it is.
#[derive(Debug, Clone)]
enum Owner {
    Installation(InstallationScope),
    Tenant(TenantScope),
}

/// Sinks that are being delivered to, or wait for a place.
type Running = Arc<Mutex<HashSet<SinkId>>>;

/// The one delivery to a sink; given back however it ends.
struct Turn(Running, SinkId);

impl Turn {
    fn take(running: &Running, id: SinkId) -> Option<Self> {
        let is_new = running.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        is_new.then(|| Self(Arc::clone(running), id))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

/// Runs until cancelled.
pub async fn run(app: App) {
    let places = Arc::new(Semaphore::new(SINKS_AT_A_TIME));
    let running = Running::default();
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        match due(&app).await {
            Err(error) => tracing::error!(%error, "sinks are not being delivered to; trying again"),
            Ok(due) => {
                for (owner, id) in due {
                    let Some(turn) = Turn::take(&running, id) else { continue };
                    let (app, places) = (app.clone(), Arc::clone(&places));
                    tasks.spawn(async move {
                        let place = places.acquire().await;
                        deliver(&app, &owner, id).await;
                        drop((place, turn));
                        // There may be more by now.
                        app.nudges.sinks.notify_one();
                    });
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
        tokio::select! {
            () = app.nudges.sinks.notified() => {}
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

/// Delivers once to every sink that is due. Returns how many records went out.
pub async fn deliver_due(app: &App) -> Result<u64, StoreError> {
    let due = due(app).await?;
    let deliveries = due.iter().map(|(owner, id)| deliver(app, owner, *id));
    Ok(join_all(deliveries).await.into_iter().sum())
}

/// The sinks that have something to get and are not in a pause.
async fn due(app: &App) -> Result<Vec<(Owner, SinkId)>, StoreError> {
    let top = InstallationScope::system(COMPONENT);
    let mut due = Vec::new();
    let of = due_of(app, &top).await?;
    due.extend(of.into_iter().map(|id| (Owner::Installation(top.clone()), id)));
    let mut after = None;
    loop {
        let mut read = app.store.read(&top).await?;
        let page = tenants::list(&mut read, after, TENANTS_PER_PAGE).await?;
        drop(read);
        let Some(last) = page.last() else { return Ok(due) };
        after = Some(last.id);
        for tenant in page.iter().filter(|tenant| !tenant.standing.lifecycle.is_purging()) {
            let scope = TenantScope::system(tenant.id, COMPONENT);
            match due_of(app, &scope).await {
                Ok(ids) => {
                    due.extend(ids.into_iter().map(|id| (Owner::Tenant(scope.clone()), id)));
                }
                // One tenant's damaged row must not keep the others' records from their sinks.
                Err(error) => {
                    tracing::error!(%error, tenant = %tenant.id, "its sinks are not read")
                }
            }
        }
    }
}

async fn due_of<S: Scope>(app: &App, scope: &S) -> Result<Vec<SinkId>, StoreError> {
    let now = app.now();
    let mut read = app.store.read(scope).await?;
    let sinks = audit_sinks::list(&mut read).await?;
    if sinks.is_empty() {
        return Ok(Vec::new());
    }
    let size = audit_log::head(&mut read).await?.size();
    let waits = |sink: &&Sink| sink.enabled && sink.next_sequence < size && sink.next_try_at <= now;
    Ok(sinks.iter().filter(waits).map(|sink| sink.id).collect())
}

async fn deliver(app: &App, owner: &Owner, id: SinkId) -> u64 {
    let delivered = match owner {
        Owner::Installation(scope) => deliver_to(app, scope, id).await,
        Owner::Tenant(scope) => deliver_to(app, scope, id).await,
    };
    delivered.unwrap_or_else(|error| {
        tracing::error!(%error, sink = %id, "a sink is not being delivered to; trying again");
        0
    })
}

/// One delivery, with what it leaves in the store.
async fn deliver_to<S: Scope>(app: &App, scope: &S, id: SinkId) -> Result<u64, StoreError> {
    let now = app.now();
    let lease = Lease { holder: app.instance().to_owned(), until: now.plus(LEASE) };
    let mut write = app.store.write_observation(scope).await?;
    let claimed = audit_sinks::claim(&mut write, id, &lease, now).await?;
    let sink = audit_sinks::get(&mut write, id).await?;
    write.commit(now).await?;
    let Some(sink) = sink.filter(|_| claimed) else { return Ok(0) };
    let (from, mut to) = (sink.next_sequence, sink.next_sequence);
    let sent = match tokio::time::timeout(DELIVERY_LIMIT, send(app, scope, &sink, &mut to)).await {
        Ok(sent) => sent,
        Err(_) => Err(SinkError::Receiver("it takes longer than two minutes".to_owned())),
    };
    let now = app.now();
    let mut write = app.store.write_observation(scope).await?;
    // Also when the end failed: what was acknowledged before it is not sent again.
    let moved =
        to > from && audit_sinks::advance(&mut write, id, &lease.holder, (from, to), now).await?;
    if let Err(error) = sent {
        let (name, log) = (&sink.name, scope.key());
        tracing::warn!(sink = name, log, %error, "a sink was not delivered to");
        let text: String = error.to_string().chars().take(MAX_ERROR_CHARS).collect();
        let again = pause_until(sink.failures, now, rand::random());
        audit_sinks::fail(&mut write, id, &lease.holder, &text, again).await?;
    }
    write.commit(now).await?;
    Ok(if moved { to - from } else { 0 })
}

/// Full jitter: those that failed together do not come back together.
fn pause_until(failures: u32, now: Timestamp, chance: f64) -> Timestamp {
    let pause = FIRST_PAUSE * 2_u32.pow(failures.min(16));
    now.plus(pause.min(LONGEST_PAUSE).mul_f64(chance))
}

/// Sends what is due, as much as one delivery takes. `done` is moved to where the receiver has everything.
async fn send<S: Scope>(
    app: &App,
    scope: &S,
    sink: &Sink,
    done: &mut u64,
) -> Result<(), SinkError> {
    let key = match sink.wrapped_key.as_slice() {
        [] => None,
        wrapped => Some(app.vault.unwrap(SecretKind::SinkKey, &sink.id.to_string(), wrapped)?),
    };
    let key = key.as_deref().map(Vec::as_slice);
    let mut records = Records::of(app, scope, sink).await?;
    let Some(first) = records.next().await? else {
        // What was left was deleted before this sink came to it.
        *done = records.skipped_to.unwrap_or(*done);
        return Ok(());
    };
    let mut page = Some(first);
    match &sink.target {
        Target::Syslog { host, port, ca_pem, client_cert_pem } => {
            let tls = syslog::tls(ca_pem, client_cert_pem.as_deref().zip(key))?;
            let mut session = syslog::Session::open(&app.outbound, host, *port, tls).await?;
            while let Some(events) = page {
                session.send(events, &records.log, sink.format).await?;
                page = records.next().await?;
            }
            session.close().await?;
            *done = records.next;
        }
        Target::Webhook { url, .. } => {
            while let Some(events) = page {
                let batch = webhook::Batch { sink: sink.id, from: *done, to: records.next };
                webhook::post(&app.outbound, url, &batch, events, &records.log, sink.format, key)
                    .await?;
                *done = records.next;
                page = records.next().await?;
            }
        }
    }
    Ok(())
}

/// The records of a delivery, page by page.
struct Records<'a, S> {
    app: &'a App,
    scope: &'a S,
    log: Log,
    next: u64,
    end: u64,
    /// End of the log, when nothing is left in it.
    skipped_to: Option<u64>,
}

impl<'a, S: Scope> Records<'a, S> {
    async fn of(app: &'a App, scope: &'a S, sink: &Sink) -> Result<Self, StoreError> {
        let top = InstallationScope::system(COMPONENT);
        let row = installation::get(&mut *app.store.read(&top).await?).await?;
        let trust_domain = row.map(|row| row.trust_domain).unwrap_or_default();
        let log = Log { trust_domain, tenant: scope.key() };
        let next = sink.next_sequence;
        let end = next + RECORDS_PER_DELIVERY;
        Ok(Self { app, scope, log, next, end, skipped_to: None })
    }

    async fn next(&mut self) -> Result<Option<Vec<super::Event>>, StoreError> {
        if self.next >= self.end {
            return Ok(None);
        }
        let mut read = self.app.store.read(self.scope).await?;
        let page = audit_log::from(&mut read, self.next, PAGE).await?;
        let Some(last) = page.last().and_then(|event| event.sequence) else {
            self.skipped_to = Some(audit_log::head(&mut read).await?.size());
            return Ok(None);
        };
        self.next = last + 1;
        Ok(Some(page))
    }
}

impl From<SinkError> for AppError {
    fn from(error: SinkError) -> Self {
        match error {
            SinkError::Store(error) => Self::Store(error),
            SinkError::Vault(error) => Self::Internal(error.to_string()),
            SinkError::Receiver(what) | SinkError::Settings(what) => Self::invalid("target", what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_ten_minutes() {
        let at = |failures, chance| pause_until(failures, Timestamp(0), chance).0 / 1_000_000;
        assert_eq!([at(0, 1.0), at(1, 1.0), at(5, 1.0), at(40, 1.0)], [2, 4, 64, 600]);
        assert_eq!((at(5, 0.0), at(5, 0.5)), (0, 32));
    }
}
