//! The REST API's tests.

mod access;
mod document;
mod idempotency;
mod problems;
mod resources;
