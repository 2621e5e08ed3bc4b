//! What can be wrong with an artifact. Every message names the thing and what to do; chunk errors
//! carry the chunk's number (from 0, in payload order).

use super::{ChunkId, Digest, MAX_CHUNKS};

/// Why an artifact was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArtifactError {
    /// The cut points are not ascending inside the payload.
    #[error("cut point {at} is not after {after} and before the payload's end at {size} bytes")]
    CutPoint {
        /// The offending offset.
        at: u64,
        /// The cut before it.
        after: u64,
        /// Payload size in bytes.
        size: u64,
    },
    /// The payload has no bytes.
    #[error("the payload is empty: publish a model file")]
    EmptyPayload,
    /// More pieces than a version may have.
    #[error(
        "the payload of {size} bytes cuts into more than {MAX_CHUNKS} chunks: it is too large to publish"
    )]
    TooManyChunks {
        /// Payload size in bytes.
        size: u64,
    },
    /// A piece has a length that the format does not know.
    #[error("a piece of {bytes} bytes cannot be sealed: pieces have 1 to {max} bytes")]
    PieceLength {
        /// Length of the piece.
        bytes: usize,
        /// The format's limit.
        max: usize,
    },
    /// zstd failed on bytes in memory.
    #[error("cannot compress a piece: {0}")]
    Compress(String),
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes: try again")]
    Random,
    /// The signed envelope is not what the desired state pins.
    #[error(
        "the manifest that was served has SHA-256 {found}, the desired state pins {pinned}: it was altered on the way or in the controller's store"
    )]
    ManifestPin {
        /// What was served.
        found: Digest,
        /// What is pinned.
        pinned: Digest,
    },
    /// The envelope cannot be read.
    #[error("the manifest's envelope cannot be read: {0}")]
    Envelope(String),
    /// No signature by the release key that this device pins.
    #[error(
        "the manifest has no valid signature by the tenant's release key: it was altered, or signed with another key"
    )]
    Signature,
    /// The signed text is not a manifest that this build reads.
    #[error("the manifest cannot be read: {0}")]
    Manifest(String),
    /// A manifest, properly signed, of something else.
    #[error("the manifest is for {field} {found}, expected {expected}")]
    WrongSubject {
        /// Which field differs.
        field: &'static str,
        /// What the manifest says.
        found: String,
        /// What was asked for.
        expected: String,
    },
    /// The sealed index is not the one that the manifest names.
    #[error(
        "the sealed index ({bytes} bytes, SHA-256 {found}) is not the one that the manifest names: fetch it again"
    )]
    IndexHash {
        /// Its length.
        bytes: usize,
        /// Its SHA-256.
        found: Digest,
    },
    /// The sealed index does not open: other key, other version, or altered bytes.
    #[error("the chunk index does not open with this data key for this tenant, model and version")]
    IndexSeal,
    /// The index, or the frame around it, is malformed.
    #[error("the chunk index is malformed at byte {offset}: {what}")]
    Index {
        /// Offset in the index (or in its sealed frame).
        offset: usize,
        /// What is wrong there.
        what: &'static str,
    },
    /// The manifest and its index disagree.
    #[error("the manifest and its chunk index disagree on the {0}")]
    IndexDisagrees(&'static str),
    /// A chunk has another length than the index says.
    #[error("chunk {number} has {found} bytes, the index says {expected}: fetch it again")]
    ChunkLength {
        /// Chunk number.
        number: usize,
        /// Its length.
        found: usize,
        /// What the index says.
        expected: usize,
    },
    /// A chunk's bytes are not those of its id.
    #[error("chunk {number} is {found}, the index says {expected}: fetch it again")]
    ChunkHash {
        /// Chunk number.
        number: usize,
        /// SHA-256 of the bytes at hand.
        found: ChunkId,
        /// What the index says.
        expected: ChunkId,
    },
    /// A chunk does not open with its key.
    #[error("chunk {number} does not open with the key in the index: the version is damaged")]
    ChunkSeal {
        /// Chunk number.
        number: usize,
    },
    /// The sealed bytes name a codec that this build does not know.
    #[error("chunk {number} uses codec {codec}, which this build does not know: update it")]
    ChunkCodec {
        /// Chunk number.
        number: usize,
        /// The codec byte.
        codec: u8,
    },
    /// The opened bytes are not the piece that the index names.
    #[error("chunk {number} opens to other bytes than the index says: {what}")]
    ChunkPlaintext {
        /// Chunk number.
        number: usize,
        /// What differs.
        what: &'static str,
    },
    /// More chunks were given than the index has.
    #[error("chunk {number} was given, the index has only {chunks}")]
    ChunkBeyondEnd {
        /// Number of the surplus chunk.
        number: usize,
        /// Chunks in the index.
        chunks: usize,
    },
    /// The stream ended early.
    #[error("the payload ends after {opened} of {chunks} chunks")]
    Truncated {
        /// Chunks opened.
        opened: usize,
        /// Chunks in the index.
        chunks: usize,
    },
    /// All chunks are right, their sum is not.
    #[error("the whole payload has SHA-256 {found}, the index says {expected}")]
    PayloadHash {
        /// What was opened.
        found: Digest,
        /// What the index says.
        expected: Digest,
    },
}

impl ArtifactError {
    /// Whether a stored chunk is not the one that the index names, so that fetching it again helps.
    pub fn is_of_sealed_bytes(&self) -> bool {
        matches!(self, Self::ChunkHash { .. } | Self::ChunkLength { .. })
    }

    /// One word for machines, as in `SlotStatus.reason`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::ManifestPin { .. } | Self::Envelope(_) | Self::Signature => "signature",
            Self::Manifest(_) | Self::WrongSubject { .. } => "manifest",
            Self::IndexHash { .. }
            | Self::IndexSeal
            | Self::Index { .. }
            | Self::IndexDisagrees(_) => "index",
            Self::ChunkLength { .. }
            | Self::ChunkHash { .. }
            | Self::ChunkSeal { .. }
            | Self::ChunkCodec { .. }
            | Self::ChunkPlaintext { .. }
            | Self::ChunkBeyondEnd { .. }
            | Self::Truncated { .. }
            | Self::PayloadHash { .. } => "chunk",
            Self::CutPoint { .. }
            | Self::EmptyPayload
            | Self::TooManyChunks { .. }
            | Self::PieceLength { .. } => "payload",
            Self::Compress(_) | Self::Random => "system",
        }
    }
}
