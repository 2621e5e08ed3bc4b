//! The calls that bring a version from the controller. Every answer is checked against what was
//! asked for before it is stored.

use std::sync::Arc;
use std::time::Duration;

use edgeformer_proto::artifact::{ChunkId, MAX_SEALED_INDEX_BYTES};
use edgeformer_proto::keywrap::WrappedKey;
use edgeformer_proto::v1;
use edgeformer_proto::v1::artifacts_client::ArtifactsClient;
use edgeformer_proto::v1::keys_client::KeysClient;
use futures::{StreamExt, TryStreamExt, stream};
use tonic::Code;
use tonic::transport::Channel;

use super::error::FetchError;
use super::versions::OpenVersion;
use super::{Progress, Store, blocking};
use crate::reconcile::desired::Target;

/// Ids in one call: 32 MiB, so that a slow link still finishes a call in its time.
const BATCH_CHUNKS: usize = 32;

/// Calls at the same time: the next one's latency hides behind this one's transfer.
const PARALLEL_CALLS: usize = 3;

/// Longest silence before a call counts as lost: a chunk at 20 kB/s.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);

/// Manifest and index in one message, with room for their framing.
const MAX_VERSION_MESSAGE_BYTES: usize = MAX_SEALED_INDEX_BYTES + (1 << 20);

impl Store {
    fn connected(&self) -> Result<Channel, FetchError> {
        self.channel.borrow().clone().ok_or(FetchError::Offline)
    }

    /// Fetches, checks and keeps what opens a version. The signature comes before everything else.
    pub(super) async fn fetch_version(&self, target: &Target) -> Result<OpenVersion, FetchError> {
        let channel = self.connected()?;
        let version_id = target.version_id.to_string();
        let mut artifacts = ArtifactsClient::new(channel.clone())
            .max_decoding_message_size(MAX_VERSION_MESSAGE_BYTES);
        let ask = v1::GetVersionRequest { version_id: version_id.clone() };
        let served = in_time(artifacts.get_version(ask)).await?.into_inner();
        let manifest = self.versions.check_manifest(target, &served.manifest_envelope)?;
        manifest.check_sealed_index(&served.sealed_index)?;
        self.check_memory(target, &manifest)?;
        let ask = v1::WrapDataKeyRequest { version_id };
        let key = in_time(KeysClient::new(channel).wrap_data_key(ask)).await?.into_inner();
        let wrapped = WrappedKey::from_parts(&key.encapsulated, &key.ciphertext)?;
        let (versions, target) = (self.versions.clone(), target.clone());
        blocking(move || {
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
        if missing.is_empty() {
            return Ok(());
        }
        let client = ArtifactsClient::new(self.connected()?);
        let calls = missing.chunks(BATCH_CHUNKS).map(|batch| {
            let (client, batch) = (client.clone(), batch.to_vec());
            self.fetch_batch(client, batch, Arc::clone(progress))
        });
        let calls: Vec<_> = calls.collect();
        stream::iter(calls).buffer_unordered(PARALLEL_CALLS).try_collect::<()>().await
    }

    async fn fetch_batch(
        &self,
        mut client: ArtifactsClient<Channel>,
        batch: Vec<(ChunkId, u32)>,
        progress: Arc<Progress>,
    ) -> Result<(), FetchError> {
        let chunk_ids = batch.iter().map(|(id, _)| id.as_bytes().to_vec().into()).collect();
        let ask = v1::FetchChunksRequest { chunk_ids };
        let mut answers = in_time(client.fetch_chunks(ask)).await?.into_inner();
        for (id, bytes) in batch {
            let answer = in_time(answers.message()).await?.ok_or_else(|| {
                FetchError::Interrupted("the controller ended the stream early".to_owned())
            })?;
            if answer.id[..] != id.as_bytes()[..] {
                return Err(FetchError::WrongChunk { id, found: "another chunk".to_owned() });
            }
            let chunks = self.chunks.clone();
            blocking(move || Ok(chunks.put(&id, &answer.sealed)?)).await?;
            progress.add(u64::from(bytes));
        }
        Ok(())
    }
}

async fn in_time<T>(call: impl Future<Output = Result<T, tonic::Status>>) -> Result<T, FetchError> {
    match tokio::time::timeout(SILENCE_TIMEOUT, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(status)) => Err(classify(&status)),
        Err(_) => Err(FetchError::Interrupted(format!("no answer in {SILENCE_TIMEOUT:?}"))),
    }
}

fn classify(status: &tonic::Status) -> FetchError {
    let text = status.message().to_owned();
    match status.code() {
        Code::NotFound
        | Code::PermissionDenied
        | Code::InvalidArgument
        | Code::FailedPrecondition
        | Code::Unimplemented => FetchError::Refused(text),
        code => FetchError::Interrupted(format!("{code:?}: {text}")),
    }
}
