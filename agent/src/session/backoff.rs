//! How long to wait before the next attempt: exponential with full jitter, so that a fleet that lost
//! its controller does not come back all at once.
//! <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>

use std::time::Duration;

use rand::{Rng, RngExt};

/// Upper bound of the first wait.
pub const FIRST: Duration = Duration::from_secs(1);

/// Upper bound of every wait: a controller that is back is found within this.
pub const LONGEST: Duration = Duration::from_secs(60);

/// The wait before attempt `failures + 1`: uniform in `0 ..= min(LONGEST, FIRST · 2^(failures-1))`.
/// Never less than `at_least`, which a controller may have asked for.
pub fn wait(failures: u32, at_least: Duration, rng: &mut impl Rng) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let bound = FIRST.saturating_mul(1 << doublings).min(LONGEST);
    let millis = u64::try_from(bound.as_millis()).unwrap_or(u64::MAX);
    at_least.saturating_add(Duration::from_millis(rng.random_range(0..=millis)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    proptest! {
        #[test]
        fn a_wait_stays_within_its_bound(seed: u64, failures in 0..100_u32, asked in 0..600_u64) {
            let asked = Duration::from_secs(asked);
            let waited = wait(failures, asked, &mut StdRng::seed_from_u64(seed));
            let bound = FIRST * 2_u32.pow(failures.saturating_sub(1).min(6));
            prop_assert!(waited >= asked && waited <= asked + bound.min(LONGEST));
        }
    }

    #[test]
    fn a_fleet_spreads_over_the_whole_interval() {
        let mut rng = StdRng::seed_from_u64(7);
        let waits: Vec<_> = (0..1000).map(|_| wait(20, Duration::ZERO, &mut rng)).collect();
        let early = waits.iter().filter(|wait| **wait < LONGEST / 4).count();
        assert!((150..350).contains(&early), "{early} of 1000 in the first quarter");
    }
}
