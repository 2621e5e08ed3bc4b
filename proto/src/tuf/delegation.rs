//! Delegations: which other role may speak for which targets.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};

use super::error::FormError;
use super::glob;
use super::json::{Json, Object, Take, wrong};
use super::key::{Key, KeyId};
use super::metadata::{MAX_PATH_BYTES, RoleKeys, TopLevel, read_keys, write_keys};

/// Delegations of one role: 4,096 hash bins and some.
const MAX_DELEGATIONS: usize = 5_000;
/// Patterns or prefixes of one delegation.
const MAX_PATHS: usize = 5_000;
/// Longest name of a role: it becomes the name of a file, quoted.
const MAX_NAME_BYTES: usize = 64;

/// Which targets are delegated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Paths {
    /// Those that match one of these shell patterns, in which no wildcard matches `/`.
    Patterns(Vec<String>),
    /// Those whose path has a SHA-256 that begins, in hex, with one of these.
    HashPrefixes(Vec<String>),
}

impl Paths {
    /// Whether the target is delegated.
    pub fn cover(&self, path: &str) -> bool {
        match self {
            Self::Patterns(patterns) => patterns.iter().any(|p| glob::matches(p, path)),
            Self::HashPrefixes(prefixes) => {
                let hash = HEXLOWER.encode(digest(&SHA256, path.as_bytes()).as_ref());
                prefixes.iter().any(|prefix| hash.starts_with(prefix))
            }
        }
    }
}

/// One delegation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelegatedRole {
    /// Name of the role.
    pub name: String,
    /// Who signs for it; unknown fields of the delegation are with them.
    pub keys: RoleKeys,
    /// Whether nobody else is asked for its targets.
    pub terminating: bool,
    /// For which targets.
    pub paths: Paths,
}

/// Delegations of a role, the first the most trusted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Delegations {
    /// Keys by id.
    pub keys: BTreeMap<KeyId, Key>,
    /// In order.
    pub roles: Vec<DelegatedRole>,
    /// Fields that nobody asked for.
    pub other: Object,
}

impl Delegations {
    pub(super) fn read(json: Json) -> Result<Self, FormError> {
        let mut other = json.into_object("delegations")?;
        let keys = read_keys(other.object("keys")?)?;
        // Absent where a writer uses another way to name roles, of which none is known here.
        let list = match other.contains_key("roles") {
            true => other.list("roles")?,
            false => Vec::new(),
        };
        if list.len() > MAX_DELEGATIONS {
            return Err(FormError::TooMany { field: "delegations", max: MAX_DELEGATIONS });
        }
        let mut names = BTreeSet::new();
        let mut roles = Vec::with_capacity(list.len());
        for json in list {
            let role = DelegatedRole::read(json)?;
            if !names.insert(role.name.clone()) {
                return Err(FormError::Twice { field: "delegations", what: role.name });
            }
            roles.push(role);
        }
        Ok(Self { keys, roles, other })
    }

    pub(super) fn write(&self) -> Json {
        let mut fields = self.other.clone();
        fields.insert("keys".into(), write_keys(&self.keys));
        let roles = self.roles.iter().map(DelegatedRole::write).collect();
        fields.insert("roles".into(), Json::List(roles));
        Json::Object(fields)
    }
}

impl DelegatedRole {
    fn read(json: Json) -> Result<Self, FormError> {
        let mut fields = json.into_object("roles")?;
        let name = fields.text("name")?;
        let is_free = TopLevel::of(&name).is_none();
        if name.is_empty() || name.len() > MAX_NAME_BYTES || !is_free {
            return Err(wrong("name", "a role's name of 1 to 64 bytes beside the four roles"));
        }
        let terminating = fields.bool_if_there("terminating")?.unwrap_or(false);
        let paths = match (fields.contains_key("paths"), fields.contains_key("path_hash_prefixes"))
        {
            (true, false) => Paths::Patterns(texts(&mut fields, "paths", MAX_PATH_BYTES)?),
            (false, true) => {
                let prefixes = texts(&mut fields, "path_hash_prefixes", 64)?;
                Paths::HashPrefixes(prefixes.into_iter().map(|p| p.to_ascii_lowercase()).collect())
            }
            _ => return Err(wrong("paths", "there alone, or path_hash_prefixes alone")),
        };
        Ok(Self { name, keys: RoleKeys::read(fields)?, terminating, paths })
    }

    fn write(&self) -> Json {
        let mut fields = self.keys.write();
        let (name, texts) = match &self.paths {
            Paths::Patterns(patterns) => ("paths", patterns),
            Paths::HashPrefixes(prefixes) => ("path_hash_prefixes", prefixes),
        };
        let texts = texts.iter().map(Json::text).collect();
        fields.insert(name.into(), Json::List(texts));
        fields.insert("name".into(), Json::text(&self.name));
        fields.insert("terminating".into(), Json::Bool(self.terminating));
        Json::Object(fields)
    }
}

fn texts(fields: &mut Object, field: &'static str, max: usize) -> Result<Vec<String>, FormError> {
    let list = fields.list(field)?;
    if list.len() > MAX_PATHS {
        return Err(FormError::TooMany { field, max: MAX_PATHS });
    }
    let mut texts = Vec::with_capacity(list.len());
    for json in list {
        let text = json.into_text(field)?;
        if text.len() > max {
            return Err(wrong(field, "a list of short texts"));
        }
        texts.push(text);
    }
    Ok(texts)
}
