//! One forward pass over a GGUF stream: the header is checked as a whole first, then each tensor
//! goes in file order into its final layout. The stream is never seeked and never held.

use crate::config::Config;
use crate::error::LoadError;
use crate::kernels::{Isa, Matrix, MatrixError, MatrixType};
use crate::weights::{self, Builder, Loaded, Weights};
use edgeformer_gguf::{Header, TensorInfo};
use std::io::Read;
use zeroize::Zeroizing;

/// Bytes of a vector converted at a time.
const VECTOR_STEP_BYTES: usize = 4096;

/// How to load a model.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Threads for computing, the caller's included; 0 takes all the machine offers.
    pub threads: usize,
    /// Instruction set; results are the same bits with every one.
    pub isa: Isa,
    /// Refuse models whose weights need more bytes than this.
    pub max_weight_bytes: u64,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { threads: 0, isa: Isa::Auto, max_weight_bytes: u64::MAX }
    }
}

/// Reads all tensors. `source` stands at `header.data_offset`.
pub(crate) fn read_weights(
    source: &mut impl Read,
    header: &Header,
    config: &Config,
    max_bytes: u64,
) -> Result<Weights, LoadError> {
    let needed = weights::check(header, config)?;
    if needed > max_bytes {
        return Err(LoadError::TooLarge { needed, limit: max_bytes });
    }
    let mut builder = Builder::default();
    let mut buffer = Zeroizing::new(Vec::new());
    let mut position = 0;
    for tensor in header.in_file_order() {
        skip(source, tensor.offset - position)
            .map_err(|source| LoadError::Read { tensor: tensor.name.clone(), source })?;
        builder.insert(&tensor.name, read_tensor(source, tensor, &mut buffer)?);
        position = tensor.offset + tensor.size_bytes;
    }
    builder.build(config)
}

fn skip(source: &mut impl Read, length: u64) -> std::io::Result<()> {
    match std::io::copy(&mut source.take(length), &mut std::io::sink())? {
        skipped if skipped == length => Ok(()),
        _ => Err(std::io::ErrorKind::UnexpectedEof.into()),
    }
}

fn read_tensor(
    source: &mut impl Read,
    tensor: &TensorInfo,
    buffer: &mut Vec<u8>,
) -> Result<Loaded, LoadError> {
    let read_error = |source| LoadError::Read { tensor: tensor.name.clone(), source };
    let [cols, rows] = *weights::trimmed(&tensor.dims) else {
        return read_vector(source, tensor.size_bytes).map(Loaded::Vector).map_err(read_error);
    };
    let ty = MatrixType::of(tensor.ty).ok_or_else(|| LoadError::UnknownTensor {
        tensor: tensor.name.clone(), // cannot happen: `check` has seen the type
    })?;
    Matrix::read(ty, rows as usize, cols as usize, source, buffer).map(Loaded::Matrix).map_err(
        |error| match error {
            MatrixError::Read(source) => read_error(source),
            MatrixError::OutOfMemory { bytes } => LoadError::OutOfMemory { what: "weights", bytes },
        },
    )
}

/// The size was checked against the shape, so it is small; it still grows with what arrives.
fn read_vector(source: &mut impl Read, size_bytes: u64) -> std::io::Result<Zeroizing<Vec<f32>>> {
    let mut values = Zeroizing::new(Vec::new());
    let mut left = size_bytes as usize;
    let mut buffer = [0; VECTOR_STEP_BYTES];
    while left > 0 {
        let step = &mut buffer[..left.min(VECTOR_STEP_BYTES)];
        source.read_exact(step)?;
        values.extend(step.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
        left -= step.len();
    }
    Ok(values)
}
