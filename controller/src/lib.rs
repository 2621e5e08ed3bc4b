//! The controller: the operators' REST API, the devices' gRPC services, the store of a fleet and its
//! audit log.
//!
//! Every path to the data runs `policy` → `scope` → `store`: nothing in here reads or writes a row
//! without a scope that a policy decision or a named background component produced.
#![forbid(unsafe_code)]

pub mod account;
pub mod admin;
pub mod api;
pub mod app;
pub mod audit;
pub mod authorities;
pub mod backup;
pub mod ca;
pub mod cli;
pub mod clock;
pub mod config;
pub mod device_listener;
pub mod distribution;
pub mod enrolment;
pub mod error;
pub mod files;
pub mod housekeeping;
pub mod init;
pub mod jose;
pub mod kept;
pub mod listener;
pub mod login_session;
pub mod oidc;
pub mod outbound;
pub mod policy;
pub mod privacy;
pub mod problem;
pub mod quota;
pub mod rollout;
pub mod scim;
pub mod scope;
pub mod serve;
pub mod server_identity;
pub mod session;
pub mod store;
pub mod telemetry;
pub mod tenancy;
pub mod trust;
pub mod vault;
