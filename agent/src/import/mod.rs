//! Takes a version and the desired state that assigns it from a bundle file, where there is no network.
//! Checks and stores with the code that fetches over a connection, from another origin. The desired
//! state becomes durable last: until then a bundle changes nothing but what is on the disk for it.

mod command;
mod socket;

use std::collections::HashSet;
use std::fs::File;
use std::sync::Arc;

use edgeformer_proto::Generation;
use edgeformer_proto::artifact::{ChunkId, ChunkIndex};
use edgeformer_proto::bundle::Assignment;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, watch};

pub use self::command::{import, to_store};
pub use self::socket::{bind, serve};

use crate::facts::human_bytes;
use crate::fetch::bundle::{BundleFile, BundleFileError};
use crate::fetch::error::{FetchError, Verdict};
use crate::fetch::versions::Opening;
use crate::fetch::{Artifacts, Known, Progress, Store};
use crate::reconcile::Handle;
use crate::reconcile::desired::{self, Desired, Rejection, Target};
use crate::reconcile::ledger::LedgerError;

/// Why a bundle was not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It is none for this device.
    #[error(transparent)]
    Bundle(#[from] BundleFileError),
    /// Its desired state is not for this device now.
    #[error("the bundle is refused: {0}{1}")]
    Rejected(Rejection, &'static str),
    /// What it holds does not verify, or cannot be stored.
    #[error("{0}{1}")]
    Fetch(FetchError, &'static str),
    /// It holds other chunks than its index names.
    #[error(
        "the bundle is damaged or was changed: its chunks are not those that were signed: copy it again, or export it again"
    )]
    Chunks,
    /// It does not fit.
    #[error(
        "the version needs {} of disk, {} available, and the older versions on this device do not make up for it: free {} where the state directory is, then import it again",
        human_bytes(*.needs), human_bytes(*.available), human_bytes(.needs.saturating_sub(*.available))
    )]
    Disk {
        /// Bytes that are still to be stored, with a reserve.
        needs: u64,
        /// Bytes that are free.
        available: u64,
    },
    /// The ledger cannot be written.
    #[error("the import could not be noted: {0}")]
    Ledger(#[from] LedgerError),
    /// One at a time.
    #[error("another import is running here: wait until it is done")]
    Busy,
    /// A task died.
    #[error("the import was interrupted ({0}): import again, it goes on with what is missing")]
    Interrupted(String),
}

/// What an import did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// Model and version.
    pub version: String,
    /// The desired state that the device holds now.
    pub generation: Generation,
    /// Chunks in the bundle.
    pub chunks: usize,
    /// Those that were not here.
    pub new_chunks: usize,
    /// Their bytes.
    pub new_bytes: u64,
    /// Versions that the desired state names too and that are not here.
    pub missing: Vec<String>,
}

/// Imports bundles, one at a time. Cheap to clone.
#[derive(Clone)]
pub struct Importer {
    store: Store,
    reconcile: Handle,
    opening: Opening,
    /// Wakes slots that wait for a connection.
    nudge: watch::Sender<u64>,
    one_at_a_time: Arc<Mutex<()>>,
}

impl Importer {
    /// Into this store and ledger. `nudge` is what slots take for a new session.
    pub fn new(
        store: Store,
        reconcile: Handle,
        opening: Opening,
        nudge: watch::Sender<u64>,
    ) -> Self {
        Self { store, reconcile, opening, nudge, one_at_a_time: Arc::default() }
    }

    /// Imports a bundle. What was stored of one that broke off is kept for the next attempt.
    pub async fn import(
        &self,
        file: File,
        progress: Arc<Progress>,
    ) -> Result<Imported, ImportError> {
        let _alone = self.one_at_a_time.try_lock().map_err(|_| ImportError::Busy)?;
        let opening = self.opening.clone();
        let opened = tokio::task::spawn_blocking(move || BundleFile::open(file, &opening)).await;
        let (bundle, assignment) =
            opened.map_err(|error| ImportError::Interrupted(error.to_string()))??;
        let desired = self.weigh(&assignment)?;
        let target = assigned(&desired, &assignment)?;
        self.reconcile.begin_import(desired.generation, target.clone())?;
        match self.bring(&target, desired.generation, bundle, progress).await {
            Ok(imported) => self.accept(desired, &target, imported),
            Err(error) => {
                if error.is_final() {
                    // Nothing of it is of use: the next collection takes it.
                    self.reconcile.end_import()?;
                }
                Err(error)
            }
        }
    }

    /// Whether its desired state could be taken now.
    fn weigh(&self, assignment: &Assignment) -> Result<Desired, ImportError> {
        let refused = |rejection: Rejection| {
            let next = match rejection {
                Rejection::Older { .. } => ": the bundle is from before then: export a new one",
                _ => ": export it again",
            };
            ImportError::Rejected(rejection, next)
        };
        let desired = desired::parse(assignment.desired.clone()).map_err(refused)?;
        self.reconcile.weigh(&desired).map_err(refused)?;
        Ok(desired)
    }

    /// Stores and verifies everything of a version.
    async fn bring(
        &self,
        target: &Target,
        generation: Generation,
        bundle: BundleFile,
        progress: Arc<Progress>,
    ) -> Result<Imported, ImportError> {
        let order = bundle.order().to_vec();
        let from = self.store.with_origin(Arc::new(bundle));
        // Also when the version is here: a bundle that is not what was signed is refused whole. It was
        // new until here; from here on it is what its owner released.
        let version = from.receive(target).await.map_err(explain)?;
        if !has_exactly(&version.index, &order) {
            return Err(ImportError::Chunks);
        }
        let collector = self.reconcile.collector(self.store.clone());
        collector.sweep().await;
        let (missing, _) = self.store.missing(&version.index);
        let fetched = match from.fetch(target, Known::Before, Arc::clone(&progress)).await {
            Err(FetchError::Disk { needs_bytes, available_bytes })
                if collector.make_room(needs_bytes - available_bytes).await? =>
            {
                from.fetch(target, Known::Before, progress).await
            }
            fetched => fetched,
        };
        fetched.map_err(explain)?;
        from.verify(target).await.map_err(explain)?;
        Ok(Imported {
            version: target.to_string(),
            generation,
            chunks: order.len(),
            new_chunks: missing.len(),
            new_bytes: missing.iter().map(|(_, bytes)| u64::from(*bytes)).sum(),
            missing: Vec::new(),
        })
    }

    /// Makes the desired state durable, and wakes what acts on it.
    fn accept(
        &self,
        desired: Desired,
        target: &Target,
        done: Imported,
    ) -> Result<Imported, ImportError> {
        let absent = desired.slots.values().filter(|target| !self.store.knows(target));
        let missing = absent.map(ToString::to_string).collect();
        let accepted = self.reconcile.offer_brought(desired, target);
        let generation = accepted.map_err(|error| ImportError::Rejected(error, ""))?;
        self.nudge.send_modify(|count| *count += 1);
        tracing::info!(version = done.version, %generation, "imported a bundle");
        Ok(Imported { generation, missing, ..done })
    }
}

impl ImportError {
    /// Whether trying again with the same file cannot help.
    fn is_final(&self) -> bool {
        match self {
            Self::Fetch(error, _) => error.verdict() == Verdict::Fail,
            Self::Ledger(_) | Self::Busy | Self::Interrupted(_) => false,
            // What came before a damaged chunk is as signed: a better copy goes on after it.
            Self::Chunks => false,
            Self::Bundle(_) | Self::Rejected(..) | Self::Disk { .. } => true,
        }
    }
}

fn explain(error: FetchError) -> ImportError {
    let next = match error {
        FetchError::WrongChunk { .. } => return ImportError::Chunks,
        FetchError::Disk { needs_bytes: needs, available_bytes: available } => {
            return ImportError::Disk { needs, available };
        }
        FetchError::Interrupted(_) | FetchError::DiskFull | FetchError::Storage { .. } => {
            "; then import again, it goes on with what is missing"
        }
        FetchError::Artifact(_) | FetchError::Key(_) => {
            ": the bundle is not what was signed; copy it again, or export it again"
        }
        FetchError::Incomplete(_) => "; import again",
        FetchError::Trust(_) => ": export a new bundle",
        _ => "",
    };
    ImportError::Fetch(error, next)
}

/// What the desired state says of the version that the bundle brings.
fn assigned(desired: &Desired, assignment: &Assignment) -> Result<Target, ImportError> {
    let target = desired.slots.values().find(|target| target.version_id == assignment.version);
    let none = || Rejection::Malformed("it does not name the bundle's version".to_owned());
    target.cloned().ok_or_else(|| ImportError::Rejected(none(), ": export it again"))
}

/// Whether these are the chunks of the index, each once and in its order.
fn has_exactly(index: &ChunkIndex, order: &[(ChunkId, u32)]) -> bool {
    let mut seen = HashSet::new();
    let named = index.entries().iter().filter(|entry| seen.insert(entry.id));
    named.map(|entry| (entry.id, entry.chunk_bytes)).eq(order.iter().copied())
}
