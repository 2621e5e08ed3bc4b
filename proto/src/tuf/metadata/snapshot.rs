//! Snapshot and timestamp: which versions belong together, and which is the newest snapshot.

use std::collections::BTreeMap;

use super::super::error::FormError;
use super::super::json::{Json, Object, Take, wrong};
use super::parts::MetaFile;
use super::{Common, Role, TopLevel};

/// Files that one snapshot lists: the delegated roles.
const MAX_FILES: usize = 20_000;

/// The signed part of `snapshot.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Version, expiry.
    pub common: Common,
    /// By the name of a role, without `.json`; `targets` is always among them.
    pub meta: BTreeMap<String, MetaFile>,
}

impl Role for Snapshot {
    const KIND: TopLevel = TopLevel::Snapshot;

    fn read(signed: Json) -> Result<Self, FormError> {
        let mut fields = signed.into_object("signed")?;
        let mut common = Common::read(&mut fields, "snapshot")?;
        let list = fields.object("meta")?;
        if list.len() > MAX_FILES {
            return Err(FormError::TooMany { field: "meta", max: MAX_FILES });
        }
        let mut meta = BTreeMap::new();
        for (name, json) in list {
            let role = name.strip_suffix(".json");
            let role = role.ok_or_else(|| wrong("meta", "names that end in .json"))?;
            meta.insert(role.to_owned(), MetaFile::read(json)?);
        }
        if !meta.contains_key("targets") {
            return Err(wrong("meta", "a list with targets.json in it"));
        }
        common.other = fields;
        Ok(Self { common, meta })
    }

    fn write(&self) -> Json {
        let mut fields = self.common.write("snapshot");
        let meta = self.meta.iter().map(|(role, file)| (format!("{role}.json"), file.write()));
        fields.insert("meta".into(), Json::Object(meta.collect()));
        Json::Object(fields)
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn common_mut(&mut self) -> &mut Common {
        &mut self.common
    }
}

/// The signed part of `timestamp.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timestamp {
    /// Version, expiry.
    pub common: Common,
    /// The newest snapshot.
    pub snapshot: MetaFile,
}

impl Role for Timestamp {
    const KIND: TopLevel = TopLevel::Timestamp;

    fn read(signed: Json) -> Result<Self, FormError> {
        let mut fields = signed.into_object("signed")?;
        let mut common = Common::read(&mut fields, "timestamp")?;
        let mut meta = fields.object("meta")?;
        let snapshot = MetaFile::read(meta.value("snapshot.json")?)?;
        if !meta.is_empty() {
            return Err(wrong("meta", "snapshot.json alone"));
        }
        common.other = fields;
        Ok(Self { common, snapshot })
    }

    fn write(&self) -> Json {
        let mut fields = self.common.write("timestamp");
        let meta = Object::from([("snapshot.json".to_owned(), self.snapshot.write())]);
        fields.insert("meta".into(), Json::Object(meta));
        Json::Object(fields)
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn common_mut(&mut self) -> &mut Common {
        &mut self.common
    }
}
