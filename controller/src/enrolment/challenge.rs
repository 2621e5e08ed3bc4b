//! Nonces for renewal, without keeping any: a MAC over the device and the time.
//!
//! `1 ‖ issued_at_us (8, big endian) ‖ HMAC-SHA-256(key, 1 ‖ issued_at_us ‖ device id)`. A nonce may be
//! used again within its two minutes; what it then yields is one more certificate for the same key.

use std::time::Duration;

use edgeformer_proto::ids::DeviceId;
use ring::hmac;

use crate::clock::Timestamp;

/// A renewal is two calls in a row; two minutes cover the worst link.
pub const LIFETIME: Duration = Duration::from_secs(120);

const FORMAT: u8 = 1;
const HEADER_BYTES: usize = 9;
const NONCE_BYTES: usize = HEADER_BYTES + 32;

/// Why a nonce was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeError {
    /// It was not made here for this device.
    #[error("the nonce was not issued here for this device: ask for a new one (Challenge)")]
    Foreign,
    /// It is too old.
    #[error("the nonce is older than two minutes: ask for a new one (Challenge)")]
    Expired,
}

/// Issues and checks nonces.
pub struct Challenger {
    key: hmac::Key,
}

impl Challenger {
    /// With a key that all controllers of the installation share.
    pub fn new(key: &[u8]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key) }
    }

    /// A nonce for `device`.
    pub fn issue(&self, device: DeviceId, now: Timestamp) -> Vec<u8> {
        let mut nonce = Vec::with_capacity(NONCE_BYTES);
        nonce.push(FORMAT);
        nonce.extend_from_slice(&now.0.to_be_bytes());
        let tag = hmac::sign(&self.key, &Self::input(&nonce, device));
        nonce.extend_from_slice(tag.as_ref());
        nonce
    }

    /// Whether `nonce` was issued here for `device` within the last two minutes.
    pub fn check(
        &self,
        device: DeviceId,
        nonce: &[u8],
        now: Timestamp,
    ) -> Result<(), ChallengeError> {
        let (header, tag) = nonce.split_at_checked(HEADER_BYTES).ok_or(ChallengeError::Foreign)?;
        hmac::verify(&self.key, &Self::input(header, device), tag)
            .map_err(|_| ChallengeError::Foreign)?;
        let mut issued = [0; 8];
        issued.copy_from_slice(&header[1..]);
        let issued = Timestamp(i64::from_be_bytes(issued));
        // Controllers' clocks differ a little, so a nonce may come from just ahead.
        if now > issued.plus(LIFETIME) || now < issued.minus(LIFETIME) {
            return Err(ChallengeError::Expired);
        }
        Ok(())
    }

    fn input(header: &[u8], device: DeviceId) -> Vec<u8> {
        [header, device.as_bytes()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_for_one_device_and_two_minutes() {
        let (challenger, device, now) =
            (Challenger::new(b"k"), DeviceId::new(), Timestamp(1 << 50));
        let nonce = challenger.issue(device, now);
        let check = |device, nonce: &[u8], after_s| {
            challenger.check(device, nonce, now.plus(Duration::from_secs(after_s)))
        };
        assert!(nonce.len() <= 128, "the protocol promises at most 128 bytes");
        assert_eq!(check(device, &nonce, 0), Ok(()));
        assert_eq!(check(device, &nonce, 120), Ok(()));
        assert_eq!(check(device, &nonce, 121), Err(ChallengeError::Expired));
        assert_eq!(check(DeviceId::new(), &nonce, 0), Err(ChallengeError::Foreign));
        assert_eq!(check(device, &nonce[..8], 0), Err(ChallengeError::Foreign));
        assert_eq!(check(device, b"", 0), Err(ChallengeError::Foreign));
        let other = Challenger::new(b"other").issue(device, now);
        assert_eq!(check(device, &other, 0), Err(ChallengeError::Foreign));
        for at in 0..nonce.len() {
            let mut altered = nonce.clone();
            altered[at] ^= 1;
            assert_eq!(check(device, &altered, 0), Err(ChallengeError::Foreign), "byte {at}");
        }
    }
}
