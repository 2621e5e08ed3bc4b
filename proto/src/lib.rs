//! What agent and controller share: the services on the wire, typed ids, the generation that orders
//! desired states, the artifact format that carries models, and the bundle that carries one of them without
//! a network.
//!
//! Nothing here does I/O, reads a clock or keeps state.
#![forbid(unsafe_code)]

pub mod artifact;
pub mod audit;
pub mod bundle;
pub mod compliance;
pub mod fingerprint;
pub mod generation;
pub mod hpke;
pub mod ids;
pub mod instance;
pub mod keywrap;
pub mod model_card;
pub mod model_signature;
pub mod privacy;
pub mod protocol;
pub mod publication;
pub mod telemetry;
pub mod token;
pub mod tuf;

/// Generated messages and services of `fleet/v1/*.proto`.
pub mod v1 {
    #![allow(missing_docs, clippy::all)]
    tonic::include_proto!("edgeformer.fleet.v1");
}

pub use generation::Generation;
