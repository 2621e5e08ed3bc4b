//! The metadata of the four roles (section 4 of the specification), read strictly and bounded.
//! Fields that the format does not know stay in `other`, so that who rewrites metadata keeps them.

mod parts;
mod root;
mod signed;
mod snapshot;
mod targets;

pub use parts::{Hashes, MetaFile, RoleKeys};
pub(super) use parts::{algorithm, read_keys, write_keys};
pub use root::Root;
pub use signed::{Signatures, Signed};
pub use snapshot::{Snapshot, Timestamp};
pub use targets::{TargetFile, Targets};

use super::error::FormError;
use super::json::{Json, Object, Take, int, wrong};
use super::time::{format_time, parse_time};

/// What is written as the version of the specification.
pub const SPEC_VERSION: &str = "1.0.34";
/// Longest path of a target and longest pattern.
pub const MAX_PATH_BYTES: usize = 1024;

/// The four roles that every repository has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TopLevel {
    /// Says who the others are.
    Root,
    /// Says what there is.
    Targets,
    /// Says which versions belong together.
    Snapshot,
    /// Says that this is the newest.
    Timestamp,
}

impl TopLevel {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Root, Self::Targets, Self::Snapshot, Self::Timestamp];

    /// Its name in metadata.
    pub fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Targets => "targets",
            Self::Snapshot => "snapshot",
            Self::Timestamp => "timestamp",
        }
    }

    /// The role of this name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// What all roles say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Common {
    /// From 1, growing.
    pub version: u64,
    /// Seconds since the Unix epoch; from then on it is not believed.
    pub expires_s: i64,
    /// Version of the specification, 1.x.
    pub spec_version: String,
    /// Fields that nobody asked for.
    pub other: Object,
}

impl Common {
    /// Of new metadata.
    pub fn new(version: u64, expires_s: i64) -> Self {
        let spec_version = SPEC_VERSION.to_owned();
        Self { version, expires_s, spec_version, other: Object::new() }
    }

    fn read(fields: &mut Object, kind: &'static str) -> Result<Self, FormError> {
        let found = fields.text("_type")?;
        if found != kind {
            return Err(FormError::Type { found, expected: kind });
        }
        let spec_version = fields.text("spec_version")?;
        if !is_supported(&spec_version) {
            return Err(FormError::SpecVersion(spec_version));
        }
        let version = fields.number("version")?;
        if version == 0 {
            return Err(wrong("version", "a whole number from 1"));
        }
        let expires_s = parse_time(&fields.text("expires")?)
            .ok_or_else(|| wrong("expires", "a time like 2030-01-31T00:00:00Z"))?;
        Ok(Self { version, expires_s, spec_version, other: Object::new() })
    }

    fn write(&self, kind: &'static str) -> Object {
        let mut fields = self.other.clone();
        fields.insert("_type".into(), Json::text(kind));
        fields.insert("spec_version".into(), Json::text(&self.spec_version));
        fields.insert("version".into(), int(self.version));
        fields.insert("expires".into(), Json::Text(format_time(self.expires_s)));
        fields
    }

    /// Whether it is not to be believed any longer: its time must be higher than `now_s`.
    pub fn is_expired(&self, now_s: i64) -> bool {
        self.expires_s <= now_s
    }
}

/// `1.` and one or two numbers: minor versions change nothing that a reader must know.
fn is_supported(version: &str) -> bool {
    let mut parts = version.split('.');
    let is_number = |p: &str| !p.is_empty() && p.len() < 6 && p.bytes().all(|b| b.is_ascii_digit());
    let rest = || version.split('.').skip(1);
    parts.next() == Some("1") && (1..=2).contains(&rest().count()) && rest().all(is_number)
}

/// The signed part of one kind of metadata.
pub trait Role: Sized + Clone {
    /// What `_type` says.
    const KIND: TopLevel;

    /// From the signed part.
    ///
    /// # Errors
    /// It has not the form of this role.
    fn read(signed: Json) -> Result<Self, FormError>;

    /// The signed part.
    fn write(&self) -> Json;

    /// What all roles say.
    fn common(&self) -> &Common;

    /// To change it.
    fn common_mut(&mut self) -> &mut Common;

    /// The same, one version further and valid for longer.
    fn next(&self, expires_s: i64) -> Self {
        let mut next = self.clone();
        let common = next.common_mut();
        common.version = common.version.saturating_add(1);
        common.expires_s = expires_s;
        common.spec_version = SPEC_VERSION.to_owned();
        next
    }
}

/// A role's name in the name of a file or in a URL: everything but letters, digits and `-._~` as
/// `%XX`, so that no name leads anywhere else.
pub fn encode_name(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
