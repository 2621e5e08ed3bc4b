//! The sessions of this controller: who is connected here, and how to wake them.
//!
//! It holds nothing that must survive: other controllers' changes are found by a sweep of the store,
//! a nudge only makes it quicker.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use edgeformer_proto::ids::{DeviceId, TenantId};
use tokio::sync::Notify;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::device_listener::guard::CUT_AFTER;
use crate::scope::TenantScope;
use crate::store::presence::{self, Presence};
use crate::store::{StoreError, sessions, tenants};

/// How late a change made at another controller reaches a device connected here, at the latest.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);
/// The same while news of other controllers do not arrive: a revocation holds within two seconds.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How old the last-seen time of a connected device may be in the store, beyond its heartbeat.
const PRESENCE_INTERVAL: Duration = Duration::from_secs(2);

type Key = (TenantId, DeviceId);

#[derive(Clone)]
struct Entry {
    serial: u64,
    recheck: Arc<Notify>,
    superseded: CancellationToken,
}

/// See the module.
pub struct Hub {
    app: App,
    sessions: Mutex<HashMap<Key, Entry>>,
    heard: Mutex<HashMap<Key, Presence>>,
    /// Whether news of other controllers arrive.
    told: AtomicBool,
    serial: AtomicU64,
    shutdown: CancellationToken,
}

/// A session's place in the hub; given up when dropped.
pub struct Place {
    hub: Arc<Hub>,
    key: Key,
    serial: u64,
    /// Wakes the session to read its desired state again.
    pub recheck: Arc<Notify>,
    /// Cancelled when the same device connected again.
    pub superseded: CancellationToken,
}

impl Hub {
    /// Sessions end when `shutdown` is cancelled.
    pub fn new(app: App, shutdown: CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            app,
            sessions: Mutex::default(),
            heard: Mutex::default(),
            told: AtomicBool::new(false),
            serial: AtomicU64::new(0),
            shutdown,
        })
    }

    /// The application.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// Cancelled when the controller stops.
    pub fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }

    /// Takes the device's place; an older session of the same device is told to end.
    pub fn enter(self: &Arc<Self>, tenant: TenantId, device: DeviceId) -> Place {
        let entry = Entry {
            serial: self.serial.fetch_add(1, Ordering::Relaxed),
            recheck: Arc::new(Notify::new()),
            superseded: CancellationToken::new(),
        };
        let key = (tenant, device);
        let older = lock(&self.sessions).insert(key, entry.clone());
        if let Some(older) = older {
            older.superseded.cancel();
        }
        let Entry { serial, recheck, superseded } = entry;
        Place { hub: self.clone(), key, serial, recheck, superseded }
    }

    /// Notes a sign of life; written with the next batch.
    pub fn heard(&self, tenant: TenantId, presence: Presence) {
        lock(&self.heard).insert((tenant, presence.device), presence);
    }

    /// How many devices are connected here.
    pub fn connected(&self) -> usize {
        lock(&self.sessions).len()
    }

    /// Says whether news of other controllers arrive now.
    pub(super) fn set_told(&self, told: bool) {
        self.told.store(told, Ordering::Relaxed);
    }

    /// Something about this device changed, here or elsewhere.
    pub(super) fn wake(self: &Arc<Self>, key: &Key) {
        if let Some(entry) = lock(&self.sessions).get(key) {
            entry.recheck.notify_one();
        } else if self.app.connections().has(key) {
            // Nobody to tell it why: what it does without a session ends if it may not.
            tokio::spawn(Arc::clone(self).recheck_connections(*key));
        }
    }

    async fn recheck_connections(self: Arc<Self>, key: Key) {
        let scope = TenantScope::system(key.0, "sessions");
        let reading = async {
            let mut read = self.app.store.read(&scope).await?;
            sessions::desired(&mut read, key.1).await
        };
        match reading.await {
            // What it may not do beside a session, it is refused when it asks.
            Ok(Some(desired)) if desired.state.may_connect() => {}
            Ok(_) => self.app.connections().cut(&key),
            // The sweep comes again.
            Err(error) => tracing::warn!(%error, "a device's standing could not be read"),
        }
    }

    /// Ends every connection of a device that was told why its session ended.
    pub(super) fn cut_soon(self: &Arc<Self>, key: Key) {
        let hub = Arc::clone(self);
        tokio::spawn(async move {
            sleep(CUT_AFTER).await;
            hub.app.connections().cut(&key);
        });
    }

    fn wake_tenant(&self, tenant: TenantId) {
        let all = lock(&self.sessions);
        all.iter().filter(|(key, _)| key.0 == tenant).for_each(|(_, one)| one.recheck.notify_one());
    }

    pub(super) fn wake_all(&self) {
        lock(&self.sessions).values().for_each(|entry| entry.recheck.notify_one());
    }

    /// Wakes sessions and writes presence until shutdown; then writes what is left.
    pub async fn run(self: Arc<Self>) {
        let news = tokio::spawn(super::news::run(Arc::clone(&self)));
        self.work().await;
        // It ends with the same shutdown; a panic in it is in the log.
        let _ = news.await;
    }

    async fn work(self: &Arc<Self>) {
        let mut nudges = self.app.nudges.devices.subscribe();
        let mut flush = interval(PRESENCE_INTERVAL);
        flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sweep_at = Instant::now();
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => break,
                nudge = nudges.recv() => match nudge {
                    Ok(key) => self.wake(&key),
                    Err(RecvError::Lagged(_)) => self.wake_all(),
                    Err(RecvError::Closed) => break,
                },
                () = sleep_until(sweep_at) => {
                    self.note(self.sweep().await);
                    let told = self.told.load(Ordering::Relaxed);
                    sweep_at = Instant::now() + if told { SWEEP_INTERVAL } else { POLL_INTERVAL };
                }
                _ = flush.tick() => self.note(self.flush_presence().await),
            }
        }
        self.note(self.flush_presence().await);
    }

    fn note(&self, done: Result<(), StoreError>) {
        if let Err(error) = done {
            tracing::warn!(%error, "session housekeeping failed; it runs again in a few seconds");
        }
    }

    async fn sweep(self: &Arc<Self>) -> Result<(), StoreError> {
        self.app.connections().prune();
        let tenants: BTreeSet<TenantId> =
            lock(&self.sessions).keys().map(|(tenant, _)| *tenant).collect();
        for tenant in tenants {
            let mut read = self.app.store.read(&TenantScope::system(tenant, "sessions")).await?;
            if tenants::standing(&mut read).await?.is_none_or(|s| s.serves_devices().is_err()) {
                drop(read);
                self.wake_tenant(tenant);
                continue;
            }
            for device in sessions::behind(&mut read).await? {
                self.wake(&(tenant, device));
            }
        }
        Ok(())
    }

    async fn flush_presence(&self) -> Result<(), StoreError> {
        let heard = std::mem::take(&mut *lock(&self.heard));
        let mut by_tenant: HashMap<TenantId, Vec<Presence>> = HashMap::new();
        for ((tenant, _), presence) in heard {
            by_tenant.entry(tenant).or_default().push(presence);
        }
        for (tenant, mut batch) in by_tenant {
            // In one order always, so that two controllers cannot wait for each other's rows.
            batch.sort_by_key(|presence| presence.device);
            let scope = TenantScope::system(tenant, "sessions");
            let mut write = self.app.store.write_observation(&scope).await?;
            presence::upsert(&mut write, &batch).await?;
            write.commit(self.app.now()).await?;
        }
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut sessions = lock(&self.hub.sessions);
        if sessions.get(&self.key).is_some_and(|entry| entry.serial == self.serial) {
            sessions.remove(&self.key);
        }
    }
}

/// A panic elsewhere leaves these maps whole: each change is one insert or remove.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
