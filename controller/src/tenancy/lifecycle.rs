//! The states of a tenant and how it gets from one to the next. Pure: the store writes what is
//! decided here, by compare-and-set on the state that was read.

use std::time::Duration;

use crate::clock::Timestamp;

/// Shortest time between deleting and purging: a working day, so that somebody can still object.
pub const MIN_RETENTION: Duration = Duration::from_secs(86_400);
/// Longest: ten years, the longest retention that a law we know asks for.
pub const MAX_RETENTION: Duration = Duration::from_secs(3650 * 86_400);
/// Unless asked otherwise.
pub const DEFAULT_RETENTION: Duration = Duration::from_secs(30 * 86_400);

/// Why and since when people are kept out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspension {
    /// Since when.
    pub at: Timestamp,
    /// As the tenant's people get to read it.
    pub reason: String,
}

/// The state of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lifecycle {
    /// Everything works.
    Active,
    /// People and programs are kept out and nothing new is rolled out; devices keep serving.
    Suspended(Suspension),
    /// People, programs and devices are kept out; everything is there and can be restored.
    Deleted {
        /// Since when.
        at: Timestamp,
        /// When it is purged.
        purge_at: Timestamp,
        /// It was suspended before.
        suspended: Option<Suspension>,
    },
    /// Its data is being removed, which cannot be taken back.
    Purging {
        /// Since when it was deleted.
        at: Timestamp,
        /// When purging was due.
        purge_at: Timestamp,
    },
}

/// A step that the state does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// Suspended twice.
    #[error("it is suspended already: resume it first to give another reason")]
    Suspended,
    /// Resumed without being suspended.
    #[error("it is not suspended")]
    NotSuspended,
    /// It is deleted.
    #[error("it is deleted: restore it first")]
    Deleted,
    /// Restored without being deleted.
    #[error("it is not deleted")]
    NotDeleted,
    /// Its retention is over.
    #[error("its retention is over and its data is being removed: this cannot be taken back")]
    Purging,
    /// Its retention is not over.
    #[error("its retention is not over")]
    Retained,
}

impl Lifecycle {
    /// As the store and the API name it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended(_) => "suspended",
            Self::Deleted { .. } => "deleted",
            Self::Purging { .. } => "purging",
        }
    }

    /// Whether people and programs are let in, and rollouts carried on.
    pub fn is_active(&self) -> bool {
        matches!(self, Self::Active)
    }

    /// Whether its devices are let in.
    pub fn serves_devices(&self) -> bool {
        matches!(self, Self::Active | Self::Suspended(_))
    }

    /// Whether its data is being removed: nothing may be added to it.
    pub fn is_purging(&self) -> bool {
        matches!(self, Self::Purging { .. })
    }

    /// Keeps people and programs out.
    pub fn suspend(self, reason: String, now: Timestamp) -> Result<Self, Wrong> {
        match self {
            Self::Active => Ok(Self::Suspended(Suspension { at: now, reason })),
            Self::Suspended(_) => Err(Wrong::Suspended),
            Self::Deleted { .. } => Err(Wrong::Deleted),
            Self::Purging { .. } => Err(Wrong::Purging),
        }
    }

    /// Lets them in again.
    pub fn resume(self) -> Result<Self, Wrong> {
        match self {
            Self::Suspended(_) => Ok(Self::Active),
            Self::Active => Err(Wrong::NotSuspended),
            Self::Deleted { .. } => Err(Wrong::Deleted),
            Self::Purging { .. } => Err(Wrong::Purging),
        }
    }

    /// Deletes; everything is kept for `retention`.
    pub fn delete(self, retention: Duration, now: Timestamp) -> Result<Self, Wrong> {
        let suspended = match self {
            Self::Active => None,
            Self::Suspended(suspension) => Some(suspension),
            Self::Deleted { .. } => return Err(Wrong::Deleted),
            Self::Purging { .. } => return Err(Wrong::Purging),
        };
        Ok(Self::Deleted { at: now, purge_at: now.plus(retention), suspended })
    }

    /// Undoes [`Lifecycle::delete`], also after the retention as long as nothing was removed.
    pub fn restore(self) -> Result<Self, Wrong> {
        match self {
            Self::Deleted { suspended: Some(suspension), .. } => Ok(Self::Suspended(suspension)),
            Self::Deleted { suspended: None, .. } => Ok(Self::Active),
            Self::Active | Self::Suspended(_) => Err(Wrong::NotDeleted),
            Self::Purging { .. } => Err(Wrong::Purging),
        }
    }

    /// Begins to remove what is there. Idempotent: purging goes on after a crash.
    pub fn purge(self, now: Timestamp) -> Result<Self, Wrong> {
        match self {
            Self::Deleted { at, purge_at, .. } if purge_at <= now => {
                Ok(Self::Purging { at, purge_at })
            }
            Self::Deleted { .. } => Err(Wrong::Retained),
            Self::Purging { .. } => Ok(self),
            Self::Active | Self::Suspended(_) => Err(Wrong::NotDeleted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = MIN_RETENTION;

    fn suspended() -> Lifecycle {
        Lifecycle::Active.suspend("unpaid".to_owned(), Timestamp(1)).unwrap()
    }

    #[test]
    fn a_tenant_goes_there_and_back() {
        assert_eq!(suspended().resume(), Ok(Lifecycle::Active));
        let deleted = Lifecycle::Active.delete(DAY, Timestamp(5)).unwrap();
        let purge_at = Timestamp(5).plus(DAY);
        assert_eq!(deleted, Lifecycle::Deleted { at: Timestamp(5), purge_at, suspended: None });
        assert_eq!(deleted.restore(), Ok(Lifecycle::Active));
        // What was suspended stays so.
        let back = suspended().delete(DAY, Timestamp(5)).unwrap().restore();
        assert_eq!(back, Ok(suspended()));
    }

    #[test]
    fn nothing_is_purged_before_its_time_and_nothing_restored_after_it() {
        let deleted = Lifecycle::Active.delete(DAY, Timestamp(0)).unwrap();
        let due = Timestamp(0).plus(DAY);
        assert_eq!(deleted.clone().purge(Timestamp(due.0 - 1)), Err(Wrong::Retained));
        let purging = deleted.purge(due).unwrap();
        assert_eq!(purging.clone().purge(Timestamp(0)), Ok(purging.clone()));
        assert_eq!(purging.clone().restore(), Err(Wrong::Purging));
        assert_eq!(purging.clone().resume(), Err(Wrong::Purging));
        assert_eq!(purging.delete(DAY, due), Err(Wrong::Purging));
        assert_eq!(suspended().purge(due), Err(Wrong::NotDeleted));
    }

    #[test]
    fn steps_that_make_no_sense_are_refused_in_words() {
        let deleted = || Lifecycle::Active.delete(DAY, Timestamp(0)).unwrap();
        assert_eq!(suspended().suspend("x".into(), Timestamp(2)), Err(Wrong::Suspended));
        assert_eq!(Lifecycle::Active.resume(), Err(Wrong::NotSuspended));
        assert_eq!(Lifecycle::Active.restore(), Err(Wrong::NotDeleted));
        assert_eq!(deleted().suspend("x".into(), Timestamp(2)), Err(Wrong::Deleted));
        assert_eq!(deleted().delete(DAY, Timestamp(2)), Err(Wrong::Deleted));
    }

    #[test]
    fn who_is_let_in() {
        assert!(Lifecycle::Active.is_active() && Lifecycle::Active.serves_devices());
        assert!(!suspended().is_active() && suspended().serves_devices());
        let deleted = Lifecycle::Active.delete(DAY, Timestamp(0)).unwrap();
        assert!(!deleted.is_active() && !deleted.serves_devices());
    }
}
