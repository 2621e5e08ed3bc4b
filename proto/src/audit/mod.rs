//! The verifiable part of the audit log: what a controller computes and what anybody can check
//! without trusting it. Merkle tree after RFC 6962, checkpoints as C2SP signed notes, tiles after
//! C2SP tlog-tiles, and a bundle that is verified offline.
//!
//! Everything here is a function of bytes: no I/O, no clock, no state. What it reads comes from
//! somebody who may lie, so every length is bounded and nothing panics.

pub mod bundle;
pub mod checkpoint;
pub mod merkle;
pub mod note;
pub mod opening;
pub mod proof;
pub mod tile;
pub mod witness;
