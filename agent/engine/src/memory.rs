//! How much memory a model needs, from its header alone, so that an agent can decide before it
//! fetches a single byte of weights.

use crate::config::Config;
use crate::error::LoadError;
use crate::forward::Scratch;
use crate::kv::KvCache;
use crate::session::SessionOptions;
use crate::weights;
use edgeformer_gguf::Header;

/// Memory of a model and one session of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryNeed {
    /// Weights in their final layout, shared by all sessions.
    pub weight_bytes: u64,
    /// KV cache of one session, backed by the system as the context fills.
    pub kv_bytes: u64,
    /// Buffers of one session, with the default prefill chunk and all threads.
    pub scratch_bytes: u64,
}

/// What loading this file and one session of `context` tokens will take. Fails like
/// [`crate::Model::load`] where the header already tells that loading would.
pub fn memory_needed(header: &Header, context: usize) -> Result<MemoryNeed, LoadError> {
    let config = Config::from_header(header)?;
    let weight_bytes = weights::check(header, &config)?;
    let kv_bytes = KvCache::size_bytes(config.layers, config.kv_heads, config.head_dim, context)
        .unwrap_or(u64::MAX);
    let chunk = SessionOptions::default().prefill_chunk;
    let threads = crate::model::available_threads();
    let scratch_bytes = Scratch::size_bytes(&config, context, chunk, threads);
    Ok(MemoryNeed { weight_bytes, kv_bytes, scratch_bytes })
}
