//! What can be wrong with a GGUF file, one variant per check that failed.

use std::io;

/// Why a header was refused or a file could not be written.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    #[error("reading the GGUF header at byte {at}: {source}")]
    Read { at: u64, source: io::Error },
    #[error("the file ends at byte {at}, inside the GGUF header")]
    Truncated { at: u64 },
    #[error("not a GGUF file: it starts with {found:02x?} instead of \"GGUF\"")]
    Magic { found: [u8; 4] },
    #[error("GGUF version {found} is not supported; versions 2 and 3 are")]
    Version { found: u32 },
    #[error("{what} is {found}, over the limit of {limit}")]
    OverLimit { what: &'static str, found: u64, limit: u64 },
    #[error("the string at byte {at} is not UTF-8")]
    NotUtf8 { at: u64 },
    #[error("unknown metadata value type {found} for key {key:?}")]
    ValueType { key: String, found: u32 },
    #[error("metadata key {key:?} holds an array of arrays, which is not supported")]
    NestedArray { key: String },
    #[error("the boolean at byte {at} is {found}, not 0 or 1")]
    Bool { at: u64, found: u8 },
    #[error("{what} {name:?} occurs twice")]
    Duplicate { what: &'static str, name: String },
    #[error("general.alignment is {found}; it must be a power of two from 8 to 65536")]
    Alignment { found: String },
    #[error("tensor {name:?} has the unknown type number {found}")]
    TensorType { name: String, found: u32 },
    #[error("tensor {name:?} has dimensions {dims:?}, which {type_name} cannot store")]
    Dims { name: String, dims: Vec<u64>, type_name: &'static str },
    #[error("tensor {name:?} starts at offset {offset}, not a multiple of {alignment}")]
    Misaligned { name: String, offset: u64, alignment: u64 },
    #[error("tensors {first:?} and {second:?} overlap")]
    Overlap { first: String, second: String },
    #[error("writing the GGUF file: {0}")]
    Write(#[source] io::Error),
    #[error("the data written is {written} bytes; the tensors declared need {declared}")]
    DataSize { written: u64, declared: u64 },
}
