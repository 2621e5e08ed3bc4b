//! Trusted metadata on the disk, and the loop that brings it up to date from somewhere. Each file is
//! kept byte for byte as it was served, under its name without a version; every root also under its
//! version in `root_history`, for whoever has to retrace how trust came about.

use std::future::Future;
use std::io;
use std::path::PathBuf;

use edgeformer_proto::tuf::client::{Found, Refresh, Trusted, check_initial_root};
use edgeformer_proto::tuf::{Change, Limits, Next, Request, TufError};

use crate::durable::Folder;

/// The newest trusted root.
const ROOT: &str = "root.json";
/// Folder of every root that was trusted.
const HISTORY: &str = "root_history";

/// Metadata cannot be read, kept or believed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No root to begin with.
    #[error("{0}: there is no trusted root: give the device one first (tuf init ROOT)")]
    NoRoot(PathBuf),
    /// The disk.
    #[error("{path}: {source}")]
    Disk {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Not to be believed.
    #[error(transparent)]
    Tuf(#[from] TufError),
    /// The repository did not answer.
    #[error("{file}: {error}")]
    Source {
        /// What was asked for.
        file: String,
        /// Why it did not come.
        error: SourceError,
    },
}

/// Why a repository did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// It is a controller of before there were repositories.
    #[error("the controller keeps no trust metadata")]
    Unsupported,
    /// There is no connection.
    #[error("not connected to the controller")]
    Offline,
    /// It did not get through, or more came than may.
    #[error("{0}")]
    Failed(String),
}

/// Where a repository's files come from.
pub trait Source {
    /// The file of this name, of at most `max_bytes`; none if there is no such file.
    fn fetch(
        &self,
        file: &str,
        max_bytes: usize,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, SourceError>> + Send;
}

/// A folder with trusted metadata.
#[derive(Debug, Clone)]
pub struct Store(Folder);

impl Store {
    /// In this folder, which need not exist.
    pub fn new(folder: impl Into<Folder>) -> Self {
        Self(folder.into())
    }

    /// Begins to trust a root, which must be signed by itself.
    pub fn init(&self, root: &[u8]) -> Result<(), StoreError> {
        let version = check_initial_root(root, &Limits::default())?.common.version;
        self.0.create().map_err(|source| self.disk("", source))?;
        self.keep(Change::Store { role: "root".to_owned(), version, bytes: root.to_vec() })
    }

    fn disk(&self, name: &str, source: io::Error) -> StoreError {
        StoreError::Disk { path: self.0.join(name), source }
    }

    /// A stored file; one that cannot be read counts as none, and the repository's is fetched.
    fn stored(&self, request: &Request) -> Option<Vec<u8>> {
        self.0.read(&request.file, request.max_bytes as u64).ok()
    }

    fn keep(&self, change: Change) -> Result<(), StoreError> {
        match change {
            Change::Store { role, version, bytes } => {
                if role == "root" {
                    let (history, name) = (self.0.folder(HISTORY), format!("{version}.{ROOT}"));
                    let kept = history.create().and_then(|()| history.write(&name, &bytes));
                    kept.map_err(|e| StoreError::Disk { path: history.join(&name), source: e })?;
                }
                let name = edgeformer_proto::tuf::client::stored_name(&role);
                self.0.write(&name, &bytes).map_err(|source| self.disk(&name, source))
            }
            Change::Forget { role } => {
                let name = edgeformer_proto::tuf::client::stored_name(role);
                self.0.remove(&name).map_err(|source| self.disk(&name, source))
            }
        }
    }

    /// Forgets everything, and begins to trust this root.
    pub fn begin_anew(&self, root: &[u8]) -> Result<(), StoreError> {
        check_initial_root(root, &Limits::default())?;
        self.0.remove_all().map_err(|source| self.disk("", source))?;
        self.init(root)
    }

    /// Whether a root was ever trusted here.
    pub fn has_root(&self) -> Result<bool, StoreError> {
        Ok(self.0.size(ROOT).is_some() || !self.history()?.is_empty())
    }

    /// Versions of the roots that were trusted.
    fn history(&self) -> Result<Vec<u64>, StoreError> {
        let listed = self.0.folder(HISTORY).list();
        let listed = listed.map_err(|source| self.disk(HISTORY, source))?;
        let version = |name: &str| name.strip_suffix(".root.json")?.parse().ok();
        Ok(listed.iter().filter_map(|entry| version(&entry.name)).collect())
    }

    /// The root that was trusted last. Where its file is gone or damaged, or was never written, its copy
    /// takes its place, so that what was trusted once is never begun anew.
    fn root(&self, limits: &Limits) -> Result<Vec<u8>, StoreError> {
        let is_good = |root: &Vec<u8>| check_initial_root(root, limits).is_ok();
        let stored = self.0.read(ROOT, limits.root_bytes as u64);
        if let Some(root) = stored.as_ref().ok().filter(|root| is_good(root)) {
            return Ok(root.clone());
        }
        let mut versions = self.history()?;
        versions.sort_unstable_by(|one, other| other.cmp(one));
        let copy = |version: u64| {
            let name = format!("{version}.{ROOT}");
            self.0.folder(HISTORY).read(&name, limits.root_bytes as u64).ok().filter(is_good)
        };
        match (versions.into_iter().find_map(copy), stored) {
            (Some(root), _) => {
                self.0.write(ROOT, &root).map_err(|source| self.disk(ROOT, source))?;
                Ok(root)
            }
            // It says what is wrong with it.
            (None, Ok(root)) => Ok(root),
            (None, Err(error)) if error.kind() == io::ErrorKind::NotFound => {
                Err(StoreError::NoRoot(self.0.path().to_owned()))
            }
            (None, Err(source)) => Err(self.disk(ROOT, source)),
        }
    }

    async fn give(
        &self,
        source: &impl Source,
        request: &Request,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        if !request.is_remote() {
            return Ok(self.stored(request));
        }
        let answer = source.fetch(&request.file, request.max_bytes).await;
        answer.map_err(|error| StoreError::Source { file: request.file.clone(), error })
    }
}

/// Brings the top-level metadata up to date. What was learnt before a failure stays.
pub async fn refresh(
    store: &Store,
    source: &impl Source,
    now_s: i64,
    limits: Limits,
) -> Result<Trusted, StoreError> {
    let mut state = Refresh::begin(&store.root(&limits)?, now_s, limits)?;
    loop {
        let answer = store.give(source, &state.request()).await?;
        let step = state.answer(answer)?;
        step.changes.into_iter().try_for_each(|change| store.keep(change))?;
        match step.next {
            Next::Ask(next) => state = next,
            Next::Done(trusted) => return Ok(trusted),
        }
    }
}

/// Looks a target up, with the delegated roles that this takes.
pub async fn look_up(
    store: &Store,
    source: &impl Source,
    trusted: Trusted,
    path: &str,
) -> Result<Found, StoreError> {
    let mut step = trusted.look_up(path)?;
    loop {
        step.changes.into_iter().try_for_each(|change| store.keep(change))?;
        match step.next {
            Next::Done(found) => return Ok(found),
            Next::Ask(state) => {
                let answer = store.give(source, &state.request()).await?;
                step = state.answer(answer)?;
            }
        }
    }
}
