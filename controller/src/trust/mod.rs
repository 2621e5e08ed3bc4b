//! Each tenant's TUF repository: says, with signatures that anybody can check, which versions the
//! tenant released. The keys are made when they are first needed and lie wrapped in the store.
//!
//! `plan` decides what is to be signed; this module signs and keeps it. Idempotent: what another
//! controller did meanwhile, the next run finds. It must never replace metadata that was served.

pub mod plan;
pub mod upload;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use edgeformer_proto::artifact::target_path;
use edgeformer_proto::ids::{TenantId, VersionId};
use edgeformer_proto::tuf::{
    FormError, Json, Key, KeyKind, PrivateKey, Role, SignError, Signed, Signer as _, TargetFile,
    Targets, TopLevel,
};
use serde_json::json;

use crate::app::App;
use crate::audit::{Intent, Resource};
use crate::clock::Timestamp;
use crate::policy::Action;
use crate::scope::{InstallationScope, Scope, TenantScope};
use crate::store::trust::Stored;
use crate::store::{Conn, StoreError, installation, tenants, trust, versions};
use crate::vault::{SecretKind, VaultError};
use plan::{Current, Make};

/// How often it looks without being nudged: lives are counted in days.
const INTERVAL: Duration = Duration::from_secs(60);
/// Metadata that has a successor is served for as long, to clients in the middle of a refresh.
const KEEP_OLD: Duration = Duration::from_secs(24 * 3600);
/// Tenants read at a time.
const TENANTS_PER_PAGE: i64 = 200;
const COMPONENT: &str = "trust-repository";

/// Why a repository is not kept up.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A key does not open.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A key cannot be made or used.
    #[error("the key of the role {role:?}: {source}")]
    Key {
        /// Whose.
        role: &'static str,
        /// Why.
        source: SignError,
    },
    /// Metadata is to be signed with a key that is not here.
    #[error("the role {0:?} is to be signed, and its key is not held by the controller")]
    NoKey(&'static str),
    /// The repository was not made.
    #[error("the trust repository has no root yet: try again")]
    NoRoot,
    /// Stored metadata cannot be read.
    #[error("stored metadata of the role {role:?} cannot be read: {source}")]
    Metadata {
        /// Whose.
        role: &'static str,
        /// Why.
        source: FormError,
    },
}

/// Runs until cancelled.
pub async fn run(app: App) {
    loop {
        if let Err(error) = reconcile_all(&app).await {
            tracing::error!(%error, "trust repositories are not kept up; trying again");
        }
        tokio::select! {
            () = app.nudges.trust.notified() => {}
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

/// Brings every tenant's repository up to date. One tenant's trouble does not stop the others.
pub async fn reconcile_all(app: &App) -> Result<(), StoreError> {
    let top = InstallationScope::system(COMPONENT);
    let mut after: Option<TenantId> = None;
    loop {
        let page =
            tenants::list(&mut *app.store.read(&top).await?, after, TENANTS_PER_PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.id);
        for tenant in page.iter().filter(|tenant| !tenant.standing.lifecycle.is_purging()) {
            let scope = TenantScope::system(tenant.id, COMPONENT);
            if let Err(error) = reconcile(app, &scope).await {
                tracing::error!(%error, tenant = %tenant.id, "its trust repository is not kept up");
            }
        }
    }
}

/// Brings one repository up to date. Returns what was signed, by role and version.
pub async fn reconcile(
    app: &App,
    scope: &TenantScope,
) -> Result<BTreeMap<&'static str, u64>, TrustError> {
    let now = app.now();
    let mut work = Work::load(app, scope, now).await?;
    while let Some(make) = plan::next(&work.current, &work.published, work.signs()) {
        work.make(app, scope, make)?;
    }
    if work.made.is_empty() {
        return Ok(BTreeMap::new());
    }
    let versions: BTreeMap<_, _> =
        work.made.iter().map(|(role, stored)| (role.name(), stored.version)).collect();
    // Signing the same anew every day says nothing new.
    let says_something = versions.contains_key("root") || versions.contains_key("targets");
    let intent = says_something.then(|| {
        let resource = Resource::new("trust_repository", scope.key());
        let after = json!({ "signed": versions, "targets": work.published.len() });
        Intent::new(Action::TrustSign, resource).changes(json!(null), after)
    });
    match work.keep(app, scope, intent, now).await {
        // Another was faster.
        Err(error) if error.is_conflict() => {
            app.store.settled().await?;
            Ok(BTreeMap::new())
        }
        Err(error) => Err(error.into()),
        Ok(()) => Ok(versions),
    }
}

/// One run over one repository.
struct Work {
    current: Current,
    published: BTreeMap<String, TargetFile>,
    floor: u64,
    now_s: i64,
    keys: BTreeMap<TopLevel, PrivateKey>,
    new_keys: Vec<(TopLevel, Vec<u8>)>,
    gone_keys: Vec<TopLevel>,
    made: Vec<(TopLevel, Stored)>,
}

impl Work {
    async fn load(app: &App, scope: &TenantScope, now: Timestamp) -> Result<Self, TrustError> {
        let mut read = app.store.read(scope).await?;
        let current = Current {
            root: newest(&mut read).await?,
            targets: newest(&mut read).await?,
            snapshot: newest(&mut read).await?,
            timestamp: newest(&mut read).await?,
        };
        let epoch = installation::epoch(&mut read).await?;
        let mut keys = BTreeMap::new();
        for role in TopLevel::ALL {
            let Some(wrapped) = trust::key(&mut read, role).await? else { continue };
            let pkcs8 = app.vault.unwrap(SecretKind::TrustKey, &key_id(scope, role), &wrapped)?;
            keys.insert(role, PrivateKey::from_pkcs8(&pkcs8).map_err(wrong(role))?);
        }
        let lists = can_sign(&current, &keys, TopLevel::Targets);
        let published = published(&mut read, &current, lists).await?;
        Ok(Self {
            current,
            published,
            // The first epoch has no past that devices could know.
            floor: if epoch > 1 { epoch } else { 0 },
            now_s: now.0.div_euclid(1_000_000),
            keys,
            new_keys: Vec::new(),
            gone_keys: Vec::new(),
            made: Vec::new(),
        })
    }

    fn make(&mut self, app: &App, scope: &TenantScope, make: Make) -> Result<(), TrustError> {
        let (made, stored) = match make {
            Make::FirstRoot(mut root) => {
                for role in TopLevel::ALL {
                    let pkcs8 =
                        PrivateKey::generate_pkcs8(KeyKind::Ed25519).map_err(wrong(role))?;
                    let key = PrivateKey::from_pkcs8(&pkcs8).map_err(wrong(role))?;
                    root.add_key(role, key.key());
                    let id = key_id(scope, role);
                    let wrapped = app.vault.wrap(SecretKind::TrustKey, &id, &pkcs8)?;
                    self.new_keys.push((role, wrapped));
                    self.keys.insert(role, key);
                }
                sign(&mut self.current.root, root, &self.keys)?
            }
            Make::Root(root) => sign(&mut self.current.root, root, &self.keys)?,
            Make::Targets(role) => sign(&mut self.current.targets, role, &self.keys)?,
            Make::Snapshot(role) => sign(&mut self.current.snapshot, role, &self.keys)?,
            Make::Timestamp(role) => sign(&mut self.current.timestamp, role, &self.keys)?,
        };
        self.made.push((made, stored));
        Ok(())
    }

    fn signs(&self) -> plan::Signs {
        let can = |role| can_sign(&self.current, &self.keys, role);
        let (root, targets) = (can(TopLevel::Root), can(TopLevel::Targets));
        plan::Signs { root, targets, floor: self.floor, now_s: self.now_s }
    }

    /// All of it or nothing: clients never see a snapshot whose targets are not there. Without an intent
    /// it goes without saying.
    async fn keep(
        self,
        app: &App,
        scope: &TenantScope,
        intent: Option<Intent>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let is_said = intent.is_some();
        let mut write = match intent {
            Some(intent) => app.store.write(scope, intent).await?,
            None => app.store.write_observation(scope).await?,
        };
        for (role, wrapped) in self.new_keys {
            trust::insert_key(&mut write, role, wrapped, now).await?;
        }
        for role in self.gone_keys {
            trust::delete_key(&mut write, role).await?;
        }
        for (role, stored) in self.made {
            trust::insert_metadata(&mut write, role, stored, now).await?;
        }
        trust::forget_metadata(&mut write, now.minus(KEEP_OLD)).await?;
        write.commit(now).await?;
        if is_said {
            app.nudges.audit.notify_one();
            app.nudges.rollouts.notify_one();
        }
        Ok(())
    }
}

/// Whether keys held here are enough to sign for a role. What people hold with it is left to them.
fn can_sign(current: &Current, keys: &BTreeMap<TopLevel, PrivateKey>, role: TopLevel) -> bool {
    let Some(root) = current.root.as_ref().map(Signed::role) else { return true };
    let by = root.role(role);
    by.threshold == 1 && keys.get(&role).is_some_and(|key| by.key_ids.contains(key.key().id()))
}

/// Whether both are the same bytes.
fn same_file(one: &TargetFile, other: &TargetFile) -> bool {
    one.length == other.length && one.hashes.get("sha256") == other.hashes.get("sha256")
}

fn wrong(role: TopLevel) -> impl FnOnce(SignError) -> TrustError {
    move |source| TrustError::Key { role: role.name(), source }
}

fn key_id(scope: &TenantScope, role: TopLevel) -> String {
    format!("{}/{}", scope.key(), role.name())
}

fn sign<T: Role>(
    current: &mut Option<Signed<T>>,
    role: T,
    keys: &BTreeMap<TopLevel, PrivateKey>,
) -> Result<(TopLevel, Stored), TrustError> {
    let key = keys.get(&T::KIND).ok_or(TrustError::NoKey(T::KIND.name()))?;
    let version = role.common().version;
    let mut signed = Signed::new(role);
    signed.sign(key).map_err(wrong(T::KIND))?;
    let file = signed.to_file();
    *current = Some(signed);
    Ok((T::KIND, Stored { version, file }))
}

async fn newest<T: Role>(conn: &mut Conn<TenantScope>) -> Result<Option<Signed<T>>, TrustError> {
    let Some(stored) = trust::metadata(conn, T::KIND, None).await? else { return Ok(None) };
    // What is in our own store was made by us, and may be as large as what we make.
    Signed::parse(&stored.file, stored.file.len())
        .map(Some)
        .map_err(|source| TrustError::Metadata { role: T::KIND.name(), source })
}

/// Everything that was published. Versions are only ever added: where the controller lists them, as many
/// are the same.
async fn published(
    conn: &mut Conn<TenantScope>,
    current: &Current,
    lists: bool,
) -> Result<BTreeMap<String, TargetFile>, StoreError> {
    let listed = current.targets.as_ref().map(|signed| &signed.role().targets);
    if let Some(listed) = listed.filter(|_| lists)
        && listed.len() as u64 == versions::count(conn).await?
    {
        return Ok(listed.clone());
    }
    let released = versions::released(conn).await?;
    Ok(released.iter().map(target_file).collect())
}

/// A version as it is listed.
fn target_file(one: &versions::Released) -> (String, TargetFile) {
    let path = target_path(one.model.as_str(), &one.version.to_string());
    let custom = BTreeMap::from([("version_id".to_owned(), Json::text(one.id.to_string()))]);
    let file = TargetFile::new(one.manifest_bytes, *one.manifest_sha256.as_bytes());
    (path, TargetFile { custom: Some(custom.into_iter().collect()), ..file })
}

/// What is published and not listed, and whether the controller is to list it.
#[derive(Debug, Clone)]
pub struct Pending {
    /// Whether the controller signs targets itself: then it will, by itself.
    pub managed: bool,
    /// What waits, oldest first.
    pub versions: Vec<versions::Released>,
}

/// What waits for a signature of the targets keys.
pub async fn pending(app: &App, scope: &TenantScope) -> Result<Pending, TrustError> {
    let work = Work::load(app, scope, app.now()).await?;
    let managed = work.signs().targets;
    let mut read = app.store.read(scope).await?;
    let released = versions::released(&mut read).await?;
    let listed = work.current.targets.as_ref().map(|signed| &signed.role().targets);
    let waits = |one: &versions::Released| {
        let (path, file) = target_file(one);
        !listed.and_then(|listed| listed.get(&path)).is_some_and(|here| same_file(here, &file))
    };
    Ok(Pending { managed, versions: released.into_iter().filter(waits).collect() })
}

/// The public keys with which the controller signs snapshots and timestamps.
pub async fn online_keys(
    app: &App,
    scope: &TenantScope,
) -> Result<Vec<(TopLevel, Key)>, TrustError> {
    newest_root(app, scope).await?;
    let work = Work::load(app, scope, app.now()).await?;
    let online = [TopLevel::Snapshot, TopLevel::Timestamp];
    let key = |role: TopLevel| Some((role, work.keys.get(&role)?.key().clone()));
    Ok(online.into_iter().filter_map(key).collect())
}

/// The newest root, for a device to trust; the repository is made if it is not there.
pub async fn newest_root(app: &App, scope: &TenantScope) -> Result<Vec<u8>, TrustError> {
    for _ in 0..2 {
        let mut read = app.store.read(scope).await?;
        if let Some(root) = trust::metadata(&mut read, TopLevel::Root, None).await? {
            return Ok(root.file);
        }
        drop(read);
        reconcile(app, scope).await?;
    }
    Err(TrustError::NoRoot)
}

/// Which of these versions devices would refuse, because the newest targets do not list them as they
/// are. What the controller can sign is signed first.
pub async fn unlisted(
    app: &App,
    scope: &TenantScope,
    wanted: &BTreeSet<VersionId>,
) -> Result<BTreeSet<VersionId>, TrustError> {
    let missing = compare(app, scope, wanted).await?;
    if missing.is_empty() {
        return Ok(missing);
    }
    reconcile(app, scope).await?;
    compare(app, scope, &missing).await
}

async fn compare(
    app: &App,
    scope: &TenantScope,
    wanted: &BTreeSet<VersionId>,
) -> Result<BTreeSet<VersionId>, TrustError> {
    let mut read = app.store.read(scope).await?;
    let targets = newest::<Targets>(&mut read).await?;
    let mut missing = BTreeSet::new();
    for id in wanted {
        let listed = versions::get(&mut read, *id).await?.is_some_and(|version| {
            let path = target_path(version.model.as_str(), &version.version.to_string());
            let file = targets.as_ref().and_then(|signed| signed.role().targets.get(&path));
            file.is_some_and(|file| {
                file.length == version.manifest_envelope.len() as u64
                    && file.hashes.get("sha256") == Some(&version.manifest_sha256.as_bytes()[..])
            })
        });
        if !listed {
            missing.insert(*id);
        }
    }
    Ok(missing)
}
