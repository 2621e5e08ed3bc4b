//! Orders the desired states of one device. Compared epoch first: restoring a backup raises the
//! epoch, so that a restored controller is not refused by devices that saw newer counters.

use serde::{Deserialize, Serialize};

use crate::v1;

/// Position of a desired state in the history of one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Generation {
    /// Raised when a controller is restored.
    pub epoch: u64,
    /// Raised by every change within an epoch.
    pub counter: u64,
}

impl Generation {
    /// The one after this, in the given epoch (never an older one).
    pub fn next(self, epoch: u64) -> Self {
        Self { epoch: epoch.max(self.epoch), counter: self.counter.saturating_add(1) }
    }
}

impl std::fmt::Display for Generation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.epoch, self.counter)
    }
}

impl From<v1::Generation> for Generation {
    fn from(wire: v1::Generation) -> Self {
        Self { epoch: wire.epoch, counter: wire.counter }
    }
}

impl From<Generation> for v1::Generation {
    fn from(generation: Generation) -> Self {
        Self { epoch: generation.epoch, counter: generation.counter }
    }
}
