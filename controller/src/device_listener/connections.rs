//! The open connections of devices, so that all of a device's can be ended at once: a download that
//! was asked for before a revocation does not outlive it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use edgeformer_proto::ids::{DeviceId, TenantId};

use super::accept::Peer;

/// More connections of one device than this are not kept track of one by one: the oldest are ended.
const MAX_OF_ONE_DEVICE: usize = 16;

/// Whose.
pub type Key = (TenantId, DeviceId);

/// See the module.
#[derive(Debug, Default)]
pub struct Connections(Mutex<HashMap<Key, Vec<Weak<Peer>>>>);

impl Connections {
    /// Notes a connection over which the device proved itself. Again changes nothing.
    pub fn note(&self, key: Key, peer: &Arc<Peer>) {
        let mut all = self.lock();
        let of_device = all.entry(key).or_default();
        if of_device.iter().any(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(peer))) {
            return;
        }
        of_device.retain(|known| known.strong_count() > 0);
        if of_device.len() >= MAX_OF_ONE_DEVICE
            && let Some(oldest) = of_device.remove(0).upgrade()
        {
            oldest.cut.cancel();
        }
        of_device.push(Arc::downgrade(peer));
    }

    /// Whether the device has a connection here.
    pub fn has(&self, key: &Key) -> bool {
        self.lock().get(key).is_some_and(|all| all.iter().any(|one| one.strong_count() > 0))
    }

    /// Ends every connection of the device.
    pub fn cut(&self, key: &Key) {
        let of_device = self.lock().remove(key).unwrap_or_default();
        for peer in of_device.iter().filter_map(Weak::upgrade) {
            peer.cut.cancel();
        }
    }

    /// Forgets connections that are over.
    pub fn prune(&self) {
        self.lock().retain(|_, all| {
            all.retain(|one| one.strong_count() > 0);
            !all.is_empty()
        });
    }

    /// Each change is whole before the lock is let go.
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Vec<Weak<Peer>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_util::sync::CancellationToken;

    fn peer() -> Arc<Peer> {
        let address = ([127, 0, 0, 1], 1).into();
        Arc::new(Peer { address, leaf: None, cut: CancellationToken::new() })
    }

    #[test]
    fn all_connections_of_a_device_end_and_nobody_elses() {
        let connections = Connections::default();
        let (ours, theirs) =
            ((TenantId::new(), DeviceId::new()), (TenantId::new(), DeviceId::new()));
        let (a, b, c) = (peer(), peer(), peer());
        for (key, peer) in [(ours, &a), (ours, &a), (ours, &b), (theirs, &c)] {
            connections.note(key, peer);
        }
        connections.cut(&ours);
        assert_eq!([&a, &b, &c].map(|peer| peer.cut.is_cancelled()), [true, true, false]);
        assert!(!connections.has(&ours) && connections.has(&theirs));
        drop(c);
        assert!(!connections.has(&theirs));
        connections.prune();
        assert!(connections.lock().is_empty());
    }

    #[test]
    fn a_device_cannot_pile_up_connections() {
        let connections = Connections::default();
        let key = (TenantId::new(), DeviceId::new());
        let peers: Vec<_> = (0..=MAX_OF_ONE_DEVICE).map(|_| peer()).collect();
        peers.iter().for_each(|peer| connections.note(key, peer));
        assert!(peers[0].cut.is_cancelled() && !peers[1].cut.is_cancelled());
    }
}
