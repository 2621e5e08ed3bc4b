//! Devices as they meet the controller: over real TLS, through the real listener, with a plain gRPC
//! client in the place of the agent.
#![forbid(unsafe_code)]

mod access;
mod compliance;
mod enrolment;
mod identity;
mod rollouts;
mod sessions;
mod support;
mod tenants;
mod trust;
