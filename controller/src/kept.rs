//! What the store said a moment ago, kept so that not every request asks again. A change holds at once
//! on the controller that made it, which forgets, and within [`FRESH_FOR`] on the others. What cannot be
//! asked is an error of whoever asks, never an old answer from here.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;

/// How long an answer is believed.
pub const FRESH_FOR: Duration = Duration::from_secs(1);
/// From here on one of those who want an answer asks again, so that not all of them do at its end.
const RENEWED_FROM: Duration = Duration::from_millis(750);
/// Answers kept at most; beyond, all are asked for again.
const MAX_KEPT: usize = 4096;

/// Answers of the store, by what was asked.
pub struct Kept<K, V>(Mutex<Answers<K, V>>);

struct Answers<K, V> {
    all: HashMap<K, Answer<V>>,
    /// Raised by whatever makes answers under way worthless.
    forgotten: u64,
}

struct Answer<V> {
    at: Timestamp,
    value: V,
    /// Somebody asks again already.
    renewing: bool,
}

/// Leave to ask. Taken before the store is read: an answer that changed here meanwhile is not kept.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct Asking {
    forgotten: u64,
}

impl<K, V> std::fmt::Debug for Kept<K, V> {
    /// Nothing of what is kept: salts are among it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Self(Mutex::new(Answers { all: HashMap::new(), forgotten: 0 }))
    }
}

impl<K: Eq + Hash, V: Clone> Kept<K, V> {
    /// The answer, if it is fresh at `now`.
    ///
    /// # Errors
    /// The caller has to ask.
    pub fn fresh(&self, key: &K, now: Timestamp) -> Result<V, Asking> {
        let mut answers = self.lock();
        let asking = Asking { forgotten: answers.forgotten };
        let answer = answers.all.get_mut(key).ok_or(asking)?;
        let at = answer.at;
        if now < at || now >= at.plus(FRESH_FOR) {
            return Err(asking);
        }
        if now >= at.plus(RENEWED_FROM) && !std::mem::replace(&mut answer.renewing, true) {
            return Err(asking);
        }
        Ok(answer.value.clone())
    }

    /// The answer, however old: for asking whether it still holds.
    pub fn stale(&self, key: &K) -> Option<V> {
        self.lock().all.get(key).map(|answer| answer.value.clone())
    }

    /// Keeps an answer of `now`.
    pub fn put(&self, asking: Asking, key: K, value: V, now: Timestamp) {
        let mut answers = self.lock();
        if asking.forgotten != answers.forgotten {
            return;
        }
        if answers.all.len() >= MAX_KEPT {
            answers.all.clear();
        }
        answers.all.insert(key, Answer { at: now, value, renewing: false });
    }

    /// Forgets an answer that changed here.
    pub fn forget(&self, key: &K) {
        let mut answers = self.lock();
        answers.forgotten += 1;
        answers.all.remove(key);
    }

    /// Forgets all answers that `changed`.
    pub fn forget_if(&self, changed: impl Fn(&V) -> bool) {
        let mut answers = self.lock();
        answers.forgotten += 1;
        answers.all.retain(|_, answer| !changed(&answer.value));
    }

    fn lock(&self) -> MutexGuard<'_, Answers<K, V>> {
        // Nothing panics while it is held, and a map of whole entries has no half state.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp(ms * 1000)
    }

    fn put(kept: &Kept<u8, &'static str>, key: u8, value: &'static str, ms: i64) {
        let asking = kept.fresh(&key, at(ms)).expect_err("nobody knows it");
        kept.put(asking, key, value, at(ms));
    }

    #[test]
    fn an_answer_is_believed_for_a_moment_and_not_after_it_changed() {
        let kept = Kept::default();
        put(&kept, 1, "a", 0);
        assert_eq!(kept.fresh(&1, at(749)).unwrap(), "a");
        assert!(kept.fresh(&1, at(-1)).is_err(), "a clock that went back");
        assert!(kept.fresh(&1, at(1000)).is_err());
        assert_eq!(kept.stale(&1), Some("a"));
        put(&kept, 1, "b", 2000);
        kept.forget_if(|value| *value == "b");
        assert_eq!(kept.stale(&1), None);
        for key in 0..=255 {
            put(&kept, key, "c", 0);
        }
        kept.forget(&7);
        assert_eq!((kept.stale(&7), kept.stale(&8)), (None, Some("c")));
    }

    #[test]
    fn one_asks_before_an_answer_ends_and_the_others_need_not() {
        let kept = Kept::default();
        put(&kept, 1, "a", 0);
        let asking = kept.fresh(&1, at(750)).expect_err("the first asks");
        assert_eq!(kept.fresh(&1, at(999)).unwrap(), "a");
        kept.put(asking, 1, "b", at(750));
        assert_eq!(kept.fresh(&1, at(1499)).unwrap(), "b");
        // Whoever asked got no answer: nobody believes the old one for longer.
        let _lost = kept.fresh(&1, at(1500)).expect_err("one asks");
        assert!(kept.fresh(&1, at(1749)).is_ok() && kept.fresh(&1, at(1750)).is_err());
    }

    #[test]
    fn what_was_asked_before_a_change_is_not_kept_after_it() {
        let kept = Kept::default();
        let asking = kept.fresh(&1, at(0)).unwrap_err();
        kept.forget(&1);
        kept.put(asking, 1, "old", at(0));
        assert_eq!(kept.stale(&1), None);
    }
}
