//! Every SIMD kernel against its scalar twin: equal bits, for any input. And the scalar kernels
//! against plain arithmetic in f64, within an error budget.

use super::attention::{scores, weighted_values};
use super::elementwise::{exp_minus_max, exp_scaled, quantize_row, rms_norm, rope, silu_mul};
use super::level::{Isa, Level};
use super::matrix::{GROUP, Matrix, MatrixType};
use super::parallel::multiply;
use super::tile::{Activations, TILE};
use crate::{f16, quant};
use edgeformer_gguf::TensorType;
use proptest::prelude::*;

const TYPES: [(MatrixType, TensorType); 5] = [
    (MatrixType::Q4_0, TensorType::Q4_0),
    (MatrixType::Q4_1, TensorType::Q4_1),
    (MatrixType::Q8_0, TensorType::Q8_0),
    (MatrixType::F16, TensorType::F16),
    (MatrixType::F32, TensorType::F32),
];

/// The level to compare with scalar. On a machine without AVX2 the comparison is trivial.
fn simd() -> Level {
    Level::detect(Isa::Auto).unwrap()
}

/// Values over several magnitudes, zeros included.
fn values(count: usize) -> impl Strategy<Value = Vec<f32>> {
    let value = prop_oneof![
        8 => -4.0f32..4.0,
        1 => -1e4f32..1e4,
        1 => Just(0.0f32),
        1 => -1e-6f32..1e-6,
    ];
    prop::collection::vec(value, count)
}

fn halves(count: usize) -> impl Strategy<Value = Vec<u16>> {
    values(count).prop_map(|values| values.into_iter().map(f16::from_f32).collect())
}

fn matrix(ty: (MatrixType, TensorType), rows: usize, cols: usize, weights: &[f32]) -> Matrix {
    let mut bytes = Vec::new();
    for row in weights.chunks_exact(cols) {
        quant::encode_row(ty.1, row, &mut bytes);
    }
    Matrix::read(ty.0, rows, cols, &mut &bytes[..], &mut Vec::new()).unwrap()
}

fn activations(level: Level, tokens: usize, cols: usize, values: &[f32]) -> Activations {
    let mut activations = Activations::new(tokens, cols);
    let rows = activations.reshape(tokens, cols);
    rows.values.copy_from_slice(values);
    quantize_row(level, rows.values, rows.quants, rows.scales, rows.sums);
    activations
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn products(level: Level, matrix: &Matrix, tokens: usize, x: &[f32]) -> Vec<[f32; GROUP]> {
    let activations = activations(level, tokens, matrix.cols(), x);
    let tokens: Vec<_> = (0..tokens).map(|index| activations.token(index)).collect();
    let mut all = Vec::new();
    for group in 0..matrix.groups() {
        let mut results = [[0.0; GROUP]; TILE];
        multiply(level, matrix, matrix.group(group), &tokens, &mut results);
        all.extend_from_slice(&results[..tokens.len()]);
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn products_have_the_same_bits(
        tokens in 1..=TILE,
        weights in values(11 * 96),
        x in values(TILE * 96),
    ) {
        for ty in TYPES {
            let matrix = matrix(ty, 11, 96, &weights);
            let x = &x[..tokens * 96];
            let scalar = products(Level::SCALAR, &matrix, tokens, x);
            let simd = products(simd(), &matrix, tokens, x);
            prop_assert_eq!(bits(scalar.as_flattened()), bits(simd.as_flattened()), "{:?}", ty.0);
        }
    }

    #[test]
    fn row_operations_have_the_same_bits(a in values(96), b in values(96)) {
        let run = |level| {
            let mut norm = vec![0.0; 96];
            rms_norm(level, &a, &b, 1e-5, &mut norm);
            let mut silu = vec![0.0; 96];
            silu_mul(level, &a, &b, &mut silu);
            let mut weights = a.clone();
            let sum = exp_minus_max(level, &mut weights);
            let mut scaled = a.clone();
            exp_scaled(level, &mut scaled, 2.0, 1.25);
            let mut turned = a.clone();
            rope(level, &mut turned, 24, &[(0.6, 0.8), (-0.3, 0.9)]);
            let (mut q, mut d, mut s) = (vec![0i8; 96], vec![0.0; 3], vec![0; 3]);
            quantize_row(level, &a, &mut q, &mut d, &mut s);
            let floats = [norm, silu, weights, vec![sum], scaled, turned, d].concat();
            (bits(&floats), q, s)
        };
        prop_assert_eq!(run(Level::SCALAR), run(simd()));
    }

    #[test]
    fn attention_has_the_same_bits(
        q in values(72),
        cache in halves(64 * 72),
        groups in 1usize..=8,
        start in values(72),
    ) {
        let run = |level| {
            let mut out = vec![0.0; groups * 8];
            scores(level, &q, &cache, &mut out);
            let mut sum = start.clone();
            weighted_values(level, &out, &cache, &mut sum);
            bits(&[out, sum].concat())
        };
        prop_assert_eq!(run(Level::SCALAR), run(simd()));
    }

    /// The budget: quantizing activations errs by half a step per value, 1/254 of the block's
    /// largest; rounding adds less than 1e-5 of the magnitudes that enter the sums, which in Q4_1
    /// are those of the block's heaviest weight.
    #[test]
    fn products_are_close_to_exact_ones(weights in values(8 * 64), x in values(64)) {
        for ty in TYPES {
            let matrix = matrix(ty, 8, 64, &weights);
            let found = products(simd(), &matrix, 1, &x);
            for (row, &found) in found[0].iter().enumerate() {
                let mut decoded = vec![0.0; 64];
                matrix.decode_row(row, &mut decoded);
                let (mut exact, mut budget) = (0.0f64, 1e-6);
                for (w, x) in decoded.chunks_exact(32).zip(x.chunks_exact(32)) {
                    let largest = x.iter().fold(0.0f32, |max, x| max.max(x.abs()));
                    let heaviest = w.iter().fold(0.0f32, |max, w| max.max(w.abs()));
                    for (&w, &x) in w.iter().zip(x) {
                        let (w, x) = (f64::from(w), f64::from(x));
                        exact += w * x;
                        budget += w.abs() * f64::from(largest) / 254.0 * 1.01;
                        budget += f64::from(heaviest) * x.abs() * 1e-5;
                    }
                }
                let error = (f64::from(found) - exact).abs();
                prop_assert!(error <= budget, "{:?} {} vs {}", ty.0, found, exact);
            }
        }
    }
}

#[test]
fn extremes_do_not_saturate() {
    // The largest quants everywhere: nibbles of 15 and weights of -128 against 127.
    for ty in TYPES {
        for sign in [1.0, -1.0] {
            let x = vec![sign; 64];
            let mut bytes = vec![0xffu8; 8 * 2 * ty.0.block_bytes()];
            for block in bytes.chunks_exact_mut(ty.0.block_bytes()) {
                block[..2].copy_from_slice(&0x3c00u16.to_le_bytes());
                match ty.0 {
                    MatrixType::Q4_1 => block[2..4].copy_from_slice(&0x3c00u16.to_le_bytes()),
                    MatrixType::Q8_0 => block[2..].fill(0x80),
                    MatrixType::F16 => block.fill(0x44),
                    MatrixType::F32 => block.fill(0x40),
                    MatrixType::Q4_0 => {}
                }
            }
            let matrix = Matrix::read(ty.0, 8, 64, &mut &bytes[..], &mut Vec::new()).unwrap();
            let scalar = products(Level::SCALAR, &matrix, 1, &x);
            assert_eq!(scalar, products(simd(), &matrix, 1, &x), "{:?}", ty.0);
            let mut row = vec![0.0; 64];
            matrix.decode_row(3, &mut row);
            let exact: f32 = row.iter().sum::<f32>() * sign;
            assert!((scalar[0][3] - exact).abs() <= exact.abs() * 1e-5, "{:?}", ty.0);
        }
    }
}
