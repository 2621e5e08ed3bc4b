//! What this device lets out. Everything that is sent goes through [`Gate`], which drops what
//! `edgeformer_proto::privacy` does not declare and what the device's owner did not consent to. The
//! consent is a file on the device; no message of a controller is ever read as a change of it.

mod consent;
mod gate;
mod metrics;

pub use consent::{Consent, ConsentError};
pub use gate::Gate;
