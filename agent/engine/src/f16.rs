//! IEEE 754 half precision, converted in software with the rounding that F16C has (nearest, ties
//! to even), so that a machine without F16C gets the same bits.

/// The exact `f32` value of a half.
#[inline(always)]
pub(crate) fn to_f32(half: u16) -> f32 {
    let sign = u32::from(half & 0x8000) << 16;
    let exponent = u32::from(half >> 10) & 0x1f;
    let mantissa = u32::from(half) & 0x3ff;
    match exponent {
        // Zero and subnormals: mantissa * 2^-24, exact in f32.
        0 => f32::from_bits(sign | (mantissa as f32 * (1.0 / 16_777_216.0)).to_bits()),
        // A signalling NaN comes back quiet, as in hardware.
        31 if mantissa != 0 => f32::from_bits(sign | 0x7fc0_0000 | mantissa << 13),
        31 => f32::from_bits(sign | 0x7f80_0000),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | mantissa << 13),
    }
}

/// The half nearest to `value`; what is too large becomes an infinity.
#[inline(always)]
pub(crate) fn from_f32(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16 & 0x8000) as u16;
    let magnitude = bits & 0x7fff_ffff;
    if magnitude > 0x7f80_0000 {
        return sign | 0x7e00 | (magnitude >> 13 & 0x3ff) as u16;
    }
    if magnitude >= 0x4780_0000 {
        return sign | 0x7c00;
    }
    if magnitude < 0x3880_0000 {
        // Below the smallest normal half: adding 0.5 aligns the mantissa to units of 2^-24, and
        // the addition rounds to even.
        let aligned = f32::from_bits(magnitude) + 0.5;
        return sign | (aligned.to_bits() - 0.5f32.to_bits()) as u16;
    }
    let odd = magnitude >> 13 & 1;
    let rounded = magnitude + 0xfff + odd - (112 << 23);
    sign | (rounded >> 13) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_round_trips() {
        for half in 0..=u16::MAX {
            let value = to_f32(half);
            if value.is_nan() {
                assert!(to_f32(from_f32(value)).is_nan());
            } else {
                assert_eq!(from_f32(value), half, "{value}");
            }
        }
    }

    #[test]
    fn ties_round_to_even() {
        for half in 0..0x7bff {
            let (low, high) = (to_f32(half), to_f32(half + 1));
            let middle = (low + high) / 2.0;
            let even = if half % 2 == 0 { half } else { half + 1 };
            assert_eq!(from_f32(middle), even);
            assert_eq!(from_f32(middle.next_down()), half);
            assert_eq!(from_f32(middle.next_up()), half + 1);
        }
        assert_eq!(from_f32(65519.9), 0x7bff);
        assert_eq!(from_f32(65520.0), 0x7c00);
    }
}
