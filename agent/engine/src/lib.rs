//! The EdgeFormer core: quantized transformer inference on the CPU, from a GGUF stream.
//!
//! What holds here and must keep holding:
//! 1. **Reproducible.** Logits are the same bits on every instruction set, thread count, batch size
//!    and chunking ([`kernels`]); sampling adds only a documented generator and the caller's seed.
//! 2. **Allocates once.** Weights go from the stream into their final layout, one tensor at a
//!    time; a session allocates its buffers when it is made, and decoding allocates none.
//! 3. **Pure.** No network, no clock, no files, no global state: callers give a `Read`, measure
//!    time themselves and cancel through a function.
//! 4. **Distrustful.** A model file is hostile until checked; loading never panics and is bounded
//!    by [`LoadOptions::max_weight_bytes`].
//!
//! Layers, lowest first: [`kernels`] (numeric loops and worker pool), `weights`/`load` (the model
//! in memory), [`Session`] (the forward pass over a KV cache), [`Generation`] (tokens to text).
#![deny(unsafe_code)]

mod config;
mod error;
mod f16;
mod forward;
mod generation;
mod kernels;
mod kv;
mod load;
mod math;
mod memory;
mod model;
mod quant;
mod requantize;
mod sampler;
mod session;
mod stop;
mod template;
mod tokenizer;
mod weights;

pub use config::Config;
pub use edgeformer_gguf::{Header, Limits, TensorType};
pub use error::{LoadError, SessionError};
pub use generation::{FinishReason, Generation, Step, StopRules, Usage};
pub use kernels::{Isa, IsaUnavailable};
pub use load::LoadOptions;
pub use memory::{MemoryNeed, memory_needed};
pub use model::Model;
pub use requantize::{RequantizeError, RequantizeReport, requantize};
pub use sampler::{Sampler, SamplingParams};
pub use session::{Session, SessionOptions};
pub use template::{ChatMessage, ChatTemplate, TemplateError};
pub use tokenizer::{Detokenizer, Tokenizer, TokenizerError};
