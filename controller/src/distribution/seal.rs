//! Cuts, compresses and seals a staged payload, several pieces at a time and in constant memory, and
//! stores the chunks that are not there yet.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use edgeformer_proto::artifact::{
    ArtifactError, ChunkIndex, ChunkSecret, PieceRanges, SealedChunk, Sealer, pieces,
};
use edgeformer_proto::ids::TenantId;
use futures::{StreamExt, TryStreamExt, stream};

use super::objects::{Objects, ObjectsError};
use super::staging::Staged;

/// Most pieces that are sealed at a time: each holds up to three megabytes.
const MAX_PARALLEL: usize = 8;

/// Most chunks on their way to the store, a megabyte each: a disk makes several durable in one flush, and
/// a bucket's latency is that of many.
const MAX_STORING: usize = 16;

/// Why a payload could not be sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The staged file cannot be read.
    #[error("cannot read the upload at {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The format does not allow it.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// The object store failed.
    #[error(transparent)]
    Objects(#[from] ObjectsError),
    /// A worker died.
    #[error("sealing stopped: {0}")]
    Worker(#[from] tokio::task::JoinError),
}

/// A payload whose chunks are all stored.
#[derive(Debug)]
pub struct SealedPayload {
    /// Its chunks.
    pub index: ChunkIndex,
    /// Bytes of the chunks that were not there before.
    pub stored_bytes: u64,
}

/// Seals `staged`, cut at `cuts`, for a tenant with this chunk secret.
pub async fn seal_payload(
    objects: &Objects,
    tenant: TenantId,
    secret: &ChunkSecret,
    staged: &Staged,
    cuts: Vec<u64>,
) -> Result<SealedPayload, SealError> {
    let ranges: PieceRanges = pieces(staged.size_bytes(), cuts)?;
    let path = staged.path().to_owned();
    let file =
        File::open(&path).map_err(|source| SealError::Read { path: path.clone(), source })?;
    let work = Arc::new(Work { file, path, secret: secret.clone(), sealers: Mutex::default() });
    let parallel = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_PARALLEL);

    let writer = objects.chunk_writer(tenant);
    let mut sealed = stream::iter(ranges)
        .map(|range| {
            let work = work.clone();
            // Begun at once: it goes on while others wait for the store.
            let chunk = tokio::task::spawn_blocking(move || work.seal(range));
            async move { chunk.await? }
        })
        .buffered(parallel)
        .map(|chunk| async {
            let chunk = chunk?;
            let id = chunk.entry.id;
            let new = writer.put(id, chunk.sealed.into()).await?;
            Ok::<_, SealError>((chunk.entry, new))
        })
        .buffered(MAX_STORING);

    let (mut entries, mut counted, mut stored_bytes) = (Vec::new(), HashSet::new(), 0);
    while let Some((entry, new)) = sealed.try_next().await? {
        // Equal pieces in work at the same time both find that theirs is new.
        if new && counted.insert(entry.id) {
            stored_bytes += u64::from(entry.chunk_bytes);
        }
        entries.push(entry);
    }
    drop(sealed);
    writer.finish().await?;
    let index = ChunkIndex::new(staged.sha256(), entries)?;
    Ok(SealedPayload { index, stored_bytes })
}

/// What the threads that seal one payload share.
struct Work {
    file: File,
    path: PathBuf,
    secret: ChunkSecret,
    /// Those that no thread uses now, each with room for a piece.
    sealers: Mutex<Vec<(Sealer, Vec<u8>)>>,
}

impl Work {
    fn seal(&self, range: Range<u64>) -> Result<SealedChunk, SealError> {
        let idle = self.sealers().pop();
        let (mut sealer, mut piece) = match idle {
            Some(idle) => idle,
            None => (Sealer::new(&self.secret)?, Vec::new()),
        };
        // A piece has at most one megabyte.
        piece.resize((range.end - range.start) as usize, 0);
        self.file
            .read_exact_at(&mut piece, range.start)
            .map_err(|source| SealError::Read { path: self.path.clone(), source })?;
        let chunk = sealer.seal(&piece)?;
        self.sealers().push((sealer, piece));
        Ok(chunk)
    }

    fn sealers(&self) -> MutexGuard<'_, Vec<(Sealer, Vec<u8>)>> {
        self.sealers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
