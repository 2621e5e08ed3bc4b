//! The controller as the origin of versions: the calls, their time limits and what their errors mean.

use std::time::Duration;

use edgeformer_proto::Generation;
use edgeformer_proto::artifact::{ChunkId, MAX_SEALED_INDEX_BYTES};
use edgeformer_proto::ids::VersionId;
use edgeformer_proto::keywrap::WrappedKey;
use edgeformer_proto::v1;
use edgeformer_proto::v1::artifacts_client::ArtifactsClient;
use edgeformer_proto::v1::keys_client::KeysClient;
use futures::future::BoxFuture;
use tokio::sync::watch;
use tonic::Code;
use tonic::transport::Channel;

use super::budget::Budget;
use super::error::FetchError;
use super::origin::{Origin, ServedChunk, ServedChunks, ServedVersion};
use crate::tuf::SourceError;

/// Longest silence before a call counts as lost: a chunk at 20 kB/s.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);

/// Manifest and index in one message, with room for their framing.
const MAX_VERSION_MESSAGE_BYTES: usize = MAX_SEALED_INDEX_BYTES + (1 << 20);

/// What frames a file of metadata in its message.
const FRAMING_BYTES: usize = 64;

/// The controller, while there is a session.
#[derive(Debug, Clone)]
pub struct Remote {
    channel: watch::Receiver<Option<Channel>>,
    budget: Budget,
}

impl Remote {
    /// Over the session's channel.
    pub fn new(channel: watch::Receiver<Option<Channel>>) -> Self {
        Self { channel, budget: Budget::default() }
    }

    /// The same, no faster than this.
    #[must_use]
    pub fn within(self, budget: Budget) -> Self {
        Self { budget, ..self }
    }

    fn connected(&self) -> Result<Channel, FetchError> {
        self.channel.borrow().clone().ok_or(FetchError::Offline)
    }
}

impl Origin for Remote {
    fn trust_metadata<'a>(
        &'a self,
        name: &'a str,
        max_bytes: usize,
    ) -> BoxFuture<'a, Result<Option<Vec<u8>>, SourceError>> {
        Box::pin(async move {
            let channel = self.connected().map_err(|_| SourceError::Offline)?;
            let mut client = ArtifactsClient::new(channel)
                .max_decoding_message_size(max_bytes.saturating_add(FRAMING_BYTES));
            let ask =
                v1::GetTrustMetadataRequest { name: name.to_owned(), max_bytes: max_bytes as u64 };
            match tokio::time::timeout(SILENCE_TIMEOUT, client.get_trust_metadata(ask)).await {
                Ok(Ok(answer)) => Ok(Some(answer.into_inner().file.into())),
                Ok(Err(status)) => match status.code() {
                    Code::NotFound => Ok(None),
                    Code::Unimplemented => Err(SourceError::Unsupported),
                    code => Err(SourceError::Failed(format!("{code:?}: {}", status.message()))),
                },
                Err(_) => Err(SourceError::Failed(format!("no answer in {SILENCE_TIMEOUT:?}"))),
            }
        })
    }

    fn version(&self, id: VersionId) -> BoxFuture<'_, Result<ServedVersion, FetchError>> {
        Box::pin(async move {
            let mut client = ArtifactsClient::new(self.connected()?)
                .max_decoding_message_size(MAX_VERSION_MESSAGE_BYTES);
            let ask = v1::GetVersionRequest { version_id: id.to_string() };
            let served = in_time(client.get_version(ask)).await?.into_inner();
            let v1::GetVersionResponse { manifest_envelope, sealed_index } = served;
            Ok(ServedVersion { manifest_envelope, sealed_index })
        })
    }

    fn data_key(&self, id: VersionId) -> BoxFuture<'_, Result<WrappedKey, FetchError>> {
        Box::pin(async move {
            let ask = v1::WrapDataKeyRequest { version_id: id.to_string() };
            let mut client = KeysClient::new(self.connected()?);
            let key = in_time(client.wrap_data_key(ask)).await?.into_inner();
            let generation = key.generation.map(Generation::from);
            Ok(WrappedKey::from_parts(generation, &key.encapsulated, &key.ciphertext)?)
        })
    }

    fn chunks(&self, ids: Vec<ChunkId>) -> ServedChunks<'_> {
        Box::pin(async_stream::try_stream! {
            let mut client = ArtifactsClient::new(self.connected()?);
            let chunk_ids = ids.iter().map(|id| id.as_bytes().to_vec().into()).collect();
            let ask = v1::FetchChunksRequest { chunk_ids };
            let mut answers = in_time(client.fetch_chunks(ask)).await?.into_inner();
            while let Some(chunk) = in_time(answers.message()).await? {
                self.budget.pay(chunk.sealed.len()).await;
                yield ServedChunk { id: chunk.id, sealed: chunk.sealed };
            }
        })
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
