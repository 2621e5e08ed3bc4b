//! Starts, watches and ends worker processes, and moves traffic between them.
//!
//! `Supervisor` implements [`crate::slots::Workers`] and is made by
//! `Supervisor::start(SupervisorConfig { state_dir, memory_limit_bytes: Option<u64> })`.
