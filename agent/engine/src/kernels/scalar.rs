//! The reference kernels: they define the result that every other path must reproduce bit for bit.
//!
//! Order of a quantized row, for token t and row r, blocks b ascending, `acc = 0` before:
//! `i = sum of weight quant * activation quant` (exact in i32, less than 2^24 so exact in f32),
//! `acc = fma(d_w * d_a, i, acc)`; Q4_0 subtracts `8 * sum of activation quants` from i; Q4_1 then
//! does `acc = fma(m_w, d_a * sum of activation quants, acc)`.
//!
//! Order of a float row: four accumulators, column k goes to number k mod 4 by fma in ascending
//! order; the result is `(a0 + a1) + (a2 + a3)`.

use super::matrix::{GROUP, MatrixType, scale};
use super::tile::{BLOCK, Token};
use crate::f16;

/// One group of 8 rows times one token.
pub(super) fn group_times_token(ty: MatrixType, group: &[u8], token: Token<'_>) -> [f32; GROUP] {
    match ty {
        MatrixType::Q4_0 => q4::<false>(group, token),
        MatrixType::Q4_1 => q4::<true>(group, token),
        MatrixType::Q8_0 => q8_0(group, token),
        MatrixType::F16 => floats::<2>(group, token, |b| f16::to_f32(u16::from_le_bytes(b))),
        MatrixType::F32 => floats::<4>(group, token, f32::from_le_bytes),
    }
}

/// Q4_1 if `MIN`, else Q4_0.
fn q4<const MIN: bool>(group: &[u8], token: Token<'_>) -> [f32; GROUP] {
    let scales = if MIN { 32 } else { 16 };
    let mut acc = [0.0f32; GROUP];
    for (b, block) in group.chunks_exact(scales + 128).enumerate() {
        let quants = &token.quants[b];
        let mut sums = [0i32; GROUP];
        for (chunk, bytes) in block[scales..].as_chunks::<32>().0.iter().enumerate() {
            for (row, sum) in sums.iter_mut().enumerate() {
                for j in 0..4 {
                    let byte = i32::from(bytes[row * 4 + j]);
                    *sum += (byte & 15) * i32::from(quants[chunk * 4 + j]);
                    *sum += (byte >> 4) * i32::from(quants[chunk * 4 + j + 16]);
                }
            }
        }
        let (d_a, total) = (token.scales[b], token.sums[b]);
        for (row, acc) in acc.iter_mut().enumerate() {
            let sum = if MIN { sums[row] } else { sums[row] - 8 * total };
            *acc = (scale(block, row) * d_a).mul_add(sum as f32, *acc);
            if MIN {
                *acc = scale(block, 8 + row).mul_add(d_a * total as f32, *acc);
            }
        }
    }
    acc
}

fn q8_0(group: &[u8], token: Token<'_>) -> [f32; GROUP] {
    let mut acc = [0.0f32; GROUP];
    for (b, block) in group.chunks_exact(16 + 256).enumerate() {
        let quants = &token.quants[b];
        let mut sums = [0i32; GROUP];
        for (chunk, bytes) in block[16..].as_chunks::<32>().0.iter().enumerate() {
            for (row, sum) in sums.iter_mut().enumerate() {
                for j in 0..4 {
                    *sum += i32::from(bytes[row * 4 + j] as i8) * i32::from(quants[chunk * 4 + j]);
                }
            }
        }
        for (row, acc) in acc.iter_mut().enumerate() {
            *acc = (scale(block, row) * token.scales[b]).mul_add(sums[row] as f32, *acc);
        }
    }
    acc
}

fn floats<const N: usize>(
    group: &[u8],
    token: Token<'_>,
    parse: impl Fn([u8; N]) -> f32,
) -> [f32; GROUP] {
    let mut acc = [[0.0f32; GROUP]; 4];
    let columns = group.as_chunks::<N>().0.as_chunks::<GROUP>().0;
    for (k, (weights, &x)) in columns.iter().zip(token.values).enumerate() {
        for (acc, &weight) in acc[k % 4].iter_mut().zip(weights) {
            *acc = parse(weight).mul_add(x, *acc);
        }
    }
    std::array::from_fn(|r| (acc[0][r] + acc[1][r]) + (acc[2][r] + acc[3][r]))
}

/// Scores of 8 positions per group: `out[p] = sum over d of q[d] * k[p][d]`, by fma in ascending
/// d. `keys` is `[groups][head_dim][8]` in f16.
pub(super) fn scores(q: &[f32], keys: &[u16], out: &mut [f32]) {
    for (group, out) in keys.chunks_exact(q.len() * 8).zip(out.as_chunks_mut::<8>().0) {
        *out = [0.0; 8];
        for (keys, &q) in group.as_chunks::<8>().0.iter().zip(q) {
            for (out, &key) in out.iter_mut().zip(keys) {
                *out = q.mul_add(f16::to_f32(key), *out);
            }
        }
    }
}

/// `out[d] += sum over p of weights[p] * v[p][d]`, by fma in ascending p. `values` is
/// `[positions][head_dim]` in f16.
pub(super) fn weighted_values(weights: &[f32], values: &[u16], out: &mut [f32]) {
    for (row, &weight) in values.chunks_exact(out.len()).zip(weights) {
        for (out, &value) in out.iter_mut().zip(row) {
            *out = weight.mul_add(f16::to_f32(value), *out);
        }
    }
}

const _: () = assert!(BLOCK == 32);
