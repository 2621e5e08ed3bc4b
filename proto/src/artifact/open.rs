//! Opens a payload chunk by chunk, in order, with every check, in constant memory.

use ring::digest;

use super::chunk::{Scratch, open_chunk};
use super::{ArtifactError, ChunkIndex, Digest, IndexEntry};

/// Streams one payload. Feed it the chunk that [`Opener::wanted`] names until there is none, then
/// call [`Opener::finish`]; only then was the payload all there.
pub struct Opener<'a> {
    index: &'a ChunkIndex,
    next: usize,
    hash: digest::Context,
    scratch: Scratch,
}

impl<'a> Opener<'a> {
    /// Starts at the first chunk.
    pub fn new(index: &'a ChunkIndex) -> Self {
        Self {
            index,
            next: 0,
            hash: digest::Context::new(&digest::SHA256),
            scratch: Scratch::default(),
        }
    }

    /// The chunk to open next.
    pub fn wanted(&self) -> Option<&'a IndexEntry> {
        self.index.entries().get(self.next)
    }

    /// Checks and opens the wanted chunk. The piece stays valid until the next call. After an error
    /// the same chunk is still wanted, so that it can be fetched again.
    pub fn open(&mut self, sealed: &[u8]) -> Result<&[u8], ArtifactError> {
        let (number, chunks) = (self.next, self.index.entries().len());
        let entry = self.wanted().ok_or(ArtifactError::ChunkBeyondEnd { number, chunks })?;
        let piece = open_chunk(number, entry, sealed, &mut self.scratch)?;
        self.hash.update(piece);
        self.next += 1;
        Ok(piece)
    }

    /// Checks that every chunk was opened and that the whole is the payload.
    pub fn finish(self) -> Result<(), ArtifactError> {
        let (opened, chunks) = (self.next, self.index.entries().len());
        if opened < chunks {
            return Err(ArtifactError::Truncated { opened, chunks });
        }
        let (found, expected) =
            (Digest::from_ring(self.hash.finish()), self.index.payload_sha256());
        if found != expected {
            return Err(ArtifactError::PayloadHash { found, expected });
        }
        Ok(())
    }
}
