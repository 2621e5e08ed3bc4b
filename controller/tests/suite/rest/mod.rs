//! The REST API's tests.

mod access;
mod accounts;
mod approvals;
mod audit;
mod audit_proofs;
mod document;
mod idempotency;
mod isolation;
mod oidc;
mod policies;
mod privacy;
mod problems;
mod programs;
mod quotas;
mod resources;
mod sinks;
mod tenants;
mod wall;
mod witnesses;
