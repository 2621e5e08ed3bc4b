//! Shares the controller between tenants, so that one tenant's storm does not slow another: a rate for
//! each tenant that has one, and bounded places that go round. What is counted is on this controller
//! alone; several controllers let through as many times as much.
//!
//! It must never let anybody in: that is for authentication and policy. It knows credentials by their
//! hash only, to tell whose request it is before the database is asked.

pub mod bucket;
pub mod fair;
pub mod gate;
pub mod strangers;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use edgeformer_proto::ids::TenantId;

use crate::clock::Timestamp;
use crate::tenancy::Limits;
use bucket::{Bucket, Rate};
use fair::Bounds;
use gate::{Gate, Key};
use strangers::{Address, Strangers};

/// Requests of people and programs at a time: twice the connections to PostgreSQL, since a request is
/// in the database half of its time. A quarter of them is out of reach for any one tenant. As many of
/// one tenant may wait as half of the connections that the listener takes.
pub const API: Bounds = Bounds { places: 32, per_key: 24, waiting_per_key: 512 };
/// Requests of devices at a time, likewise. A whole fleet may come back at once after an outage.
pub const DEVICES: Bounds = Bounds { places: 32, per_key: 24, waiting_per_key: 4096 };
/// Uploads at a time: as many as there are places for their files, the last out of reach for any one
/// tenant. Few wait: an upload that waits holds a connection.
pub const UPLOADS: Bounds = Bounds { places: 4, per_key: 3, waiting_per_key: 4 };
/// Bundles on their way at a time: each reads chunks as fast as somebody takes them.
pub const BUNDLES: Bounds = Bounds { places: 4, per_key: 3, waiting_per_key: 4 };
/// Credentials and tenants remembered at most; beyond, all are learnt anew.
const MAX_REMEMBERED: usize = 16_384;
/// A tenant that goes beyond its rate has it in its audit log this often, not with every request.
const REPORT_EVERY: Duration = Duration::from_secs(60);

/// SHA-256 of the credential that a request carries.
pub type Credential = [u8; 32];

#[derive(Debug, Default)]
struct Tenant {
    bucket: Bucket,
    rate: Option<Rate>,
    reported_at: Option<Timestamp>,
}

/// A request beyond the tenant's rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooFast {
    /// What the tenant may do.
    pub per_second: u32,
    /// Whether this one should be recorded.
    pub report: bool,
}

/// What is counted. One for each controller.
#[derive(Debug)]
pub struct Quota {
    /// Places for requests of people and programs.
    pub api: Gate,
    /// Places for what devices ask of the database.
    pub devices: Gate,
    /// Places for uploads.
    pub uploads: Gate,
    /// Places for bundles on their way.
    pub bundles: Gate,
    tenants: Mutex<HashMap<TenantId, Tenant>>,
    known: Mutex<HashMap<Credential, Key>>,
    strangers: Strangers,
}

impl Default for Quota {
    fn default() -> Self {
        Self {
            api: Gate::new(API),
            devices: Gate::new(DEVICES),
            uploads: Gate::new(UPLOADS),
            bundles: Gate::new(BUNDLES),
            tenants: Mutex::default(),
            known: Mutex::default(),
            strangers: Strangers::default(),
        }
    }
}

impl Quota {
    /// Whose request it probably is, from what was learnt of its credential.
    pub fn whose(&self, credential: Option<&Credential>, address: Option<IpAddr>) -> Key {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = credential.and_then(|credential| known.get(credential)).copied();
        found.unwrap_or(Key::Stranger(address.map(Address::from)))
    }

    /// The credential turned out to be of `tenant` (none: of the installation).
    pub fn learn(&self, credential: Credential, tenant: Option<TenantId>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_REMEMBERED {
            known.clear();
        }
        known.insert(credential, tenant.map_or(Key::Installation, Key::Tenant));
    }

    /// The credential does not work, or there was none: its sender is a stranger.
    pub fn unlearn(&self, credential: Option<&Credential>, sender: Option<IpAddr>, now: Timestamp) {
        if let Some(credential) = credential {
            self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(credential);
        }
        self.count_stranger(sender, now);
    }

    /// Counts a request that anybody may make. False if there were too many from there.
    pub fn count_stranger(&self, sender: Option<IpAddr>, now: Timestamp) -> bool {
        sender.is_none_or(|ip| self.strangers.count(ip.into(), now))
    }

    /// Whether a request can be turned away before anything is asked of the database.
    pub fn peek(&self, key: Key, now: Timestamp) -> Result<(), Option<TooFast>> {
        match key {
            Key::Stranger(Some(address)) if self.strangers.is_over(address, now) => Err(None),
            Key::Tenant(tenant) => {
                let mut all = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(tenant) = all.get_mut(&tenant) else { return Ok(()) };
                let Some(rate) = tenant.rate else { return Ok(()) };
                let over = tenant.bucket.check(rate, now).is_err();
                if over { Err(Some(tenant.too_fast(rate, now))) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    /// Counts a request of the tenant.
    pub fn count(&self, id: TenantId, limits: Limits, now: Timestamp) -> Result<(), TooFast> {
        let mut all = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let rate = limits.requests_per_second.map(Rate::of);
        if rate.is_none() && !all.contains_key(&id) {
            return Ok(());
        }
        if all.len() >= MAX_REMEMBERED {
            all.clear();
        }
        let tenant = all.entry(id).or_default();
        tenant.rate = rate;
        let Some(rate) = rate else { return Ok(()) };
        tenant.bucket.take(rate, now).map_err(|_| tenant.too_fast(rate, now))
    }
}

impl Tenant {
    fn too_fast(&mut self, rate: Rate, now: Timestamp) -> TooFast {
        let report = self.reported_at.is_none_or(|at| now < at || at.plus(REPORT_EVERY) <= now);
        if report {
            self.reported_at = Some(now);
        }
        TooFast { per_second: rate.per_second, report }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_learnt_changed_and_lifted() {
        let (quota, id, now) = (Quota::default(), TenantId::new(), Timestamp(0));
        let limits = |rate| Limits { requests_per_second: rate, ..Limits::default() };
        let key = Key::Tenant(id);
        assert!(quota.peek(key, now).is_ok() && quota.count(id, limits(None), now).is_ok());
        assert!(quota.count(id, limits(Some(1)), now).is_ok());
        let over = TooFast { per_second: 1, report: true };
        assert_eq!(quota.peek(key, now), Err(Some(over)));
        // Said once a minute.
        let over = TooFast { report: false, ..over };
        assert_eq!(quota.count(id, limits(Some(1)), now), Err(over));
        assert!(quota.count(TenantId::new(), limits(Some(1)), now).is_ok(), "another's is its own");
        assert!(quota.count(id, limits(None), now).is_ok());
        assert!(quota.peek(key, now).is_ok());
    }

    #[test]
    fn a_credential_that_stops_working_is_a_strangers() {
        let (quota, id, now) = (Quota::default(), TenantId::new(), Timestamp(0));
        let sender: IpAddr = "192.0.2.7".parse().unwrap();
        let credential = [7; 32];
        let stranger = Key::Stranger(Some(sender.into()));
        assert_eq!(quota.whose(Some(&credential), Some(sender)), stranger);
        quota.learn(credential, Some(id));
        assert_eq!(quota.whose(Some(&credential), Some(sender)), Key::Tenant(id));
        for _ in 0..100 {
            quota.unlearn(Some(&credential), Some(sender), now);
        }
        assert_eq!(quota.whose(Some(&credential), Some(sender)), stranger);
        assert_eq!(quota.peek(stranger, now), Err(None));
        // Whoever is known is not stopped by others behind the same address.
        quota.learn(credential, None);
        assert_eq!(quota.peek(quota.whose(Some(&credential), Some(sender)), now), Ok(()));
    }
}
