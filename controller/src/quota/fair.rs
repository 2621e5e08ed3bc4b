//! Who goes next: a bounded number of places, shared round-robin between those who wait for one. Pure;
//! `gate` makes waiting of it.
//!
//! Whoever asks most gets no more than the others: each key has a queue of its own, and a share of the
//! places is out of reach for any single key.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// How much there is, and for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Places in all.
    pub places: usize,
    /// Places that one key may have.
    pub per_key: usize,
    /// How many of one key may wait.
    pub waiting_per_key: usize,
}

/// Somebody who waits.
pub trait Waiter {
    /// Whether it waits no more.
    fn is_gone(&self) -> bool;
}

/// What became of who came.
#[derive(Debug, PartialEq, Eq)]
pub enum Entry {
    /// It has a place.
    Go,
    /// It waits.
    Wait,
    /// Too many wait already.
    Full,
}

/// The places and the queues.
#[derive(Debug)]
pub struct Fair<K, W> {
    bounds: Bounds,
    taken: usize,
    running: HashMap<K, usize>,
    /// Keys with somebody waiting, and no others.
    queues: HashMap<K, VecDeque<W>>,
    /// The same keys, in the order of their turns.
    turns: VecDeque<K>,
}

impl<K: Copy + Eq + Hash, W: Waiter> Fair<K, W> {
    /// All places free.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            taken: 0,
            running: HashMap::new(),
            queues: HashMap::new(),
            turns: VecDeque::new(),
        }
    }

    /// Gives a place or queues what `waiter` makes.
    pub fn enter(&mut self, key: K, waiter: impl FnOnce() -> W) -> Entry {
        if self.is_free_for(key) && !self.queues.contains_key(&key) {
            self.take(key);
            return Entry::Go;
        }
        let queue = self.queues.entry(key).or_insert_with(|| {
            self.turns.push_back(key);
            VecDeque::new()
        });
        if queue.len() >= self.bounds.waiting_per_key {
            queue.retain(|waiter| !waiter.is_gone());
        }
        if queue.len() >= self.bounds.waiting_per_key {
            return Entry::Full;
        }
        queue.push_back(waiter());
        Entry::Wait
    }

    /// Gives a place back. Returns who has one now; each of them gives it back in turn.
    pub fn leave(&mut self, key: K) -> Vec<(K, W)> {
        self.taken -= 1;
        if let Some(running) = self.running.get_mut(&key) {
            *running -= 1;
            if *running == 0 {
                self.running.remove(&key);
            }
        }
        let mut next = Vec::new();
        while let Some(granted) = self.next() {
            next.push(granted);
        }
        next
    }

    /// The first waiter of the first key whose turn it is and that may have a place.
    fn next(&mut self) -> Option<(K, W)> {
        if self.taken >= self.bounds.places {
            return None;
        }
        for _ in 0..self.turns.len() {
            let key = self.turns.pop_front()?;
            let queue = self.queues.get_mut(&key)?;
            while queue.front().is_some_and(Waiter::is_gone) {
                queue.pop_front();
            }
            let first = if self.is_free_for(key) {
                self.queues.get_mut(&key).and_then(VecDeque::pop_front)
            } else {
                None
            };
            match self.queues.get(&key).is_some_and(|queue| !queue.is_empty()) {
                true => self.turns.push_back(key),
                false => drop(self.queues.remove(&key)),
            }
            if let Some(waiter) = first {
                self.take(key);
                return Some((key, waiter));
            }
        }
        None
    }

    fn is_free_for(&self, key: K) -> bool {
        self.taken < self.bounds.places
            && self.running.get(&key).copied().unwrap_or(0) < self.bounds.per_key
    }

    fn take(&mut self, key: K) {
        self.taken += 1;
        *self.running.entry(key).or_insert(0) += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Waiter for u32 {
        fn is_gone(&self) -> bool {
            *self == 0
        }
    }

    const BOUNDS: Bounds = Bounds { places: 4, per_key: 3, waiting_per_key: 5 };

    fn ids(granted: Vec<(char, u32)>) -> Vec<u32> {
        granted.into_iter().map(|(_, id)| id).collect()
    }

    #[test]
    fn a_storm_of_one_key_leaves_room_for_another() {
        let mut fair = Fair::new(BOUNDS);
        let entries: Vec<_> = (1..=9).map(|id| fair.enter('a', || id)).collect();
        assert!(entries[..3].iter().all(|entry| *entry == Entry::Go));
        assert!(entries[3..8].iter().all(|entry| *entry == Entry::Wait));
        assert_eq!(entries[8], Entry::Full);
        assert_eq!(fair.enter('b', || 20), Entry::Go, "the storm did not take it");
        assert_eq!(fair.enter('b', || 21), Entry::Wait);
        assert_eq!(fair.enter('b', || 22), Entry::Wait);
        // Round-robin, whoever came first and in whatever number.
        assert_eq!(ids(fair.leave('a')), [4]);
        assert_eq!(ids(fair.leave('a')), [21]);
        assert_eq!(ids(fair.leave('a')), [5]);
        assert_eq!(ids(fair.leave('a')), [22]);
    }

    #[test]
    fn who_went_away_gets_no_place_and_takes_no_room() {
        let mut fair = Fair::new(BOUNDS);
        for _ in 0..3 {
            fair.enter('a', || 1);
        }
        for _ in 0..5 {
            assert_eq!(fair.enter('a', || 0), Entry::Wait);
        }
        assert_eq!(fair.enter('a', || 7), Entry::Wait, "those who left made room");
        assert_eq!(ids(fair.leave('a')), [7]);
        for _ in 0..3 {
            assert!(fair.leave('a').is_empty());
        }
        assert!(fair.queues.is_empty() && fair.turns.is_empty() && fair.running.is_empty());
    }

    /// A small generator (xorshift), so that a failure can be repeated.
    fn random(state: &mut u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }

    #[test]
    fn whatever_happens_nobody_has_too_much_and_nobody_is_left_waiting() {
        for seed in 1..200_u64 {
            let (mut state, mut fair) = (seed, Fair::new(BOUNDS));
            let mut running: Vec<char> = Vec::new();
            let (mut waiting, mut granted) = (0_usize, 0_usize);
            for step in 1..500_u32 {
                if !random(&mut state).is_multiple_of(3) {
                    let key = ['a', 'a', 'a', 'b', 'c'][(random(&mut state) % 5) as usize];
                    match fair.enter(key, || step) {
                        Entry::Go => running.push(key),
                        Entry::Wait => waiting += 1,
                        Entry::Full => {}
                    }
                } else if !running.is_empty() {
                    let at = random(&mut state) as usize % running.len();
                    let next = fair.leave(running.swap_remove(at));
                    granted += next.len();
                    running.extend(next.iter().map(|(key, _)| *key));
                }
                assert!(running.len() <= BOUNDS.places, "seed {seed}, step {step}");
                for key in ['a', 'b', 'c'] {
                    let count = running.iter().filter(|running| **running == key).count();
                    assert!(count <= BOUNDS.per_key, "seed {seed}, step {step}: {key}");
                }
            }
            while let Some(key) = running.pop() {
                let next = fair.leave(key);
                granted += next.len();
                running.extend(next.iter().map(|(key, _)| *key));
            }
            assert_eq!(granted, waiting, "seed {seed}: somebody waits for ever");
        }
    }
}
