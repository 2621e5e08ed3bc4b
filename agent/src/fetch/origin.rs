//! Where versions come from. Nothing that an origin says is believed: whoever asks checks every answer
//! against what was signed and asked for, so that an origin may be anything that has the bytes.

use bytes::Bytes;
use edgeformer_proto::artifact::ChunkId;
use edgeformer_proto::ids::VersionId;
use edgeformer_proto::keywrap::WrappedKey;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

use super::Progress;
use super::error::FetchError;
use crate::tuf::SourceError;

/// The two files of a version.
#[derive(Debug, Clone)]
pub struct ServedVersion {
    /// The signed manifest.
    pub manifest_envelope: Bytes,
    /// The sealed index.
    pub sealed_index: Bytes,
}

/// A chunk, as served.
#[derive(Debug, Clone)]
pub struct ServedChunk {
    /// What it claims to be.
    pub id: Bytes,
    /// Its bytes.
    pub sealed: Bytes,
}

/// Chunks in the order they were asked for, each in a time that is bounded.
pub type ServedChunks<'a> = BoxStream<'a, Result<ServedChunk, FetchError>>;

/// Something that serves versions. Each call ends in a bounded time.
pub trait Origin: Send + Sync {
    /// A file of the tenant's TUF repository, of at most `max_bytes`; none if there is no such file.
    fn trust_metadata<'a>(
        &'a self,
        name: &'a str,
        max_bytes: usize,
    ) -> BoxFuture<'a, Result<Option<Vec<u8>>, SourceError>>;
    /// Manifest and index of a version.
    fn version(&self, id: VersionId) -> BoxFuture<'_, Result<ServedVersion, FetchError>>;
    /// The version's data key, wrapped for this device.
    fn data_key(&self, id: VersionId) -> BoxFuture<'_, Result<WrappedKey, FetchError>>;
    /// Some chunks, with their sealed lengths. Tells `progress` what it waits for.
    fn chunks<'a>(
        &'a self,
        wanted: Vec<(ChunkId, u32)>,
        progress: &'a Progress,
    ) -> ServedChunks<'a>;
}
