//! Why a model did not load and why a session did not go on. Messages are for operators: what
//! happened, to what, and what would be accepted.

use crate::kernels::IsaUnavailable;
use crate::tokenizer::TokenizerError;
use edgeformer_gguf::GgufError;

/// Why a model could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Gguf(#[from] GgufError),
    #[error("reading tensor {tensor:?}: {source}")]
    Read { tensor: String, source: std::io::Error },
    #[error("architecture {found:?} is not supported; supported: {supported}")]
    UnknownArchitecture { found: String, supported: &'static str },
    #[error(
        "tensor {tensor:?} has type {found}, which is not supported here; supported: {supported}"
    )]
    UnsupportedTensorType { tensor: String, found: &'static str, supported: String },
    #[error("the file lacks metadata key {key:?}, or its type is wrong")]
    MissingKey { key: String },
    #[error("metadata key {key:?} is {found}; {expected}")]
    BadValue { key: String, found: String, expected: String },
    #[error("the file lacks tensor {tensor:?}")]
    MissingTensor { tensor: String },
    #[error(
        "tensor {tensor:?} is not part of the architectures this engine runs, so running \
             without it would give wrong results"
    )]
    UnknownTensor { tensor: String },
    #[error("tensor {tensor:?} has dimensions {found:?}; the metadata asks for {expected:?}")]
    TensorShape { tensor: String, found: Vec<u64>, expected: Vec<u64> },
    #[error("the weights need {needed} bytes; the limit is {limit}")]
    TooLarge { needed: u64, limit: u64 },
    #[error("no memory for {bytes} bytes of {what}")]
    OutOfMemory { what: &'static str, bytes: u64 },
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    Isa(#[from] IsaUnavailable),
    #[error("starting worker threads: {0}")]
    Threads(#[source] std::io::Error),
}

/// Why a session could not be made or could not go on. After any of these a session is intact: it
/// holds exactly the tokens that [`crate::Session::len`] counts.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error("{requested} tokens do not fit: the context holds {context}, of which {used} are used")]
    ContextFull { context: usize, used: usize, requested: usize },
    #[error("cancelled")]
    Cancelled,
    #[error("token {token} is not in the vocabulary of {vocab} tokens")]
    UnknownToken { token: u32, vocab: usize },
    #[error("there are no tokens to feed")]
    NoTokens,
    #[error("{what} must be at least 1")]
    Zero { what: &'static str },
    #[error("no memory for a context of {context} tokens ({bytes} bytes)")]
    OutOfMemory { context: usize, bytes: u64 },
}
