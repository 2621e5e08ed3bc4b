//! The artifact format: how a model version is cut, sealed, indexed and signed, so that its chunks
//! may lie anywhere (object store, cache, a device's disk) and are useless and tamper-evident there.
//!
//! Nothing here does I/O or reads a clock. Nothing here may hand out bytes that were not checked:
//! every way from stored bytes to plaintext goes through a signature, an AEAD tag and a hash.
//!
//! All integers are little-endian. `‖` is concatenation; `HKDF` is HKDF-SHA256 (RFC 5869), `AEAD` is
//! AES-256-GCM with a 16-byte tag at the end of its output.
//!
//! # Pieces
//! The payload is cut at the cut points of its kind (GGUF: at tensors, see
//! `edgeformer_gguf::Header::cut_points`) and, where those are further apart, [`PIECE_BYTES`] after
//! the last cut. So a piece has 1 to [`PIECE_BYTES`] bytes, and a payload at most [`MAX_CHUNKS`].
//!
//! # Chunk: one sealed piece
//! ```text
//! s          = codec (1 byte: 0 raw, 1 zstd frame) ‖ data
//! key        = HKDF(salt "edgeformer chunk v1", ikm = the tenant's chunk secret,
//!                   info = SHA-256(s), 32 bytes)
//! chunk      = AEAD(key, nonce = 12 zero bytes, aad empty, s)
//! chunk id   = SHA-256(chunk)
//! ```
//! zstd (level 3) is used when it saves at least 3 %. The zero nonce is safe, because the key is a
//! function of the plaintext: no key ever meets two. Equal pieces of one tenant give equal chunks,
//! whichever version they belong to; those of two tenants never do.
//!
//! # Chunk index
//! ```text
//! offset size
//!      0    4  magic "EFIX"
//!      4    2  format, 2
//!      6    2  zero
//!      8    8  payload size in bytes
//!     16   32  SHA-256 of the payload
//!     48    4  number of chunks n, at most MAX_CHUNKS
//!     52  72n  entries, in payload order:
//!          32  chunk id
//!          32  chunk key
//!           4  bytes of the piece, 1..=PIECE_BYTES
//!           4  bytes of the chunk, tag included, at most the piece's + CHUNK_OVERHEAD_BYTES
//! ```
//! Nothing follows, and the pieces add up to the payload. Format 1, which is read and not written, has
//! 32 bytes more in each entry, after the key: the SHA-256 of the piece. A chunk's own hash, its tag and
//! the hash of the payload leave nothing for it to say.
//!
//! # Sealed index
//! ```text
//! offset size
//!      0    4  magic "EFSX"
//!      4    2  format, 1
//!      6    2  zero
//!      8   12  random nonce
//!     20       AEAD(the version's data key, nonce, aad, chunk index)
//! aad = "edgeformer index v1" ‖ tenant id (16) ‖ version id (16)
//!       ‖ bytes of the model name (2) ‖ model name
//! ```
//!
//! # Manifest
//! JSON (see [`Manifest`]) inside a DSSE envelope of type [`MANIFEST_TYPE`], signed with Ed25519 by
//! the tenant's release key over the pre-authentication encoding
//! (<https://github.com/secure-systems-lab/dsse/blob/master/protocol.md>):
//! ```text
//! "DSSEv1 " ‖ len(type) ‖ " " ‖ type ‖ " " ‖ len(body) ‖ " " ‖ body      (lengths in decimal)
//! ```
//! It names the SHA-256 of the sealed index, so that the signature covers every byte of the version.
//! A desired state pins the SHA-256 of the envelope's exact bytes.

mod chunk;
mod envelope;
mod error;
mod index;
mod manifest;
mod open;
mod pieces;
mod release_key;
mod secrets;

pub use chunk::{ChunkOpener, Piece, SealedChunk, Sealer, seal_piece};
pub use envelope::{MAX_ENVELOPE_BYTES, MAX_SIGNATURES};
pub(crate) use envelope::{sign as sign_envelope, verify_exact as verify_exact_envelope};
pub use error::ArtifactError;
pub use index::{ChunkIndex, IndexEntry, MAX_SEALED_INDEX_BYTES};
pub use manifest::{
    Details, DocumentRef, Expected, IndexRef, MANIFEST_TYPE, MEDIA_TYPE_GGUF, Manifest, Memory,
    ModelName, ModelNameError, PayloadRef,
};
pub use open::{Opener, PayloadCheck};
pub use pieces::{PieceRanges, pieces};
pub use release_key::{ReleaseKey, ReleaseKeyError, ReleasePublic};
pub use secrets::{ChunkId, ChunkKey, ChunkSecret, DataKey, Digest, random_bytes};

/// Longest piece, in bytes. Long enough for disks and zstd to run at full speed, short enough for a
/// chunk to fit a gRPC message and to be sent again after a cut.
pub const PIECE_BYTES: usize = 1 << 20;

/// Most chunks of one version: 64 GiB of full pieces, more than a device can hold; keeps the index
/// below 7 MiB.
pub const MAX_CHUNKS: usize = 1 << 16;

/// What sealing adds to a raw piece: the codec byte and the AEAD tag.
pub const CHUNK_OVERHEAD_BYTES: usize = 1 + 16;

/// Longest chunk, in bytes.
pub const MAX_CHUNK_BYTES: usize = PIECE_BYTES + CHUNK_OVERHEAD_BYTES;

/// Most chunk ids in one `FetchChunks` call.
pub const MAX_FETCH_CHUNKS: usize = 256;

/// What a version's manifest is called in its tenant's TUF repository.
pub fn target_path(model: &str, version: &str) -> String {
    format!("models/{model}/{version}/manifest.json")
}
