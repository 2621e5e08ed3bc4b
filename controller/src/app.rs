//! What every part of the running controller shares. It holds no state of the fleet: that is in the
//! store, so that several controllers can run beside each other.

use std::ops::Deref;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use edgeformer_proto::ids::{AuditId, DeviceId, TenantId};
use tokio::sync::{Notify, OnceCell, broadcast};

use crate::account::Accounts;
use crate::audit::capacity::Room;
use crate::clock::{Clock, Timestamp};
use crate::device_listener::connections::Connections;
use crate::distribution::objects::Objects;
use crate::distribution::staging::Staging;
use crate::kept::Kept;
use crate::login_session::keys::KeyRing;
use crate::oidc::discovery::Providers;
use crate::outbound::Outbound;
use crate::policy::book::PolicyBook;
use crate::quota::Quota;
use crate::store::Store;
use crate::store::api_tokens::Found;
use crate::tenancy::TenantBook;
use crate::vault::Vault;

/// Nudges that a session did not take in time are dropped; it finds the change on its next tick.
const DEVICE_NUDGES: usize = 1024;

/// Wakes background work before its next tick. A lost nudge costs one tick, never a change.
#[derive(Debug)]
pub struct Nudges {
    /// Records wait for the sequencer.
    pub audit: Notify,
    /// A log signed something that witnesses may cosign.
    pub witnesses: Notify,
    /// A log has records that sinks may get.
    pub sinks: Notify,
    /// Something to be signed was published.
    pub trust: Notify,
    /// A certificate authority was replaced or retired.
    pub authorities: Notify,
    /// Something that rollouts depend on changed.
    pub rollouts: Notify,
    /// A device's desired state or standing changed.
    pub devices: broadcast::Sender<(TenantId, DeviceId)>,
}

impl Default for Nudges {
    fn default() -> Self {
        Self {
            audit: Notify::new(),
            witnesses: Notify::new(),
            sinks: Notify::new(),
            trust: Notify::new(),
            authorities: Notify::new(),
            rollouts: Notify::new(),
            devices: broadcast::channel(DEVICE_NUDGES).0,
        }
    }
}

impl Nudges {
    /// A device's desired state or standing changed.
    pub fn device(&self, tenant: TenantId, device: DeviceId) {
        // No session listens: nobody to wake.
        let _ = self.devices.send((tenant, device));
    }
}

/// The parts.
pub struct Parts {
    /// The database.
    pub store: Store,
    /// Opens wrapped keys.
    pub vault: Arc<Vault>,
    /// Holds sealed chunks and indexes.
    pub objects: Objects,
    /// Where uploads are received.
    pub staging: Staging,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Wakes background work.
    pub nudges: Nudges,
    /// Asks what settings of tenants name.
    pub outbound: Outbound,
}

/// Shared by every request, session and background component. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Shared>);

struct Shared {
    parts: Parts,
    policies: PolicyBook,
    tenants: TenantBook,
    accounts: Accounts,
    session_keys: KeyRing,
    tokens: Kept<[u8; 32], Found>,
    issuer: OnceCell<String>,
    providers: Providers,
    public_url: OnceLock<String>,
    quota: Quota,
    connections: Connections,
    instance: String,
    audit_limits: OnceLock<AuditLimits>,
    audit_room: Mutex<Option<Room>>,
}

/// What the installation decides about its audit logs.
#[derive(Debug, Clone, Copy, Default)]
pub struct AuditLimits {
    /// The shortest time that a tenant may have texts of records kept for.
    pub min_retention_days: u32,
    /// Records of all logs together that the installation is made for; a warning comes before.
    pub record_budget: Option<u64>,
}

impl App {
    /// From its parts.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(Shared {
            parts,
            policies: PolicyBook::default(),
            tenants: TenantBook::default(),
            accounts: Accounts::default(),
            session_keys: KeyRing::default(),
            tokens: Kept::default(),
            issuer: OnceCell::new(),
            providers: Providers::default(),
            public_url: OnceLock::new(),
            quota: Quota::default(),
            connections: Connections::default(),
            instance: AuditId::new().to_string(),
            audit_limits: OnceLock::new(),
            audit_room: Mutex::default(),
        }))
    }

    /// What keeps log-ins slow for those who guess.
    pub fn accounts(&self) -> &Accounts {
        &self.0.accounts
    }

    /// The keys that sign access tokens.
    pub fn session_keys(&self) -> &KeyRing {
        &self.0.session_keys
    }

    /// API tokens that were presented, by SHA-256.
    pub fn tokens(&self) -> &Kept<[u8; 32], Found> {
        &self.0.tokens
    }

    /// The issuer of access tokens, once it is known.
    pub fn issuer(&self) -> &OnceCell<String> {
        &self.0.issuer
    }

    /// What the tenants' OpenID providers say of themselves.
    pub fn providers(&self) -> &Providers {
        &self.0.providers
    }

    /// Says under which URL people reach this controller. Once: what was said first holds.
    pub fn set_public_url(&self, url: &str) {
        // A second call finds the first's.
        let _ = self.0.public_url.set(url.trim_end_matches('/').to_owned());
    }

    /// The URL under which people reach this controller, without a slash at its end. Never what a request
    /// says: whoever sends one could say anything.
    pub fn public_url(&self) -> &str {
        self.0.public_url.get().map_or("https://localhost:8443", String::as_str)
    }

    /// The origin of the pages under that URL, as browsers name it.
    pub fn public_origin(&self) -> String {
        let url: Option<reqwest::Url> = self.public_url().parse().ok();
        url.map(|url| url.origin().ascii_serialization()).unwrap_or_default()
    }

    /// The tenants' policies.
    pub fn policies(&self) -> &PolicyBook {
        &self.0.policies
    }

    /// The tenants' states and limits.
    pub fn tenants(&self) -> &TenantBook {
        &self.0.tenants
    }

    /// What the installation decides about its audit logs.
    pub fn audit_limits(&self) -> AuditLimits {
        self.0.audit_limits.get().copied().unwrap_or_default()
    }

    /// Decides it, once.
    pub fn set_audit_limits(&self, limits: AuditLimits) {
        // What was decided first stays.
        let _ = self.0.audit_limits.set(limits);
    }

    /// How much room there is for audit records; none before it was looked at.
    pub fn audit_room(&self) -> Option<Room> {
        *self.0.audit_room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what was seen.
    pub(crate) fn set_audit_room(&self, room: Room) {
        *self.0.audit_room.lock().unwrap_or_else(PoisonError::into_inner) = Some(room);
    }

    /// This controller, to others on the same database; made up when it starts.
    pub fn instance(&self) -> &str {
        &self.0.instance
    }

    /// The open connections of devices.
    pub fn connections(&self) -> &Connections {
        &self.0.connections
    }

    /// What is shared between the tenants.
    pub fn quota(&self) -> &Quota {
        &self.0.quota
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        self.0.parts.clock.now()
    }
}

impl Deref for App {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0.parts
    }
}
