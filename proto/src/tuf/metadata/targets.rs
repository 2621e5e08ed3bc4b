//! Targets: what there is to run, and who else may say so.

use std::collections::BTreeMap;

use super::super::delegation::Delegations;
use super::super::error::FormError;
use super::super::json::{Json, Object, Take, int, wrong};
use super::parts::Hashes;
use super::{Common, MAX_PATH_BYTES, Role, TopLevel};

/// Targets of one file.
const MAX_TARGETS: usize = 50_000;

/// What is said of one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetFile {
    /// Its length.
    pub length: u64,
    /// Its hashes.
    pub hashes: Hashes,
    /// What the application is told of it.
    pub custom: Option<Object>,
    /// Fields that nobody asked for.
    pub other: Object,
}

impl TargetFile {
    /// Of a file with this length and SHA-256.
    pub fn new(length: u64, sha256: [u8; 32]) -> Self {
        Self { length, hashes: Hashes::sha256(sha256), custom: None, other: Object::new() }
    }

    fn read(json: Json) -> Result<Self, FormError> {
        let mut other = json.into_object("targets")?;
        let length = other.number("length")?;
        let hashes = Hashes::read(other.object("hashes")?)?;
        let custom = match other.remove("custom") {
            Some(custom) => Some(custom.into_object("custom")?),
            None => None,
        };
        Ok(Self { length, hashes, custom, other })
    }

    fn write(&self) -> Json {
        let mut fields = self.other.clone();
        fields.insert("length".into(), int(self.length));
        fields.insert("hashes".into(), self.hashes.write());
        if let Some(custom) = &self.custom {
            fields.insert("custom".into(), Json::Object(custom.clone()));
        }
        Json::Object(fields)
    }
}

/// The signed part of `targets.json` and of delegated roles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Targets {
    /// Version, expiry.
    pub common: Common,
    /// By path.
    pub targets: BTreeMap<String, TargetFile>,
    /// Who else may say what there is.
    pub delegations: Option<Delegations>,
}

impl Targets {
    /// Version 1, which lists nothing.
    pub fn new(expires_s: i64) -> Self {
        Self { common: Common::new(1, expires_s), targets: BTreeMap::new(), delegations: None }
    }
}

impl Role for Targets {
    const KIND: TopLevel = TopLevel::Targets;

    fn read(signed: Json) -> Result<Self, FormError> {
        let mut fields = signed.into_object("signed")?;
        let mut common = Common::read(&mut fields, "targets")?;
        let list = fields.object("targets")?;
        if list.len() > MAX_TARGETS {
            return Err(FormError::TooMany { field: "targets", max: MAX_TARGETS });
        }
        let mut targets = BTreeMap::new();
        for (path, json) in list {
            if path.len() > MAX_PATH_BYTES {
                return Err(wrong("targets", "paths of at most 1024 bytes"));
            }
            targets.insert(path, TargetFile::read(json)?);
        }
        let delegations = match fields.remove("delegations") {
            Some(delegations) => Some(Delegations::read(delegations)?),
            None => None,
        };
        common.other = fields;
        Ok(Self { common, targets, delegations })
    }

    fn write(&self) -> Json {
        let mut fields = self.common.write("targets");
        let targets = self.targets.iter().map(|(path, file)| (path.clone(), file.write()));
        fields.insert("targets".into(), Json::Object(targets.collect()));
        if let Some(delegations) = &self.delegations {
            fields.insert("delegations".into(), delegations.write());
        }
        Json::Object(fields)
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn common_mut(&mut self) -> &mut Common {
        &mut self.common
    }
}
