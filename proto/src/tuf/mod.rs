//! The Update Framework, specification 1.0.34: what a tenant's content is trusted by. The client
//! decides which metadata to believe; the repository side makes it.
//!
//! Everything here is a function of bytes and a given time: no I/O, no clock, no state that the
//! caller does not hold. What it reads comes from somebody who may lie, so every length, depth and
//! count is bounded, nothing panics, and nothing is believed before a threshold of the keys that
//! may say it has signed the exact bytes. A private key is used only through [`Signer`].

pub mod client;
mod delegation;
mod error;
mod glob;
mod json;
mod key;
pub mod metadata;
mod public;
mod repository;
mod signer;
mod target;
mod time;

pub use client::{Change, Limits, Next, Progress, Request, Source};
pub use delegation::{DelegatedRole, Delegations, Paths};
pub use error::{FormError, Problem, TufError};
pub use json::Json;
pub use key::{Key, KeyId};
pub use metadata::{
    Common, Hashes, MetaFile, Role, RoleKeys, Root, Signatures, Signed, Snapshot, TargetFile,
    Targets, Timestamp, TopLevel, encode_name,
};
pub(crate) use public::P256Public;
pub use repository::{EditError, check_root_change, next_snapshot, next_timestamp};
pub use signer::{KeyKind, PrivateKey, SignError, Signer};
pub use target::{Target, TargetCheck};
pub use time::{format_time, parse_time};
