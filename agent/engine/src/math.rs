//! Elementary functions made only of operations whose result IEEE 754 fixes. The platform's `exp`,
//! `sin` and `pow` differ between C libraries; with these, every machine computes the same bits.

/// Adding and subtracting 1.5 * 2^23 rounds an `f32` below 2^22 to the nearest integer, ties to
/// even, without an instruction that older machines lack.
pub(crate) const ROUND: f32 = 12_582_912.0;

/// e^x to within 2 units in the last place; 0 below -87.3, finite above 88.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let clamped = if x > 88.0 { 88.0 } else { x };
    let clamped = if clamped < -87.3 { -87.3 } else { clamped };
    let shifted = clamped.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN2_HIGH, clamped);
    let r = n.mul_add(-LN2_LOW, r);
    let p = 1.0 / 5040.0;
    let p = r.mul_add(p, 1.0 / 720.0);
    let p = r.mul_add(p, 1.0 / 120.0);
    let p = r.mul_add(p, 1.0 / 24.0);
    let p = r.mul_add(p, 1.0 / 6.0);
    let p = r.mul_add(p, 0.5);
    let p = r.mul_add(p, 1.0);
    let p = r.mul_add(p, 1.0);
    // n is an integer from -126 to 127: its low bits sit in the mantissa of `shifted`.
    let exponent = (shifted.to_bits() << 23).wrapping_add(127 << 23);
    let result = p * f32::from_bits(exponent);
    if x < -87.3 { 0.0 } else { result }
}

/// Natural logarithm of a positive normal number, by the series of atanh.
pub(crate) fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut exponent = (bits >> 52) as i64 - 1023;
    let mut m = f64::from_bits(bits & ((1 << 52) - 1) | 1023 << 52);
    if m > std::f64::consts::SQRT_2 {
        m *= 0.5;
        exponent += 1;
    }
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    let series = (0..14).rev().fold(0.0, |sum, k| sum * square + 1.0 / f64::from(2 * k + 1));
    exponent as f64 * std::f64::consts::LN_2 + 2.0 * s * series
}

/// e^x in double precision, for |x| below 700.
pub(crate) fn exp64(x: f64) -> f64 {
    let n = (x * std::f64::consts::LOG2_E + 0.5).floor();
    let r = x - n * std::f64::consts::LN_2;
    let series = (1..20).rev().fold(1.0, |sum, k| 1.0 + sum * r / f64::from(k));
    series * f64::from_bits(((n as i64 + 1023) as u64) << 52)
}

/// (cos x, sin x) in double precision, for |x| below 2^30.
pub(crate) fn cos_sin(x: f64) -> (f64, f64) {
    // pi/2 in three parts, the first two with trailing zeros, so that the products are exact.
    const PARTS: [f64; 3] =
        [1.570_796_326_734_125_6, 6.077_100_506_303_966e-11, 2.022_266_248_795_950_6e-21];
    let n = (x * std::f64::consts::FRAC_2_PI + 0.5).floor();
    let r = PARTS.iter().fold(x, |rest, part| rest - n * part);
    let square = r * r;
    let term = |k: i32| 1.0 / f64::from(k * (k - 1));
    let cos = (1..10).rev().fold(1.0, |sum, k| 1.0 - sum * square * term(2 * k));
    let sin = r * (1..10).rev().fold(1.0, |sum, k| 1.0 - sum * square * term(2 * k + 1));
    match n as i64 & 3 {
        0 => (cos, sin),
        1 => (-sin, cos),
        2 => (-cos, -sin),
        _ => (sin, -cos),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_over_its_range() {
        let mut x = -87.0f32;
        while x < 88.0 {
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs() / exact;
            assert!(error < 2.5e-7, "exp({x}) is off by {error}");
            x += 0.0137;
        }
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::INFINITY).is_finite());
    }

    #[test]
    fn double_functions_are_close() {
        for i in 1..20_000 {
            let x = f64::from(i) * 0.617;
            assert!((ln(x) - x.ln()).abs() < 1e-14 * (1.0 + x.ln().abs()), "ln {x}");
            let (cos, sin) = cos_sin(x);
            assert!((cos - x.cos()).abs() < 1e-13 && (sin - x.sin()).abs() < 1e-13, "{x}");
            let y = x / 100.0 - 60.0;
            assert!((exp64(y) / y.exp() - 1.0).abs() < 1e-13, "exp {y}");
        }
    }
}
