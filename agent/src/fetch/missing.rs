//! Brings what is missing of a version from an origin onto the disk. Every answer is checked against
//! what was asked for before it is stored, the signature before everything else. Holds a bounded
//! number of chunks in memory, whatever the size of the version.

use std::sync::Arc;

use edgeformer_proto::artifact::ChunkId;
use futures::{StreamExt, TryStreamExt, stream};

use super::error::FetchError;
use super::trust::Listed;
use super::versions::OpenVersion;
use super::{Progress, Store};
use crate::reconcile::desired::Target;

/// Ids in one call: 32 MiB, so that a slow link still finishes a call in its time.
const BATCH_CHUNKS: usize = 32;

/// Calls at the same time: the next one's latency hides behind this one's transfer.
const PARALLEL_CALLS: usize = 3;

impl Store {
    /// Brings manifest and index of a new version here, if its owner released it, whether they are here
    /// already or not.
    pub(crate) async fn receive(&self, target: &Target) -> Result<OpenVersion, FetchError> {
        let _files_stay = self.files.read().await;
        let listed = self.trust.listed(&*self.origin, target).await?;
        self.fetch_version(target, Some(listed)).await
    }

    /// Fetches, checks and keeps what opens a version. `listed` is what the owner says of a new one.
    pub(super) async fn fetch_version(
        &self,
        target: &Target,
        listed: Option<Listed>,
    ) -> Result<OpenVersion, FetchError> {
        let served = self.origin.version(target.version_id).await?;
        if let Some(listed) = &listed {
            self.trust.check(target, listed, &served.manifest_envelope)?;
        }
        let manifest = self.versions.check_manifest(target, &served.manifest_envelope)?;
        manifest.check_sealed_index(&served.sealed_index)?;
        self.check_memory(target, &manifest)?;
        let wrapped = self.origin.data_key(target.version_id).await?;
        let (versions, target) = (self.versions.clone(), target.clone());
        self.blocking(move || {
            let index = versions.open_index(&target, &manifest, &served.sealed_index, &wrapped)?;
            versions.save(&target, &served.manifest_envelope, &served.sealed_index, &wrapped)?;
            Ok(OpenVersion { manifest, index })
        })
        .await
    }

    /// Fetches chunks, several calls at a time.
    pub(super) async fn fetch_chunks(
        &self,
        missing: Vec<(ChunkId, u32)>,
        progress: &Arc<Progress>,
    ) -> Result<(), FetchError> {
        let calls: Vec<_> =
            missing.chunks(BATCH_CHUNKS).map(|batch| self.fetch_batch(batch, progress)).collect();
        stream::iter(calls).buffer_unordered(PARALLEL_CALLS).try_collect::<()>().await
    }

    async fn fetch_batch(
        &self,
        batch: &[(ChunkId, u32)],
        progress: &Arc<Progress>,
    ) -> Result<(), FetchError> {
        let mut answers = self.origin.chunks(batch.to_vec(), progress);
        for (id, bytes) in batch.iter().copied() {
            let answer = answers.next().await.unwrap_or_else(|| {
                Err(FetchError::Interrupted("the stream of chunks ended early".to_owned()))
            })?;
            if answer.id[..] != id.as_bytes()[..] {
                return Err(FetchError::WrongChunk { id, found: "another chunk".to_owned() });
            }
            let chunks = self.chunks.clone();
            self.blocking(move || Ok(chunks.put(&id, &answer.sealed)?)).await?;
            progress.add(u64::from(bytes));
        }
        Ok(())
    }
}
