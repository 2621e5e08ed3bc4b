//! The project's own commands, and the code that starts real controllers and agents.
//!
//! One code path starts the processes of the demo, of the end-to-end tests and of the benches, so
//! what a newcomer sees is what the tests check. This crate must stay small enough to compile in
//! seconds, and must never link the product: it talks to the binaries as a person does.
#![forbid(unsafe_code)]

pub mod bench;
pub mod check;
pub mod demo;
pub mod paths;
pub mod progress;
pub mod setup;
pub mod shell;
pub mod stack;
