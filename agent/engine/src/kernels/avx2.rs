//! AVX2 twins of the scalar kernels: the same operations in the same order, 8 rows (or positions,
//! or dimensions) at a time.
//!
//! Integer sums are exact, so their order is free. No intermediate may saturate: a nibble (0..15)
//! times an i8 (-127..127), two products per 16-bit lane, 8 of those summed, is at most
//! 15 * 127 * 2 * 8 = 30,480; |weight| (0..128) times an i8, two per lane, is at most 32,512.

use super::matrix::{GROUP, MatrixType};
use super::tile::{BLOCK, TILE, Token};
use std::arch::x86_64::*;

/// Loads 32 bytes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn load32(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: the reference covers 32 readable bytes, and the load has no alignment requirement.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

/// Loads 8 f32.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn load_f32(bytes: &[f32; 8]) -> __m256 {
    // SAFETY: the reference covers 32 readable bytes, and the load has no alignment requirement.
    unsafe { _mm256_loadu_ps(bytes.as_ptr()) }
}

/// Stores 8 f32.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn store_f32(out: &mut [f32; 8], value: __m256) {
    // SAFETY: the reference covers 32 writable bytes, and the store has no alignment requirement.
    unsafe { _mm256_storeu_ps(out.as_mut_ptr(), value) }
}

/// Converts 8 f16.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn load_halves(halves: &[u8; 16]) -> __m256 {
    // SAFETY: the reference covers 16 readable bytes, and the load has no alignment requirement.
    _mm256_cvtph_ps(unsafe { _mm_loadu_si128(halves.as_ptr().cast()) })
}

/// Converts 8 f16.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn load_half_array(halves: &[u16; 8]) -> __m256 {
    // SAFETY: the reference covers 16 readable bytes, and the load has no alignment requirement.
    _mm256_cvtph_ps(unsafe { _mm_loadu_si128(halves.as_ptr().cast()) })
}

/// Four quants starting at `at`, in every lane.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn broadcast4(quants: &[i8; BLOCK], at: usize) -> __m256i {
    let four = [quants[at], quants[at + 1], quants[at + 2], quants[at + 3]];
    _mm256_set1_epi32(i32::from_ne_bytes(four.map(|quant| quant as u8)))
}

/// One group of 8 rows times `T` tokens.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn tile<const T: usize>(
    ty: MatrixType,
    group: &[u8],
    tokens: &[Token<'_>; T],
    out: &mut [[f32; GROUP]; TILE],
) {
    let acc = match ty {
        MatrixType::Q4_0 => q4::<T, false, 144>(group, tokens),
        MatrixType::Q4_1 => q4::<T, true, 160>(group, tokens),
        MatrixType::Q8_0 => q8_0(group, tokens),
        MatrixType::F16 => f16s(group, tokens),
        MatrixType::F32 => f32s(group, tokens),
    };
    for (out, acc) in out.iter_mut().zip(acc) {
        store_f32(out, acc);
    }
}

/// One group of 8 rows times 1 to [`TILE`] tokens.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn group_times_tokens(
    ty: MatrixType,
    group: &[u8],
    tokens: &[Token<'_>],
    out: &mut [[f32; GROUP]; TILE],
) {
    match *tokens {
        [a] => tile(ty, group, &[a], out),
        [a, b] => tile(ty, group, &[a, b], out),
        [a, b, c] => tile(ty, group, &[a, b, c], out),
        [a, b, c, d] => tile(ty, group, &[a, b, c, d], out),
        _ => unreachable!("a tile has 1 to {TILE} tokens"),
    }
}

/// Q4_1 if `MIN`, else Q4_0; `BYTES` is the size of a block of a group.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn q4<const T: usize, const MIN: bool, const BYTES: usize>(
    group: &[u8],
    tokens: &[Token<'_>; T],
) -> [__m256; T] {
    let mask = _mm256_set1_epi8(15);
    let ones = _mm256_set1_epi16(1);
    let mut acc = [_mm256_setzero_ps(); T];
    let blocks = group.as_chunks::<BYTES>().0;
    let tokens = tokens.map(|token| {
        (&token.quants[..blocks.len()], &token.scales[..blocks.len()], &token.sums[..blocks.len()])
    });
    for (b, block) in blocks.iter().enumerate() {
        let (scales, quants) = block.split_at(if MIN { 32 } else { 16 });
        let halves = scales.as_chunks::<16>().0;
        let mut sums = [_mm256_setzero_si256(); T];
        for (chunk, bytes) in quants.as_chunks::<32>().0.iter().enumerate() {
            let bytes = load32(bytes);
            let low = _mm256_and_si256(bytes, mask);
            let high = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), mask);
            for (sum, token) in sums.iter_mut().zip(&tokens) {
                let a = broadcast4(&token.0[b], chunk * 4);
                let z = broadcast4(&token.0[b], chunk * 4 + 16);
                *sum = _mm256_add_epi16(*sum, _mm256_maddubs_epi16(low, a));
                *sum = _mm256_add_epi16(*sum, _mm256_maddubs_epi16(high, z));
            }
        }
        let d_w = load_halves(&halves[0]);
        for ((acc, sum), token) in acc.iter_mut().zip(sums).zip(&tokens) {
            let (d_a, total) = (token.1[b], token.2[b]);
            let mut sum = _mm256_madd_epi16(sum, ones);
            if !MIN {
                sum = _mm256_sub_epi32(sum, _mm256_set1_epi32(8 * total));
            }
            let d = _mm256_mul_ps(d_w, _mm256_set1_ps(d_a));
            *acc = _mm256_fmadd_ps(d, _mm256_cvtepi32_ps(sum), *acc);
            if MIN {
                let m_w = load_halves(&halves[1]);
                *acc = _mm256_fmadd_ps(m_w, _mm256_set1_ps(d_a * total as f32), *acc);
            }
        }
    }
    acc
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn q8_0<const T: usize>(group: &[u8], tokens: &[Token<'_>; T]) -> [__m256; T] {
    let ones = _mm256_set1_epi16(1);
    let mut acc = [_mm256_setzero_ps(); T];
    let blocks = group.as_chunks::<272>().0;
    let tokens = tokens.map(|token| (&token.quants[..blocks.len()], &token.scales[..blocks.len()]));
    for (b, block) in blocks.iter().enumerate() {
        let (scales, quants) = block.split_at(16);
        let mut sums = [_mm256_setzero_si256(); T];
        for (chunk, bytes) in quants.as_chunks::<32>().0.iter().enumerate() {
            let weights = load32(bytes);
            let magnitudes = _mm256_abs_epi8(weights);
            for (sum, token) in sums.iter_mut().zip(&tokens) {
                let signed = _mm256_sign_epi8(broadcast4(&token.0[b], chunk * 4), weights);
                let pairs = _mm256_maddubs_epi16(magnitudes, signed);
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
            }
        }
        let d_w = load_halves(&scales.as_chunks::<16>().0[0]);
        for ((acc, sum), token) in acc.iter_mut().zip(sums).zip(&tokens) {
            let d = _mm256_mul_ps(d_w, _mm256_set1_ps(token.1[b]));
            *acc = _mm256_fmadd_ps(d, _mm256_cvtepi32_ps(sum), *acc);
        }
    }
    acc
}

/// Adds four columns, `weights[k]`, to the four accumulators of each token.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn add_columns<const T: usize>(
    acc: &mut [[__m256; 4]; T],
    weights: [__m256; 4],
    tokens: &[&[[f32; 4]]; T],
    at: usize,
) {
    for (acc, token) in acc.iter_mut().zip(tokens) {
        for (k, acc) in acc.iter_mut().enumerate() {
            *acc = _mm256_fmadd_ps(weights[k], _mm256_set1_ps(token[at][k]), *acc);
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn sum_accumulators<const T: usize>(acc: [[__m256; 4]; T]) -> [__m256; T] {
    let mut sums = [_mm256_setzero_ps(); T];
    for (sum, [a, b, c, d]) in sums.iter_mut().zip(acc) {
        *sum = _mm256_add_ps(_mm256_add_ps(a, b), _mm256_add_ps(c, d));
    }
    sums
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn f16s<const T: usize>(group: &[u8], tokens: &[Token<'_>; T]) -> [__m256; T] {
    let mut acc = [[_mm256_setzero_ps(); 4]; T];
    let columns = group.as_chunks::<16>().0.as_chunks::<4>().0;
    let tokens = tokens.map(|token| &token.values.as_chunks::<4>().0[..columns.len()]);
    for (at, four) in columns.iter().enumerate() {
        let [a, b, c, d] = four;
        let weights = [load_halves(a), load_halves(b), load_halves(c), load_halves(d)];
        add_columns(&mut acc, weights, &tokens, at);
    }
    sum_accumulators(acc)
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn f32s<const T: usize>(group: &[u8], tokens: &[Token<'_>; T]) -> [__m256; T] {
    let mut acc = [[_mm256_setzero_ps(); 4]; T];
    let columns = group.as_chunks::<32>().0.as_chunks::<4>().0;
    let tokens = tokens.map(|token| &token.values.as_chunks::<4>().0[..columns.len()]);
    for (at, four) in columns.iter().enumerate() {
        let mut weights = [_mm256_setzero_ps(); 4];
        for (weights, column) in weights.iter_mut().zip(four) {
            *weights = _mm256_castsi256_ps(load32(column));
        }
        add_columns(&mut acc, weights, &tokens, at);
    }
    sum_accumulators(acc)
}

/// Twin of the scalar `scores`; four groups of positions at a time hide the latency of fma.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn scores(q: &[f32], keys: &[u16], out: &mut [f32]) {
    let outs = out.as_chunks_mut::<8>().0;
    let mut groups = keys.chunks_exact(q.len() * 8);
    let (fours, ones) = outs.as_chunks_mut::<4>();
    for out in fours {
        let keys: [_; 4] = std::array::from_fn(|_| groups.next().unwrap_or_default());
        score_groups(q, keys, out);
    }
    for (out, keys) in ones.iter_mut().zip(groups) {
        score_groups(q, [keys], std::array::from_mut(out));
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn score_groups<const G: usize>(q: &[f32], keys: [&[u16]; G], out: &mut [[f32; 8]; G]) {
    let keys = keys.map(|keys| &keys.as_chunks::<8>().0[..q.len()]);
    let mut acc = [_mm256_setzero_ps(); G];
    for (d, &q) in q.iter().enumerate() {
        let q = _mm256_set1_ps(q);
        for (acc, keys) in acc.iter_mut().zip(&keys) {
            *acc = _mm256_fmadd_ps(q, load_half_array(&keys[d]), *acc);
        }
    }
    for (out, acc) in out.iter_mut().zip(acc) {
        store_f32(out, acc);
    }
}

/// Twin of the scalar `weighted_values`, in strips of 64 dimensions that stay in registers.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn weighted_values(weights: &[f32], values: &[u16], out: &mut [f32]) {
    let head_dim = out.len();
    let mut at = 0;
    while at < head_dim {
        let out = &mut out[at..];
        if out.len() >= 64 {
            strip::<8>(weights, values, head_dim, at, out);
            at += 64;
        } else {
            strip::<1>(weights, values, head_dim, at, out);
            at += 8;
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn strip<const N: usize>(
    weights: &[f32],
    values: &[u16],
    head_dim: usize,
    at: usize,
    out: &mut [f32],
) {
    let out = &mut out.as_chunks_mut::<8>().0[..N];
    let mut acc = [_mm256_setzero_ps(); N];
    for (acc, out) in acc.iter_mut().zip(&*out) {
        *acc = load_f32(out);
    }
    for (row, &weight) in values.chunks_exact(head_dim).zip(weights) {
        let weight = _mm256_set1_ps(weight);
        let row = &row[at..at + N * 8].as_chunks::<8>().0[..N];
        for (acc, values) in acc.iter_mut().zip(row) {
            *acc = _mm256_fmadd_ps(weight, load_half_array(values), *acc);
        }
    }
    for (acc, out) in acc.iter().zip(out) {
        store_f32(out, *acc);
    }
}
