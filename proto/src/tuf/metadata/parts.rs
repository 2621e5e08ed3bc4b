//! What several roles are made of: keys with a threshold, hashes, descriptions of files.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use ring::digest::{Algorithm, SHA256, SHA384, SHA512, digest};

use super::super::error::{FormError, Problem};
use super::super::json::{Json, Object, Take, int, wrong};
use super::super::key::{Key, KeyId};

/// Keys of one file.
const MAX_KEYS: usize = 4096;
/// Keys of one role; each may cost the verification of a signature.
const MAX_ROLE_KEYS: usize = 64;
/// Kinds of hashes of one file.
const MAX_HASHES: usize = 8;

/// Who signs for a role, and how many of them must.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleKeys {
    /// In the order written, each once.
    pub key_ids: Vec<KeyId>,
    /// Distinct keys that must sign, at least 1.
    pub threshold: u32,
    /// Fields that nobody asked for.
    pub other: Object,
}

impl RoleKeys {
    /// Nobody yet, and one of them must sign.
    pub fn new() -> Self {
        Self { key_ids: Vec::new(), threshold: 1, other: Object::new() }
    }

    pub(in super::super) fn read(mut other: Object) -> Result<Self, FormError> {
        let list = other.list("keyids")?;
        if list.len() > MAX_ROLE_KEYS {
            return Err(FormError::TooMany { field: "keyids", max: MAX_ROLE_KEYS });
        }
        let (mut seen, mut key_ids) = (BTreeSet::new(), Vec::with_capacity(list.len()));
        for json in list {
            let id = KeyId::read("keyids", &json.into_text("keyids")?)?;
            if !seen.insert(id.clone()) {
                return Err(FormError::Twice { field: "keyids", what: id.to_string() });
            }
            key_ids.push(id);
        }
        let threshold = u32::try_from(other.number("threshold")?).ok().filter(|n| *n > 0);
        let threshold = threshold.ok_or_else(|| wrong("threshold", "a whole number from 1"))?;
        Ok(Self { key_ids, threshold, other })
    }

    pub(in super::super) fn write(&self) -> Object {
        let mut fields = self.other.clone();
        let ids = self.key_ids.iter().map(|id| Json::text(id.as_str())).collect();
        fields.insert("keyids".into(), Json::List(ids));
        fields.insert("threshold".into(), int(u64::from(self.threshold)));
        fields
    }
}

impl Default for RoleKeys {
    fn default() -> Self {
        Self::new()
    }
}

/// Keys by id; every id is checked.
pub(in super::super) fn read_keys(fields: Object) -> Result<BTreeMap<KeyId, Key>, FormError> {
    if fields.len() > MAX_KEYS {
        return Err(FormError::TooMany { field: "keys", max: MAX_KEYS });
    }
    let mut keys = BTreeMap::new();
    for (id, json) in fields {
        let id = KeyId::read("keys", &id)?;
        keys.insert(id.clone(), Key::read(id, json)?);
    }
    Ok(keys)
}

pub(in super::super) fn write_keys(keys: &BTreeMap<KeyId, Key>) -> Json {
    let fields = keys.iter().map(|(id, key)| (id.to_string(), key.to_json().clone()));
    Json::Object(fields.collect())
}

/// The kinds of hashes that are computed here.
pub(in super::super) fn algorithm(name: &str) -> Option<&'static Algorithm> {
    match name {
        "sha256" => Some(&SHA256),
        "sha384" => Some(&SHA384),
        "sha512" => Some(&SHA512),
        _ => None,
    }
}

/// Hashes of one file by the name of their kind, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hashes(BTreeMap<String, Vec<u8>>);

impl Hashes {
    /// SHA-256 alone.
    pub fn sha256(hash: [u8; 32]) -> Self {
        Self(BTreeMap::from([("sha256".to_owned(), hash.to_vec())]))
    }

    /// SHA-256 of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(BTreeMap::from([("sha256".to_owned(), digest(&SHA256, bytes).as_ref().to_vec())]))
    }

    /// The hash of a kind.
    pub fn get(&self, kind: &str) -> Option<&[u8]> {
        self.0.get(kind).map(Vec::as_slice)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(kind, hash)| (kind.as_str(), hash.as_slice()))
    }

    pub(super) fn read(fields: Object) -> Result<Self, FormError> {
        if fields.len() > MAX_HASHES {
            return Err(FormError::TooMany { field: "hashes", max: MAX_HASHES });
        }
        let mut hashes = BTreeMap::new();
        for (kind, json) in fields {
            let hash = HEXLOWER_PERMISSIVE.decode(json.into_text("hashes")?.as_bytes());
            hashes.insert(kind, hash.map_err(|_| wrong("hashes", "hexadecimal digits"))?);
        }
        match hashes.is_empty() {
            true => Err(wrong("hashes", "one hash at least")),
            false => Ok(Self(hashes)),
        }
    }

    pub(super) fn write(&self) -> Json {
        let fields = self.0.iter().map(|(k, hash)| (k.clone(), Json::Text(HEXLOWER.encode(hash))));
        Json::Object(fields.collect())
    }

    /// Whether `bytes` have all of these hashes that can be computed, of which one must be.
    pub fn check(&self, bytes: &[u8]) -> Result<(), Problem> {
        let mut known = 0;
        for (kind, hash) in &self.0 {
            let Some(algorithm) = algorithm(kind) else { continue };
            known += 1;
            if digest(algorithm, bytes).as_ref() != hash.as_slice() {
                return Err(Problem::Hash(kind.clone()));
            }
        }
        if known == 0 { Err(Problem::NoKnownHash) } else { Ok(()) }
    }
}

/// What one file of metadata says of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaFile {
    /// Its version.
    pub version: u64,
    /// Its length, if it is told.
    pub length: Option<u64>,
    /// Its hashes, if they are told.
    pub hashes: Option<Hashes>,
    /// Fields that nobody asked for.
    pub other: Object,
}

impl MetaFile {
    /// Describes a file with all that can be said of it.
    pub fn of(version: u64, bytes: &[u8]) -> Self {
        let length = Some(bytes.len() as u64);
        Self { version, length, hashes: Some(Hashes::of(bytes)), other: Object::new() }
    }

    pub(super) fn read(json: Json) -> Result<Self, FormError> {
        let mut other = json.into_object("meta")?;
        let version = other.number("version")?;
        if version == 0 {
            return Err(wrong("version", "a whole number from 1"));
        }
        let length = other.number_if_there("length")?;
        let hashes = match other.remove("hashes") {
            Some(hashes) => Some(Hashes::read(hashes.into_object("hashes")?)?),
            None => None,
        };
        Ok(Self { version, length, hashes, other })
    }

    pub(super) fn write(&self) -> Json {
        let mut fields = self.other.clone();
        fields.insert("version".into(), int(self.version));
        if let Some(length) = self.length {
            fields.insert("length".into(), int(length));
        }
        if let Some(hashes) = &self.hashes {
            fields.insert("hashes".into(), hashes.write());
        }
        Json::Object(fields)
    }

    /// Whether these are the bytes it describes, as far as it does; the version is not looked at.
    pub(in super::super) fn check(&self, bytes: &[u8]) -> Result<(), Problem> {
        let found = bytes.len() as u64;
        match self.length {
            Some(listed) if listed != found => return Err(Problem::Length { listed, found }),
            _ => {}
        }
        self.hashes.as_ref().map_or(Ok(()), |hashes| hashes.check(bytes))
    }
}
