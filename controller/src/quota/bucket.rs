//! A token bucket in one number (the generic cell rate algorithm, ITU-T I.371): the time at which the
//! bucket would be full again. Pure; the caller brings the time.

use std::time::Duration;

use crate::clock::Timestamp;

const SECOND_US: i64 = 1_000_000;

/// How fast a bucket fills and how much it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Tokens per second; at least 1.
    pub per_second: u32,
    /// Tokens when it is full; at least 1.
    pub burst: u32,
}

impl Rate {
    /// A bucket that holds what a second brings.
    pub fn of(per_second: u32) -> Self {
        Self { per_second, burst: per_second }
    }

    fn interval_us(self) -> i64 {
        SECOND_US / i64::from(self.per_second.max(1)).min(SECOND_US)
    }

    fn depth_us(self) -> i64 {
        self.interval_us().saturating_mul(i64::from(self.burst.max(1)))
    }
}

/// One bucket. A new one is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    full_at: Timestamp,
}

impl Default for Bucket {
    fn default() -> Self {
        Self { full_at: Timestamp(i64::MIN) }
    }
}

impl Bucket {
    /// Whether a token could be taken; if not, how long until there is one.
    pub fn check(&mut self, rate: Rate, now: Timestamp) -> Result<(), Duration> {
        // A clock that jumped back, or a rate that was raised, leaves it empty at worst.
        let empty = now.0.saturating_add(rate.depth_us());
        self.full_at = Timestamp(self.full_at.0.clamp(now.0, empty));
        let after = self.full_at.0.saturating_add(rate.interval_us());
        match u64::try_from(after.saturating_sub(empty)) {
            Ok(missing) if missing > 0 => Err(Duration::from_micros(missing)),
            _ => Ok(()),
        }
    }

    /// Takes a token, or says how long until there is one.
    pub fn take(&mut self, rate: Rate, now: Timestamp) -> Result<(), Duration> {
        self.check(rate, now)?;
        self.full_at = Timestamp(self.full_at.0.saturating_add(rate.interval_us()));
        Ok(())
    }

    /// Whether it holds all that it can.
    pub fn is_full(&self, now: Timestamp) -> bool {
        self.full_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(bucket: &mut Bucket, rate: Rate, now: Timestamp) -> u32 {
        let mut count = 0;
        while bucket.take(rate, now).is_ok() {
            count += 1;
            assert!(count < 10_000, "it never ends");
        }
        count
    }

    #[test]
    fn it_gives_the_burst_and_then_the_rate() {
        for per_second in [1, 3, 100, 999] {
            let (mut bucket, start) = (Bucket::default(), Timestamp(1_000_000_000));
            let rate = Rate::of(per_second);
            assert_eq!(taken(&mut bucket, rate, start), per_second);
            let wait = bucket.take(rate, start).unwrap_err();
            assert!(wait <= Duration::from_secs(1) && wait > Duration::ZERO, "{wait:?}");
            assert_eq!(bucket.take(rate, start.plus(wait)), Ok(()));
            let later = start.plus(Duration::from_secs(10));
            assert!(bucket.is_full(later));
            assert_eq!(
                taken(&mut bucket, rate, later),
                per_second,
                "it holds no more than a burst"
            );
        }
        let rate = Rate { per_second: 2, burst: 60 };
        assert_eq!(taken(&mut Bucket::default(), rate, Timestamp(5)), 60);
    }

    #[test]
    fn a_clock_that_jumps_back_stops_nobody_for_long() {
        let (mut bucket, rate) = (Bucket::default(), Rate::of(10));
        assert_eq!(taken(&mut bucket, rate, Timestamp(1 << 50)), 10);
        let wait = bucket.take(rate, Timestamp(5)).unwrap_err();
        assert!(wait <= Duration::from_secs(1), "{wait:?}");
        assert!(bucket.take(rate, Timestamp(5).plus(wait)).is_ok());
    }

    #[test]
    fn rates_beyond_what_the_clock_tells_apart_are_bounded() {
        let (mut bucket, rate) = (Bucket::default(), Rate::of(u32::MAX));
        assert!(bucket.take(rate, Timestamp(0)).is_ok());
    }
}
