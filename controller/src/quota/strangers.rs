//! People and programs that are not known yet, by their network address: how often they may fail to
//! say who they are, and how often they may ask what everybody may.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use super::bucket::{Bucket, Rate};
use crate::clock::Timestamp;

/// An office behind one address may mistype some; a guesser gets nowhere at this rate, even through
/// many addresses: tokens have 256 bits.
const STRANGERS: Rate = Rate { per_second: 2, burst: 60 };
/// Addresses remembered at most. Beyond, those that did nothing lately are forgotten, then all.
const MAX_ADDRESSES: usize = 16_384;

/// A network address as far as it stands for somebody: a household has a whole IPv6 /64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address(IpAddr);

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V6(ip) => {
                let network = u128::from(ip) & (u128::MAX << 64);
                Self(IpAddr::V6(Ipv6Addr::from(network)))
            }
            v4 => Self(v4),
        }
    }
}

/// A bucket per address.
#[derive(Debug, Default)]
pub struct Strangers(Mutex<HashMap<Address, Bucket>>);

impl Strangers {
    /// Whether the address asked too often.
    pub fn is_over(&self, address: Address, now: Timestamp) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get_mut(&address).is_some_and(|bucket| bucket.check(STRANGERS, now).is_err())
    }

    /// Counts a request of the address. False if that was one too many.
    pub fn count(&self, address: Address, now: Timestamp) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_ADDRESSES && !all.contains_key(&address) {
            all.retain(|_, bucket| !bucket.is_full(now));
            if all.len() >= MAX_ADDRESSES {
                all.clear();
            }
        }
        all.entry(address).or_default().take(STRANGERS, now).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guesser_is_slowed_down_and_its_neighbour_is_not() {
        let strangers = Strangers::default();
        let address = |text: &str| Address::from(text.parse::<IpAddr>().unwrap());
        let (guesser, now) = (address("2001:db8::1"), Timestamp(0));
        let let_in = (0..1000).filter(|_| strangers.count(guesser, now)).count();
        assert_eq!(let_in, 60);
        assert!(strangers.is_over(address("2001:db8::ffff"), now), "the same network");
        assert!(!strangers.is_over(address("2001:db8:0:1::1"), now));
        assert!(strangers.count(address("192.0.2.1"), now));
        assert_eq!(address("::ffff:192.0.2.1"), address("192.0.2.1"));
        assert!(!strangers.is_over(guesser, Timestamp(1_000_000)));
    }

    #[test]
    fn however_many_addresses_come_memory_is_bounded() {
        let strangers = Strangers::default();
        for n in 0..(MAX_ADDRESSES as u32 * 2) {
            strangers.count(Address(IpAddr::V4(n.into())), Timestamp(0));
        }
        assert!(strangers.0.lock().unwrap().len() <= MAX_ADDRESSES);
    }
}
