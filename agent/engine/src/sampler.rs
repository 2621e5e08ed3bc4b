//! Choosing the next token. Deterministic: the same logits, history, parameters and seed give the
//! same token on every machine.

use crate::kernels::{Isa, Level, exp_scaled};
use std::cmp::Ordering;

/// How tokens are chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingParams {
    /// Divides the logits; 0 takes the most likely token (the lowest id on a tie).
    pub temperature: f32,
    /// Keep this many most likely tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep the fewest most likely tokens that together have this probability; 1 keeps all.
    pub top_p: f32,
    /// Keep tokens at least this likely relative to the most likely one; 0 keeps all.
    pub min_p: f32,
    /// Makes tokens of the window less likely: positive logits are divided by it, negative ones
    /// multiplied (CTRL, arXiv 1909.05858); 1 changes nothing.
    pub repetition_penalty: f32,
    /// Tokens of history, the prompt's included, that the penalty looks at.
    pub repetition_window: usize,
    /// Start of the random sequence.
    pub seed: u64,
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            repetition_window: 64,
            seed: 0,
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): a 64-bit counter and a mixing function. Passes BigCrush;
/// not for secrets.
#[derive(Clone, Debug)]
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// From 0 inclusive to 1 exclusive, in steps of 2^-53.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    id: u32,
    /// Probability relative to the most likely token.
    weight: f32,
}

/// Most likely first, lower ids first on a tie.
fn by_likelihood(a: &Candidate, b: &Candidate) -> Ordering {
    b.weight.total_cmp(&a.weight).then(a.id.cmp(&b.id))
}

/// Candidates sorted at first when looking for top-p; the tail is rarely needed.
const TOP_P_HEAD: usize = 256;

/// A sampler with its random state. Order of the steps: repetition penalty, temperature, top-k,
/// top-p, min-p, draw.
#[derive(Clone, Debug)]
pub struct Sampler {
    params: SamplingParams,
    random: SplitMix64,
    level: Level,
    /// `[vocab]`, logits and then weights
    weights: Vec<f32>,
    candidates: Vec<Candidate>,
    /// The distinct tokens of the window, sorted.
    repeated: Vec<u32>,
}

impl Sampler {
    /// A sampler that starts at the seed.
    pub fn new(params: &SamplingParams) -> Self {
        Self {
            params: params.clone(),
            random: SplitMix64(params.seed),
            level: Level::detect(Isa::Auto).unwrap_or(Level::SCALAR),
            weights: Vec::new(),
            candidates: Vec::new(),
            repeated: Vec::new(),
        }
    }

    /// The next token after `history`, from logits `[vocab]`, which must not be empty. A logit
    /// that is not a number counts as impossible.
    pub fn sample(&mut self, logits: &[f32], history: &[u32]) -> u32 {
        self.weights.clear();
        self.weights.extend_from_slice(logits);
        self.penalize(history);
        let mut best = 0;
        for (id, &logit) in self.weights.iter().enumerate() {
            if logit > self.weights[best] || self.weights[best].is_nan() {
                best = id;
            }
        }
        if self.params.temperature.is_nan() || self.params.temperature <= 0.0 {
            return best as u32;
        }
        let max = self.weights[best];
        exp_scaled(self.level, &mut self.weights, max, 1.0 / self.params.temperature);
        self.candidates.clear();
        let candidates = self.weights.iter().enumerate();
        let candidates = candidates.map(|(id, &weight)| Candidate { id: id as u32, weight });
        self.candidates.extend(candidates.filter(|candidate| candidate.weight >= 0.0));
        self.truncate();
        self.draw().unwrap_or(best as u32)
    }

    fn penalize(&mut self, history: &[u32]) {
        let penalty = self.params.repetition_penalty;
        if penalty == 1.0 || penalty <= 0.0 || !penalty.is_finite() {
            return;
        }
        let window = history.len().min(self.params.repetition_window);
        self.repeated.clear();
        self.repeated.extend_from_slice(&history[history.len() - window..]);
        self.repeated.sort_unstable();
        self.repeated.dedup();
        for &id in &self.repeated {
            if let Some(logit) = self.weights.get_mut(id as usize) {
                *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
            }
        }
    }

    /// Leaves the candidates that may be drawn: sorted, or by id if nothing had to be sorted.
    fn truncate(&mut self) {
        let params = &self.params;
        let candidates = &mut self.candidates;
        if params.top_k > 0 && params.top_k < candidates.len() {
            candidates.select_nth_unstable_by(params.top_k, by_likelihood);
            candidates.truncate(params.top_k);
            candidates.sort_unstable_by(by_likelihood);
        }
        let total: f64 = candidates.iter().map(|candidate| f64::from(candidate.weight)).sum();
        // Both this and top-p keep a number of most likely candidates, so their order is free once
        // the total is known.
        let min_p = params.min_p.clamp(0.0, 1.0);
        candidates.retain(|candidate| candidate.weight >= min_p);
        if params.top_p < 1.0 {
            let count = top_p_count(candidates, f64::from(params.top_p.max(0.0)) * total);
            candidates.truncate(count);
        }
    }

    /// `None` if no candidate has any weight.
    fn draw(&mut self) -> Option<u32> {
        let total: f64 = self.candidates.iter().map(|c| f64::from(c.weight)).sum();
        let mut left = self.random.unit() * total;
        for candidate in &self.candidates {
            left -= f64::from(candidate.weight);
            if left < 0.0 {
                return Some(candidate.id);
            }
        }
        self.candidates.first().filter(|candidate| candidate.weight > 0.0).map(|c| c.id)
    }
}

/// Sorts as many of the most likely candidates as are needed to reach the weight, and returns how
/// many those are.
fn top_p_count(candidates: &mut [Candidate], wanted: f64) -> usize {
    let mut head = TOP_P_HEAD;
    loop {
        let part = if head < candidates.len() {
            candidates.select_nth_unstable_by(head, by_likelihood).0
        } else {
            &mut *candidates
        };
        part.sort_unstable_by(by_likelihood);
        let mut sum = 0.0;
        let reached = part.iter().position(|candidate| {
            sum += f64::from(candidate.weight);
            sum >= wanted
        });
        match reached {
            Some(at) => return at + 1,
            None if part.len() == candidates.len() => return candidates.len(),
            None => head *= 8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(params: SamplingParams, logits: &[f32]) -> Vec<usize> {
        let mut sampler = Sampler::new(&SamplingParams { seed: 7, ..params });
        let mut counts = vec![0; logits.len()];
        for _ in 0..10_000 {
            counts[sampler.sample(logits, &[]) as usize] += 1;
        }
        counts
    }

    fn hot() -> SamplingParams {
        SamplingParams { temperature: 1.0, ..SamplingParams::default() }
    }

    #[test]
    fn the_generator_is_the_published_one() {
        let mut random = SplitMix64(1234567);
        assert_eq!(random.next(), 6457827717110365317);
        assert_eq!(random.next(), 3203168211198807973);
    }

    #[test]
    fn greedy_takes_the_first_maximum_and_survives_nan() {
        let mut sampler = Sampler::new(&SamplingParams::default());
        assert_eq!(sampler.sample(&[0.0, 2.0, 2.0, 1.0], &[]), 1);
        assert_eq!(sampler.sample(&[f32::NAN, -1.0, f32::NAN], &[]), 1);
    }

    #[test]
    fn draws_follow_the_distribution() {
        let logits = [0.5f32.ln(), 0.3f32.ln(), 0.2f32.ln()];
        let counts = counts(hot(), &logits);
        for (count, expected) in counts.iter().zip([5000.0, 3000.0, 2000.0]) {
            assert!((*count as f64 - expected).abs() < 200.0, "{counts:?}");
        }
    }

    #[test]
    fn truncations_drop_the_tail() {
        let logits = [0.1f32.ln(), 0.5f32.ln(), 0.25f32.ln(), 0.15f32.ln()];
        let only = |params, kept: &[usize]| {
            let counts = counts(params, &logits);
            let found: Vec<_> = (0..4).filter(|&id| counts[id] > 0).collect();
            assert_eq!(found, kept, "{counts:?}");
        };
        only(SamplingParams { top_k: 2, ..hot() }, &[1, 2]);
        only(SamplingParams { top_p: 0.7, ..hot() }, &[1, 2]);
        only(SamplingParams { min_p: 0.29, ..hot() }, &[1, 2, 3]);
        only(SamplingParams { top_p: 0.0, ..hot() }, &[1]);
    }

    #[test]
    fn the_penalty_looks_at_its_window() {
        let params =
            SamplingParams { repetition_penalty: 2.0, repetition_window: 2, ..Default::default() };
        let mut sampler = Sampler::new(&params);
        assert_eq!(sampler.sample(&[3.0, 2.0, 1.0], &[0, 5]), 1);
        assert_eq!(sampler.sample(&[3.0, 2.0, 1.0], &[0, 5, 6]), 0);
        assert_eq!(sampler.sample(&[-1.0, -1.5, -9.0], &[0]), 1);
    }
}
