//! What this device reports about the requests it answered: measurements become OTLP metrics, wait
//! in a bounded spool on disk, and leave over the device's session.
//!
//! Only what `edgeformer_proto::telemetry` names leaves the device: numbers and ids, never a prompt
//! or an answer. A batch is deleted only after the controller confirmed it.

mod aggregate;
mod export;
mod spool;

pub use aggregate::Aggregator;
pub use export::{Exporter, Settings};
pub use spool::{Spool, SpoolError};
