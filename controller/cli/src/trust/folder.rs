//! The folder that key holders exchange.
//!
//! ```text
//! root.json  targets.json          newest that enough keys have signed
//! 1.root.json  2.root.json  …      every such version
//! staged/root.json  staged/targets.json   waits for signatures
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use edgeformer_proto::tuf::client::{check_initial_root, check_root};
use edgeformer_proto::tuf::{
    Key, KeyId, Limits, Problem, Role, Root, Signatures, Signed, Signer, Targets, TopLevel,
    TufError, check_root_change,
};

use super::TrustError;
use super::change::{differences, target_differences};

const STAGED: &str = "staged";

/// Metadata that waits for signatures.
#[derive(Debug, Clone)]
pub struct Staged<T>(pub Signed<T>);

/// What is in the folder.
#[derive(Debug, Clone)]
pub struct State {
    /// The newest root with enough signatures.
    pub root: Option<Signed<Root>>,
    /// The newest targets that had enough signatures.
    pub targets: Option<Signed<Targets>>,
    /// The root that is to follow.
    pub next_root: Option<Staged<Root>>,
    /// The targets that are to follow.
    pub next_targets: Option<Staged<Targets>>,
}

/// Who must sign something: keys, and role by role who has.
pub struct Need {
    /// E.g. `root, as version 1 says`.
    pub who: String,
    pub signatures: Signatures,
}

impl State {
    /// The root that says who signs the next targets.
    pub fn authority(&self) -> Option<&Root> {
        let next = self.next_root.as_ref().map(|staged| staged.0.role());
        next.or(self.root.as_ref().map(Signed::role))
    }

    /// Who must sign the root that waits: those of the root before it, and its own.
    pub fn root_needs(&self) -> Vec<Need> {
        let Some(Staged(next)) = &self.next_root else { return Vec::new() };
        let before = self.root.as_ref().map(Signed::role);
        let need = |by: &Root| Need {
            who: format!("root, as version {} says", by.common.version),
            signatures: next.signatures(by.keys(), by.role(TopLevel::Root)),
        };
        before.into_iter().chain([next.role()]).map(need).collect()
    }

    /// Who must sign the targets that wait.
    pub fn targets_needs(&self) -> Vec<Need> {
        let (Some(Staged(next)), Some(by)) = (&self.next_targets, self.authority()) else {
            return Vec::new();
        };
        vec![Need {
            who: format!("targets, as root version {} says", by.common.version),
            signatures: next.signatures(by.keys(), by.role(TopLevel::Targets)),
        }]
    }

    /// Keys that may sign what waits.
    fn keys(&self, role: TopLevel) -> BTreeMap<KeyId, Key> {
        let roots = [self.root.as_ref().map(Signed::role), self.authority()];
        let mut keys = BTreeMap::new();
        for root in roots.into_iter().flatten() {
            for id in &root.role(role).key_ids {
                keys.extend(root.keys().get(id).map(|key| (id.clone(), key.clone())));
            }
        }
        keys
    }

    /// What waits, in words for whoever is to sign it: what differs from `known`, a root that the
    /// reader trusts and the folder comes from, or all of it.
    pub fn changes(&self, known: Option<&Root>) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(Staged(next)) = &self.next_root {
            lines.extend(differences(known, next.role()));
        }
        if let Some(Staged(next)) = &self.next_targets {
            // The targets that are out are worth comparing with if the folder's root vouches for them.
            let root = known.and(self.root.as_ref()).map(Signed::role);
            let before = root.filter(|root| self.targets_hold(root)).and(self.targets.as_ref());
            lines.extend(target_differences(before.map(Signed::role), next.role()));
        }
        lines
    }

    /// Signs what waits and the key may sign; the names of what it signed.
    pub fn sign(&mut self, signer: &dyn Signer) -> Result<Vec<&'static str>, TrustError> {
        let mut signed = Vec::new();
        let (root, targets) = (self.keys(TopLevel::Root), self.keys(TopLevel::Targets));
        let id = signer.key().id();
        if let Some(Staged(next)) = self.next_root.as_mut().filter(|_| root.contains_key(id)) {
            next.sign(signer)?;
            signed.push("root");
        }
        if let Some(Staged(next)) = self.next_targets.as_mut().filter(|_| targets.contains_key(id))
        {
            next.sign(signer)?;
            signed.push("targets");
        }
        Ok(signed)
    }

    /// Takes the signatures from another holder's copy; whose are new.
    pub fn merge(&mut self, other: &Self, path: &Path) -> Result<Vec<KeyId>, TrustError> {
        let mut new = Vec::new();
        let (root, targets) = (self.keys(TopLevel::Root), self.keys(TopLevel::Targets));
        let wrong = || TrustError::OtherContent(path.to_owned());
        if let Some(Staged(ours)) = &mut self.next_root {
            let theirs = copy_of(ours, other.next_root.as_ref(), other.root.as_ref());
            if let Some(theirs) = theirs.map_err(|_| wrong())? {
                new.extend(ours.merge(theirs, &root).ok_or_else(wrong)?);
            }
        }
        if let Some(Staged(ours)) = &mut self.next_targets {
            let theirs = copy_of(ours, other.next_targets.as_ref(), other.targets.as_ref());
            if let Some(theirs) = theirs.map_err(|_| wrong())? {
                new.extend(ours.merge(theirs, &targets).ok_or_else(wrong)?);
            }
        }
        Ok(new)
    }

    /// Whether the targets that are out are signed as `root` says.
    fn targets_hold(&self, root: &Root) -> bool {
        self.targets.as_ref().is_some_and(|targets| {
            targets.signatures(root.keys(), root.role(TopLevel::Targets)).is_enough()
        })
    }

    /// Has a root wait for signatures, and the targets once more if it changes who signs them.
    pub fn stage_root(&mut self, root: Root, expires_s: i64) {
        if !self.targets_hold(&root) && self.next_targets.is_none() {
            let next = match &self.targets {
                Some(targets) => targets.role().next(expires_s),
                None => Targets::new(expires_s),
            };
            self.next_targets = Some(Staged(Signed::new(next)));
        }
        self.next_root = Some(Staged(Signed::new(root)));
    }
}

/// What another holder has of `ours`: it waits there, or has enough signatures there already. An
/// error if something else waits there.
fn copy_of<'a, T: Role>(
    ours: &Signed<T>,
    waits: Option<&'a Staged<T>>,
    newest: Option<&'a Signed<T>>,
) -> Result<Option<&'a Signed<T>>, ()> {
    let waits = waits.map(|Staged(waits)| waits);
    let same = |theirs: &&Signed<T>| theirs.canonical() == ours.canonical();
    match waits.into_iter().chain(newest).find(same) {
        None if waits.is_some() => Err(()),
        found => Ok(found),
    }
}

/// The folder.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Reads it and checks what is said to be complete.
    pub fn read(&self) -> Result<State, TrustError> {
        let state = self.read_any()?;
        match state.root.is_none() && state.next_root.is_none() {
            true => Err(TrustError::Empty(self.0.clone())),
            false => Ok(state),
        }
    }

    /// The same, also of a folder with nothing in it.
    pub fn read_any(&self) -> Result<State, TrustError> {
        let limits = Limits::default();
        let path = self.0.join("root.json");
        let root = match read(&path, limits.root_bytes)? {
            None => None,
            Some(bytes) => {
                let refused =
                    |source| TrustError::Refused { path: path.clone(), source: Box::new(source) };
                check_initial_root(&bytes, &limits).map_err(refused)?;
                Some(parse(&path, &bytes)?)
            }
        };
        let at = |name: &str| self.0.join(name);
        let staged = |name: &str| self.0.join(STAGED).join(name);
        let state = State {
            root,
            targets: parse_if_there(&at("targets.json"), limits.targets_bytes)?,
            next_root: parse_if_there(&staged("root.json"), limits.root_bytes)?.map(Staged),
            next_targets: parse_if_there(&staged("targets.json"), limits.targets_bytes)?
                .map(Staged),
        };
        if let Some(Staged(next)) = &state.next_root {
            let root = state.root.as_ref().map(Signed::role);
            check_root_change(root, next.role()).map_err(Box::new)?;
        }
        if let Some(Staged(next)) = &state.next_targets {
            let trusted = state.targets.as_ref().map_or(0, |t| t.role().common.version);
            let found = next.role().common.version;
            if found <= trusted {
                let what = "targets".to_owned();
                let problem = Problem::Rollback { what, trusted, offered: found };
                let version = Some(found);
                let role = "targets".to_owned();
                let source = Box::new(TufError { role, version, step: "5.6.4", problem });
                return Err(TrustError::Refused { path: staged("targets.json"), source });
            }
        }
        Ok(state)
    }

    /// Reads a root that the user trusts, and follows the folder's roots from it to the newest.
    pub fn trusted(&self, state: &State, path: &Path) -> Result<Root, TrustError> {
        let limits = Limits::default();
        let other = |why: String| TrustError::OtherHistory { path: path.to_owned(), why };
        let bytes = read(path, limits.root_bytes)?.ok_or_else(|| other("no such file".into()))?;
        let trusted = check_initial_root(&bytes, &limits).map_err(|e| other(e.to_string()))?;
        let Some(newest) = &state.root else {
            return Err(other("the folder has no root with enough signatures yet".into()));
        };
        let mut root = trusted.clone();
        for version in trusted.common.version.saturating_add(1)..=newest.role().common.version {
            let name = format!("{version}.root.json");
            let next = read(&self.0.join(&name), limits.root_bytes)?;
            let next = next.ok_or_else(|| other(format!("{name} is missing")))?;
            let next = check_root(&root, &next, &limits).map_err(|e| other(e.to_string()))?;
            root = next.ok_or_else(|| other(format!("{name} is another version")))?;
        }
        match root == *newest.role() {
            true => Ok(trusted),
            false => Err(other("root.json is another one".into())),
        }
    }

    /// Writes what waits; what has enough signatures by now becomes the newest. Tells which.
    pub fn write(&self, mut state: State) -> Result<Vec<String>, TrustError> {
        let mut complete = Vec::new();
        let limits = Limits::default();
        if enough(&state.root_needs())
            && let Some(Staged(next)) = state.next_root.take()
        {
            let bytes = next.to_file();
            let path = self.0.join(STAGED).join("root.json");
            // What a client will do with it, done once here.
            let refused =
                |source| TrustError::Refused { path: path.clone(), source: Box::new(source) };
            match &state.root {
                Some(old) => drop(check_root(old.role(), &bytes, &limits).map_err(refused)?),
                None => drop(check_initial_root(&bytes, &limits).map_err(refused)?),
            }
            complete.push(self.complete("root", next.role().common.version, &bytes)?);
            state.root = Some(next);
        }
        let is_next = state.next_root.is_none() && enough(&state.targets_needs());
        if is_next && let Some(Staged(next)) = state.next_targets.take() {
            let bytes = next.to_file();
            complete.push(self.complete("targets", next.role().common.version, &bytes)?);
        }
        let waits = state.next_root.as_ref().map(|Staged(next)| ("root", next.to_file()));
        let targets = state.next_targets.as_ref().map(|Staged(next)| ("targets", next.to_file()));
        for (role, bytes) in waits.into_iter().chain(targets) {
            write(&self.0.join(STAGED).join(format!("{role}.json")), &bytes)?;
        }
        Ok(complete)
    }

    /// A file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Makes a version the newest: under its number and under its name.
    pub(super) fn keep(&self, role: &str, version: u64, bytes: &[u8]) -> Result<(), TrustError> {
        write(&self.0.join(format!("{version}.{role}.json")), bytes)?;
        write(&self.0.join(format!("{role}.json")), bytes)
    }

    /// Makes a version the newest, and it waits no longer.
    pub(super) fn complete(
        &self,
        role: &str,
        version: u64,
        bytes: &[u8],
    ) -> Result<String, TrustError> {
        self.keep(role, version, bytes)?;
        let staged = self.0.join(STAGED).join(format!("{role}.json"));
        match fs::remove_file(&staged) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(TrustError::File { doing: "remove", path: staged, source })
            }
            _ => Ok(format!("{role} version {version}")),
        }
    }
}

fn parse<T: Role>(path: &Path, bytes: &[u8]) -> Result<Signed<T>, TrustError> {
    let form = |source| TrustError::Form { path: path.to_owned(), source };
    Signed::parse(bytes, bytes.len()).map_err(form)
}

fn parse_if_there<T: Role>(path: &Path, max: usize) -> Result<Option<Signed<T>>, TrustError> {
    read(path, max)?.map(|bytes| parse(path, &bytes)).transpose()
}

/// Whether all have signed who must.
pub(super) fn enough(needs: &[Need]) -> bool {
    needs.iter().all(|need| need.signatures.is_enough())
}

pub(super) fn read(path: &Path, max_bytes: usize) -> Result<Option<Vec<u8>>, TrustError> {
    let mut bytes = Vec::new();
    let file = File::open(path).and_then(|f| f.take(max_bytes as u64).read_to_end(&mut bytes));
    match file {
        Ok(_) => Ok(Some(bytes)),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(TrustError::File { doing: "read", path: path.to_owned(), source }),
    }
}

/// A crash leaves the old content or the new.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), TrustError> {
    let part = path.with_extension("part");
    let folder = path.parent().unwrap_or(Path::new("."));
    let written = fs::create_dir_all(folder).and_then(|()| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&part, path)?;
        File::open(folder)?.sync_all()
    });
    written.map_err(|source| TrustError::File { doing: "write", path: path.to_owned(), source })
}
