//! The KV cache: keys and values of past tokens, in fixed blocks behind one manager, allocated
//! once per session. Positions at or beyond the session's length hold stale data that must never
//! be attended to.

use crate::f16;

/// Positions per block.
pub(crate) const BLOCK_POSITIONS: usize = 64;

/// Keys and values in f16. A block holds, for every layer and KV head, keys
/// `[8 groups][head_dim][8 positions]` (a SIMD lane is a position) and then values
/// `[64 positions][head_dim]`.
#[derive(Debug)]
pub(crate) struct KvCache {
    blocks: Vec<u16>,
    layers: usize,
    kv_heads: usize,
    head_dim: usize,
}

impl KvCache {
    /// Halves in the cache for a context, or `None` on overflow.
    fn elements(layers: usize, kv_heads: usize, head_dim: usize, context: usize) -> Option<usize> {
        let positions = context.checked_next_multiple_of(BLOCK_POSITIONS)?;
        let width = layers.checked_mul(kv_heads)?.checked_mul(head_dim)?.checked_mul(2)?;
        positions.checked_mul(width)
    }

    /// Bytes of the cache for a context, or `None` on overflow.
    pub(crate) fn size_bytes(
        layers: usize,
        kv_heads: usize,
        head_dim: usize,
        context: usize,
    ) -> Option<u64> {
        Self::elements(layers, kv_heads, head_dim, context).map(|count| count as u64 * 2)
    }

    /// Allocates the cache, or `None` if the memory is not to be had.
    pub(crate) fn new(
        layers: usize,
        kv_heads: usize,
        head_dim: usize,
        context: usize,
    ) -> Option<Self> {
        let elements = Self::elements(layers, kv_heads, head_dim, context)?;
        // The reservation that fails is the trial; a zeroed allocation is then backed by the
        // system only as it is used.
        Vec::<u16>::new().try_reserve_exact(elements).ok()?;
        Some(Self { blocks: vec![0; elements], layers, kv_heads, head_dim })
    }

    fn head_elements(&self) -> usize {
        BLOCK_POSITIONS * self.head_dim
    }

    /// Where the keys of (block, layer, head) start; their values follow.
    fn at(&self, block: usize, layer: usize, kv_head: usize) -> usize {
        ((block * self.layers + layer) * self.kv_heads + kv_head) * 2 * self.head_elements()
    }

    /// `[8][head_dim][8]`
    pub(crate) fn keys(&self, block: usize, layer: usize, kv_head: usize) -> &[u16] {
        let at = self.at(block, layer, kv_head);
        &self.blocks[at..at + self.head_elements()]
    }

    /// `[64][head_dim]`
    pub(crate) fn values(&self, block: usize, layer: usize, kv_head: usize) -> &[u16] {
        let at = self.at(block, layer, kv_head) + self.head_elements();
        &self.blocks[at..at + self.head_elements()]
    }

    /// Stores one position's keys and values, `[kv_heads][head_dim]` each.
    pub(crate) fn store(&mut self, layer: usize, position: usize, keys: &[f32], values: &[f32]) {
        let (block, slot) = (position / BLOCK_POSITIONS, position % BLOCK_POSITIONS);
        let dim = self.head_dim;
        let rows = keys.chunks_exact(dim).zip(values.chunks_exact(dim));
        for (kv_head, (key, value)) in rows.enumerate() {
            let at = self.at(block, layer, kv_head);
            let end = at + 2 * self.head_elements();
            let (keys, values) = self.blocks[at..end].split_at_mut(BLOCK_POSITIONS * dim);
            let group = &mut keys[slot / 8 * dim * 8..][..dim * 8];
            for (d, &key) in key.iter().enumerate() {
                group[d * 8 + slot % 8] = f16::from_f32(key);
            }
            for (stored, &value) in values[slot * dim..].iter_mut().zip(value) {
                *stored = f16::from_f32(value);
            }
        }
    }
}
