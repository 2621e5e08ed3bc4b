//! Dispatch of the two attention kernels over one block of the KV cache.

use super::level::Level;
use super::scalar;

/// `out[p] = q . k[p]` for whole groups of 8 positions; `keys: [groups][head_dim][8]` in f16.
/// `out` may hold fewer groups than `keys`; the rest is not read.
pub(super) fn scores(level: Level, q: &[f32], keys: &[u16], out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if level.is_avx2() {
        // SAFETY: a level other than scalar exists only where AVX2, FMA and F16C were detected.
        return unsafe { super::avx2::scores(q, keys, out) };
    }
    let _ = level;
    scalar::scores(q, keys, out);
}

/// `out += sum over p of weights[p] * v[p]`; `values: [positions][head_dim]` in f16.
pub(super) fn weighted_values(level: Level, weights: &[f32], values: &[u16], out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if level.is_avx2() {
        // SAFETY: a level other than scalar exists only where AVX2, FMA and F16C were detected.
        return unsafe { super::avx2::weighted_values(weights, values, out) };
    }
    let _ = level;
    scalar::weighted_values(weights, values, out);
}
