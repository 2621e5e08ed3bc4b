//! Log-ins per address: so many at once, then one every few seconds. It keeps one address from trying
//! many names; a name is kept by its own lock.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use crate::clock::Timestamp;
use crate::quota::strangers::Address;

/// Log-ins at once.
const BURST: f64 = 20.0;
/// One more after so many seconds.
const SECONDS_PER_LOGIN: f64 = 3.0;
/// Addresses remembered; beyond, the oldest are forgotten.
const MAX_ADDRESSES: usize = 10_000;

/// What is left of each address.
#[derive(Debug, Default)]
pub struct Throttle(Mutex<HashMap<Address, (f64, Timestamp)>>);

impl Throttle {
    /// Whether `address` may try now.
    pub fn admit(&self, address: Option<IpAddr>, now: Timestamp) -> bool {
        // Without an address there is no network in between.
        let Some(address) = address.map(Address::from) else { return true };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_ADDRESSES {
            let full = |&(left, at): &(f64, Timestamp)| refilled(left, at, now) >= BURST;
            all.retain(|_, state| !full(state));
            if all.len() >= MAX_ADDRESSES {
                all.clear();
            }
        }
        let (left, at) = all.get(&address).copied().unwrap_or((BURST, now));
        let left = refilled(left, at, now);
        let admitted = left >= 1.0;
        all.insert(address, (if admitted { left - 1.0 } else { left }, now));
        admitted
    }
}

fn refilled(left: f64, at: Timestamp, now: Timestamp) -> f64 {
    let seconds = now.0.saturating_sub(at.0).max(0) as f64 / 1e6;
    (left + seconds / SECONDS_PER_LOGIN).min(BURST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gets_a_burst_and_then_one_at_a_time() {
        let (throttle, a, b) =
            (Throttle::default(), "10.0.0.1".parse().ok(), "10.0.0.2".parse().ok());
        let at = |s: i64| Timestamp(s * 1_000_000);
        for _ in 0..20 {
            assert!(throttle.admit(a, at(0)));
        }
        assert!(!throttle.admit(a, at(0)) && !throttle.admit(a, at(2)));
        assert!(throttle.admit(b, at(0)), "another address");
        assert!(throttle.admit(a, at(5)) && !throttle.admit(a, at(5)));
        // The same address in another notation.
        assert!(!throttle.admit("::ffff:10.0.0.1".parse().ok(), at(5)));
        assert!(throttle.admit(None, at(5)));
        // A household has 2^64 of these.
        let neighbours = |n: u32| format!("2001:db8::{n:x}").parse().ok();
        let admitted = (0..100).filter(|n| throttle.admit(neighbours(*n), at(9))).count();
        assert_eq!(admitted, 20);
    }
}
