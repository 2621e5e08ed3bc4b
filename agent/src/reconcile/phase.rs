//! How far an installation is, as a type per state: a transition takes the old state and gives the new
//! one, and only the states that have a transition offer it. So a version cannot be activated that did
//! not pass its trial, nor confirmed that was not active, because that does not compile. Pure.
//!
//! ```text
//! Fetching ─▶ Verifying ─▶ Staged ─▶ Trial ─▶ Active ─▶ Confirmed
//!    ▲            │           ▲ │      │ │       │ │
//!    └─ bytes ────┴───────────┼─┴──────┘ │       │ │
//!                             └── lost ──┴ died ─┘ │
//! from any of them: Failed, or Reverted if it had been active
//! ```

use serde::{Deserialize, Serialize};

use super::state::{Attempts, Event, Failure};
use crate::clock::UnixMicros;

/// Manifest, index, key and chunks are being fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetching {
    /// Before its bytes were found damaged.
    pub attempts: Attempts,
}

/// All is on disk; its hashes are being checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verifying {
    /// Before its bytes were found damaged.
    pub attempts: Attempts,
}

/// Ready to be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    /// So far.
    pub attempts: Attempts,
}

/// A standby worker loads and probes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// Including this one.
    pub attempts: Attempts,
}

/// It serves, or is about to; not confirmed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Active {
    /// Including this one.
    pub attempts: Attempts,
    /// When activation began.
    pub since_us: UnixMicros,
}

/// Terminal: it is the confirmed version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmed;

/// Terminal: it had been active; an earlier confirmed version takes its place again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reverted {
    /// Why.
    pub failure: Failure,
}

/// Terminal: it is not installed and nothing took its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// Why.
    pub failure: Failure,
}

/// How far an installation is. Durable before the act that it names begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
#[allow(missing_docs)]
pub enum Phase {
    Fetching(Fetching),
    Verifying(Verifying),
    Staged(Staged),
    Trial(Trial),
    Active(Active),
    Confirmed(Confirmed),
    Reverted(Reverted),
    Failed(Failed),
}

impl Fetching {
    /// All bytes are on disk.
    pub fn fetched(self) -> Verifying {
        Verifying { attempts: self.attempts }
    }
}

impl Verifying {
    /// All bytes have the right hashes.
    pub fn verified(self) -> Staged {
        Staged { attempts: self.attempts }
    }

    /// They have not.
    pub fn incomplete(self) -> Fetching {
        Fetching { attempts: self.attempts }
    }
}

impl Staged {
    /// A trial is about to begin.
    pub fn try_out(self) -> Trial {
        Trial { attempts: Attempts { trials: self.attempts.trials + 1, ..self.attempts } }
    }

    /// Its bytes are damaged.
    pub fn incomplete(self) -> Fetching {
        Fetching { attempts: self.attempts }
    }

    /// It cannot be installed, or was tried too often.
    pub fn fail(self, failure: Failure) -> Phase {
        ended(self.attempts, failure)
    }
}

impl Trial {
    /// The standby worker ended before it was activated, or the agent did.
    pub fn standby_lost(self) -> Staged {
        Staged { attempts: self.attempts }
    }

    /// Traffic is about to move.
    pub fn activate(self, now_us: UnixMicros) -> Active {
        let attempts = Attempts { trials: 0, activations: self.attempts.activations + 1 };
        Active { attempts, since_us: now_us }
    }

    /// Its bytes are damaged.
    pub fn incomplete(self) -> Fetching {
        Fetching { attempts: self.attempts }
    }

    /// It does not load or does not answer.
    pub fn fail(self, failure: Failure) -> Phase {
        ended(self.attempts, failure)
    }
}

impl Active {
    /// It served long enough.
    pub fn confirm(self) -> Confirmed {
        Confirmed
    }

    /// Its worker died before that, or the agent did.
    pub fn died(self) -> Staged {
        Staged { attempts: self.attempts }
    }

    /// Its bytes are damaged.
    pub fn incomplete(self) -> Fetching {
        Fetching { attempts: self.attempts }
    }

    /// It cannot stay.
    pub fn fail(self, failure: Failure) -> Reverted {
        Reverted { failure }
    }
}

/// The end of what is not active now: it counts as reverted if it ever was.
fn ended(attempts: Attempts, failure: Failure) -> Phase {
    match attempts.activations {
        0 => Phase::Failed(Failed { failure }),
        _ => Phase::Reverted(Reverted { failure }),
    }
}

impl Phase {
    /// Where every installation begins.
    pub fn first() -> Self {
        Self::Fetching(Fetching { attempts: Attempts::default() })
    }

    /// Attempts before its bytes were found damaged, which the form in the ledger has no place for.
    pub fn before_damage(&self) -> Attempts {
        match self {
            Self::Fetching(Fetching { attempts }) | Self::Verifying(Verifying { attempts }) => {
                *attempts
            }
            _ => Attempts::default(),
        }
    }

    /// With these [`Self::before_damage`].
    #[must_use]
    pub fn with_before_damage(self, attempts: Attempts) -> Self {
        match self {
            Self::Fetching(_) => Self::Fetching(Fetching { attempts }),
            Self::Verifying(_) => Self::Verifying(Verifying { attempts }),
            state => state,
        }
    }

    /// Whether nothing more happens without a new desired state.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Confirmed(_) | Self::Reverted(_) | Self::Failed(_))
    }

    /// After `event`. One that means nothing in this state changes nothing.
    #[must_use]
    pub fn after(self, event: Event, now_us: UnixMicros) -> Self {
        match (self, event) {
            (Self::Fetching(state), Event::Fetched) => Self::Verifying(state.fetched()),
            (Self::Verifying(state), Event::Verified) => Self::Staged(state.verified()),
            (Self::Verifying(state), Event::Incomplete) => Self::Fetching(state.incomplete()),
            (Self::Staged(state), Event::Incomplete) => Self::Fetching(state.incomplete()),
            (Self::Trial(state), Event::Incomplete) => Self::Fetching(state.incomplete()),
            (Self::Active(state), Event::Incomplete) => Self::Fetching(state.incomplete()),
            (Self::Staged(state), Event::TrialBegins) => Self::Trial(state.try_out()),
            (Self::Trial(state), Event::StandbyLost) => Self::Staged(state.standby_lost()),
            (Self::Trial(state), Event::ActivationBegins) => Self::Active(state.activate(now_us)),
            (Self::Active(state), Event::Confirmed) => Self::Confirmed(state.confirm()),
            (
                Self::Fetching(Fetching { attempts }) | Self::Verifying(Verifying { attempts }),
                Event::Failed(failure),
            ) => ended(attempts, failure),
            (Self::Staged(state), Event::Failed(failure) | Event::GaveUp(failure)) => {
                state.fail(failure)
            }
            (Self::Trial(state), Event::Failed(failure)) => state.fail(failure),
            (Self::Active(state), Event::Failed(failure)) => Self::Reverted(state.fail(failure)),
            (state, _) => state,
        }
    }

    /// After the agent died and came back, or a worker did: what was under way is to be done again,
    /// and stays counted.
    #[must_use]
    pub fn interrupted(self) -> Self {
        match self {
            Self::Trial(state) => Self::Staged(state.standby_lost()),
            Self::Active(state) => Self::Staged(state.died()),
            state => state,
        }
    }
}

/// The form in the ledger. Other names or shapes need another format number there.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stored {
    Fetching,
    Verifying,
    Staged(Attempts),
    Trial(Attempts),
    Active { attempts: Attempts, since_us: UnixMicros },
    Confirmed,
    Reverted(Failure),
    Failed(Failure),
}

impl From<Stored> for Phase {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::Fetching => Self::first(),
            Stored::Verifying => Self::Verifying(Verifying { attempts: Attempts::default() }),
            Stored::Staged(attempts) => Self::Staged(Staged { attempts }),
            Stored::Trial(attempts) => Self::Trial(Trial { attempts }),
            Stored::Active { attempts, since_us } => Self::Active(Active { attempts, since_us }),
            Stored::Confirmed => Self::Confirmed(Confirmed),
            Stored::Reverted(failure) => Self::Reverted(Reverted { failure }),
            Stored::Failed(failure) => Self::Failed(Failed { failure }),
        }
    }
}

impl From<Phase> for Stored {
    fn from(phase: Phase) -> Self {
        match phase {
            // The attempts before are kept beside it: see `before_damage`.
            Phase::Fetching(_) => Self::Fetching,
            Phase::Verifying(_) => Self::Verifying,
            Phase::Staged(Staged { attempts }) => Self::Staged(attempts),
            Phase::Trial(Trial { attempts }) => Self::Trial(attempts),
            Phase::Active(Active { attempts, since_us }) => Self::Active { attempts, since_us },
            Phase::Confirmed(Confirmed) => Self::Confirmed,
            Phase::Reverted(Reverted { failure }) => Self::Reverted(failure),
            Phase::Failed(Failed { failure }) => Self::Failed(failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_in_the_ledger_is_the_one_that_agents_have_written_from_the_first_day() {
        let attempts = Attempts { trials: 1, activations: 2 };
        let failure = Failure::new("probe", "text");
        let all = [
            (Phase::first(), r#""fetching""#),
            (Phase::Verifying(Verifying { attempts: Attempts::default() }), r#""verifying""#),
            (Phase::Staged(Staged { attempts }), r#"{"staged":{"trials":1,"activations":2}}"#),
            (Phase::Trial(Trial { attempts }), r#"{"trial":{"trials":1,"activations":2}}"#),
            (
                Phase::Active(Active { attempts, since_us: 3 }),
                r#"{"active":{"attempts":{"trials":1,"activations":2},"since_us":3}}"#,
            ),
            (Phase::Confirmed(Confirmed), r#""confirmed""#),
            (
                Phase::Reverted(Reverted { failure: failure.clone() }),
                r#"{"reverted":{"reason":"probe","message":"text"}}"#,
            ),
            (
                Phase::Failed(Failed { failure }),
                r#"{"failed":{"reason":"probe","message":"text"}}"#,
            ),
        ];
        for (phase, text) in all {
            assert_eq!(serde_json::to_string(&phase).unwrap(), text);
            assert_eq!(serde_json::from_str::<Phase>(text).unwrap(), phase);
        }
    }

    #[test]
    fn events_that_mean_nothing_in_a_state_change_nothing() {
        let staged = Phase::Staged(Staged { attempts: Attempts::default() });
        for event in [Event::Confirmed, Event::ActivationBegins, Event::Fetched] {
            assert_eq!(staged.clone().after(event, 0), staged);
        }
        let ended = Phase::Confirmed(Confirmed);
        assert_eq!(ended.clone().after(Event::Failed(Failure::new("late", "")), 0), ended);
    }
}
