//! How fast this device downloads at most, over all its calls together. What came is paid for before
//! the next is read, so that the connection's own flow control holds the sender back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Bytes per second, shared by all calls. Cheap to clone; without a rate nothing waits.
#[derive(Debug, Clone, Default)]
pub struct Budget(Option<Arc<Mutex<Bucket>>>);

impl Budget {
    /// At most `bytes_per_s`, with a second's worth at once.
    pub fn of(bytes_per_s: u64) -> Self {
        let bucket = Bucket::full(bytes_per_s.max(1), Instant::now());
        Self(Some(Arc::new(Mutex::new(bucket))))
    }

    /// Pays for bytes that came: waits for as long as they take at the rate.
    pub async fn pay(&self, bytes: usize) {
        let Some(bucket) = &self.0 else { return };
        let wait = {
            // Nothing panics while it is held.
            let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
            bucket.pay(bytes as u64, Instant::now())
        };
        tokio::time::sleep(wait).await;
    }
}

/// What was paid for is over at `paid_until`; up to a second of the past may be spent at once.
#[derive(Debug)]
struct Bucket {
    bytes_per_s: u64,
    paid_until: Instant,
}

impl Bucket {
    fn full(bytes_per_s: u64, now: Instant) -> Self {
        Self { bytes_per_s, paid_until: now.checked_sub(BURST).unwrap_or(now) }
    }

    /// How long to wait after `bytes` came.
    fn pay(&mut self, bytes: u64, now: Instant) -> Duration {
        let oldest = now.checked_sub(BURST).unwrap_or(now);
        let micros = u128::from(bytes) * 1_000_000 / u128::from(self.bytes_per_s);
        let takes = Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)).min(LONGEST);
        self.paid_until = self.paid_until.max(oldest) + takes;
        self.paid_until.saturating_duration_since(now)
    }
}

/// What may be spent at once after a pause.
const BURST: Duration = Duration::from_secs(1);

/// Longest that one chunk can take: at the lowest rate that the flag allows it is far less.
const LONGEST: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whoever waits as long as they are told takes no more than the rate and one burst, and is
        /// not held up for longer than that needs.
        #[test]
        fn what_is_taken_follows_the_rate(
            rate in 16_384_u64..10_000_000,
            takes in prop::collection::vec((1_u64..1_048_576, 0_u64..3_000), 1..60),
        ) {
            let began = Instant::now();
            let (mut bucket, mut now, mut taken, mut idle) =
                (Bucket::full(rate, began), began, 0, Duration::ZERO);
            for (bytes, pause_ms) in takes {
                let pause = Duration::from_millis(pause_ms);
                now += pause;
                idle += pause;
                taken += bytes;
                now += bucket.pay(bytes, now);
                let paid = (now - began + BURST).as_secs_f64() * rate as f64;
                prop_assert!(taken as f64 <= paid + 1.0, "{taken} taken, {paid} paid for");
            }
            let needed = Duration::from_secs_f64(taken as f64 / rate as f64);
            prop_assert!(now - began <= needed + idle + Duration::from_millis(1));
        }
    }

    #[tokio::test]
    async fn without_a_rate_nothing_waits() {
        Budget::default().pay(usize::MAX).await;
    }
}
