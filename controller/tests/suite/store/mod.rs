//! The store's tests, each on both databases.

mod audit;
mod devices;
mod fleet;
mod idempotency;
mod schema;
mod telemetry;
mod tokens;
mod transactions;
mod wall;
