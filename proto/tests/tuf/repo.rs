//! A repository in memory, and a device that stores what the client tells it to.
#![allow(dead_code)] // several tests include it, each uses a part

use std::collections::BTreeMap;

use edgeformer_proto::tuf::client::{Found, LookUp, Refresh, Trusted, stored_name};
use edgeformer_proto::tuf::{
    Change, DelegatedRole, Delegations, KeyKind, Limits, MetaFile, Paths, PrivateKey, Request,
    Role, RoleKeys, Root, Signed, Signer, Snapshot, Source, TargetFile, Targets, Timestamp,
    TopLevel, TufError, encode_name, next_snapshot, next_timestamp,
};

/// The time of most tests.
pub const NOW_S: i64 = 1_900_000_000;
pub const DAY_S: i64 = 86_400;
pub const MAX_BYTES: usize = 5 << 20;

pub fn new_key(kind: KeyKind) -> PrivateKey {
    PrivateKey::from_pkcs8(&PrivateKey::generate_pkcs8(kind).unwrap()).unwrap()
}

/// Roles' keys and the files that are served.
pub struct Repo {
    pub signers: BTreeMap<String, Vec<PrivateKey>>,
    pub root: Root,
    pub targets: Targets,
    pub delegated: BTreeMap<String, Targets>,
    pub snapshot: Option<Snapshot>,
    pub timestamp: Option<Timestamp>,
    pub files: BTreeMap<String, Vec<u8>>,
    pub contents: BTreeMap<String, Vec<u8>>,
    /// How long what is published from now on is valid.
    pub expires_s: i64,
}

impl Repo {
    /// One key for each role, version 1 of everything.
    pub fn new() -> Self {
        Self::valid_from(NOW_S)
    }

    /// The same, at another time.
    pub fn valid_from(now_s: i64) -> Self {
        let mut repo = Self::unpublished();
        repo.expires_s = now_s + 30 * DAY_S;
        repo.root.common.expires_s = repo.expires_s;
        repo.targets.common.expires_s = repo.expires_s;
        repo.publish_root();
        repo.publish();
        repo
    }

    pub fn unpublished() -> Self {
        let expires_s = NOW_S + 30 * DAY_S;
        let mut repo = Self {
            signers: BTreeMap::new(),
            root: Root::new(expires_s),
            targets: Targets::new(expires_s),
            delegated: BTreeMap::new(),
            snapshot: None,
            timestamp: None,
            files: BTreeMap::new(),
            contents: BTreeMap::new(),
            expires_s,
        };
        for (at, role) in TopLevel::ALL.into_iter().enumerate() {
            repo.add_key(role, [KeyKind::Ed25519, KeyKind::EcdsaP256][at % 2]);
        }
        repo
    }

    /// Another key for a role, in the next root.
    pub fn add_key(&mut self, role: TopLevel, kind: KeyKind) {
        let key = new_key(kind);
        self.root.add_key(role, key.key());
        self.signers.entry(role.name().to_owned()).or_default().push(key);
    }

    /// New keys in the place of all of a role's; the old ones still sign a root.
    pub fn rotate(&mut self, role: TopLevel) {
        for id in self.root.role(role).key_ids.clone() {
            self.root.remove_key(role, &id);
        }
        if role != TopLevel::Root {
            self.signers.remove(role.name());
        }
        self.add_key(role, KeyKind::Ed25519);
    }

    pub fn sign<T: Role>(&self, name: &str, role: &T) -> Vec<u8> {
        let mut signed = Signed::new(role.clone());
        for signer in &self.signers[name] {
            signed.sign(signer).unwrap();
        }
        signed.to_file()
    }

    /// Serves the root as it is, under its version, and makes the next version ready.
    pub fn publish_root(&mut self) -> Vec<u8> {
        let file = self.sign("root", &self.root);
        self.files.insert(format!("{}.root.json", self.root.common.version), file.clone());
        self.root = self.root.next(self.expires_s);
        file
    }

    /// The newest root that is served.
    pub fn served_root(&self) -> Root {
        let name = format!("{}.root.json", self.root.common.version - 1);
        Signed::<Root>::parse(&self.files[&name], MAX_BYTES).unwrap().into_role()
    }

    pub fn add_target(&mut self, role: &str, path: &str, content: &[u8]) {
        let hash = ring::digest::digest(&ring::digest::SHA256, content);
        let file = TargetFile::new(content.len() as u64, hash.as_ref().try_into().unwrap());
        self.role_mut(role).targets.insert(path.to_owned(), file);
        self.contents.insert(path.to_owned(), content.to_vec());
    }

    pub fn role_mut(&mut self, role: &str) -> &mut Targets {
        match role {
            "targets" => &mut self.targets,
            name => self.delegated.get_mut(name).unwrap(),
        }
    }

    /// Delegates patterns from one role to another, which gets a key if it has none.
    pub fn delegate(&mut self, from: &str, to: &str, patterns: &[&str], terminating: bool) {
        let patterns = patterns.iter().map(|p| (*p).to_owned()).collect();
        self.delegate_paths(from, to, Paths::Patterns(patterns), terminating);
    }

    pub fn delegate_paths(&mut self, from: &str, to: &str, paths: Paths, terminating: bool) {
        let signers = self.signers.entry(to.to_owned()).or_default();
        if signers.is_empty() {
            signers.push(new_key(KeyKind::Ed25519));
        }
        let key = signers[0].key().clone();
        let expires_s = self.expires_s;
        self.delegated.entry(to.to_owned()).or_insert_with(|| Targets::new(expires_s));
        let delegations = self.role_mut(from).delegations.get_or_insert_with(Delegations::default);
        let mut keys = RoleKeys::new();
        keys.key_ids.push(key.id().clone());
        delegations.keys.insert(key.id().clone(), key);
        delegations.roles.push(DelegatedRole { name: to.to_owned(), keys, terminating, paths });
    }

    /// Serves the targets as they are, with a new snapshot and a new timestamp.
    pub fn publish(&mut self) {
        let mut meta = BTreeMap::new();
        let roles = std::iter::once(("targets", &self.targets));
        let roles = roles.chain(self.delegated.iter().map(|(name, role)| (name.as_str(), role)));
        let mut files = Vec::new();
        for (name, role) in roles {
            let (version, file) = (role.common.version, self.sign(name, role));
            meta.insert(name.to_owned(), MetaFile::of(version, &file));
            files.push((format!("{version}.{}.json", encode_name(name)), file));
        }
        self.files.extend(files);
        let snapshot = next_snapshot(self.snapshot.as_ref(), meta, self.expires_s).unwrap();
        self.publish_snapshot(snapshot);
    }

    pub fn publish_snapshot(&mut self, snapshot: Snapshot) {
        let version = snapshot.common.version;
        let file = self.sign("snapshot", &snapshot);
        let signed = Signed::<Snapshot>::parse(&file, MAX_BYTES).unwrap();
        self.files.insert(format!("{version}.snapshot.json"), file);
        self.snapshot = Some(snapshot);
        let old = self.timestamp.as_ref();
        let timestamp = next_timestamp(old, &signed, self.expires_s).unwrap();
        self.publish_timestamp(timestamp);
    }

    pub fn publish_timestamp(&mut self, timestamp: Timestamp) {
        let file = self.sign("timestamp", &timestamp);
        self.files.insert("timestamp.json".to_owned(), file);
        self.timestamp = Some(timestamp);
    }

    /// The next version of the targets.
    pub fn bump_targets(&mut self) {
        self.targets = self.targets.next(self.expires_s);
    }
}

/// What a device has stored, and what it asked the repository for.
#[derive(Clone)]
pub struct Device {
    pub stored: BTreeMap<String, Vec<u8>>,
    pub asked: Vec<String>,
    pub now_s: i64,
    pub limits: Limits,
}

impl Device {
    /// Given version 1 of the root.
    pub fn new(repo: &Repo) -> Self {
        let root = repo.files["1.root.json"].clone();
        let stored = BTreeMap::from([("root.json".to_owned(), root)]);
        Self { stored, asked: Vec::new(), now_s: NOW_S, limits: Limits::default() }
    }

    pub fn refresh(&mut self, files: &BTreeMap<String, Vec<u8>>) -> Result<Trusted, TufError> {
        self.asked.clear();
        let refresh = Refresh::begin(&self.stored["root.json"], self.now_s, self.limits)?;
        let state = std::cell::RefCell::new(&mut *self);
        refresh.run(
            |request| Ok(state.borrow_mut().give(files, request)),
            |change| {
                state.borrow_mut().keep(change);
                Ok(())
            },
        )
    }

    pub fn find(&mut self, repo: &Repo, path: &str) -> Result<Found, TufError> {
        let trusted = self.refresh(&repo.files)?;
        self.look_up(repo, trusted, path)
    }

    pub fn look_up(
        &mut self,
        repo: &Repo,
        trusted: Trusted,
        path: &str,
    ) -> Result<Found, TufError> {
        self.look_up_in(&repo.files, trusted, path)
    }

    pub fn look_up_in(
        &mut self,
        files: &BTreeMap<String, Vec<u8>>,
        trusted: Trusted,
        path: &str,
    ) -> Result<Found, TufError> {
        self.asked.clear();
        let step = trusted.look_up(path)?;
        let state = std::cell::RefCell::new(&mut *self);
        LookUp::run(
            step,
            |request| Ok(state.borrow_mut().give(files, request)),
            |change| {
                state.borrow_mut().keep(change);
                Ok(())
            },
        )
    }

    fn give(&mut self, files: &BTreeMap<String, Vec<u8>>, request: &Request) -> Option<Vec<u8>> {
        match request.source {
            Source::Stored => self.stored.get(&request.file).cloned(),
            Source::Repository => {
                self.asked.push(request.file.clone());
                files.get(&request.file).cloned()
            }
        }
    }

    fn keep(&mut self, change: Change) {
        match change {
            Change::Store { role, bytes, .. } => self.stored.insert(stored_name(&role), bytes),
            Change::Forget { role } => self.stored.remove(&stored_name(role)),
        };
    }

    /// Version of what is stored of a role.
    pub fn version(&self, role: &str) -> Option<u64> {
        let bytes = self.stored.get(&stored_name(role))?;
        let json: serde_json::Value = serde_json::from_slice(bytes).unwrap();
        json["signed"]["version"].as_u64()
    }
}

/// The step and the problem of an error, for short expectations.
pub fn said<T: std::fmt::Debug>(result: Result<T, TufError>) -> (String, &'static str) {
    let error = result.unwrap_err();
    (error.role, error.step)
}
