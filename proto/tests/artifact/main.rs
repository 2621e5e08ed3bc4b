//! The artifact format as its users see it: golden vectors, and what tampering does.
#![allow(missing_docs)]

mod common;
mod golden;
mod properties;
#[path = "../support/random.rs"]
mod random;
mod tamper;
