//! The agent: a daemon that runs models on one device as its controller wants them, and the local
//! commands that need no controller.
//!
//! Keys of the device never leave it, and plaintext weights never reach its disk.
#![forbid(unsafe_code)]

pub mod cli;
pub mod clock;
pub mod commands;
pub mod daemon;
pub mod durable;
pub mod facts;
pub mod fetch;
pub mod identity;
pub mod import;
pub mod local_commands;
pub mod local_keys;
pub mod lock;
pub mod logging;
pub mod privacy;
pub mod reconcile;
pub mod serve;
pub mod session;
pub mod slots;
pub mod status;
pub mod supervisor;
pub mod telemetry;
pub mod tpm;
pub mod tuf;
pub mod worker;
