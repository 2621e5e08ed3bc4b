//! How models reach devices: publishing (receive, inspect, seal, sign, store) and the services that
//! hand out what was published.
//!
//! Sealed chunks and indexes are objects, keyed by tenant; everything else about a version is rows.
//! Plaintext lives in the staging folder while it is being sealed and nowhere else, and a data key
//! leaves only wrapped: for the store, or for one device that the version is assigned to.

pub mod artifacts;
pub mod bom;
pub mod bundle;
pub mod catalogue;
pub mod documents;
pub mod facts;
pub mod head;
pub mod inspect;
pub mod keys;
pub mod objects;
pub mod publish;
pub mod seal;
pub mod signatures;
pub mod staging;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
