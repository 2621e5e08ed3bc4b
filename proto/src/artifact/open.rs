//! Opens a payload chunk by chunk, in order, with every check, in constant memory.

use ring::digest;

use super::{ArtifactError, ChunkIndex, ChunkOpener, Digest, IndexEntry, Piece};

/// Streams one payload. Feed it the chunk that [`Opener::wanted`] names until there is none, then
/// call [`Opener::finish`]; only then was the payload all there, and the one that the manifest names.
pub struct Opener<'a> {
    index: &'a ChunkIndex,
    chunks: ChunkOpener,
    check: PayloadCheck,
}

impl<'a> Opener<'a> {
    /// Starts at the first chunk.
    pub fn new(index: &'a ChunkIndex) -> Self {
        Self { index, chunks: ChunkOpener::default(), check: PayloadCheck::default() }
    }

    /// The chunk to open next.
    pub fn wanted(&self) -> Option<&'a IndexEntry> {
        self.index.entries().get(self.check.pieces)
    }

    /// Checks and opens the wanted chunk. After an error the same chunk is still wanted, so that it
    /// can be fetched again.
    pub fn open(&mut self, sealed: &[u8]) -> Result<Piece, ArtifactError> {
        let piece = self.chunks.open(self.index, self.check.pieces, sealed.to_vec())?;
        self.check.next(&piece);
        Ok(piece)
    }

    /// Checks that every chunk was opened and that the whole is the payload.
    pub fn finish(self) -> Result<(), ArtifactError> {
        self.check.finish(self.index)
    }
}

/// Whether pieces that come in order make an index's payload. Whoever made an index may have put any
/// chunks into it: the payload's hash is what its publisher can compare with a file.
pub struct PayloadCheck {
    pieces: usize,
    hash: digest::Context,
}

impl Default for PayloadCheck {
    fn default() -> Self {
        Self { pieces: 0, hash: digest::Context::new(&digest::SHA256) }
    }
}

impl PayloadCheck {
    /// Takes the next piece.
    pub fn next(&mut self, piece: &[u8]) {
        self.hash.update(piece);
        self.pieces += 1;
    }

    /// Checks that every piece came and that the whole is the payload.
    pub fn finish(self, index: &ChunkIndex) -> Result<(), ArtifactError> {
        let (opened, chunks) = (self.pieces, index.entries().len());
        if opened < chunks {
            return Err(ArtifactError::Truncated { opened, chunks });
        }
        let (found, expected) = (Digest::from_ring(self.hash.finish()), index.payload_sha256());
        if found != expected {
            return Err(ArtifactError::PayloadHash { found, expected });
        }
        Ok(())
    }
}
