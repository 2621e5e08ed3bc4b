//! The parallel steps of a forward pass, safe on the outside. Tasks write to disjoint parts of a
//! buffer; which part is fixed by the task's number, so results never depend on who ran it.

use super::attention::{scores, weighted_values};
use super::elementwise::{exp_minus_max, quantize_row};
use super::level::Level;
use super::matrix::{GROUP, Matrix};
use super::pool::{MAX_TASKS, Pool};
use super::scalar;
use super::tile::{Activations, BLOCK, TILE};
use crate::kv::{BLOCK_POSITIONS, KvCache};
use std::marker::PhantomData;

/// Tasks per thread in a matrix product: enough that a thread which is late or slow does not hold
/// up the others, few enough that claiming them is cheap.
const TASKS_PER_THREAD: usize = 8;
/// Tokens whose attention one task computes, so that a head's keys are reused from cache.
const ATTENTION_TOKENS: usize = 8;

/// A buffer that tasks write disjoint parts of.
struct Disjoint<'a, T> {
    start: *mut T,
    length: usize,
    _owner: PhantomData<&'a mut [T]>,
}

// SAFETY: the buffer is exclusively borrowed for 'a, and `part` obliges its callers to take parts
// that do not overlap, so sharing this between threads is sharing disjoint `&mut [T]`.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    fn new(buffer: &'a mut [T]) -> Self {
        Self { start: buffer.as_mut_ptr(), length: buffer.len(), _owner: PhantomData }
    }

    /// The part of `length` elements at `start`; panics if it is out of bounds.
    ///
    /// # Safety
    /// No other part that overlaps it may be alive.
    #[allow(clippy::mut_from_ref)]
    unsafe fn part(&self, start: usize, length: usize) -> &mut [T] {
        assert!(start <= self.length && length <= self.length - start);
        // SAFETY: in bounds of a buffer borrowed for 'a, and not aliased by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), length) }
    }
}

/// Applies `function(index, row)` to every row of `rows`, in parallel.
pub(crate) fn for_each_row(
    pool: &Pool,
    rows: &mut [f32],
    row_len: usize,
    function: impl Fn(usize, &mut [f32]) + Sync,
) {
    let count = rows.len() / row_len;
    let rows = Disjoint::new(rows);
    pool.run(count, &|index, _| {
        // SAFETY: each task has its own row.
        let row = unsafe { rows.part(index * row_len, row_len) };
        function(index, row);
    });
}

/// Sets `activations` to `[tokens][cols]`, lets `function(token, row)` write every row, and
/// quantizes them, in parallel.
pub(crate) fn fill_rows(
    pool: &Pool,
    level: Level,
    activations: &mut Activations,
    tokens: usize,
    cols: usize,
    function: impl Fn(usize, &mut [f32]) + Sync,
) {
    let rows = activations.reshape(tokens, cols);
    let (values, quants) = (Disjoint::new(rows.values), Disjoint::new(rows.quants));
    let (scales, sums) = (Disjoint::new(rows.scales), Disjoint::new(rows.sums));
    let blocks = cols / BLOCK;
    pool.run(tokens, &|token, _| {
        // SAFETY: each task has its own row, in all four buffers.
        let (values, quants, scales, sums) = unsafe {
            (
                values.part(token * cols, cols),
                quants.part(token * cols, cols),
                scales.part(token * blocks, blocks),
                sums.part(token * blocks, blocks),
            )
        };
        function(token, values);
        quantize_row(level, values, quants, scales, sums);
    });
}

/// Products of several matrices with the same activations: `outs[i][token][row]`.
pub(crate) fn matmul<const N: usize>(
    pool: &Pool,
    level: Level,
    products: [(&Matrix, &mut [f32]); N],
    activations: &Activations,
) {
    let products = products.map(|(matrix, out)| {
        assert_eq!(matrix.cols(), activations.cols());
        assert_eq!(out.len(), activations.tokens() * matrix.rows());
        (matrix, Disjoint::new(out))
    });
    let groups: usize = products.iter().map(|(matrix, _)| matrix.groups()).sum();
    let per_task = groups.div_ceil((pool.threads() * TASKS_PER_THREAD).min(MAX_TASKS));
    pool.run(groups.div_ceil(per_task), &|task, _| {
        for index in task * per_task..groups.min((task + 1) * per_task) {
            let mut group = index;
            for (matrix, out) in &products {
                if group < matrix.groups() {
                    group_times_activations(level, matrix, group, activations, out);
                    break;
                }
                group -= matrix.groups();
            }
        }
    });
}

/// One group of rows times all tokens. Each (matrix, group) must be given to one task only.
fn group_times_activations(
    level: Level,
    matrix: &Matrix,
    group: usize,
    activations: &Activations,
    out: &Disjoint<'_, f32>,
) {
    let bytes = matrix.group(group);
    let first_row = group * GROUP;
    let rows = GROUP.min(matrix.rows() - first_row);
    let mut first = 0;
    while first < activations.tokens() {
        let count = TILE.min(activations.tokens() - first);
        let tokens: [_; TILE] =
            std::array::from_fn(|index| activations.token(first + index.min(count - 1)));
        let mut results = [[0.0; GROUP]; TILE];
        multiply(level, matrix, bytes, &tokens[..count], &mut results);
        for (index, result) in results[..count].iter().enumerate() {
            let at = (first + index) * matrix.rows() + first_row;
            // SAFETY: rows of this group belong to this task alone.
            unsafe { out.part(at, rows) }.copy_from_slice(&result[..rows]);
        }
        first += count;
    }
}

/// One group of rows times 1 to [`TILE`] tokens.
pub(super) fn multiply(
    level: Level,
    matrix: &Matrix,
    group: &[u8],
    tokens: &[super::tile::Token<'_>],
    results: &mut [[f32; GROUP]; TILE],
) {
    #[cfg(target_arch = "x86_64")]
    if level.is_avx2() {
        // SAFETY: a level other than scalar exists only where AVX2, FMA and F16C were detected.
        return unsafe { super::avx2::group_times_tokens(matrix.ty(), group, tokens, results) };
    }
    let _ = level;
    for (result, &token) in results.iter_mut().zip(tokens) {
        *result = scalar::group_times_token(matrix.ty(), group, token);
    }
}

/// What attention needs to know of the model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttentionShape {
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    /// Factor on scores, `1 / sqrt(head_dim)`.
    pub(crate) scale: f32,
}

/// Causal attention of tokens at positions `first..` over the cache, which already holds them.
/// `queries, out: [tokens][heads * head_dim]`; `scores: [threads][positions]`, positions a
/// multiple of [`BLOCK_POSITIONS`] that covers the cache. Queries are scaled in place.
///
/// Order for each token and head: scores by fma over dimensions; the maximum is subtracted; the
/// sum of exponentials in 8 lanes; values by fma over positions; then division by the sum.
#[allow(clippy::too_many_arguments)]
pub(crate) fn attention(
    pool: &Pool,
    level: Level,
    shape: AttentionShape,
    cache: &KvCache,
    layer: usize,
    first: usize,
    queries: &mut [f32],
    out: &mut [f32],
    scores: &mut [f32],
) {
    let width = shape.heads * shape.head_dim;
    let tokens = queries.len() / width;
    let per_worker = scores.len() / pool.threads();
    let strips = tokens.div_ceil(ATTENTION_TOKENS);
    let (queries, out) = (Disjoint::new(queries), Disjoint::new(out));
    let scores = Disjoint::new(scores);
    pool.run(shape.heads * strips, &|task, worker| {
        let (strip, head) = (task / shape.heads, task % shape.heads);
        // SAFETY: tasks that run at the same time have different workers.
        let scores = unsafe { scores.part(worker * per_worker, per_worker) };
        let kv_head = head / (shape.heads / shape.kv_heads);
        let last = tokens.min((strip + 1) * ATTENTION_TOKENS);
        for token in strip * ATTENTION_TOKENS..last {
            let at = token * width + head * shape.head_dim;
            // SAFETY: each (token, head) belongs to one task, in both buffers.
            let (query, out) =
                unsafe { (queries.part(at, shape.head_dim), out.part(at, shape.head_dim)) };
            query.iter_mut().for_each(|q| *q *= shape.scale);
            attend(level, cache, layer, kv_head, first + token + 1, query, out, scores);
        }
    });
}

/// One query over the first `positions` of the cache.
#[allow(clippy::too_many_arguments)]
fn attend(
    level: Level,
    cache: &KvCache,
    layer: usize,
    kv_head: usize,
    positions: usize,
    query: &[f32],
    out: &mut [f32],
    buffer: &mut [f32],
) {
    let buffer = &mut buffer[..positions.next_multiple_of(8)];
    for (block, part) in buffer.chunks_mut(BLOCK_POSITIONS).enumerate() {
        scores(level, query, cache.keys(block, layer, kv_head), part);
    }
    buffer[positions..].fill(f32::NEG_INFINITY);
    let sum = exp_minus_max(level, buffer);
    out.fill(0.0);
    for (block, weights) in buffer[..positions].chunks(BLOCK_POSITIONS).enumerate() {
        weighted_values(level, weights, cache.values(block, layer, kv_head), out);
    }
    let inverse = 1.0 / sum;
    out.iter_mut().for_each(|out| *out *= inverse);
}
