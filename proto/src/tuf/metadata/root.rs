//! Root: who signs for the four roles.

use std::collections::BTreeMap;

use super::super::error::FormError;
use super::super::json::{Json, Object, Take};
use super::super::key::{Key, KeyId};
use super::parts::{RoleKeys, read_keys, write_keys};
use super::{Common, Role, TopLevel};

/// The signed part of `root.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Version, expiry.
    pub common: Common,
    /// Whether names of files carry versions and hashes. None if it does not say, which means no.
    pub consistent_snapshot: Option<bool>,
    keys: BTreeMap<KeyId, Key>,
    /// One for each of [`TopLevel::ALL`], in that order.
    roles: [RoleKeys; 4],
    /// Roles beside the four, as written.
    other_roles: Object,
}

impl Root {
    /// Version 1, in which no role has a key yet.
    pub fn new(expires_s: i64) -> Self {
        Self {
            common: Common::new(1, expires_s),
            consistent_snapshot: Some(true),
            keys: BTreeMap::new(),
            roles: [RoleKeys::new(), RoleKeys::new(), RoleKeys::new(), RoleKeys::new()],
            other_roles: Object::new(),
        }
    }

    /// Keys by id.
    pub fn keys(&self) -> &BTreeMap<KeyId, Key> {
        &self.keys
    }

    /// Who signs for a role.
    pub fn role(&self, role: TopLevel) -> &RoleKeys {
        &self.roles[role as usize]
    }

    /// Lets a key sign for a role. False if it already may.
    pub fn add_key(&mut self, role: TopLevel, key: &Key) -> bool {
        self.keys.entry(key.id().clone()).or_insert_with(|| key.clone());
        let ids = &mut self.roles[role as usize].key_ids;
        let is_new = !ids.contains(key.id());
        if is_new {
            ids.push(key.id().clone());
        }
        is_new
    }

    /// Lets a key sign for a role no longer; forgets it when it signs for none. False if it could not.
    pub fn remove_key(&mut self, role: TopLevel, id: &KeyId) -> bool {
        let ids = &mut self.roles[role as usize].key_ids;
        let before = ids.len();
        ids.retain(|one| one != id);
        let removed = ids.len() < before;
        if !self.roles.iter().any(|role| role.key_ids.contains(id)) {
            self.keys.remove(id);
        }
        removed
    }

    /// How many distinct keys must sign for a role.
    pub fn set_threshold(&mut self, role: TopLevel, threshold: u32) {
        self.roles[role as usize].threshold = threshold;
    }
}

impl Role for Root {
    const KIND: TopLevel = TopLevel::Root;

    fn read(signed: Json) -> Result<Self, FormError> {
        let mut fields = signed.into_object("signed")?;
        let mut common = Common::read(&mut fields, "root")?;
        let consistent_snapshot = fields.bool_if_there("consistent_snapshot")?;
        let keys = read_keys(fields.object("keys")?)?;
        let mut other_roles = fields.object("roles")?;
        let mut role = |role: TopLevel| RoleKeys::read(other_roles.object(role.name())?);
        let [root, targets, snapshot, timestamp] = TopLevel::ALL;
        let roles = [role(root)?, role(targets)?, role(snapshot)?, role(timestamp)?];
        common.other = fields;
        Ok(Self { common, consistent_snapshot, keys, roles, other_roles })
    }

    fn write(&self) -> Json {
        let mut fields = self.common.write("root");
        if let Some(consistent) = self.consistent_snapshot {
            fields.insert("consistent_snapshot".into(), Json::Bool(consistent));
        }
        fields.insert("keys".into(), write_keys(&self.keys));
        let mut roles = self.other_roles.clone();
        for role in TopLevel::ALL {
            roles.insert(role.name().into(), Json::Object(self.role(role).write()));
        }
        fields.insert("roles".into(), Json::Object(roles));
        Json::Object(fields)
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn common_mut(&mut self) -> &mut Common {
        &mut self.common
    }
}
