//! How a copied device shows itself: at each session the controller offers a new random value, the
//! device keeps it durably and shows it at the next. Whoever was copied, or restored from an image, shows
//! a value that the device has left behind.
//!
//! What a device has not said it keeps is never taken for kept, so an offer that was lost, a crash before
//! or after the device wrote it, and a connection that came late leave it with one of the two values
//! that are good. No I/O, no clock, no randomness.

use crate::v1;

/// Length of a value.
pub const VALUE_BYTES: usize = 16;

/// A place in the chain of a device's sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Instance {
    /// Raised at each session; 0 before the first.
    pub counter: u64,
    /// Random; zeros before the first.
    pub value: [u8; VALUE_BYTES],
}

/// Bytes that are no instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an instance is a counter and 16 bytes, or neither")]
pub struct InstanceError;

impl TryFrom<&v1::Instance> for Instance {
    type Error = InstanceError;
    fn try_from(wire: &v1::Instance) -> Result<Self, InstanceError> {
        match (wire.counter, wire.value.len()) {
            (0, 0) => Ok(Self::default()),
            (0, _) => Err(InstanceError),
            (counter, _) => {
                let value = <[u8; VALUE_BYTES]>::try_from(&wire.value[..]);
                Ok(Self { counter, value: value.map_err(|_| InstanceError)? })
            }
        }
    }
}

impl From<Instance> for v1::Instance {
    fn from(instance: Instance) -> Self {
        let value = if instance.counter == 0 { Vec::new() } else { instance.value.to_vec() };
        Self { counter: instance.counter, value: value.into() }
    }
}

impl Instance {
    /// Whether a device that holds this takes `offer`: only what is newer.
    pub fn takes(&self, offer: &Self) -> bool {
        offer.counter > self.counter
    }

    fn next(&self, value: [u8; VALUE_BYTES]) -> Self {
        Self { counter: self.counter.saturating_add(1), value }
    }
}

/// What the controller knows of one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ratchet {
    /// The newest that the device said it keeps.
    pub confirmed: Instance,
    /// Offered after that. The device may keep it or never have heard of it.
    pub offered: Option<Instance>,
}

/// What a shown value says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the device, as last seen or one offer further.
    Good,
    /// The device is further than this controller knows: its database is older than the device.
    Ahead,
    /// Whoever shows it left the chain earlier: a copy, or a device restored from an image. Sure only
    /// once they answered a probe: it may be a message that came late.
    Behind,
}

impl Ratchet {
    /// Hears what a device shows, and makes an offer (`fresh` is random) unless one is waiting.
    pub fn hear(&mut self, shown: Instance, fresh: [u8; VALUE_BYTES]) -> Verdict {
        let newest = self.offered.unwrap_or(self.confirmed);
        let verdict = if shown == self.confirmed {
            Verdict::Good
        } else if Some(shown) == self.offered {
            *self = Self { confirmed: shown, offered: None };
            Verdict::Good
        } else if shown.counter > newest.counter {
            *self = Self { confirmed: shown, offered: None };
            Verdict::Ahead
        } else {
            return Verdict::Behind;
        };
        // The same offer until it is kept: a second one would make two good values three.
        self.offered.get_or_insert(self.confirmed.next(fresh));
        verdict
    }

    /// Hears that the device keeps `kept`. What was not offered last changes nothing.
    pub fn kept(&mut self, kept: Instance) -> bool {
        let is_new = self.offered == Some(kept);
        if is_new {
            *self = Self { confirmed: kept, offered: None };
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_reads_back_and_nothing_else_is_one() {
        for instance in [Instance::default(), Instance { counter: 7, value: [3; 16] }] {
            assert_eq!(Instance::try_from(&v1::Instance::from(instance)), Ok(instance));
        }
        for (counter, bytes) in [(0, 16), (1, 0), (1, 15), (1, 17), (1, 1 << 20)] {
            let wire = v1::Instance { counter, value: vec![0; bytes].into() };
            assert_eq!(Instance::try_from(&wire), Err(InstanceError), "{counter} {bytes}");
        }
    }

    #[test]
    fn a_copy_is_behind_as_soon_as_one_of_the_two_went_on() {
        let mut ratchet = Ratchet::default();
        let first = Instance::default();
        assert_eq!(ratchet.hear(first, [1; 16]), Verdict::Good);
        let second = ratchet.offered.unwrap();
        assert!(first.takes(&second) && !second.takes(&second) && !second.takes(&first));
        // The offer was lost, or the device lost power before it wrote it: the same one again.
        assert_eq!(ratchet.hear(first, [2; 16]), Verdict::Good);
        assert_eq!(ratchet.offered, Some(second));
        // It was written and the word of it was lost.
        assert_eq!(ratchet.hear(second, [3; 16]), Verdict::Good);
        assert_eq!(ratchet.hear(first, [4; 16]), Verdict::Behind);
        let third = ratchet.offered.unwrap();
        assert!(ratchet.kept(third) && !ratchet.kept(third) && !ratchet.kept(second));
        assert_eq!(ratchet.hear(second, [5; 16]), Verdict::Behind);
        // Another value at the same place is no better.
        assert_eq!(ratchet.hear(Instance { value: [9; 16], ..third }, [6; 16]), Verdict::Behind);
        // A controller whose database was put back.
        let before = ratchet;
        assert_eq!(ratchet.hear(Instance { counter: 9, value: [8; 16] }, [7; 16]), Verdict::Ahead);
        assert_eq!(ratchet.confirmed.counter, 9);
        assert_ne!(ratchet, before);
    }
}
