//! What goes between the folder that key holders exchange and a controller's repository. Nothing that
//! the controller gives is taken unless the folder's own root leads to it.

use edgeformer_proto::tuf::client::{check_initial_root, check_root};
use edgeformer_proto::tuf::{
    Limits, Problem, Role as _, Root, Signed, TargetFile, Targets, TopLevel, TufError,
};

use super::TrustError;
use super::folder::{Folder, Staged, State, enough, read};

/// Files for a controller.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// Roots that it lacks, in their order.
    pub roots: Vec<Vec<u8>>,
    /// Targets that it lacks.
    pub targets: Option<Vec<u8>>,
}

impl Outgoing {
    /// Whether the controller has all of it.
    pub fn is_empty(&self) -> bool {
        self.roots.is_empty() && self.targets.is_none()
    }
}

impl State {
    /// Has the targets wait for signatures, with what is new.
    pub fn stage_targets(&mut self, new: Vec<(String, TargetFile)>, expires_s: i64) {
        let Some(targets) = &self.targets else { return };
        let mut next = targets.role().next(expires_s);
        next.targets.extend(new);
        self.next_targets = Some(Staged(Signed::new(next)));
    }

    /// Whether the root that waits lacks nothing but what its predecessor's keys sign.
    fn only_old_keys_are_missing(&self, next: &Signed<Root>) -> bool {
        let by = next.role();
        next.signatures(by.keys(), by.role(TopLevel::Root)).is_enough()
    }
}

impl Folder {
    /// Takes roots, each the next version, and targets that a controller serves.
    pub fn take(&self, roots: &[Vec<u8>], targets: Option<&[u8]>) -> Result<State, TrustError> {
        let limits = Limits::default();
        let mut state = self.read_any()?;
        for bytes in roots {
            let path = self.path("root.json");
            let refused =
                |source| TrustError::Refused { path: path.clone(), source: Box::new(source) };
            match &state.root {
                Some(old) => drop(check_root(old.role(), bytes, &limits).map_err(refused)?),
                None => drop(check_initial_root(bytes, &limits).map_err(refused)?),
            }
            let form = |source| TrustError::Form { path: path.clone(), source };
            let root: Signed<Root> = Signed::parse(bytes, bytes.len()).map_err(form)?;
            if let Some(Staged(waits)) = &state.next_root
                && waits.canonical() != root.canonical()
            {
                return Err(TrustError::OtherContent(self.path("staged/root.json")));
            }
            self.complete("root", root.role().common.version, bytes)?;
            (state.root, state.next_root) = (Some(root), None);
        }
        if let (Some(bytes), Some(root)) = (targets, &state.root) {
            self.take_targets(bytes, root.role(), &state)?;
        }
        self.read()
    }

    fn take_targets(&self, bytes: &[u8], root: &Root, state: &State) -> Result<(), TrustError> {
        let path = self.path("targets.json");
        let form = |source| TrustError::Form { path: path.clone(), source };
        let targets: Signed<Targets> = Signed::parse(bytes, bytes.len()).map_err(form)?;
        let version = targets.role().common.version;
        let refused = |problem| {
            let (role, version) = ("targets".to_owned(), Some(version));
            let source = Box::new(TufError { role, version, step: "5.6.3", problem });
            TrustError::Refused { path: path.clone(), source }
        };
        let by = format!("root version {}", root.common.version);
        targets.verify(root.keys(), root.role(TopLevel::Targets), &by).map_err(refused)?;
        let newest = state.targets.as_ref().map_or(0, |targets| targets.role().common.version);
        if version < newest {
            let what = "targets".to_owned();
            return Err(refused(Problem::Rollback { what, trusted: newest, offered: version }));
        }
        if let Some(Staged(waits)) = &state.next_targets
            && waits.role().common.version <= version
            && waits.canonical() != targets.canonical()
        {
            return Err(TrustError::OtherContent(self.path("staged/targets.json")));
        }
        let waits_on = state
            .next_targets
            .as_ref()
            .filter(|Staged(waits)| waits.role().common.version > version);
        match waits_on {
            // What waits follows it.
            Some(_) => self.keep("targets", version, bytes).map(drop),
            None => self.complete("targets", version, bytes).map(drop),
        }
    }

    /// What a controller lacks that has these versions of root and targets.
    pub fn outgoing(&self, root: u64, targets: u64) -> Result<Outgoing, TrustError> {
        let limits = Limits::default();
        let state = self.read()?;
        let mut out = Outgoing::default();
        let newest = state.root.as_ref().map_or(0, |root| root.role().common.version);
        for version in root.saturating_add(1)..=newest {
            let path = self.path(&format!("{version}.root.json"));
            let found = read(&path, limits.root_bytes)?;
            let source = std::io::ErrorKind::NotFound.into();
            let missing = TrustError::File { doing: "read", path, source };
            out.roots.push(found.ok_or(missing)?);
        }
        let next = state.next_root.as_ref().map(|Staged(next)| next);
        let next = next.filter(|next| state.only_old_keys_are_missing(next));
        out.roots.extend(next.map(Signed::to_file));
        let waits = state.next_targets.as_ref().map(|Staged(next)| next);
        let waits = waits.filter(|_| state.next_root.is_some() == next.is_some());
        let waits = waits.filter(|_| enough(&state.targets_needs()));
        let signed = waits.or(state.targets.as_ref());
        let signed = signed.filter(|signed| signed.role().common.version > targets);
        out.targets = signed.map(Signed::to_file);
        Ok(out)
    }
}
