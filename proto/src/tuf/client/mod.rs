//! The client: the workflow of section 5 of the specification as a state machine. It asks for bytes,
//! is given them, and says what to store and what it asks for next; in the end it holds metadata
//! that is to be believed. Whoever drives it does the reading, fetching and storing, and nothing else.
//!
//! ```text
//! Refresh::begin ─▶ Ask ─answer─▶ … ─▶ Done(Trusted) ─look_up─▶ Ask ─answer─▶ … ─▶ Done(Found)
//! ```

mod check;
mod look_up;
mod refresh;

pub use check::{check_delegated, check_initial_root, check_root};
pub use look_up::{Found, LookUp};
pub use refresh::{Refresh, Trusted};

use super::metadata::encode_name;

/// How much is read and asked for at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a root (W in the specification).
    pub root_bytes: usize,
    /// Bytes of a timestamp (X).
    pub timestamp_bytes: usize,
    /// Bytes of a snapshot (Y), whatever the timestamp says.
    pub snapshot_bytes: usize,
    /// Bytes of targets (Z), whatever the snapshot says.
    pub targets_bytes: usize,
    /// Versions of root that one refresh goes through.
    pub roots: u32,
    /// Roles that the search for one target visits.
    pub roles: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // A root with dozens of keys has some 50 kB.
            root_bytes: 512 << 10,
            // A timestamp has some hundred bytes, and is asked for without anything known of it.
            timestamp_bytes: 16 << 10,
            // 10,000 delegated roles with lengths and hashes.
            snapshot_bytes: 2 << 20,
            // Some 20,000 targets.
            targets_bytes: 5 << 20,
            // A new root a day for close to three years without a refresh; the next refresh goes on.
            roots: 1 << 10,
            // A search in a tree of hash bins visits two or three.
            roles: 32,
        }
    }
}

/// Where bytes are asked from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// What an earlier [`Change::Store`] of this role stored. Nothing in it is trusted for that.
    Stored,
    /// The repository.
    Repository,
}

/// Bytes that the client needs to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Role whose metadata it is.
    pub role: String,
    /// From where.
    pub source: Source,
    /// Name of the file there, safe as a part of a path and of a URL.
    pub file: String,
    /// Read no more than this; what is longer may be cut or left out.
    pub max_bytes: usize,
}

impl Request {
    fn stored(role: &str, max_bytes: usize) -> Self {
        let file = stored_name(role);
        Self { role: role.to_owned(), source: Source::Stored, file, max_bytes }
    }

    fn fetch(role: &str, version: Option<u64>, max_bytes: usize) -> Self {
        let name = stored_name(role);
        let file = version.map_or_else(|| name.clone(), |version| format!("{version}.{name}"));
        Self { role: role.to_owned(), source: Source::Repository, file, max_bytes }
    }
}

/// The name under which a role's metadata is stored.
pub fn stored_name(role: &str) -> String {
    format!("{}.json", encode_name(role))
}

/// What is to be made durable, in this order, before the next answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Store a role's metadata, byte for byte, in the place of what is there.
    Store {
        /// Role.
        role: String,
        /// Its version: root's are worth keeping one by one.
        version: u64,
        /// The file.
        bytes: Vec<u8>,
    },
    /// Forget what is stored of a role.
    Forget {
        /// Role.
        role: &'static str,
    },
}

/// What the client came to.
#[derive(Debug)]
pub enum Next<S, T> {
    /// It asks for more: `S` has the request and takes the answer.
    Ask(S),
    /// The end.
    Done(T),
}

/// One step: what to store, and what comes next.
#[derive(Debug)]
pub struct Progress<S, T> {
    /// To be made durable first.
    pub changes: Vec<Change>,
    /// What comes next.
    pub next: Next<S, T>,
}

impl<S, T> Progress<S, T> {
    fn ask(changes: Vec<Change>, state: S) -> Self {
        Self { changes, next: Next::Ask(state) }
    }

    fn done(changes: Vec<Change>, end: T) -> Self {
        Self { changes, next: Next::Done(end) }
    }
}
