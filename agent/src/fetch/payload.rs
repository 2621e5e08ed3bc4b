//! Opens a version from its sealed chunks into memory, piece by piece, each checked before it is
//! handed out. Plaintext exists only in the pieces that are on their way to a worker.

use std::sync::Arc;

use bytes::Bytes;
use edgeformer_proto::artifact::{ArtifactError, ChunkIndex, Digest};
use ring::digest;
use zeroize::Zeroizing;

use super::chunks::ChunkStore;
use crate::slots::{PayloadError, PayloadPieces, PayloadSource};

/// The plaintext of one version.
#[derive(Debug)]
pub struct SealedPayload {
    index: Arc<ChunkIndex>,
    chunks: ChunkStore,
}

impl SealedPayload {
    /// Of an opened index.
    pub fn new(index: Arc<ChunkIndex>, chunks: ChunkStore) -> Self {
        Self { index, chunks }
    }
}

impl PayloadSource for SealedPayload {
    fn open(&self) -> Result<PayloadPieces, PayloadError> {
        Ok(Box::new(Pieces {
            index: Arc::clone(&self.index),
            chunks: self.chunks.clone(),
            next: 0,
            hash: Some(digest::Context::new(&digest::SHA256)),
        }))
    }

    fn size_bytes(&self) -> u64 {
        self.index.payload_bytes()
    }
}

struct Pieces {
    index: Arc<ChunkIndex>,
    chunks: ChunkStore,
    next: usize,
    /// Of all pieces so far; none after the end or an error.
    hash: Option<digest::Context>,
}

impl Pieces {
    fn read(&self) -> Option<Result<Vec<u8>, PayloadError>> {
        let entry = self.index.entries().get(self.next)?;
        let id = || entry.id.to_string();
        let sealed = match self.chunks.get(&entry.id) {
            Ok(sealed) => sealed,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Some(Err(PayloadError::Missing { id: id() }));
            }
            Err(error) => {
                let path = self.chunks.path(&entry.id).display().to_string();
                return Some(Err(PayloadError::Read { path, reason: error.to_string() }));
            }
        };
        Some(self.index.open_chunk(self.next, &sealed).map_err(|error| {
            if matches!(error, ArtifactError::ChunkHash { .. } | ArtifactError::ChunkLength { .. })
            {
                // Bytes that are not those of the name are of no use: the next fetch brings them.
                let _ = self.chunks.remove(&entry.id);
            }
            PayloadError::Corrupt { id: id(), reason: error.to_string() }
        }))
    }
}

impl Iterator for Pieces {
    type Item = Result<Bytes, PayloadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut hash = self.hash.take()?;
        match self.read() {
            Some(Ok(piece)) => {
                hash.update(&piece);
                self.hash = Some(hash);
                self.next += 1;
                // Wiped when the last that holds a part of it is done with it.
                Some(Ok(Bytes::from_owner(Zeroizing::new(piece))))
            }
            Some(Err(error)) => Some(Err(error)),
            None => {
                let (found, expected) =
                    (Digest::from_ring(hash.finish()), self.index.payload_sha256());
                let differs = ArtifactError::PayloadHash { found, expected };
                (found != expected).then(|| Err(PayloadError::Key(differs.to_string())))
            }
        }
    }
}
