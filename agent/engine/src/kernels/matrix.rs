//! Weight matrices in the layout the kernels read, filled row by row from the stream: 8 rows are
//! interleaved so that one SIMD lane is one row, which makes the order of additions of a row the
//! plain order of its blocks. The bytes are the file's, only moved; there is no second copy.
//!
//! A group is 8 rows (the last one padded with zero rows). For every block of 32 columns it holds,
//! with f16 scales little-endian and quants in chunks of 4 bytes:
//!
//! | type | per block of a group |
//! |---|---|
//! | Q4_0 | 8 d, then 4 chunks x 8 rows x 4 bytes of nibble pairs |
//! | Q4_1 | 8 d, 8 m, then the same |
//! | Q8_0 | 8 d, then 8 chunks x 8 rows x 4 i8 |
//! | F16, F32 | 32 columns x 8 values |

use super::tile::BLOCK;
use crate::f16;
use edgeformer_gguf::TensorType;
use std::io::Read;
use zeroize::{Zeroize, Zeroizing};

/// Rows per group: the f32 lanes of AVX2.
pub(crate) const GROUP: usize = 8;

/// How weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MatrixType {
    Q4_0,
    Q4_1,
    Q8_0,
    F16,
    F32,
}

impl MatrixType {
    /// The types of the file that the engine can use as a weight matrix.
    pub(crate) const SUPPORTED: [TensorType; 5] =
        [TensorType::Q4_0, TensorType::Q4_1, TensorType::Q8_0, TensorType::F16, TensorType::F32];

    pub(crate) fn of(ty: TensorType) -> Option<Self> {
        match ty {
            TensorType::Q4_0 => Some(Self::Q4_0),
            TensorType::Q4_1 => Some(Self::Q4_1),
            TensorType::Q8_0 => Some(Self::Q8_0),
            TensorType::F16 => Some(Self::F16),
            TensorType::F32 => Some(Self::F32),
            _ => None,
        }
    }

    /// Bytes of 32 columns of one row, in the file and here.
    pub(crate) fn block_bytes(self) -> usize {
        match self {
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q8_0 => 34,
            Self::F16 => 64,
            Self::F32 => 128,
        }
    }

    /// The size of the pieces (a scale, a chunk of quants, a value) that keep their byte order and
    /// stand at this offset of a block.
    fn piece_bytes(self, offset: usize) -> usize {
        match self {
            Self::Q4_0 | Self::Q8_0 if offset < 2 => 2,
            Self::Q4_1 if offset < 4 => 2,
            Self::F16 => 2,
            _ => 4,
        }
    }
}

/// Why a matrix could not be read.
#[derive(Debug)]
pub(crate) enum MatrixError {
    OutOfMemory { bytes: u64 },
    Read(std::io::Error),
}

/// Weights `[rows][cols]`: `y = W x` with `x: [cols]`, `y: [rows]`.
#[derive(Debug)]
pub(crate) struct Matrix {
    ty: MatrixType,
    rows: usize,
    cols: usize,
    /// Wiped when the model is dropped.
    data: Zeroizing<Vec<u8>>,
}

impl Matrix {
    /// Bytes of the final layout, or `None` if it does not fit the address space.
    pub(crate) fn size_bytes(ty: MatrixType, rows: usize, cols: usize) -> Option<usize> {
        let group = (cols / BLOCK).checked_mul(ty.block_bytes())?.checked_mul(GROUP)?;
        rows.div_ceil(GROUP).checked_mul(group)
    }

    /// Reads `rows` rows as a GGUF file stores them. `cols` is a multiple of 32. `buffer` is
    /// scratch that grows to one group and can be reused.
    pub(crate) fn read(
        ty: MatrixType,
        rows: usize,
        cols: usize,
        source: &mut impl Read,
        buffer: &mut Vec<u8>,
    ) -> Result<Self, MatrixError> {
        let too_large = || MatrixError::OutOfMemory { bytes: u64::MAX };
        let size = Self::size_bytes(ty, rows, cols).ok_or_else(too_large)?;
        let out_of_memory = |_| MatrixError::OutOfMemory { bytes: size as u64 };
        let mut data = Zeroizing::new(Vec::new());
        data.try_reserve_exact(size).map_err(out_of_memory)?;
        let row_bytes = cols / BLOCK * ty.block_bytes();
        let group_bytes = row_bytes * GROUP;
        // Growing would leave weights behind in the old place.
        buffer.zeroize();
        buffer.try_reserve_exact(group_bytes).map_err(out_of_memory)?;
        buffer.resize(group_bytes, 0);
        for first in (0..rows).step_by(GROUP) {
            let filled = (rows - first).min(GROUP) * row_bytes;
            source.read_exact(&mut buffer[..filled]).map_err(MatrixError::Read)?;
            buffer[filled..].fill(0);
            let start = data.len();
            data.resize(start + group_bytes, 0);
            interleave(ty, buffer, row_bytes, &mut data[start..]);
        }
        Ok(Self { ty, rows, cols, data })
    }

    pub(crate) fn ty(&self) -> MatrixType {
        self.ty
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    /// Groups of rows, the last one perhaps padded.
    pub(crate) fn groups(&self) -> usize {
        self.rows.div_ceil(GROUP)
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> u64 {
        self.data.len() as u64
    }

    /// The bytes of one group.
    pub(crate) fn group(&self, index: usize) -> &[u8] {
        let bytes = self.cols / BLOCK * self.ty.block_bytes() * GROUP;
        &self.data[index * bytes..(index + 1) * bytes]
    }

    /// Decodes one row, for embedding lookup.
    pub(crate) fn decode_row(&self, row: usize, out: &mut [f32]) {
        let (group, lane) = (self.group(row / GROUP), row % GROUP);
        let block_bytes = self.ty.block_bytes() * GROUP;
        for (block, out) in group.chunks_exact(block_bytes).zip(out.as_chunks_mut::<BLOCK>().0) {
            decode_block(self.ty, block, lane, out);
        }
    }
}

/// Moves the pieces of 8 rows, one after the other in `rows`, side by side.
fn interleave(ty: MatrixType, rows: &[u8], row_bytes: usize, out: &mut [u8]) {
    let block_bytes = ty.block_bytes();
    for (block, out) in out.chunks_exact_mut(block_bytes * GROUP).enumerate() {
        let mut offset = 0;
        while offset < block_bytes {
            let piece = ty.piece_bytes(offset);
            for row in 0..GROUP {
                let from = row * row_bytes + block * block_bytes + offset;
                let to = offset * GROUP + row * piece;
                out[to..to + piece].copy_from_slice(&rows[from..from + piece]);
            }
            offset += piece;
        }
    }
}

/// The half at `index` of a block's scales.
#[inline(always)]
pub(super) fn scale(block: &[u8], index: usize) -> f32 {
    f16::to_f32(u16::from_le_bytes([block[index * 2], block[index * 2 + 1]]))
}

fn decode_block(ty: MatrixType, block: &[u8], lane: usize, out: &mut [f32; BLOCK]) {
    let chunk = |base: usize, index: usize| &block[base + index * 32 + lane * 4..][..4];
    let nibbles = |base: usize, out: &mut [f32; BLOCK], d: f32, m: f32, zero: f32| {
        for j in 0..BLOCK / 2 {
            let byte = chunk(base, j / 4)[j % 4];
            out[j] = (f32::from(byte & 15) - zero).mul_add(d, m);
            out[j + 16] = (f32::from(byte >> 4) - zero).mul_add(d, m);
        }
    };
    match ty {
        MatrixType::Q4_0 => nibbles(16, out, scale(block, lane), 0.0, 8.0),
        MatrixType::Q4_1 => nibbles(32, out, scale(block, lane), scale(block, 8 + lane), 0.0),
        MatrixType::Q8_0 => {
            let d = scale(block, lane);
            for (j, out) in out.iter_mut().enumerate() {
                *out = d * f32::from(chunk(16, j / 4)[j % 4] as i8);
            }
        }
        MatrixType::F16 => {
            for (j, out) in out.iter_mut().enumerate() {
                *out = scale(block, j * GROUP + lane);
            }
        }
        MatrixType::F32 => {
            for (j, out) in out.iter_mut().enumerate() {
                let at = (j * GROUP + lane) * 4;
                let bytes = block[at..].first_chunk().copied().unwrap_or_default();
                *out = f32::from_le_bytes(bytes);
            }
        }
    }
}
