//! The controller: sealed, signed models in; devices, rollouts and evidence out.
#![forbid(unsafe_code)]

pub mod ca;
pub mod vault;
