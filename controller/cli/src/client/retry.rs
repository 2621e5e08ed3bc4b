//! When to send a request again, as a pure function. Every operation is safe to repeat: reads and
//! deletions by nature, POSTs by their `Idempotency-Key`. Only a PATCH is not, once it may have
//! arrived: its `If-Match` would then refuse the repetition.

use std::time::Duration;

use reqwest::{Method, StatusCode};

/// Three repetitions: a controller that restarts is back by then, a person still waits.
const MAX_ATTEMPTS: u32 = 4;
const FIRST_DELAY: Duration = Duration::from_millis(200);
/// Longest wait that a `Retry-After` can impose: a person sits in front of it.
const MAX_DELAY: Duration = Duration::from_secs(5);

/// How one attempt ended, if not with an answer to hand on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// No connection: the request certainly did not arrive.
    NotSent,
    /// The connection broke or timed out: the request may have arrived.
    Broken,
    /// The controller, or a proxy in front of it, said "not now".
    Status(StatusCode, Option<Duration>),
}

impl Trouble {
    /// Whether this status asks for a repetition.
    pub fn of_status(status: StatusCode, retry_after: Option<Duration>) -> Option<Self> {
        let again = match status.as_u16() {
            // The first request with our idempotency key is still running.
            409 => retry_after.is_some(),
            code => matches!(code, 429 | 502 | 503 | 504),
        };
        again.then_some(Self::Status(status, retry_after))
    }
}

/// The wait before the next attempt, or None to give up. `attempts` are those made so far, `jitter`
/// is in 0..1.
pub fn delay(method: &Method, trouble: Trouble, attempts: u32, jitter: f64) -> Option<Duration> {
    if attempts >= MAX_ATTEMPTS || (method == Method::PATCH && trouble != Trouble::NotSent) {
        return None;
    }
    if let Trouble::Status(_, Some(asked)) = trouble {
        return (asked <= MAX_DELAY).then_some(asked);
    }
    let ceiling = FIRST_DELAY * 2_u32.pow(attempts.saturating_sub(1));
    Some(ceiling.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0)).min(MAX_DELAY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_end() {
        let wait = |attempts| delay(&Method::POST, Trouble::Broken, attempts, 1.0);
        assert_eq!(wait(1), Some(Duration::from_millis(200)));
        assert_eq!(wait(2), Some(Duration::from_millis(400)));
        assert_eq!(wait(3), Some(Duration::from_millis(800)));
        assert_eq!(wait(4), None);
        let half = delay(&Method::GET, Trouble::NotSent, 1, 0.0);
        assert_eq!(half, Some(Duration::from_millis(100)));
    }

    #[test]
    fn a_patch_that_may_have_arrived_is_not_sent_again() {
        assert_eq!(delay(&Method::PATCH, Trouble::Broken, 1, 0.5), None);
        assert!(delay(&Method::PATCH, Trouble::NotSent, 1, 0.5).is_some());
    }

    #[test]
    fn the_controller_sets_the_pace_within_reason() {
        let busy = |s| {
            let retry_after = Some(Duration::from_secs(s));
            let trouble = Trouble::of_status(StatusCode::SERVICE_UNAVAILABLE, retry_after).unwrap();
            delay(&Method::GET, trouble, 1, 0.5)
        };
        assert_eq!(busy(2), Some(Duration::from_secs(2)));
        assert_eq!(busy(3600), None);
        assert_eq!(Trouble::of_status(StatusCode::NOT_FOUND, None), None);
        assert_eq!(Trouble::of_status(StatusCode::CONFLICT, None), None);
        assert!(Trouble::of_status(StatusCode::CONFLICT, Some(Duration::from_secs(2))).is_some());
    }
}
