//! The numeric kernels and the worker pool: the only modules with `unsafe`.
//!
//! **The order of operations is the contract.** For every output there is one order of f32
//! operations, written down beside the scalar kernel, and each SIMD kernel follows it exactly.
//! Outputs never depend on the instruction set, on which worker computes them, or on how many
//! tokens are computed together. A kernel that is faster but reorders additions is wrong.
#![allow(unsafe_code)]

mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
mod elementwise;
mod level;
mod matrix;
mod parallel;
mod pool;
mod scalar;
#[cfg(test)]
mod tests;
mod tile;

pub(crate) use elementwise::{add, exp_scaled, rms_norm, rope, silu_mul};
pub(crate) use level::Level;
pub use level::{Isa, IsaUnavailable};
pub(crate) use matrix::{Matrix, MatrixError, MatrixType};
pub(crate) use parallel::{AttentionShape, attention, fill_rows, for_each_row, matmul};
pub(crate) use pool::Pool;
pub(crate) use tile::Activations;
