//! The GGUF container: a capped reader of the header and a streaming writer.
//!
//! A GGUF file arrives over a network or from an operator's disk, so everything in it is hostile
//! until checked: reading never panics, never loops without a bound, and never allocates more than
//! a small multiple of the bytes that were really there. The crate does no I/O of its own beyond
//! the `Read` and `Write` it is handed, and it never interprets tensor data.
//!
//! Format: `ggml/docs/gguf.md`, versions 2 and 3, little-endian.
#![forbid(unsafe_code)]

mod cut;
mod error;
mod header;
mod limits;
mod read;
mod tensor_type;
mod value;
mod writer;

pub use cut::MIN_PIECE_BYTES;
pub use error::GgufError;
pub use header::{Header, TensorInfo};
pub use limits::Limits;
pub use tensor_type::TensorType;
pub use value::{Array, Strings, Value};
pub use writer::{TensorSpec, Writer};

/// The four bytes every GGUF file starts with.
pub const MAGIC: [u8; 4] = *b"GGUF";
/// The version the writer produces.
pub const VERSION: u32 = 3;
/// Alignment of tensor data when `general.alignment` is absent.
pub const DEFAULT_ALIGNMENT: u64 = 32;
