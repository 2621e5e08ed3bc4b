//! The REST API's tests.

mod access;
mod audit;
mod document;
mod idempotency;
mod isolation;
mod problems;
mod resources;
