//! What operators do: one use-case per action, with its checks, its transaction and its audit
//! record. No HTTP in here.

pub mod approvals;
pub mod audit_proofs;
pub mod audit_retention;
pub mod audit_sinks;
pub mod audit_witnesses;
pub mod authorities;
pub mod claim_cas;
pub mod compliance;
pub mod device_life;
pub mod devices;
pub mod enrolment_requests;
pub mod enrolment_tokens;
pub mod erasures;
pub mod explain;
pub mod federation;
pub mod groups;
pub mod identity_providers;
pub mod policies;
pub mod privacy;
pub mod service_accounts;
pub mod telemetry;
pub mod tenant_lifecycle;
pub mod tenants;
pub mod tokens;
pub mod trust;
pub mod validate;
