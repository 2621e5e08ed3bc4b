//! Which kernels this machine runs. A [`Level`] other than scalar exists only after the CPU was
//! asked, which is what makes calling its kernels sound.

/// Instruction set to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isa {
    /// The best the machine has.
    #[default]
    Auto,
    /// No SIMD beyond the compiler's baseline; the reference for every other path.
    Scalar,
    /// AVX2 with FMA and F16C (x86-64-v3).
    Avx2,
}

/// The instruction set asked for is not there.
#[derive(Debug, thiserror::Error)]
#[error("this machine does not offer {isa:?} (AVX2 needs FMA and F16C too); use Isa::Auto")]
pub struct IsaUnavailable {
    /// What was asked for.
    pub isa: Isa,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

/// A set of kernels that this machine can run. The field is private so that `Avx2` is proof of
/// detection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level(Kind);

impl Level {
    pub(crate) const SCALAR: Level = Level(Kind::Scalar);

    pub(crate) fn detect(isa: Isa) -> Result<Level, IsaUnavailable> {
        match isa {
            Isa::Scalar => Ok(Level::SCALAR),
            Isa::Auto => Ok(Self::best().unwrap_or(Level::SCALAR)),
            Isa::Avx2 => Self::best().ok_or(IsaUnavailable { isa }),
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn best() -> Option<Level> {
        let all = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        all.then_some(Level(Kind::Avx2))
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn best() -> Option<Level> {
        None
    }

    /// True means that AVX2, FMA and F16C were detected.
    #[inline(always)]
    pub(crate) fn is_avx2(self) -> bool {
        self != Level::SCALAR
    }
}
