//! The life of a tenant: suspended, exported, deleted, restored, purged; and what it may use. The
//! states are pure (`lifecycle`); `book` knows them for the guards, `purge` carries the end out.

pub mod book;
pub mod export;
pub mod lifecycle;
pub mod purge;

pub use book::TenantBook;
pub use lifecycle::{Lifecycle, Suspension};

use edgeformer_proto::ids::TenantId;

/// What a tenant may use at most; none: no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Enrolled devices.
    pub devices: Option<u64>,
    /// Sealed bytes of its versions.
    pub stored_bytes: Option<u64>,
    /// Requests of people and programs per second.
    pub requests_per_second: Option<u32>,
}

/// What guards have to know of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its name.
    pub name: String,
    /// Its state.
    pub lifecycle: Lifecycle,
    /// What it may use.
    pub limits: Limits,
}

/// A tenant whose people, programs or devices are kept out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// Suspended.
    #[error(
        "tenant {name:?} is suspended since {since}: {reason}. Its devices keep serving; nothing can \
         be read or changed until the operator of the installation resumes it"
    )]
    Suspended {
        /// Its name.
        name: String,
        /// Since when.
        since: String,
        /// What the operator wrote.
        reason: String,
    },
    /// Deleted.
    #[error(
        "tenant {name:?} was deleted; until {purge_at} the operator of the installation can restore it"
    )]
    Deleted {
        /// Its name.
        name: String,
        /// When it is purged.
        purge_at: String,
    },
    /// No such tenant.
    #[error("tenant {0} does not exist any more")]
    Gone(TenantId),
}

impl Closed {
    /// Machine-readable.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Suspended { .. } => "tenant_suspended",
            Self::Deleted { .. } | Self::Gone(_) => "tenant_deleted",
        }
    }
}

impl Standing {
    /// Whether people and programs are let in.
    pub fn open(&self) -> Result<(), Closed> {
        match &self.lifecycle {
            Lifecycle::Active => Ok(()),
            Lifecycle::Suspended(suspension) => Err(Closed::Suspended {
                name: self.name.clone(),
                since: suspension.at.rfc3339(),
                reason: suspension.reason.clone(),
            }),
            Lifecycle::Deleted { .. } | Lifecycle::Purging { .. } => self.serves_devices(),
        }
    }

    /// Whether its devices are let in.
    pub fn serves_devices(&self) -> Result<(), Closed> {
        match &self.lifecycle {
            Lifecycle::Active | Lifecycle::Suspended(_) => Ok(()),
            Lifecycle::Deleted { purge_at, .. } | Lifecycle::Purging { purge_at, .. } => {
                Err(Closed::Deleted { name: self.name.clone(), purge_at: purge_at.rfc3339() })
            }
        }
    }
}
