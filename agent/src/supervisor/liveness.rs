//! Decides from pings and answers whether a worker hangs. Pure: the clock is passed in.

use std::time::{Duration, Instant};

/// How long a worker may be silent or stand still, and how often it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Between two pings.
    pub ping_interval: Duration,
    /// Without any answer: the process is stopped or starved.
    pub silent: Duration,
    /// Answering, with a request at hand, but without a step of the decoding thread. One step is one
    /// token or one piece of a prompt; the slowest supported device takes seconds for the latter.
    pub stuck: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            ping_interval: Duration::from_secs(2),
            silent: Duration::from_secs(20),
            stuck: Duration::from_secs(60),
        }
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Alive,
    /// End the worker, for this reason.
    Hung(String),
}

/// What is known of one worker.
#[derive(Debug, Clone)]
pub struct Liveness {
    answered: Instant,
    moved: Instant,
    steps: u64,
}

impl Liveness {
    /// From now on.
    pub fn new(now: Instant) -> Self {
        Self { answered: now, moved: now, steps: 0 }
    }

    /// The worker answered a ping. An idle worker has nothing to move on with.
    pub fn answer(&mut self, now: Instant, steps: u64, working: bool) {
        self.answered = now;
        if !working || steps != self.steps {
            self.moved = now;
            self.steps = steps;
        }
    }

    /// Whether it hangs.
    pub fn verdict(&self, now: Instant, patience: &Patience) -> Verdict {
        let silent = now.saturating_duration_since(self.answered);
        let stuck = self.answered.saturating_duration_since(self.moved);
        if silent >= patience.silent {
            Verdict::Hung(format!("did not answer for {} s", silent.as_secs()))
        } else if stuck >= patience.stuck {
            Verdict::Hung(format!("made no step in a request for {} s", stuck.as_secs()))
        } else {
            Verdict::Alive
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_and_standing_still_are_hangs_and_idleness_is_not() {
        let patience = Patience::default();
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut idle = Liveness::new(start);
        idle.answer(at(1000), 5, false);
        assert_eq!(idle.verdict(at(1019), &patience), Verdict::Alive);
        let silent = Verdict::Hung("did not answer for 20 s".into());
        assert_eq!(idle.verdict(at(1020), &patience), silent);

        let mut working = Liveness::new(start);
        working.answer(at(2), 1, true);
        working.answer(at(30), 2, true);
        working.answer(at(89), 2, true);
        assert_eq!(working.verdict(at(89), &patience), Verdict::Alive);
        working.answer(at(90), 2, true);
        let stuck = Verdict::Hung("made no step in a request for 60 s".into());
        assert_eq!(working.verdict(at(90), &patience), stuck);
        working.answer(at(91), 3, true);
        assert_eq!(working.verdict(at(91), &patience), Verdict::Alive);
    }
}
