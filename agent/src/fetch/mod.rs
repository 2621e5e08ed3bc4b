//! Brings versions onto this device, sealed, and opens them in memory. A fetch that is cut goes on
//! with the chunks that are missing. Plaintext must never reach the disk.

pub mod budget;
pub mod bundle;
pub mod chunks;
pub mod direct;
pub mod error;
mod http;
mod missing;
pub mod origin;
pub mod payload;
pub mod remote;
pub mod trust;
pub mod versions;

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use edgeformer_proto::artifact::{ChunkId, ChunkIndex, Digest, Manifest, PayloadCheck};
use tokio::sync::RwLock;

use self::chunks::ChunkStore;
use self::error::FetchError;
use self::origin::Origin;
use self::payload::SealedPayload;
use self::trust::Trust;
use self::versions::{OpenVersion, Opening, VersionStore};
use crate::durable::Folder;
use crate::facts;
use crate::reconcile::desired::Target;
use crate::slots::{MemoryNeed, PayloadError, PayloadSource};

/// Disk that a fetch leaves free: the ledger, logs and telemetry must still be written.
const DISK_RESERVE_BYTES: u64 = 64 << 20;

/// What a worker needs beside weights, keys and values: tokenizer, scratch and the process itself.
const WORKER_OVERHEAD_BYTES: u64 = 32 << 20;

/// How far a fetch is, in sealed bytes, and what it waits for.
#[derive(Debug, Default)]
pub struct Progress {
    done: AtomicU64,
    total: AtomicU64,
    waits: Mutex<Option<String>>,
}

impl Progress {
    /// Bytes on disk, of bytes in all.
    pub fn get(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }

    /// What it waits for, which is no failure.
    pub fn waits(&self) -> Option<String> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_waits(&self, text: Option<String>) {
        // Nothing panics while it is held.
        *self.waits.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }

    fn begin(&self, done: u64, total: u64) {
        self.total.store(total, Ordering::Relaxed);
        self.done.store(done, Ordering::Relaxed);
    }

    fn add(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// What a version is to this device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// It was never confirmed here: its owner must say that it may be.
    New,
    /// It was confirmed here, or brought whole by a file with its owner's word, and its manifest is the
    /// one of then.
    Before,
}

/// A version that can be given to a worker.
pub struct Prepared {
    /// What it needs, from its manifest.
    pub memory: MemoryNeed,
    /// Its plaintext.
    pub payload: Arc<dyn PayloadSource>,
}

/// How a collection went.
#[derive(Debug)]
pub enum Collected {
    /// Only these versions are left.
    Done {
        /// What was removed.
        freed_bytes: u64,
    },
    /// A fetch runs: later.
    Busy,
    /// A file operation failed: later.
    Failed(FetchError),
}

/// Versions as reconciliation sees them.
pub trait Artifacts: Clone + Send + Sync + 'static {
    /// Brings everything of a version onto the disk.
    fn fetch(
        &self,
        target: &Target,
        known: Known,
        progress: Arc<Progress>,
    ) -> impl Future<Output = Result<(), FetchError>> + Send;
    /// Checks every byte on disk, and makes them durable.
    fn verify(&self, target: &Target) -> impl Future<Output = Result<(), FetchError>> + Send;
    /// Opens a version for a worker. Needs no connection.
    fn prepare(&self, target: &Target)
    -> impl Future<Output = Result<Prepared, FetchError>> + Send;
    /// What each of `candidates` frees when it goes after those before it, while `needed` stays; none
    /// for one that cannot be opened. Empty if that cannot be said.
    fn frees(
        &self,
        needed: Vec<Target>,
        candidates: Vec<Target>,
    ) -> impl Future<Output = Vec<Option<u64>>> + Send;
    /// Removes the bytes of all versions but those that `wanted` names, which is asked when no fetch
    /// runs and none can begin.
    fn collect(
        &self,
        wanted: impl FnOnce() -> Vec<Target> + Send + 'static,
    ) -> impl Future<Output = Collected> + Send;
}

/// What versions may use here.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Memory for models; none means what the machine has.
    pub memory_bytes: Option<u64>,
}

/// Chunks of versions with their sealed lengths, by the hash of the manifest.
type KnownChunks = HashMap<Digest, Arc<[(ChunkId, u32)]>>;

/// Versions of a real controller, in a real directory.
#[derive(Clone)]
pub struct Store {
    folder: Folder,
    chunks: ChunkStore,
    versions: VersionStore,
    origin: Arc<dyn Origin>,
    trust: Trust,
    limits: Limits,
    /// Read by those who need files to stay, written by the one who removes them.
    files: Arc<RwLock<()>>,
    /// Chunks of versions that were opened before, which are the same for ever: a collection need not
    /// open each index again, which asks the device's key for something. Only of versions that stay.
    known: Arc<Mutex<KnownChunks>>,
}

impl Store {
    /// Over the files in `folder`, the state directory.
    pub fn new(
        folder: impl Into<Folder>,
        opening: Opening,
        origin: Arc<dyn Origin>,
        trust: Trust,
        limits: Limits,
    ) -> Self {
        let folder = folder.into();
        let chunks = ChunkStore::new(&folder);
        let versions = VersionStore::new(&folder, opening);
        let (files, known) = Default::default();
        Self { folder, chunks, versions, origin, trust, limits, files, known }
    }

    /// The same store, with versions from elsewhere.
    #[must_use]
    pub fn with_origin(&self, origin: Arc<dyn Origin>) -> Self {
        Self { origin, ..self.clone() }
    }

    /// Whether anything is kept of a version.
    pub fn knows(&self, target: &Target) -> bool {
        self.versions.knows(target)
    }

    fn check_memory(&self, target: &Target, manifest: &Manifest) -> Result<(), FetchError> {
        let needs_bytes = memory_need(manifest).total_bytes(target.settings);
        let available_bytes = match self.limits.memory_bytes {
            Some(limit) => limit,
            None => match facts::memory().total_bytes {
                0 => u64::MAX,
                total => total,
            },
        };
        match needs_bytes > available_bytes {
            true => Err(FetchError::Memory { needs_bytes, available_bytes }),
            false => Ok(()),
        }
    }

    fn check_disk(&self, missing_bytes: u64) -> Result<(), FetchError> {
        let needs_bytes = missing_bytes.saturating_add(DISK_RESERVE_BYTES);
        let available_bytes = self.folder.space().map_err(|source| self.storage(source))?.free;
        match missing_bytes > 0 && needs_bytes > available_bytes {
            true => Err(FetchError::Disk { needs_bytes, available_bytes }),
            false => Ok(()),
        }
    }

    fn storage(&self, source: std::io::Error) -> FetchError {
        FetchError::Storage { path: self.folder.path().display().to_string(), source }
    }

    /// Chunks that are not on disk, each once.
    pub(crate) fn missing(&self, index: &ChunkIndex) -> (Vec<(ChunkId, u32)>, u64) {
        let mut seen = HashSet::new();
        let mut missing = Vec::new();
        let mut total = 0;
        for entry in index.entries() {
            if seen.insert(entry.id) {
                total += u64::from(entry.chunk_bytes);
                if !self.chunks.has(&entry.id, entry.chunk_bytes) {
                    missing.push((entry.id, entry.chunk_bytes));
                }
            }
        }
        (missing, total)
    }

    async fn open(&self, target: &Target) -> Result<OpenVersion, FetchError> {
        let (versions, target) = (self.versions.clone(), target.clone());
        self.blocking(move || versions.open(&target)).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, FetchError> + Send + 'static,
    ) -> Result<T, FetchError> {
        let ended = |error| FetchError::Interrupted(format!("a task of the agent ended: {error}"));
        self.folder.run(work).await.map_err(ended)?
    }

    /// Makes what was fetched durable, then looks for what the medium lacks. What it holds wrongly is
    /// removed at once, all of it, so that one fetch brings it again. What is there must make the payload
    /// that the manifest names: opening it later checks each chunk, and not the whole again.
    fn verify_now(&self, target: &Target) -> Result<(), FetchError> {
        let version = self.versions.open(target)?;
        self.folder.sync_all().map_err(|source| self.storage(source))?;
        let ids: HashSet<_> = version.index.entries().iter().map(|entry| entry.id).collect();
        let damaged: Vec<_> = ids.iter().filter(|id| self.chunks.damaged(id)).collect();
        for id in &damaged {
            self.chunks.remove(id).map_err(|source| self.storage(source))?;
        }
        match damaged.as_slice() {
            [] => self.verify_payload(version.index),
            [id] => Err(FetchError::Incomplete(format!("chunk {id}"))),
            [id, others @ ..] => {
                Err(FetchError::Incomplete(format!("chunk {id} and {} others", others.len())))
            }
        }
    }

    /// The chunks of a version, from its index if that was not opened yet.
    fn chunks_of(&self, target: &Target) -> Result<Arc<[(ChunkId, u32)]>, FetchError> {
        if let Some(known) = self.known().get(&target.manifest_sha256) {
            return Ok(Arc::clone(known));
        }
        let index = self.versions.open(target)?.index;
        let chunks: Arc<[_]> =
            index.entries().iter().map(|one| (one.id, one.chunk_bytes)).collect();
        self.known().insert(target.manifest_sha256, Arc::clone(&chunks));
        Ok(chunks)
    }

    fn known(&self) -> MutexGuard<'_, KnownChunks> {
        // A panic while it was held left a whole entry or none.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn verify_payload(&self, index: ChunkIndex) -> Result<(), FetchError> {
        let index = Arc::new(index);
        let payload = SealedPayload::new(Arc::clone(&index), self.chunks.clone());
        let mut check = PayloadCheck::default();
        for piece in payload.pieces().map_err(unopened)? {
            check.next(&piece.map_err(unopened)?);
        }
        Ok(check.finish(&index)?)
    }

    /// See [`Artifacts::frees`]. The last of `candidates` goes last, so it alone keeps what it shares
    /// with those before it.
    fn freed_by(&self, needed: &[Target], candidates: &[Target]) -> Vec<Option<u64>> {
        let chunks = |target: &Target| {
            // One whose files are gone frees nothing, whatever it was.
            self.versions.knows(target).then(|| self.chunks_of(target).ok())?
        };
        let mut staying: HashSet<ChunkId> = HashSet::new();
        for target in needed {
            staying.extend(chunks(target).iter().flat_map(|all| all.iter()).map(|(id, _)| *id));
        }
        let mut frees: Vec<_> = candidates
            .iter()
            .rev()
            .map(|target| {
                let all = chunks(target)?;
                let own = all.iter().filter(|(id, _)| staying.insert(*id));
                let chunk_bytes: u64 = own.map(|(_, bytes)| u64::from(*bytes)).sum();
                Some(chunk_bytes + self.versions.size_bytes(target))
            })
            .collect();
        frees.reverse();
        frees
    }

    fn remove_all_but(&self, keep: &[Target]) -> Result<u64, FetchError> {
        let mut ids = HashSet::new();
        for target in keep.iter().filter(|target| self.versions.knows(target)) {
            // A version that must stay and does not open says nothing about its chunks: keep all.
            ids.extend(self.chunks_of(target)?.iter().map(|(id, _)| *id));
        }
        self.known().retain(|manifest, _| keep.iter().any(|one| one.manifest_sha256 == *manifest));
        self.versions.retain(keep).map_err(|source| self.storage(source))?;
        self.chunks.retain(&ids).map_err(|source| self.storage(source))
    }
}

impl Artifacts for Store {
    async fn fetch(
        &self,
        target: &Target,
        known: Known,
        progress: Arc<Progress>,
    ) -> Result<(), FetchError> {
        let _files_stay = self.files.read().await;
        let listed = match known {
            Known::New => Some(self.trust.listed(&*self.origin, target).await?),
            Known::Before => None,
        };
        let version = match self.open(target).await {
            Ok(version) => {
                // It may be here since before its owner was asked.
                if let Some(listed) = &listed {
                    self.trust.check(target, listed, &self.versions.envelope(target)?)?;
                }
                version
            }
            Err(FetchError::Incomplete(_)) => self.fetch_version(target, listed).await?,
            Err(error) => return Err(error),
        };
        self.check_memory(target, &version.manifest)?;
        let (missing, total) = self.missing(&version.index);
        let missing_bytes = missing.iter().map(|(_, bytes)| u64::from(*bytes)).sum();
        self.check_disk(missing_bytes)?;
        progress.begin(total - missing_bytes, total);
        self.fetch_chunks(missing, &progress).await
    }

    async fn verify(&self, target: &Target) -> Result<(), FetchError> {
        let _files_stay = self.files.read().await;
        let (store, target) = (self.clone(), target.clone());
        self.blocking(move || store.verify_now(&target)).await
    }

    async fn prepare(&self, target: &Target) -> Result<Prepared, FetchError> {
        let version = self.open(target).await?;
        let memory = memory_need(&version.manifest);
        let payload = SealedPayload::new(Arc::new(version.index), self.chunks.clone());
        Ok(Prepared { memory, payload: Arc::new(payload) })
    }

    async fn frees(&self, needed: Vec<Target>, candidates: Vec<Target>) -> Vec<Option<u64>> {
        let store = self.clone();
        let measured = self.blocking(move || Ok(store.freed_by(&needed, &candidates))).await;
        measured.unwrap_or_default()
    }

    async fn collect(&self, wanted: impl FnOnce() -> Vec<Target> + Send + 'static) -> Collected {
        let Ok(_nobody_reads) = self.files.try_write() else { return Collected::Busy };
        let store = self.clone();
        let removed = self.blocking(move || store.remove_all_but(&wanted()));
        match removed.await {
            Ok(freed_bytes) => Collected::Done { freed_bytes },
            Err(error) => Collected::Failed(error),
        }
    }
}

/// What the medium was just found to hold does not open.
fn unopened(error: PayloadError) -> FetchError {
    match error {
        PayloadError::Corrupt { error, .. } if !error.is_of_sealed_bytes() => error.into(),
        other => FetchError::Incomplete(format!("the payload ({other})")),
    }
}

fn memory_need(manifest: &Manifest) -> MemoryNeed {
    MemoryNeed {
        weights_bytes: manifest.memory.weight_bytes.unwrap_or(manifest.payload.size_bytes),
        kv_bytes_per_token: 0,
        workspace_bytes: WORKER_OVERHEAD_BYTES,
        context_tokens: u32::try_from(manifest.details.context_length).unwrap_or(u32::MAX),
    }
}
