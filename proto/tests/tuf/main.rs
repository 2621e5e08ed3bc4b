//! The Update Framework as a device and a repository use it: made by the editor, read by the client,
//! over bytes alone.
#![forbid(unsafe_code)]

mod delegations;
mod properties;
#[path = "../support/random.rs"]
mod random;
mod repo;
mod rotation;
mod schedules;
mod tamper;
mod workflow;
