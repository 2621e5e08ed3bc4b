//! Takes root and targets that people signed with keys that the controller does not hold. What a device
//! would not believe is not taken, and neither is what would leave devices without an answer: other
//! online keys than the controller's, or targets that list what is not here.
//!
//! The first root that takes the controller's own key away is signed by that key too, here and only if
//! everything else about it is right: that is how a repository goes from the controller to its owner.

use std::collections::BTreeSet;

use edgeformer_proto::tuf::client::check_root;
use edgeformer_proto::tuf::{
    Limits, Root, Signed, Signer, Targets, TopLevel, check_root_change, format_time,
};
use serde_json::{Value, json};

use super::{TrustError, Work, can_sign, plan, reconcile};
use crate::app::App;
use crate::audit::{Intent, Resource};
use crate::policy::Action;
use crate::scope::{Scope, TenantScope};
use crate::store::StoreError;
use crate::store::trust::Stored;

/// Roots in one upload: a holder who was away for long brings them in several.
pub const MAX_ROOTS: usize = 32;

/// Metadata that was signed elsewhere, in files.
#[derive(Debug, Clone, Default)]
pub struct Upload {
    /// Roots, each the next version.
    pub roots: Vec<Vec<u8>>,
    /// Targets that follow.
    pub targets: Option<Vec<u8>>,
}

/// Why metadata was not taken.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The repository.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// It is not right.
    #[error("{0}")]
    Refused(String),
    /// Something else was taken meanwhile.
    #[error("{0}")]
    Conflict(String),
}

impl From<StoreError> for UploadError {
    fn from(error: StoreError) -> Self {
        Self::Trust(error.into())
    }
}

/// Takes all of it or nothing, and signs what follows from it. What is there already is no error.
pub async fn take(
    app: &App,
    scope: &TenantScope,
    action: Action,
    upload: Upload,
) -> Result<(), UploadError> {
    // So that there is something that it can follow.
    reconcile(app, scope).await?;
    let now = app.now();
    let mut work = Work::load(app, scope, now).await?;
    let before = describe(&work);
    for file in &upload.roots {
        work.take_root(file)?;
    }
    if let Some(file) = &upload.targets {
        work.take_targets(file)?;
    }
    if work.made.is_empty() {
        return Ok(());
    }
    work.check_targets()?;
    while let Some(make) = plan::next(&work.current, &work.published, work.signs()) {
        work.make(app, scope, make)?;
    }
    let after = describe(&work);
    let resource = Resource::new("trust_repository", scope.key());
    let intent = Intent::new(action, resource).changes(before, after);
    match work.keep(app, scope, Some(intent), now).await {
        Err(error) if error.is_conflict() => {
            let text = "something else was signed at the same moment: upload it again";
            Err(UploadError::Conflict(text.to_owned()))
        }
        kept => Ok(kept?),
    }
}

/// For the audit log: versions, who may sign, and how much is listed.
fn describe(work: &Work) -> Value {
    let Some(root) = work.current.root.as_ref().map(Signed::role) else { return json!(null) };
    let keys = |role: TopLevel| {
        let ids: Vec<&str> = root.role(role).key_ids.iter().map(|id| id.as_str()).collect();
        json!({ "keys": ids, "threshold": root.role(role).threshold })
    };
    let targets = work.current.targets.as_ref().map(Signed::role);
    json!({
        "root": root.common.version,
        "root_keys": keys(TopLevel::Root),
        "targets": targets.map(|targets| targets.common.version),
        "targets_keys": keys(TopLevel::Targets),
        "listed": targets.map(|targets| targets.targets.len()),
    })
}

fn refused(text: impl ToString) -> UploadError {
    UploadError::Refused(text.to_string())
}

impl Work {
    /// The root that follows, checked as devices check it.
    fn take_root(&mut self, file: &[u8]) -> Result<(), UploadError> {
        let limits = Limits::default();
        let old = self.current.root.as_ref().ok_or(TrustError::NoRoot)?;
        let mut next: Signed<Root> = Signed::parse(file, limits.root_bytes)
            .map_err(|error| refused(format!("the root cannot be read: {error}")))?;
        let (version, newest) = (next.role().common.version, old.role().common.version);
        if version <= newest {
            return match next.canonical() == old.canonical() {
                true => Ok(()),
                false => Err(UploadError::Conflict(format!(
                    "root version {version} does not follow version {newest}, which is the newest here: \
                     download it first (edgeformer trust download)"
                ))),
            };
        }
        check_root_change(Some(old.role()), next.role()).map_err(refused)?;
        if next.role().consistent_snapshot != Some(true) {
            return Err(refused("the root must say consistent_snapshot"));
        }
        self.check_online(next.role())?;
        if next.role().common.is_expired(self.now_s) {
            let end = format_time(next.role().common.expires_s);
            return Err(refused(format!("root version {version} expired at {end}")));
        }
        let mut file = file.to_vec();
        let ours = self.keys.get(&TopLevel::Root);
        let ours =
            ours.filter(|key| old.role().role(TopLevel::Root).key_ids.contains(key.key().id()));
        if let Some(key) = ours {
            next.sign(key).map_err(super::wrong(TopLevel::Root))?;
            file = next.to_file();
        }
        check_root(old.role(), &file, &limits).map_err(refused)?;
        self.current.root = Some(next);
        self.made.push((TopLevel::Root, Stored { version, file }));
        self.forget_keys();
        Ok(())
    }

    /// Snapshots and timestamps must be signed by this controller and nobody else.
    fn check_online(&self, root: &Root) -> Result<(), UploadError> {
        let online = [TopLevel::Snapshot, TopLevel::Timestamp];
        let ids: BTreeSet<_> =
            online.iter().filter_map(|role| Some(self.keys.get(role)?.key().id())).collect();
        for role in online {
            let by = root.role(role);
            let ours = self.keys.get(&role).map(|key| key.key().id());
            let signs = ours.is_some_and(|id| by.key_ids.contains(id)) && by.threshold == 1;
            if !signs || by.key_ids.iter().any(|id| !ids.contains(id)) {
                let name = role.name();
                return Err(refused(format!(
                    "the role {name} must have the controller's online keys, with one that must sign, and \
                     no others: take them from `edgeformer trust online-key`"
                )));
            }
        }
        Ok(())
    }

    /// Keys of root and targets that may sign no longer are of no use to anybody but a thief.
    fn forget_keys(&mut self) {
        let Some(root) = self.current.root.as_ref().map(Signed::role) else { return };
        for role in [TopLevel::Root, TopLevel::Targets] {
            let gone = |key: &_| !root.role(role).key_ids.contains(Signer::key(key).id());
            if self.keys.get(&role).is_some_and(gone) {
                self.keys.remove(&role);
                self.gone_keys.push(role);
            }
        }
    }

    /// The targets that follow.
    fn take_targets(&mut self, file: &[u8]) -> Result<(), UploadError> {
        let root = self.current.root.as_ref().ok_or(TrustError::NoRoot)?.role();
        if can_sign(&self.current, &self.keys, TopLevel::Targets) {
            let text = "the controller signs the targets of this tenant itself: move their keys to people \
                        first (edgeformer trust init --follow)";
            return Err(UploadError::Conflict(text.to_owned()));
        }
        let next: Signed<Targets> = Signed::parse(file, Limits::default().targets_bytes)
            .map_err(|error| refused(format!("the targets cannot be read: {error}")))?;
        let version = next.role().common.version;
        if let Some(old) = &self.current.targets
            && version <= old.role().common.version
        {
            return match next.canonical() == old.canonical() {
                true => Ok(()),
                false => Err(UploadError::Conflict(format!(
                    "targets version {version} does not follow version {}, which is the newest here: \
                     download it first (edgeformer trust download)",
                    old.role().common.version
                ))),
            };
        }
        let by = format!("root version {}", root.common.version);
        next.verify(root.keys(), root.role(TopLevel::Targets), &by).map_err(refused)?;
        if next.role().common.is_expired(self.now_s) {
            let end = format_time(next.role().common.expires_s);
            return Err(refused(format!("targets version {version} expired at {end}")));
        }
        if next.role().delegations.as_ref().is_some_and(|to| !to.roles.is_empty()) {
            return Err(refused("the targets delegate to other roles, which are not served here"));
        }
        for (path, file) in &next.role().targets {
            let here = self.published.get(path).is_some_and(|here| super::same_file(here, file));
            if !here {
                let path: String = path.chars().take(200).collect();
                return Err(refused(format!(
                    "the targets list {path:?} with a content that was not published here"
                )));
            }
        }
        self.current.targets = Some(next);
        self.made.push((TopLevel::Targets, Stored { version, file: file.to_vec() }));
        Ok(())
    }

    /// A root that changes who signs targets comes with targets that they signed.
    fn check_targets(&self) -> Result<(), UploadError> {
        let (Some(root), Some(targets)) = (&self.current.root, &self.current.targets) else {
            return Ok(());
        };
        if can_sign(&self.current, &self.keys, TopLevel::Targets) {
            return Ok(());
        }
        let root = root.role();
        let by = format!("root version {}", root.common.version);
        targets.verify(root.keys(), root.role(TopLevel::Targets), &by).map_err(|problem| {
            refused(format!(
                "the targets must be uploaded with the root that says who signs them: {problem}"
            ))
        })
    }
}
