//! The forward pass of the `llama` architecture: RMSNorm, grouped-query attention with rotary
//! positions, SwiGLU. Several tokens pass through together, each with the bits it would have alone.

use crate::config::Config;
use crate::kernels::{
    Activations, AttentionShape, add, attention, fill_rows, for_each_row, matmul, rms_norm, rope,
    silu_mul,
};
use crate::kv::{BLOCK_POSITIONS, KvCache};
use crate::math;
use crate::model::Model;
use crate::weights::Weights;

/// Buffers of a session, allocated once. `n` is the most tokens that pass together.
#[derive(Debug)]
pub(crate) struct Scratch {
    /// `[n][dim]`, the residual stream
    x: Vec<f32>,
    /// `[n][dim, q or ff]`, input of the next product, quantized
    input: Activations,
    /// `[n][q]`
    q: Vec<f32>,
    /// `[n][kv]`
    k: Vec<f32>,
    /// `[n][kv]`
    v: Vec<f32>,
    /// `[n][q]`, attention's output
    attended: Vec<f32>,
    /// `[n][dim]`, output of the two products that return to the residual stream
    branch: Vec<f32>,
    /// `[n][ff]`
    gate: Vec<f32>,
    /// `[n][ff]`
    up: Vec<f32>,
    /// `[n][rope_dims / 2]` (cos, sin)
    rotation: Vec<(f32, f32)>,
    /// `[threads][context]`
    scores: Vec<f32>,
    /// `[vocab]`
    pub(crate) logits: Vec<f32>,
}

/// Floats of [`Scratch`] other than scores and logits, per token.
fn floats_per_token(config: &Config) -> usize {
    2 * config.dim + 2 * config.q_dim() + 2 * config.kv_dim() + 2 * config.ff_dim + config.rope_dims
}

fn widest(config: &Config) -> usize {
    config.dim.max(config.q_dim()).max(config.ff_dim)
}

impl Scratch {
    pub(crate) fn new(config: &Config, context: usize, chunk: usize, threads: usize) -> Self {
        let floats = |count: usize| vec![0.0f32; count];
        Self {
            x: floats(chunk * config.dim),
            input: Activations::new(chunk, widest(config)),
            q: floats(chunk * config.q_dim()),
            k: floats(chunk * config.kv_dim()),
            v: floats(chunk * config.kv_dim()),
            attended: floats(chunk * config.q_dim()),
            branch: floats(chunk * config.dim),
            gate: floats(chunk * config.ff_dim),
            up: floats(chunk * config.ff_dim),
            rotation: vec![(1.0, 0.0); chunk * config.rope_dims / 2],
            scores: floats(threads * context.next_multiple_of(BLOCK_POSITIONS)),
            logits: floats(config.vocab),
        }
    }

    /// Bytes that [`Scratch::new`] allocates.
    pub(crate) fn size_bytes(config: &Config, context: usize, chunk: usize, threads: usize) -> u64 {
        let positions = (context as u64).saturating_add(BLOCK_POSITIONS as u64 - 1)
            / BLOCK_POSITIONS as u64
            * BLOCK_POSITIONS as u64;
        let floats = (chunk * floats_per_token(config) + config.vocab) as u64;
        positions
            .saturating_mul(threads as u64)
            .saturating_add(floats)
            .saturating_mul(4)
            .saturating_add(Activations::size_bytes(chunk, widest(config)))
    }
}

/// `base^(-2i / rope_dims)`, divided by the scale and by the file's factors.
pub(crate) fn rope_frequencies(config: &Config, weights: &Weights) -> Vec<f64> {
    let log_base = math::ln(f64::from(config.rope_base));
    (0..config.rope_dims / 2)
        .map(|i| {
            let exponent = -2.0 * i as f64 / config.rope_dims as f64;
            let factor = weights.rope_factors.as_ref().map_or(1.0, |factors| factors[i]);
            math::exp64(exponent * log_base) / f64::from(config.rope_scale) / f64::from(factor)
        })
        .collect()
}

/// Runs `tokens` at positions `first..` through the model, adding them to the cache, and leaves
/// the logits of the last one in the scratch if `want_logits`. Returns false when cancelled; the
/// cache then holds garbage at those positions, which the session must not count.
pub(crate) fn forward(
    model: &Model,
    cache: &mut KvCache,
    scratch: &mut Scratch,
    tokens: &[u32],
    first: usize,
    want_logits: bool,
    cancelled: &dyn Fn() -> bool,
) -> bool {
    let Model { config, weights, level, pool, .. } = model;
    let (level, n) = (*level, tokens.len());
    let (dim, eps) = (config.dim, config.norm_eps);
    let s = scratch;
    let x = &mut s.x[..n * dim];
    let q = &mut s.q[..n * config.q_dim()];
    let k = &mut s.k[..n * config.kv_dim()];
    let v = &mut s.v[..n * config.kv_dim()];
    let attended = &mut s.attended[..n * config.q_dim()];
    let branch = &mut s.branch[..n * dim];
    let gate = &mut s.gate[..n * config.ff_dim];
    let up = &mut s.up[..n * config.ff_dim];
    let pairs = config.rope_dims / 2;
    let rotation = &mut s.rotation[..n * pairs];
    let shape = AttentionShape {
        heads: config.heads,
        kv_heads: config.kv_heads,
        head_dim: config.head_dim,
        scale: config.attention_scale,
    };

    for_each_row(pool, x, dim, |t, x| weights.embedding.decode_row(tokens[t] as usize, x));
    for (index, rotation) in rotation.iter_mut().enumerate() {
        let angle = (first + index / pairs) as f64 * model.rope_frequencies[index % pairs];
        let (cos, sin) = math::cos_sin(angle);
        *rotation = (cos as f32, sin as f32);
    }
    let rotation = |t: usize| &rotation[t * pairs..(t + 1) * pairs];

    for (layer, w) in weights.layers.iter().enumerate() {
        if cancelled() {
            return false;
        }
        // Attention: x += Wo attend(Wq h, Wk h, Wv h), h = norm(x)
        fill_rows(pool, level, &mut s.input, n, dim, |t, h| {
            rms_norm(level, &x[t * dim..(t + 1) * dim], &w.attn_norm, eps, h);
        });
        matmul(
            pool,
            level,
            [(&w.query, &mut *q), (&w.key, &mut *k), (&w.value, &mut *v)],
            &s.input,
        );
        for_each_row(pool, q, config.q_dim(), |t, q| rope(level, q, config.head_dim, rotation(t)));
        for_each_row(pool, k, config.kv_dim(), |t, k| rope(level, k, config.head_dim, rotation(t)));
        let rows = k.chunks_exact(config.kv_dim()).zip(v.chunks_exact(config.kv_dim()));
        for (t, (k, v)) in rows.enumerate() {
            cache.store(layer, first + t, k, v);
        }
        attention(pool, level, shape, cache, layer, first, q, attended, &mut s.scores);
        fill_rows(pool, level, &mut s.input, n, config.q_dim(), |t, h| {
            h.copy_from_slice(&attended[t * h.len()..(t + 1) * h.len()]);
        });
        matmul(pool, level, [(&w.attn_output, &mut *branch)], &s.input);
        add(level, x, branch);

        // Feed-forward: x += Wdown (silu(Wgate h) * Wup h), h = norm(x)
        fill_rows(pool, level, &mut s.input, n, dim, |t, h| {
            rms_norm(level, &x[t * dim..(t + 1) * dim], &w.ffn_norm, eps, h);
        });
        matmul(pool, level, [(&w.gate, &mut *gate), (&w.up, &mut *up)], &s.input);
        fill_rows(pool, level, &mut s.input, n, config.ff_dim, |t, h| {
            let row = t * h.len()..(t + 1) * h.len();
            silu_mul(level, &gate[row.clone()], &up[row], h);
        });
        matmul(pool, level, [(&w.down, &mut *branch)], &s.input);
        add(level, x, branch);
    }

    if want_logits {
        fill_rows(pool, level, &mut s.input, 1, dim, |_, h| {
            rms_norm(level, &x[(n - 1) * dim..], &weights.output_norm, eps, h);
        });
        matmul(pool, level, [(weights.output_matrix(), &mut s.logits[..])], &s.input);
    }
    true
}
