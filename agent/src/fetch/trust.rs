//! Whether the tenant's owner released a version: asked before the first byte of a new version is
//! fetched. What was confirmed here before is started, repaired and gone back to without asking, so
//! that neither a lost connection nor metadata that expired stops what serves.
//!
//! A root is pinned once: at enrolment, or for a device that was enrolled before there were roots, in
//! the answer to a renewal or before its next new version, whichever comes first. Until then, and only
//! then, a controller that keeps no metadata is put up with.

use std::sync::Arc;

use edgeformer_proto::artifact::target_path;
use edgeformer_proto::tuf::{self, Limits, Problem, TufError, format_time};
use tokio::sync::Mutex;

use super::error::{FetchError, Verdict};
use super::origin::Origin;
use crate::clock::Clock;
use crate::durable::{self, Folder};
use crate::reconcile::desired::Target;
use crate::tuf::{Source, SourceError, Store, StoreError, look_up, refresh};

/// In the state directory.
pub const FOLDER: &str = "trust";

/// The newest root, by the name that only a device without one asks for.
pub(super) const NEWEST_ROOT: &str = "root.json";

/// Why a new version is not installed.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// Somebody may be holding newer metadata back, or nobody signs them any more.
    #[error(
        "device {device}: the trust metadata expired at {} ({role} version {version}), and it is {} here: \
         nothing new is installed until newer metadata comes, and what runs goes on; the controller \
         signs snapshot and timestamp by itself, who holds the keys signs root and targets \
         (edgeformer trust show)", format_time(*.expires_s), format_time(*.now_s)
    )]
    Expired {
        /// This device.
        device: String,
        /// Whose metadata.
        role: String,
        /// Its version.
        version: u64,
        /// From then on nobody believes it.
        expires_s: i64,
        /// The time of this device.
        now_s: i64,
    },
    /// What came is not to be believed.
    #[error(
        "device {device}: the trust metadata that the controller serves is not to be believed: {}: \
         nothing new is installed until it is right again; look at what happened to the controller",
        in_words(error)
    )]
    Refused {
        /// This device.
        device: String,
        /// What is wrong.
        error: Box<TufError>,
    },
    /// The controller wants something to be installed that its owner did not release.
    #[error(
        "device {device}: {version} is not among what the tenant's owner released (targets version \
         {targets}): have it signed (edgeformer trust sign), then roll it out again"
    )]
    Unlisted {
        /// This device.
        device: String,
        /// What was assigned.
        version: String,
        /// Version of the targets that do not list it.
        targets: u64,
    },
    /// Its manifest is another one.
    #[error(
        "device {device}: the manifest of {version} is not the one that the tenant's owner released \
         ({}): find out who changed it", error.problem
    )]
    Differs {
        /// This device.
        device: String,
        /// What was assigned.
        version: String,
        /// In which way.
        error: Box<TufError>,
    },
    /// A controller that kept metadata keeps none.
    #[error(
        "device {device}: the controller serves no trust metadata, which this device has checked before: \
         nothing new is installed without it; run a controller that keeps it"
    )]
    Withheld {
        /// This device.
        device: String,
    },
    /// The pinned root is gone or damaged.
    #[error("device {device}: its trusted root cannot be used ({error}): enrol the device again")]
    Root {
        /// This device.
        device: String,
        /// Why.
        error: Box<StoreError>,
    },
}

/// Without the step of the specification, which privacy takes for a network address.
fn in_words(error: &TufError) -> String {
    let version = error.version.map(|version| format!(" version {version}"));
    format!("{}{}: {}", error.role, version.unwrap_or_default(), error.problem)
}

impl TrustError {
    /// One word for machines.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Expired { .. } => "trust_expired",
            Self::Refused { .. } => "trust_refused",
            Self::Unlisted { .. } => "unlisted",
            Self::Differs { .. } => "not_as_listed",
            Self::Withheld { .. } => "trust_withheld",
            Self::Root { .. } => "trust_root",
        }
    }

    /// What is listed nowhere stays so until it is assigned anew; all else may come right by itself.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Unlisted { .. } | Self::Differs { .. } => Verdict::Fail,
            Self::Expired { .. }
            | Self::Refused { .. }
            | Self::Withheld { .. }
            | Self::Root { .. } => Verdict::Wait,
        }
    }
}

/// What the owner of the tenant says of one manifest.
#[derive(Debug, Clone)]
pub struct Listed(Option<tuf::Target>);

/// Trusted metadata of this device.
#[derive(Debug, Clone)]
pub struct Trust(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    clock: Clock,
    device: String,
    /// One at a time: a refresh builds on what the one before it stored.
    turn: Mutex<()>,
}

/// A controller's repository.
struct Served<'a>(&'a dyn Origin);

impl Source for Served<'_> {
    async fn fetch(&self, file: &str, max_bytes: usize) -> Result<Option<Vec<u8>>, SourceError> {
        self.0.trust_metadata(file, max_bytes).await
    }
}

impl Trust {
    /// Below `state_dir`; `device` is what messages call it.
    pub fn open(state_dir: impl Into<Folder>, clock: Clock, device: &str) -> Self {
        let store = Store::new(state_dir.into().folder(FOLDER));
        let (device, turn) = (device.to_owned(), Mutex::default());
        Self(Arc::new(Inner { store, clock, device, turn }))
    }

    /// Trusts this root from now on, unless one is trusted already.
    pub async fn pin_first(&self, root: &[u8]) -> Result<(), StoreError> {
        let _alone = self.0.turn.lock().await;
        if self.0.store.has_root()? {
            return Ok(());
        }
        self.0.store.init(root)?;
        tracing::info!(device = self.0.device, "pinned the tenant's trusted root");
        Ok(())
    }

    /// Brings metadata up to date and looks a version up.
    pub(super) async fn listed(
        &self,
        origin: &dyn Origin,
        target: &Target,
    ) -> Result<Listed, FetchError> {
        let _alone = self.0.turn.lock().await;
        let is_pinned = self.0.store.has_root().map_err(|error| self.explain(error))?;
        if !is_pinned && !self.pin(origin).await? {
            return Ok(Listed(None));
        }
        let found = async {
            let (store, source) = (&self.0.store, Served(origin));
            let now_s = self.0.clock.now_us().div_euclid(1_000_000);
            let trusted = refresh(store, &source, now_s, Limits::default()).await?;
            look_up(store, &source, trusted, &target_path(&target.model, &target.version)).await
        };
        let found = found.await.map_err(|error| self.explain(error))?;
        if found.target.is_none() {
            let targets = found.trusted.targets().common.version;
            let version = target.to_string();
            return Err(TrustError::Unlisted { device: self.device(), version, targets }.into());
        }
        Ok(Listed(found.target))
    }

    /// Pins the root that the controller names. False if it keeps none.
    async fn pin(&self, origin: &dyn Origin) -> Result<bool, FetchError> {
        let limit = Limits::default().root_bytes;
        let asked = origin.trust_metadata(NEWEST_ROOT, limit).await;
        let failed = |error| StoreError::Source { file: NEWEST_ROOT.to_owned(), error };
        match asked {
            Ok(Some(root)) => {
                self.0.store.init(&root).map_err(|error| self.explain(error))?;
                tracing::info!(device = self.0.device, "pinned the tenant's trusted root");
                Ok(true)
            }
            Err(SourceError::Unsupported) => Ok(false),
            // It is made moments after its tenant.
            Ok(None) => {
                let error = SourceError::Failed("the controller has no root yet".to_owned());
                Err(self.explain(failed(error)))
            }
            Err(error) => Err(self.explain(failed(error))),
        }
    }

    /// Whether these bytes are the manifest that is listed.
    pub(super) fn check(
        &self,
        target: &Target,
        listed: &Listed,
        envelope: &[u8],
    ) -> Result<(), FetchError> {
        let Some(file) = &listed.0 else { return Ok(()) };
        let checked = file.check().and_then(|mut check| {
            check.update(envelope)?;
            check.finish()
        });
        let (device, version) = (self.device(), target.to_string());
        let differs = |error| TrustError::Differs { device, version, error: Box::new(error) };
        Ok(checked.map_err(differs)?)
    }

    fn device(&self) -> String {
        self.0.device.clone()
    }

    fn explain(&self, error: StoreError) -> FetchError {
        let device = self.device();
        match error {
            StoreError::Tuf(error) => match error.problem {
                Problem::Expired { expires_s, now_s } => {
                    let version = error.version.unwrap_or_default();
                    let role = error.role;
                    TrustError::Expired { device, role, version, expires_s, now_s }.into()
                }
                _ => TrustError::Refused { device, error: Box::new(error) }.into(),
            },
            StoreError::Source { error: SourceError::Unsupported, .. } => {
                TrustError::Withheld { device }.into()
            }
            StoreError::Source { error: SourceError::Offline, .. } => FetchError::Offline,
            StoreError::Source { .. } => FetchError::Interrupted(error.to_string()),
            StoreError::Disk { source, .. } if durable::is_full(&source) => FetchError::DiskFull,
            StoreError::Disk { path, source } => {
                FetchError::Storage { path: path.display().to_string(), source }
            }
            StoreError::NoRoot(_) => TrustError::Root { device, error: Box::new(error) }.into(),
        }
    }
}
