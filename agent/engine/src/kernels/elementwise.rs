//! Operations along one row. Each body is written once with a fixed lane order and compiled twice,
//! for the baseline and for AVX2 with FMA; the compiler may not reorder floating-point operations,
//! so the two agree bit for bit by construction, and a property test says so.

use super::level::Level;
use super::tile::BLOCK;
use crate::math::{ROUND, exp};

/// Lanes of every reduction: lane j takes the elements with index j mod 8, in order.
const LANES: usize = 8;

/// The one order in which lanes are added up.
#[inline(always)]
fn sum_lanes(l: [f32; LANES]) -> f32 {
    ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]))
}

/// Defines `fn name(level, args)`, running one of two compilations of the same body.
macro_rules! twin {
    ($(#[$doc:meta])* $name:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)? $body:block) => {
        $(#[$doc])*
        pub(crate) fn $name(level: Level, $($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn body($($arg: $ty),*) $(-> $ret)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma,f16c")]
                fn wide($($arg: $ty),*) $(-> $ret)? { body($($arg),*) }
                if level.is_avx2() {
                    // SAFETY: a level other than scalar exists only where these features are.
                    return unsafe { wide($($arg),*) };
                }
            }
            let _ = level;
            body($($arg),*)
        }
    };
}

twin! {
    /// `out = x / sqrt(mean(x^2) + eps) * weight`, all of one length, a multiple of 8.
    rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
        let mut lanes = [0.0f32; LANES];
        for chunk in x.as_chunks::<LANES>().0 {
            for (lane, &value) in lanes.iter_mut().zip(chunk) {
                *lane = value.mul_add(value, *lane);
            }
        }
        let scale = 1.0 / (sum_lanes(lanes) / x.len() as f32 + eps).sqrt();
        for ((out, &x), &weight) in out.iter_mut().zip(x).zip(weight) {
            *out = x * scale * weight;
        }
    }
}

twin! {
    /// `x += y`.
    add(x: &mut [f32], y: &[f32]) {
        for (x, &y) in x.iter_mut().zip(y) {
            *x += y;
        }
    }
}

twin! {
    /// `out = silu(gate) * up` with `silu(x) = x / (1 + e^-x)`.
    silu_mul(gate: &[f32], up: &[f32], out: &mut [f32]) {
        for ((out, &gate), &up) in out.iter_mut().zip(gate).zip(up) {
            *out = gate / (1.0 + exp(-gate)) * up;
        }
    }
}

twin! {
    /// `scores = exp(scores - max)`; returns the sum. The length is a multiple of 8; what is
    /// masked holds negative infinity and becomes 0.
    exp_minus_max(scores: &mut [f32]) -> f32 {
        let mut tops = [f32::NEG_INFINITY; LANES];
        for chunk in scores.as_chunks::<LANES>().0 {
            for (top, &score) in tops.iter_mut().zip(chunk) {
                *top = if score > *top { score } else { *top };
            }
        }
        let max = tops.iter().fold(f32::NEG_INFINITY, |max, &top| if top > max { top } else { max });
        let mut lanes = [0.0f32; LANES];
        for chunk in scores.as_chunks_mut::<LANES>().0 {
            for (lane, score) in lanes.iter_mut().zip(chunk) {
                *score = exp(*score - max);
                *lane += *score;
            }
        }
        sum_lanes(lanes)
    }
}

twin! {
    /// `values = exp((values - max) * factor)`.
    exp_scaled(values: &mut [f32], max: f32, factor: f32) {
        for value in values {
            *value = exp((*value - max) * factor);
        }
    }
}

twin! {
    /// Rotates pairs (2i, 2i + 1) of each head by the angles whose (cos, sin) are given
    /// (`rotation`: pairs per head), as GGUF stores the `llama` architecture.
    rope(heads: &mut [f32], head_dim: usize, rotation: &[(f32, f32)]) {
        for head in heads.chunks_exact_mut(head_dim) {
            for (pair, &(cos, sin)) in head.as_chunks_mut::<2>().0.iter_mut().zip(rotation) {
                let [x, y] = *pair;
                *pair = [x.mul_add(cos, -(y * sin)), x.mul_add(sin, y * cos)];
            }
        }
    }
}

twin! {
    /// Quantizes blocks of 32 values to `i8` with a common scale `max|x| / 127`, rounding to
    /// nearest even. `scales` and `sums` (of the quants) have one element per block.
    quantize_row(x: &[f32], q: &mut [i8], scales: &mut [f32], sums: &mut [i32]) {
        let blocks = x.as_chunks::<BLOCK>().0.iter().zip(q.as_chunks_mut::<BLOCK>().0);
        for (((x, q), scale), sum) in blocks.zip(scales).zip(sums) {
            let mut tops = [0.0f32; LANES];
            for chunk in x.as_chunks::<LANES>().0 {
                for (top, value) in tops.iter_mut().zip(chunk) {
                    let magnitude = value.abs();
                    *top = if magnitude > *top { magnitude } else { *top };
                }
            }
            let max = tops.iter().fold(0.0, |max: f32, &top| if top > max { top } else { max });
            *scale = max / 127.0;
            let inverse = if max > 0.0 { 127.0 / max } else { 0.0 };
            *sum = 0;
            for (q, &value) in q.iter_mut().zip(x) {
                let rounded = (value * inverse + ROUND).to_bits() as i32;
                let quant = rounded.wrapping_sub(ROUND.to_bits() as i32);
                *q = quant as i8;
                *sum += i32::from(quant as i8);
            }
        }
    }
}
