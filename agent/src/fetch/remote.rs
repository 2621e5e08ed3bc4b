//! The controller as the origin of versions: the calls, their time limits and what their errors mean.

use std::time::Duration;

use edgeformer_proto::Generation;
use edgeformer_proto::artifact::{ChunkId, MAX_SEALED_INDEX_BYTES};
use edgeformer_proto::ids::VersionId;
use edgeformer_proto::keywrap::WrappedKey;
use edgeformer_proto::v1;
use edgeformer_proto::v1::artifacts_client::ArtifactsClient;
use edgeformer_proto::v1::keys_client::KeysClient;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tokio::sync::watch;
use tonic::Code;
use tonic::transport::Channel;

use super::Progress;
use super::budget::Budget;
use super::direct::{Direct, DirectError, Location};
use super::error::FetchError;
use super::origin::{Origin, ServedChunk, ServedChunks, ServedVersion};
use crate::facts::human_bytes;
use crate::tuf::SourceError;

/// Longest silence before a call counts as lost: a chunk at 20 kB/s.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);

/// Manifest and index in one message, with room for their framing.
const MAX_VERSION_MESSAGE_BYTES: usize = MAX_SEALED_INDEX_BYTES + (1 << 20);

/// Chunks of one call that are read elsewhere at a time.
const PARALLEL_GETS: usize = 2;

/// What frames a file of metadata in its message.
const FRAMING_BYTES: usize = 64;

/// The controller, while there is a session.
#[derive(Debug, Clone)]
pub struct Remote {
    channel: watch::Receiver<Option<Channel>>,
    budget: Budget,
    direct: Option<Direct>,
}

impl Remote {
    /// Over the session's channel.
    pub fn new(channel: watch::Receiver<Option<Channel>>) -> Self {
        Self { channel, budget: Budget::default(), direct: None }
    }

    /// The same, which reads chunks where the controller says they are.
    #[must_use]
    pub fn reading(self, direct: Direct) -> Self {
        Self { direct: Some(direct), ..self }
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

    fn chunks<'a>(
        &'a self,
        wanted: Vec<(ChunkId, u32)>,
        progress: &'a Progress,
    ) -> ServedChunks<'a> {
        let accepts_locations = self.direct.as_ref().is_some_and(Direct::is_open);
        let answers = self.answers(wanted, accepts_locations, progress);
        answers
            .map(move |answer| async move {
                let Answer { id, sealed_bytes, said } = answer?;
                match said {
                    Said::Chunk(chunk) => Ok(chunk),
                    Said::At(direct, location) => {
                        self.located((direct, location), (id, sealed_bytes), progress).await
                    }
                }
            })
            .buffered(PARALLEL_GETS)
            .boxed()
    }
}

/// What a controller says about one chunk.
struct Answer {
    id: ChunkId,
    sealed_bytes: u32,
    said: Said,
}

enum Said {
    /// Its bytes.
    Chunk(ServedChunk),
    /// Where it is.
    At(Direct, Location),
}

impl Remote {
    /// What the controller says about these chunks, in their order.
    fn answers<'a>(
        &'a self,
        wanted: Vec<(ChunkId, u32)>,
        accepts_locations: bool,
        progress: &'a Progress,
    ) -> BoxStream<'a, Result<Answer, FetchError>> {
        Box::pin(async_stream::try_stream! {
            let mut client = ArtifactsClient::new(self.connected()?);
            let ask = v1::FetchChunksRequest {
                chunk_ids: wanted.iter().map(|(id, _)| id.as_bytes().to_vec().into()).collect(),
                chunk_bytes: wanted.iter().map(|(_, bytes)| *bytes).collect(),
                accepts_locations,
                accepts_waiting: true,
            };
            let mut answers = in_time(client.fetch_chunks(ask)).await?.into_inner();
            let (mut wanted, mut ca_der) = (wanted.into_iter(), Vec::new());
            while let Some(chunk) = in_time(answers.message()).await? {
                progress.set_waits(chunk.waiting.as_ref().map(waits_for));
                if chunk.waiting.is_some() {
                    continue;
                }
                let Some((id, sealed_bytes)) = wanted.next() else { break };
                let said = match (chunk.location, &self.direct) {
                    (Some(mut said), Some(direct)) if accepts_locations => {
                        if !said.ca_der.is_empty() {
                            ca_der = std::mem::take(&mut said.ca_der);
                        }
                        match direct.location(&said, &ca_der) {
                            Ok(location) => Said::At(direct.clone(), location),
                            Err(error) => {
                                direct.pause(&error);
                                Said::Chunk(self.carried((id, sealed_bytes), progress).await?)
                            }
                        }
                    }
                    _ => {
                        self.budget.pay(chunk.sealed.len()).await;
                        Said::Chunk(ServedChunk { id: chunk.id, sealed: chunk.sealed })
                    }
                };
                yield Answer { id, sealed_bytes, said };
            }
        })
    }

    /// A chunk from where it is said to be; from the controller if that fails.
    async fn located(
        &self,
        (direct, location): (Direct, Location),
        wanted: (ChunkId, u32),
        progress: &Progress,
    ) -> Result<ServedChunk, FetchError> {
        let (id, sealed_bytes) = wanted;
        let served = |sealed| ServedChunk { id: id.as_bytes().to_vec().into(), sealed };
        let mut error = match direct.get(&location, id, sealed_bytes).await {
            Ok(sealed) => return Ok(served(sealed)),
            Err(error) => error,
        };
        if error == DirectError::Expired {
            let mut again = self.answers(vec![wanted], true, progress);
            match again.next().await {
                Some(Ok(Answer { said: Said::Chunk(chunk), .. })) => return Ok(chunk),
                Some(Ok(Answer { said: Said::At(_, location), .. })) => {
                    match direct.get(&location, id, sealed_bytes).await {
                        Ok(sealed) => return Ok(served(sealed)),
                        Err(second) => error = second,
                    }
                }
                Some(Err(error)) => return Err(error),
                None => {}
            }
        }
        direct.pause(&error);
        self.carried(wanted, progress).await
    }

    /// A chunk that the controller carries itself.
    fn carried<'a>(
        &'a self,
        wanted: (ChunkId, u32),
        progress: &'a Progress,
    ) -> BoxFuture<'a, Result<ServedChunk, FetchError>> {
        Box::pin(async move {
            match self.answers(vec![wanted], false, progress).next().await {
                Some(Ok(Answer { said: Said::Chunk(chunk), .. })) => Ok(chunk),
                Some(Err(error)) => Err(error),
                Some(Ok(_)) | None => {
                    Err(FetchError::Interrupted("the stream of chunks ended early".to_owned()))
                }
            }
        })
    }
}

/// For people, on the device and beside it.
fn waits_for(wait: &v1::BandwidthWait) -> String {
    let (rate, devices) = (human_bytes(wait.bytes_per_s), wait.devices);
    format!(
        "waits for its turn: the devices of the tenant together download at most {rate} per second, and \
         {devices} of them want to; it goes on by itself"
    )
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
