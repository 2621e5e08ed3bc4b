//! The agent's time: the latest of the system clock, the build time and the last time an
//! authenticated controller told. A device whose clock starts in 1970 must still be able to check
//! certificates; one whose clock is moved back must not accept what has expired.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::UnixTime;

use crate::durable::Folder;

/// Microseconds since the Unix epoch.
pub type UnixMicros = i64;

/// How far the controller's time must have moved before it is stored again: one small write an hour.
const STORE_EVERY_US: i64 = 3_600_000_000;

/// In the state directory.
const FILE: &str = "time";

/// Longest content of the stored time.
const MAX_STORED_BYTES: u64 = 32;

/// A pause that is over at some time of a [`TimeSource`].
pub type Pause = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What time it is, and waiting. The system's, or one that a test moves.
pub trait TimeSource: Send + Sync {
    /// Now, by a clock that may be wrong.
    fn now_us(&self) -> UnixMicros;
    /// Ends after `duration`.
    fn pause(&self, duration: Duration) -> Pause {
        Box::pin(tokio::time::sleep(duration))
    }
}

impl<F: Fn() -> UnixMicros + Send + Sync> TimeSource for F {
    fn now_us(&self) -> UnixMicros {
        self()
    }
}

struct Inner {
    system: Box<dyn TimeSource>,
    floor_us: AtomicI64,
    stored_us: AtomicI64,
    folder: Option<Folder>,
}

/// Source of time for everything that checks validity.
#[derive(Clone)]
pub struct Clock(Arc<Inner>);

impl Clock {
    /// The system clock, never earlier than the build and than what `state_dir` stored.
    pub fn open(state_dir: impl Into<Folder>) -> Self {
        let folder = state_dir.into();
        let stored = folder
            .read(FILE, MAX_STORED_BYTES)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .and_then(|text| text.trim().parse::<i64>().ok())
            .unwrap_or(0);
        Self::with(Box::new(system_now_us), stored.max(build_time_us()), Some(folder))
    }

    /// A clock of tests.
    pub fn injected(system: impl TimeSource + 'static) -> Self {
        Self::with(Box::new(system), 0, None)
    }

    fn with(system: Box<dyn TimeSource>, floor_us: i64, folder: Option<Folder>) -> Self {
        let (floor_us, stored_us) = (AtomicI64::new(floor_us), AtomicI64::new(floor_us));
        Self(Arc::new(Inner { system, floor_us, stored_us, folder }))
    }

    /// Now.
    pub fn now_us(&self) -> UnixMicros {
        self.0.system.now_us().max(self.0.floor_us.load(Ordering::Relaxed))
    }

    /// Waits.
    pub fn pause(&self, duration: Duration) -> Pause {
        self.0.system.pause(duration)
    }

    /// Takes the time of an authenticated controller; later ones are stored now and then.
    pub fn learn(&self, controller_us: UnixMicros) -> std::io::Result<()> {
        self.0.floor_us.fetch_max(controller_us, Ordering::Relaxed);
        let stored = self.0.stored_us.load(Ordering::Relaxed);
        if controller_us.saturating_sub(stored) < STORE_EVERY_US {
            return Ok(());
        }
        if let Some(folder) = &self.0.folder {
            folder.write(FILE, controller_us.to_string().as_bytes())?;
        }
        self.0.stored_us.store(controller_us, Ordering::Relaxed);
        Ok(())
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.now_us())
    }
}

impl rustls::time_provider::TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.now_us() / 1_000_000).ok()?;
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)))
    }
}

/// `us` as RFC 3339 in UTC, to the second.
pub fn rfc3339(us: UnixMicros) -> String {
    let nanos = i128::from(us) * 1000;
    time::OffsetDateTime::from_unix_timestamp_nanos(nanos)
        .ok()
        .and_then(|at| at.replace_nanosecond(0).ok())
        .and_then(|at| at.format(&time::format_description::well_known::Rfc3339).ok())
        .unwrap_or_else(|| format!("{us} µs"))
}

fn system_now_us() -> UnixMicros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

fn build_time_us() -> UnixMicros {
    env!("EDGEFORMER_BUILD_UNIX_S").parse::<i64>().unwrap_or(0).saturating_mul(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_falls_behind_what_a_controller_told() {
        let clock = Clock::injected(|| 1_000);
        assert_eq!(clock.now_us(), 1_000);
        clock.learn(5_000).unwrap();
        assert_eq!(clock.now_us(), 5_000);
        clock.learn(2_000).unwrap();
        assert_eq!(clock.now_us(), 5_000);
    }

    #[test]
    fn a_stored_time_is_the_floor_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let future = system_now_us() + 10 * STORE_EVERY_US;
        Clock::open(directory.path()).learn(future).unwrap();
        assert_eq!(Clock::open(directory.path()).now_us(), future);
    }

    #[test]
    fn times_print_as_people_read_them() {
        assert_eq!(rfc3339(1_795_000_000_123_456), "2026-11-18T11:06:40Z");
    }
}
