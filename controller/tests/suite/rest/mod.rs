//! The REST API's tests.

mod access;
mod document;
mod idempotency;
mod isolation;
mod problems;
mod resources;
