//! A client of a TPM 2.0, as far as the device's keys need one: keys that the TPM makes, and that it
//! signs and agrees with. Private keys never come out of it; what is kept outside is wrapped by it.
//!
//! The TPM holds nothing between two operations: each opens it, loads what it needs and leaves it as it
//! was, so that other programs can use it and a reset in between costs nothing. Calls wait for the TPM
//! and belong on threads that may wait. Numbers and structures are those of the TCG's TPM 2.0 Library
//! specification, part 2; commands those of part 3.

mod conversation;
mod error;
mod key;
mod place;
mod transport;
mod wire;

use std::sync::Mutex;

use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use zeroize::Zeroizing;

pub use self::error::{Fault, TpmError};
pub use self::key::{Kind, MAX_PART_BYTES, POINT_BYTES, WrappedKey};
pub use self::place::{Place, PlaceError};

use self::conversation::Conversation;

/// A TPM, used by one operation of this process at a time.
#[derive(Debug)]
pub struct Tpm {
    place: Place,
    turn: Mutex<()>,
}

impl Tpm {
    /// The TPM at `place`, which is not asked yet.
    pub fn at(place: Place) -> Self {
        Self { place, turn: Mutex::new(()) }
    }

    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Four letters for who made it.
    pub fn manufacturer(&self) -> Result<String, TpmError> {
        self.converse(Conversation::manufacturer)
    }

    /// Makes a key in it.
    pub fn make(&self, kind: Kind) -> Result<WrappedKey, TpmError> {
        self.converse(|tpm| tpm.make(kind))
    }

    /// Whether it can use `key`: it made it, and has not been cleared since.
    pub fn check(&self, key: &WrappedKey) -> Result<(), TpmError> {
        self.converse(|tpm| tpm.with_key(key, |_, _| Ok(())))
    }

    /// ECDSA with `key` over a SHA-256 digest of `message`: r and s. What it answers is verified.
    pub fn sign(&self, key: &WrappedKey, message: &[u8]) -> Result<[u8; 64], TpmError> {
        let digest = ring::digest::digest(&ring::digest::SHA256, message);
        self.converse(|tpm| {
            let signature = tpm.with_key(key, |tpm, handle| tpm.sign(handle, digest.as_ref()))?;
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.point())
                .verify(message, &signature)
                .map_err(|_| Fault::Reply("a signature that does not verify"))?;
            Ok(signature)
        })
    }

    /// The x coordinate of the Diffie-Hellman result of `key` with `peer`, an uncompressed point.
    pub fn agree(
        &self,
        key: &WrappedKey,
        peer: &[u8; POINT_BYTES],
    ) -> Result<Zeroizing<[u8; 32]>, TpmError> {
        self.converse(|tpm| tpm.with_key(key, |tpm, handle| tpm.agree(handle, peer)))
    }

    /// Opens the TPM for one operation. One that found no room is repeated once, when what was left in
    /// the TPM is gone.
    fn converse<T>(
        &self,
        work: impl Fn(&mut Conversation) -> Result<T, Fault>,
    ) -> Result<T, TpmError> {
        // A panic while it was held left nothing half done here.
        let _turn = self.turn.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let told = |fault| TpmError { place: self.place.clone(), fault };
        let exchange = transport::open(&self.place).map_err(told)?;
        let mut conversation = Conversation::new(exchange);
        let done = match work(&mut conversation) {
            Err(fault) if fault.is_room() => {
                conversation.flush_all().and_then(|()| work(&mut conversation))
            }
            done => done,
        };
        done.map_err(told)
    }
}
