//! Waiting for a place (see [`Fair`]). A place is given back when it is dropped, and so is one that was
//! given to somebody who had just gone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use edgeformer_proto::ids::TenantId;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::fair::{Bounds, Entry, Fair, Waiter};
use super::strangers::Address;

/// Longest wait: who waits longer is better told to come again. As long as for a connection to the
/// database.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// Whose places are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key {
    /// Everybody and every device of a tenant.
    Tenant(TenantId),
    /// The operators of the installation.
    Installation,
    /// Somebody at this address who is not known yet; none: not known either.
    Stranger(Option<Address>),
}

impl Waiter for oneshot::Sender<Place> {
    fn is_gone(&self) -> bool {
        self.is_closed()
    }
}

type Places = Fair<Key, oneshot::Sender<Place>>;

/// Bounded places. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Gate {
    places: Arc<Mutex<Places>>,
    max_wait: Duration,
}

/// No place, now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoPlace {
    /// Too many of the same key wait already.
    #[error("too many of your requests wait already: send fewer at a time")]
    Full,
    /// It took too long.
    #[error("the controller is busy and did not get to the request in time: try again")]
    Late,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub struct Place {
    gate: Gate,
    key: Key,
}

impl Gate {
    /// All places free.
    pub fn new(bounds: Bounds) -> Self {
        Self { places: Arc::new(Mutex::new(Fair::new(bounds))), max_wait: MAX_WAIT }
    }

    /// Waits for a place.
    pub async fn enter(&self, key: Key) -> Result<Place, NoPlace> {
        let mut arrival = None;
        let entry = self.lock().enter(key, || {
            let (sender, receiver) = oneshot::channel();
            arrival = Some(receiver);
            sender
        });
        match (entry, arrival) {
            (Entry::Go, _) => Ok(Place { gate: self.clone(), key }),
            (Entry::Wait, Some(arrival)) => {
                let place = timeout(self.max_wait, arrival).await;
                place.ok().and_then(Result::ok).ok_or(NoPlace::Late)
            }
            (Entry::Wait | Entry::Full, _) => Err(NoPlace::Full),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        // Nothing panics while it is held.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let next = self.gate.lock().leave(self.key);
        // Outside the lock: a place that nobody takes any more comes back here.
        for (key, waiter) in next {
            let _ = waiter.send(Place { gate: self.gate.clone(), key });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn gate(places: usize) -> Gate {
        Gate::new(Bounds { places, per_key: places, waiting_per_key: 2 })
    }

    #[tokio::test]
    async fn a_place_goes_to_who_waits_and_comes_back_from_who_left() {
        let gate = gate(1);
        let first = gate.enter(Key::Installation).await.unwrap();
        let mut left = Box::pin(gate.enter(Key::Installation));
        let mut waits = Box::pin(gate.enter(Key::Installation));
        assert!((&mut left).now_or_never().is_none());
        assert!((&mut waits).now_or_never().is_none());
        let full = gate.enter(Key::Installation).await.unwrap_err();
        assert_eq!(full, NoPlace::Full);
        drop(first);
        // It was given the place and went away without looking.
        drop(left);
        let place = waits.await.unwrap();
        drop(place);
        assert!(gate.enter(Key::Installation).await.is_ok());
    }

    #[tokio::test]
    async fn nobody_waits_for_ever() {
        let gate = Gate { max_wait: Duration::from_millis(1), ..gate(1) };
        let _held = gate.enter(Key::Installation).await.unwrap();
        let other = Key::Tenant(TenantId::new());
        assert_eq!(gate.enter(other).await.unwrap_err(), NoPlace::Late);
    }
}
