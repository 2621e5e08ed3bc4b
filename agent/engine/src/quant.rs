//! The quantized block formats: decoding any row to `f32`, and encoding rows. Used where weights
//! are converted, never in the inner loops of inference.
//!
//! Layouts, each block 32 values, scales in half precision: Q4_0 `d, 16 nibbles pairs`,
//! `x = d (q - 8)`; Q4_1 `d, m, ...`, `x = d q + m`; Q5_0 and Q5_1 the same with a fifth bit in 4
//! bytes; Q8_0 `d, 32 i8`, `x = d q`. Nibble j is value j (low) and j + 16 (high).

use crate::f16;
use edgeformer_gguf::TensorType;

/// Values in a block of every format here.
pub(crate) const BLOCK: usize = 32;

/// The types [`decode_row`] can read.
pub const DECODABLE: &[TensorType] = &[
    TensorType::F32,
    TensorType::F16,
    TensorType::BF16,
    TensorType::Q4_0,
    TensorType::Q4_1,
    TensorType::Q5_0,
    TensorType::Q5_1,
    TensorType::Q8_0,
];

/// The types [`encode_row`] can write.
pub const ENCODABLE: &[TensorType] =
    &[TensorType::F32, TensorType::F16, TensorType::Q4_0, TensorType::Q4_1, TensorType::Q8_0];

fn half(bytes: &[u8]) -> f32 {
    f16::to_f32(u16::from_le_bytes([bytes[0], bytes[1]]))
}

/// Decodes a row of one of the [`DECODABLE`] types; `row` and `out` must have matching lengths.
/// Returns false, leaving `out` alone, for another type.
pub(crate) fn decode_row(ty: TensorType, row: &[u8], out: &mut [f32]) -> bool {
    let blocks = row.chunks_exact(ty.block_bytes() as usize);
    match ty {
        TensorType::F32 => {
            for (value, bytes) in out.iter_mut().zip(row.as_chunks::<4>().0) {
                *value = f32::from_le_bytes(*bytes);
            }
        }
        TensorType::F16 => {
            for (value, bytes) in out.iter_mut().zip(row.as_chunks::<2>().0) {
                *value = f16::to_f32(u16::from_le_bytes(*bytes));
            }
        }
        TensorType::BF16 => {
            for (value, bytes) in out.iter_mut().zip(row.as_chunks::<2>().0) {
                *value = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
            }
        }
        TensorType::Q8_0 => {
            for (values, block) in out.chunks_exact_mut(BLOCK).zip(blocks) {
                let d = half(block);
                for (value, &q) in values.iter_mut().zip(&block[2..]) {
                    *value = d * f32::from(q as i8);
                }
            }
        }
        TensorType::Q4_0 => decode_nibbles(out, blocks, 2, |block, q| half(block) * (q - 8.0)),
        TensorType::Q4_1 => {
            decode_nibbles(out, blocks, 4, |block, q| half(block) * q + half(&block[2..]));
        }
        TensorType::Q5_0 => {
            decode_nibbles(out, blocks, 6, |block, q| half(block) * (q - 16.0));
        }
        TensorType::Q5_1 => {
            decode_nibbles(out, blocks, 8, |block, q| half(block) * q + half(&block[2..]));
        }
        _ => return false,
    }
    true
}

/// `nibbles` is where the 16 bytes of nibbles start; four bytes of fifth bits precede them when
/// there is room for them (formats of 22 and 24 bytes).
fn decode_nibbles<'a>(
    out: &mut [f32],
    blocks: impl Iterator<Item = &'a [u8]>,
    nibbles: usize,
    value_of: impl Fn(&[u8], f32) -> f32,
) {
    for (values, block) in out.chunks_exact_mut(BLOCK).zip(blocks) {
        let fifth = match nibbles {
            6 | 8 => u32::from_le_bytes(*block[nibbles - 4..].first_chunk().unwrap_or(&[0; 4])),
            _ => 0,
        };
        for (j, value) in values.iter_mut().enumerate() {
            let byte = block[nibbles + j % 16];
            let low = if j < 16 { byte & 15 } else { byte >> 4 };
            let high = (fifth >> j & 1) as u8;
            *value = value_of(block, f32::from(low | high << 4));
        }
    }
}

/// Appends a row, encoded as one of the [`ENCODABLE`] types, to `out`. Returns false, appending
/// nothing, for another type. The rounding is that of ggml's reference quantizers, so a file made
/// here equals one made there from the same `f32` values.
pub(crate) fn encode_row(ty: TensorType, row: &[f32], out: &mut Vec<u8>) -> bool {
    match ty {
        TensorType::F32 => row.iter().for_each(|value| out.extend(value.to_le_bytes())),
        TensorType::F16 => {
            row.iter().for_each(|&value| out.extend(f16::from_f32(value).to_le_bytes()));
        }
        TensorType::Q8_0 => row.chunks_exact(BLOCK).for_each(|block| encode_q8_0(block, out)),
        TensorType::Q4_0 => row.chunks_exact(BLOCK).for_each(|block| encode_q4_0(block, out)),
        TensorType::Q4_1 => row.chunks_exact(BLOCK).for_each(|block| encode_q4_1(block, out)),
        _ => return false,
    }
    true
}

fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

fn encode_q8_0(block: &[f32], out: &mut Vec<u8>) {
    let largest = block.iter().fold(0.0f32, |max, value| max.max(value.abs()));
    let d = largest / 127.0;
    out.extend(f16::from_f32(d).to_le_bytes());
    out.extend(block.iter().map(|value| (value * inverse(d)).round() as i8 as u8));
}

fn encode_q4_0(block: &[f32], out: &mut Vec<u8>) {
    // The value of largest magnitude maps to -8, the end of the range that has one step more.
    let extreme =
        block.iter().fold(0.0f32, |max, &value| if value.abs() > max.abs() { value } else { max });
    let d = extreme / -8.0;
    out.extend(f16::from_f32(d).to_le_bytes());
    put_nibbles(block, out, |value| value * inverse(d) + 8.5);
}

fn encode_q4_1(block: &[f32], out: &mut Vec<u8>) {
    let min = block.iter().copied().fold(f32::INFINITY, f32::min);
    let max = block.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let d = (max - min) / 15.0;
    out.extend(f16::from_f32(d).to_le_bytes());
    out.extend(f16::from_f32(min).to_le_bytes());
    put_nibbles(block, out, |value| (value - min) * inverse(d) + 0.5);
}

fn put_nibbles(block: &[f32], out: &mut Vec<u8>, place: impl Fn(f32) -> f32) {
    let (low, high) = block.split_at(BLOCK / 2);
    // `as u8` truncates and saturates, NaN becomes 0.
    let nibble = |value: f32| (place(value) as u8).min(15);
    out.extend(low.iter().zip(high).map(|(&low, &high)| nibble(low) | nibble(high) << 4));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_round_trip(ty: TensorType, bound: f32) {
        let row: Vec<f32> = (0..64).map(|i| ((i * 37 % 64) as f32 - 31.5) / 10.0).collect();
        let mut bytes = Vec::new();
        assert!(encode_row(ty, &row, &mut bytes));
        assert_eq!(bytes.len() as u64, ty.size_bytes(&[64]).unwrap());
        let mut back = vec![0.0; 64];
        assert!(decode_row(ty, &bytes, &mut back));
        let worst = row.iter().zip(&back).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= bound, "{ty}: {worst}");
    }

    #[test]
    fn encodings_decode_within_half_a_step() {
        check_round_trip(TensorType::F32, 0.0);
        check_round_trip(TensorType::F16, 0.002);
        check_round_trip(TensorType::Q8_0, 3.2 / 127.0 * 0.51);
        check_round_trip(TensorType::Q4_1, 6.4 / 15.0 * 0.51);
        // One end of a Q4_0 block saturates, up to a whole step.
        check_round_trip(TensorType::Q4_0, 3.2 / 8.0);
    }

    #[test]
    fn zeros_and_fifth_bits() {
        for &ty in ENCODABLE {
            let mut bytes = Vec::new();
            encode_row(ty, &[0.0; 32], &mut bytes);
            let mut back = [1.0; 32];
            decode_row(ty, &bytes, &mut back);
            assert_eq!(back, [0.0; 32], "{ty}");
        }
        let mut block = vec![0u8; 22];
        block[..2].copy_from_slice(&f16::from_f32(2.0).to_le_bytes());
        block[2] = 0b10; // the fifth bit of value 1
        block[6 + 1] = 0x03; // low nibble of value 1
        let mut back = [0.0; 32];
        decode_row(TensorType::Q5_0, &block, &mut back);
        assert_eq!(back[1], 2.0 * (19.0 - 16.0));
        assert_eq!(back[0], -32.0);
    }
}
