//! One piece, compressed and sealed, and the way back.

use ring::aead;
use zeroize::Zeroizing;

use super::{
    ArtifactError, CHUNK_OVERHEAD_BYTES, ChunkId, ChunkKey, ChunkSecret, Digest, IndexEntry,
    PIECE_BYTES,
};

const CODEC_RAW: u8 = 0;
const CODEC_ZSTD: u8 = 1;

/// zstd's default: quantized weights hardly compress, so a higher level costs time and gains nothing.
const ZSTD_LEVEL: i32 = 3;

/// Compression is kept if it saves at least this share of the piece; below it, opening a chunk
/// would cost more than the bytes are worth.
const MIN_SAVING_PERCENT: usize = 3;

/// A sealed piece: what is stored, and what the index says of it.
#[derive(Debug, Clone)]
pub struct SealedChunk {
    /// Its line in the chunk index.
    pub entry: IndexEntry,
    /// The bytes whose SHA-256 is `entry.id`.
    pub sealed: Vec<u8>,
}

/// Seals one piece of 1 to [`PIECE_BYTES`] bytes. Deterministic: equal pieces give equal chunks.
pub fn seal_piece(secret: &ChunkSecret, piece: &[u8]) -> Result<SealedChunk, ArtifactError> {
    if piece.is_empty() || piece.len() > PIECE_BYTES {
        return Err(ArtifactError::PieceLength { bytes: piece.len(), max: PIECE_BYTES });
    }
    let mut sealed = encode(piece)?;
    let key = secret.chunk_key(&sealed);
    aead_key(&key)
        .seal_in_place_append_tag(zero_nonce(), aead::Aad::empty(), &mut sealed)
        .expect("a piece is far below the limit of AES-GCM");
    let entry = IndexEntry {
        id: ChunkId::of(&sealed),
        key,
        piece_sha256: Digest::of(piece),
        piece_bytes: piece.len() as u32,
        chunk_bytes: sealed.len() as u32,
    };
    Ok(SealedChunk { entry, sealed })
}

/// Buffers that opening reuses from chunk to chunk, wiped at the end.
#[derive(Default)]
pub(super) struct Scratch {
    sealed: Zeroizing<Vec<u8>>,
    plain: Zeroizing<Vec<u8>>,
}

/// Checks chunk `number` in every way and returns its piece.
pub(super) fn open_chunk<'a>(
    number: usize,
    entry: &IndexEntry,
    sealed: &[u8],
    scratch: &'a mut Scratch,
) -> Result<&'a [u8], ArtifactError> {
    let expected = entry.chunk_bytes as usize;
    if sealed.len() != expected {
        return Err(ArtifactError::ChunkLength { number, found: sealed.len(), expected });
    }
    let found = ChunkId::of(sealed);
    if found != entry.id {
        return Err(ArtifactError::ChunkHash { number, found, expected: entry.id });
    }
    scratch.sealed.clear();
    scratch.sealed.extend_from_slice(sealed);
    let opened = aead_key(&entry.key)
        .open_in_place(zero_nonce(), aead::Aad::empty(), &mut scratch.sealed)
        .map_err(|_| ArtifactError::ChunkSeal { number })?;
    let piece = decode(number, entry.piece_bytes as usize, opened, &mut scratch.plain)?;
    if Digest::of(piece) != entry.piece_sha256 {
        return Err(ArtifactError::ChunkPlaintext { number, what: "its SHA-256 differs" });
    }
    Ok(piece)
}

/// Codec byte ‖ data, with room for the tag.
fn encode(piece: &[u8]) -> Result<Vec<u8>, ArtifactError> {
    let packed = zstd::bulk::compress(piece, ZSTD_LEVEL)
        .map_err(|e| ArtifactError::Compress(e.to_string()))?;
    let worth_it = packed.len() * 100 <= piece.len() * (100 - MIN_SAVING_PERCENT);
    let (codec, data) = if worth_it { (CODEC_ZSTD, &packed[..]) } else { (CODEC_RAW, piece) };
    let mut bytes = Vec::with_capacity(data.len() + CHUNK_OVERHEAD_BYTES);
    bytes.push(codec);
    bytes.extend_from_slice(data);
    Ok(bytes)
}

/// The way back. Decompression stops at `piece_bytes`, whatever the frame claims.
fn decode<'a>(
    number: usize,
    piece_bytes: usize,
    opened: &'a [u8],
    plain: &'a mut Vec<u8>,
) -> Result<&'a [u8], ArtifactError> {
    let wrong = |what| ArtifactError::ChunkPlaintext { number, what };
    let (&codec, data) = opened.split_first().ok_or(wrong("it is empty"))?;
    let piece: &[u8] = match codec {
        CODEC_RAW => data,
        CODEC_ZSTD => {
            plain.resize(piece_bytes, 0);
            let n = zstd::bulk::decompress_to_buffer(data, &mut plain[..])
                .map_err(|_| wrong("it does not decompress to the length in the index"))?;
            &plain[..n]
        }
        codec => return Err(ArtifactError::ChunkCodec { number, codec }),
    };
    if piece.len() != piece_bytes {
        return Err(wrong("its length differs"));
    }
    Ok(piece)
}

fn aead_key(key: &ChunkKey) -> aead::LessSafeKey {
    let key = aead::UnboundKey::new(&aead::AES_256_GCM, key.expose())
        .expect("AES-256 takes a key of 32 bytes");
    aead::LessSafeKey::new(key)
}

/// Safe only because a chunk key belongs to one plaintext: see the module comment of the format.
fn zero_nonce() -> aead::Nonce {
    aead::Nonce::assume_unique_for_key([0; aead::NONCE_LEN])
}
