//! The time, as a value that is passed in. Nothing else in the controller may read the system clock,
//! so that tests decide what time it is.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A point in time: microseconds since the Unix epoch, as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This much later; stops at the end of time instead of wrapping.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// This much earlier.
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// How much later than `earlier`; nothing if it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// RFC 3339 in UTC with microseconds, e.g. `2026-11-22T10:00:00.000001Z`.
    pub fn rfc3339(self) -> String {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1000)
            .ok()
            .and_then(|at| at.format(&Rfc3339).ok())
            .unwrap_or_else(|| format!("{} us after the Unix epoch", self.0))
    }

    /// What [`Self::rfc3339`] printed, or any other RFC 3339 time.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        i64::try_from(at.unix_timestamp_nanos() / 1000).ok().map(Self)
    }
}

/// How far a clock can be trusted: a reader of the audit log has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockQuality {
    /// A time service keeps it right.
    Synchronized,
    /// There is a time service, and it has not reached its servers yet.
    Unsynchronized,
    /// Nobody says.
    Unknown,
}

/// Where systemd's time service says that it has set the clock.
const TIMESYNC: &str = "/run/systemd/timesync";

impl ClockQuality {
    /// Of this machine's clock now.
    pub fn of_system() -> Self {
        Self::of_timesync(Path::new(TIMESYNC))
    }

    fn of_timesync(folder: &Path) -> Self {
        match (folder.join("synchronized").exists(), folder.exists()) {
            (true, _) => Self::Synchronized,
            (false, true) => Self::Unsynchronized,
            (false, false) => Self::Unknown,
        }
    }
}

/// Where the time comes from.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

/// A clock that stands still until it is told to move.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// Stopped at this time.
    pub fn at(at: Timestamp) -> Self {
        Self(Arc::new(AtomicI64::new(at.0)))
    }

    /// Moves forward.
    pub fn advance(&self, by: Duration) {
        self.0.store(self.now().plus(by).0, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_prints_as_rfc_3339_and_never_wraps() {
        assert_eq!(Timestamp(1_700_000_000_000_001).rfc3339(), "2023-11-14T22:13:20.000001Z");
        assert_eq!(Timestamp(0).rfc3339(), "1970-01-01T00:00:00Z");
        for at in [Timestamp(1_700_000_000_000_001), Timestamp(0)] {
            assert_eq!(Timestamp::parse_rfc3339(&at.rfc3339()), Some(at));
        }
        assert_eq!(Timestamp::parse_rfc3339("yesterday"), None);
        assert_eq!(Timestamp(i64::MAX).plus(Duration::from_secs(1)), Timestamp(i64::MAX));
        assert!(Timestamp(i64::MAX).rfc3339().contains("after the Unix epoch"));
    }

    #[test]
    fn a_clock_is_trusted_as_far_as_its_time_service_says() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("timesync");
        assert_eq!(ClockQuality::of_timesync(&folder), ClockQuality::Unknown);
        std::fs::create_dir(&folder).unwrap();
        assert_eq!(ClockQuality::of_timesync(&folder), ClockQuality::Unsynchronized);
        std::fs::write(folder.join("synchronized"), "").unwrap();
        assert_eq!(ClockQuality::of_timesync(&folder), ClockQuality::Synchronized);
    }
}
