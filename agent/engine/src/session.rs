//! One conversation with a model: the tokens it holds, their keys and values, and the buffers of
//! the forward pass. Everything is allocated when the session is made.

use crate::error::SessionError;
use crate::forward::{Scratch, forward};
use crate::kv::KvCache;
use crate::model::Model;
use std::sync::Arc;

/// Prefill is done in chunks of this many tokens unless told otherwise: enough to read weights
/// rarely, few enough that activations stay in cache and cancelling is prompt.
const DEFAULT_PREFILL_CHUNK: usize = 64;
/// More tokens per chunk only cost memory.
const MAX_PREFILL_CHUNK: usize = 1024;

/// Size of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionOptions {
    /// Most tokens the session can hold; capped by the model's context length. 0 takes that.
    pub max_context: usize,
    /// Tokens that pass through the model together; results do not depend on it.
    pub prefill_chunk: usize,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self { max_context: 0, prefill_chunk: DEFAULT_PREFILL_CHUNK }
    }
}

/// A session. Not shared; give each conversation its own.
#[derive(Debug)]
pub struct Session {
    model: Arc<Model>,
    cache: KvCache,
    scratch: Scratch,
    tokens: Vec<u32>,
    max_context: usize,
    prefill_chunk: usize,
}

impl Session {
    /// Allocates a session.
    pub fn new(model: Arc<Model>, options: SessionOptions) -> Result<Self, SessionError> {
        let config = &model.config;
        let max_context = match options.max_context {
            0 => config.context_length,
            asked => asked.min(config.context_length),
        };
        let prefill_chunk = match options.prefill_chunk {
            0 => return Err(SessionError::Zero { what: "prefill_chunk" }),
            chunk => chunk.min(MAX_PREFILL_CHUNK).min(max_context),
        };
        let (layers, heads, dim) = (config.layers, config.kv_heads, config.head_dim);
        let cache = KvCache::new(layers, heads, dim, max_context).ok_or_else(|| {
            let bytes = KvCache::size_bytes(layers, heads, dim, max_context).unwrap_or(u64::MAX);
            SessionError::OutOfMemory { context: max_context, bytes }
        })?;
        let scratch_bytes =
            Scratch::size_bytes(config, max_context, prefill_chunk, model.pool.threads());
        let too_large =
            |_| SessionError::OutOfMemory { context: max_context, bytes: scratch_bytes };
        let room = usize::try_from(scratch_bytes).unwrap_or(usize::MAX);
        Vec::<u8>::new().try_reserve_exact(room).map_err(too_large)?;
        let scratch = Scratch::new(config, max_context, prefill_chunk, model.pool.threads());
        let tokens = Vec::with_capacity(max_context);
        Ok(Self { model, cache, scratch, tokens, max_context, prefill_chunk })
    }

    /// Appends tokens and returns the logits `[vocab]` after the last one.
    ///
    /// `cancelled` is asked before every layer. When it answers true, whole chunks that were done
    /// stay in the session and the rest does not.
    pub fn feed(
        &mut self,
        tokens: &[u32],
        cancelled: &dyn Fn() -> bool,
    ) -> Result<&[f32], SessionError> {
        let vocab = self.model.config.vocab;
        if tokens.is_empty() {
            return Err(SessionError::NoTokens);
        }
        if let Some(&token) = tokens.iter().find(|&&token| token as usize >= vocab) {
            return Err(SessionError::UnknownToken { token, vocab });
        }
        if tokens.len() > self.max_context - self.tokens.len() {
            return Err(SessionError::ContextFull {
                context: self.max_context,
                used: self.tokens.len(),
                requested: tokens.len(),
            });
        }
        let chunks = tokens.chunks(self.prefill_chunk);
        let last = chunks.len() - 1;
        for (index, chunk) in chunks.enumerate() {
            let (cache, scratch) = (&mut self.cache, &mut self.scratch);
            let first = self.tokens.len();
            if !forward(&self.model, cache, scratch, chunk, first, index == last, cancelled) {
                return Err(SessionError::Cancelled);
            }
            self.tokens.extend_from_slice(chunk);
        }
        Ok(&self.scratch.logits)
    }

    /// The logits that the last successful [`Session::feed`] returned; zeros before it.
    pub fn logits(&self) -> &[f32] {
        &self.scratch.logits
    }

    /// Tokens held.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether no token is held.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The tokens held.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Most tokens the session can hold.
    pub fn max_context(&self) -> usize {
        self.max_context
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Forgets all tokens after the first `len`; feeding others then gives the bits that a fresh
    /// session would. Does nothing if fewer are held.
    pub fn truncate(&mut self, len: usize) {
        self.tokens.truncate(len);
    }
}
