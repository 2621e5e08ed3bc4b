//! What goes wrong, with the role, the version and the step of the specification's workflow.

use super::time::format_time;

/// Bytes that are not metadata of the kind asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// Longer than is read.
    #[error("it is longer than {0} bytes")]
    TooLong(usize),
    /// Not JSON, or JSON with what the format does not have.
    #[error("it is not JSON as the format wants it: {0}")]
    Json(String),
    /// A field is missing or has another type.
    #[error("field {field:?} is missing or is not {expected}")]
    Field {
        /// Which.
        field: String,
        /// What it must be.
        expected: &'static str,
    },
    /// A list or a map has more entries than are read.
    #[error("{field:?} has more than {max} entries")]
    TooMany {
        /// Which.
        field: &'static str,
        /// Most that are read.
        max: usize,
    },
    /// Something that must be unique is there twice.
    #[error("{field:?} names {what:?} twice")]
    Twice {
        /// Where.
        field: &'static str,
        /// What.
        what: String,
    },
    /// The id of a key is not the hash of the key.
    #[error("the key {0} has an id that is not its SHA-256")]
    KeyId(String),
    /// Written for another version of the specification.
    #[error("it follows specification {0:?}; this reads 1.x")]
    SpecVersion(String),
    /// Metadata of another role.
    #[error("it is metadata of type {found:?}, not {expected:?}")]
    Type {
        /// What it says it is.
        found: String,
        /// What was asked for.
        expected: &'static str,
    },
}

/// Why metadata or a target is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Not readable.
    #[error("{0}")]
    Form(#[from] FormError),
    /// Fewer distinct keys signed than must.
    #[error("{have} of the {need} keys that must sign have signed (keys of {by})")]
    Threshold {
        /// Distinct keys with a valid signature.
        have: usize,
        /// Needed.
        need: u32,
        /// Who names the keys.
        by: String,
    },
    /// An older version than one that was trusted before.
    #[error(
        "version {offered} of {what} is older than version {trusted}, which was trusted before"
    )]
    Rollback {
        /// Whose version.
        what: String,
        /// Trusted before.
        trusted: u64,
        /// Offered now.
        offered: u64,
    },
    /// A file that was listed is listed no longer.
    #[error("{0} was listed before and is listed no longer")]
    Unlisted(String),
    /// Not the version that its referrer lists.
    #[error("it is version {found}, but version {listed} is listed")]
    Version {
        /// Listed.
        listed: u64,
        /// Found.
        found: u64,
    },
    /// Not the length that its referrer lists.
    #[error("it has {found} bytes, but {listed} are listed")]
    Length {
        /// Listed.
        listed: u64,
        /// Found so far.
        found: u64,
    },
    /// More bytes than are listed.
    #[error("it has more bytes than are listed")]
    TooLong,
    /// Fewer bytes than are listed.
    #[error("{0} of the bytes that are listed are missing")]
    TooShort(u64),
    /// Not the hash that its referrer lists.
    #[error("its {0} is not the listed one")]
    Hash(String),
    /// No hash of a kind that can be computed is listed.
    #[error("no hash of a known kind is listed (sha256, sha384 or sha512)")]
    NoKnownHash,
    /// Its time is over: it may be held back by somebody (freeze attack).
    #[error("it expired at {}, and it is {}", format_time(*.expires_s), format_time(*.now_s))]
    Expired {
        /// Until when it was valid.
        expires_s: i64,
        /// The fixed time of the update.
        now_s: i64,
    },
    /// The repository does not have it.
    #[error("the repository does not have it")]
    Missing,
    /// The snapshot does not list it.
    #[error("the snapshot does not list it")]
    NotInSnapshot,
    /// The search for a target visited as many roles as it may.
    #[error("the search for {path:?} ended after {visited} roles")]
    SearchTooLong {
        /// What was searched.
        path: String,
        /// Roles visited.
        visited: usize,
    },
}

/// A [`Problem`], and where it came up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TufError {
    /// Role of the metadata, or path of the target.
    pub role: String,
    /// Its version, where it could be read.
    pub version: Option<u64>,
    /// Step of the specification's workflow, e.g. `5.4.3.1`.
    pub step: &'static str,
    /// What is wrong.
    pub problem: Problem,
}

impl std::fmt::Display for TufError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.role)?;
        if let Some(version) = self.version {
            write!(f, " version {version}")?;
        }
        write!(f, " is refused (step {}): {}", self.step, self.problem)
    }
}

impl std::error::Error for TufError {}

impl TufError {
    pub(super) fn new(
        role: &str,
        version: Option<u64>,
        step: &'static str,
        problem: impl Into<Problem>,
    ) -> Self {
        Self { role: role.to_owned(), version, step, problem: problem.into() }
    }
}
