//! The REST API's tests.

mod access;
mod accounts;
mod approvals;
mod attacks;
mod audit;
mod audit_proofs;
mod document;
mod escalation;
mod full_disk;
mod generated;
mod holds;
mod idempotency;
mod isolation;
mod oidc;
mod policies;
mod privacy;
mod problems;
mod programs;
mod quotas;
mod records;
mod resources;
mod retention;
mod scim;
mod sinks;
mod tenants;
mod trust;
mod trust_offline;
mod wall;
mod witnesses;
mod zero_bytes;

/// An interpreter with the packages that outside checks need.
fn python() -> String {
    std::env::var("EDGEFORMER_TEST_PYTHON")
        .expect("EDGEFORMER_TEST_PYTHON is not set: run the tests with `cargo xtask test`")
}
