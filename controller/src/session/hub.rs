//! The sessions of this controller: who is connected here, and how to wake them.
//!
//! It holds nothing that must survive: other controllers' changes are found by a sweep of the store,
//! a nudge only makes it quicker.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use edgeformer_proto::ids::{DeviceId, TenantId};
use tokio::sync::Notify;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::scope::TenantScope;
use crate::store::presence::{self, Presence};
use crate::store::{StoreError, sessions, tenants};

/// How late a change made at another controller reaches a device connected here.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);
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

    fn wake(&self, key: &Key) {
        if let Some(entry) = lock(&self.sessions).get(key) {
            entry.recheck.notify_one();
        }
    }

    fn wake_tenant(&self, tenant: TenantId) {
        let all = lock(&self.sessions);
        all.iter().filter(|(key, _)| key.0 == tenant).for_each(|(_, one)| one.recheck.notify_one());
    }

    fn wake_all(&self) {
        lock(&self.sessions).values().for_each(|entry| entry.recheck.notify_one());
    }

    /// Wakes sessions and writes presence until shutdown; then writes what is left.
    pub async fn run(self: Arc<Self>) {
        let mut nudges = self.app.nudges.devices.subscribe();
        let mut sweep = interval(SWEEP_INTERVAL);
        let mut flush = interval(PRESENCE_INTERVAL);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => break,
                nudge = nudges.recv() => match nudge {
                    Ok(key) => self.wake(&key),
                    Err(RecvError::Lagged(_)) => self.wake_all(),
                    Err(RecvError::Closed) => break,
                },
                _ = sweep.tick() => self.note(self.sweep().await),
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

    async fn sweep(&self) -> Result<(), StoreError> {
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
