//! Places for peers that have not shown a certificate: those in a handshake and those that enrol.
//! They are counted apart and per address, so that whoever opens connections without being a device
//! never takes the places that enrolled devices need.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A quarter of all connections: a fleet that enrols or reconnects at once still gets through.
pub const MAX_STRANGERS: usize = 4096;
/// A site behind one address may have this many devices in a handshake; the others try again later.
pub const MAX_STRANGERS_PER_ADDRESS: usize = 512;
/// Enrolment and renewal are a few calls in a row; a minute covers the worst link.
pub const STRANGER_LIFETIME: Duration = Duration::from_secs(60);

/// The places.
#[derive(Debug)]
pub struct Strangers {
    held: Mutex<Held>,
    max: usize,
    max_per_address: usize,
}

#[derive(Debug, Default)]
struct Held {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One place; free again when dropped.
#[derive(Debug)]
pub struct StrangerPlace {
    strangers: Arc<Strangers>,
    address: IpAddr,
}

impl Strangers {
    /// With the limits of this module.
    pub fn new() -> Arc<Self> {
        Self::with_limits(MAX_STRANGERS, MAX_STRANGERS_PER_ADDRESS)
    }

    fn with_limits(max: usize, max_per_address: usize) -> Arc<Self> {
        Arc::new(Self { held: Mutex::default(), max, max_per_address })
    }

    /// A place for a peer at `address`; none when it or all of them have too many.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Option<StrangerPlace> {
        let mut held = self.lock();
        if held.total >= self.max {
            return None;
        }
        let of_address = held.by_address.entry(address).or_default();
        if *of_address >= self.max_per_address {
            return None;
        }
        *of_address += 1;
        held.total += 1;
        Some(StrangerPlace { strangers: Arc::clone(self), address })
    }

    /// Each change is one or two sums: a panic elsewhere leaves them whole.
    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for StrangerPlace {
    fn drop(&mut self) {
        let mut held = self.strangers.lock();
        held.total -= 1;
        if let Some(count) = held.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                held.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_the_places_of_the_others() {
        let strangers = Strangers::with_limits(3, 2);
        let (a, b) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let first = strangers.enter(a).unwrap();
        let _second = strangers.enter(a).unwrap();
        assert!(strangers.enter(a).is_none(), "two of one address");
        let third = strangers.enter(b).unwrap();
        assert!(strangers.enter(b).is_none(), "three in all");
        drop(first);
        assert!(strangers.enter(a).is_some());
        drop(third);
        assert!(!strangers.lock().by_address.contains_key(&b), "nothing is kept of who left");
    }
}
