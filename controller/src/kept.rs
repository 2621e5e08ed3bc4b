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
/// Answers kept at most; beyond, all are asked for again.
const MAX_KEPT: usize = 4096;

/// Answers of the store, by what was asked.
#[derive(Debug)]
pub struct Kept<K, V>(Mutex<HashMap<K, (Timestamp, V)>>);

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl<K: Eq + Hash, V: Clone> Kept<K, V> {
    /// The answer, if it is fresh at `now`.
    pub fn fresh(&self, key: &K, now: Timestamp) -> Option<V> {
        let all = self.lock();
        let (at, value) = all.get(key)?;
        (*at <= now && now < at.plus(FRESH_FOR)).then(|| value.clone())
    }

    /// The answer, however old: for asking whether it still holds.
    pub fn stale(&self, key: &K) -> Option<V> {
        self.lock().get(key).map(|(_, value)| value.clone())
    }

    /// Keeps an answer of `now`.
    pub fn put(&self, key: K, value: V, now: Timestamp) {
        let mut all = self.lock();
        if all.len() >= MAX_KEPT {
            all.clear();
        }
        all.insert(key, (now, value));
    }

    /// Forgets an answer that changed here.
    pub fn forget(&self, key: &K) {
        self.lock().remove(key);
    }

    /// Forgets all answers that `changed`.
    pub fn forget_if(&self, changed: impl Fn(&V) -> bool) {
        self.lock().retain(|_, (_, value)| !changed(value));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, (Timestamp, V)>> {
        // Nothing panics while it is held, and a map of whole entries has no half state.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_believed_for_a_moment_and_not_after_it_changed() {
        let kept: Kept<u8, &str> = Kept::default();
        let at = |ms: i64| Timestamp(ms * 1000);
        assert_eq!(kept.fresh(&1, at(0)), None);
        kept.put(1, "a", at(0));
        assert_eq!(kept.fresh(&1, at(999)), Some("a"));
        assert_eq!((kept.fresh(&1, at(1000)), kept.stale(&1)), (None, Some("a")));
        assert_eq!(kept.fresh(&1, at(-1)), None, "a clock that went back");
        kept.put(1, "b", at(2000));
        kept.forget_if(|value| *value == "b");
        assert_eq!(kept.stale(&1), None);
        for key in 0..=255 {
            kept.put(key, "c", at(0));
        }
        kept.forget(&7);
        assert_eq!((kept.stale(&7), kept.stale(&8)), (None, Some("c")));
    }
}
