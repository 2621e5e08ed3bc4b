//! One piece, compressed and sealed, and the way back.

use std::fmt;
use std::ops::{Deref, Range};

use ring::aead;
use zeroize::{Zeroize, Zeroizing};

use super::{
    ArtifactError, CHUNK_OVERHEAD_BYTES, ChunkId, ChunkIndex, ChunkKey, ChunkSecret, IndexEntry,
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

/// Seals pieces, one after the other, with what compressing needs kept from one to the next.
pub struct Sealer {
    secret: ChunkSecret,
    compressor: zstd::bulk::Compressor<'static>,
    packed: Zeroizing<Vec<u8>>,
}

impl Sealer {
    /// For the tenant with this secret.
    pub fn new(secret: &ChunkSecret) -> Result<Self, ArtifactError> {
        let compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL).map_err(failed)?;
        Ok(Self { secret: secret.clone(), compressor, packed: Zeroizing::default() })
    }

    /// Seals one piece of 1 to [`PIECE_BYTES`] bytes. Deterministic: equal pieces give equal chunks.
    pub fn seal(&mut self, piece: &[u8]) -> Result<SealedChunk, ArtifactError> {
        if piece.is_empty() || piece.len() > PIECE_BYTES {
            return Err(ArtifactError::PieceLength { bytes: piece.len(), max: PIECE_BYTES });
        }
        let mut sealed = self.encode(piece)?;
        let key = self.secret.chunk_key(&sealed);
        aead_key(&key)
            .seal_in_place_append_tag(zero_nonce(), aead::Aad::empty(), &mut sealed)
            .expect("a piece is far below the limit of AES-GCM");
        let entry = IndexEntry {
            id: ChunkId::of(&sealed),
            key,
            piece_bytes: piece.len() as u32,
            chunk_bytes: sealed.len() as u32,
        };
        Ok(SealedChunk { entry, sealed })
    }

    /// Codec byte ‖ data, with room for the tag.
    fn encode(&mut self, piece: &[u8]) -> Result<Vec<u8>, ArtifactError> {
        // Once, for the longest piece: a buffer that grew would leave what was in it behind.
        self.packed.clear();
        self.packed.reserve_exact(zstd::zstd_safe::compress_bound(PIECE_BYTES));
        self.compressor.compress_to_buffer(piece, &mut *self.packed).map_err(failed)?;
        let worth_it = self.packed.len() * 100 <= piece.len() * (100 - MIN_SAVING_PERCENT);
        let (codec, data) =
            if worth_it { (CODEC_ZSTD, &self.packed[..]) } else { (CODEC_RAW, piece) };
        let mut bytes = Vec::with_capacity(data.len() + CHUNK_OVERHEAD_BYTES);
        bytes.push(codec);
        bytes.extend_from_slice(data);
        Ok(bytes)
    }
}

/// As [`Sealer::seal`], for one piece.
pub fn seal_piece(secret: &ChunkSecret, piece: &[u8]) -> Result<SealedChunk, ArtifactError> {
    Sealer::new(secret)?.seal(piece)
}

fn failed(error: std::io::Error) -> ArtifactError {
    ArtifactError::Compress(error.to_string())
}

/// An opened piece, wiped when it is dropped.
pub struct Piece {
    buffer: Vec<u8>,
    /// Where in the buffer it is.
    range: Range<usize>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[self.range.clone()]
    }
}

impl Deref for Piece {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.as_ref()
    }
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Piece({} bytes)", self.range.len())
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        // As a slice: a vector is wiped byte by byte, which takes as long as opening it.
        self.buffer.as_mut_slice().zeroize();
    }
}

/// Opens single chunks, in any order. What comes out is, bit for bit, what was sealed by who made the
/// index, which names each chunk by its SHA-256. Whether the pieces are the payload that the manifest
/// names says [`super::Opener`].
#[derive(Default)]
pub struct ChunkOpener {
    decompressor: Option<zstd::bulk::Decompressor<'static>>,
}

impl ChunkOpener {
    /// Opens chunk `number` in place. Nothing is decrypted before the hash was right, and nothing is
    /// decompressed before the tag was.
    pub fn open(
        &mut self,
        index: &ChunkIndex,
        number: usize,
        mut sealed: Vec<u8>,
    ) -> Result<Piece, ArtifactError> {
        let entry = index.entry(number)?;
        let expected = entry.chunk_bytes as usize;
        if sealed.len() != expected {
            return Err(ArtifactError::ChunkLength { number, found: sealed.len(), expected });
        }
        let found = ChunkId::of(&sealed);
        if found != entry.id {
            return Err(ArtifactError::ChunkHash { number, found, expected: entry.id });
        }
        let opened = aead_key(&entry.key).open_in_place(
            zero_nonce(),
            aead::Aad::empty(),
            sealed.as_mut_slice(),
        );
        let opened_bytes = opened.map_err(|_| ArtifactError::ChunkSeal { number })?.len();
        let encoded = Piece { buffer: sealed, range: 0..opened_bytes };
        self.decode(number, entry.piece_bytes as usize, encoded)
    }

    /// The piece in codec byte ‖ data. Decompression stops at `piece_bytes`, whatever the frame claims.
    fn decode(
        &mut self,
        number: usize,
        piece_bytes: usize,
        mut encoded: Piece,
    ) -> Result<Piece, ArtifactError> {
        let wrong = |what| ArtifactError::ChunkPlaintext { number, what };
        let (&codec, data) = encoded.split_first().ok_or(wrong("it is empty"))?;
        let piece = match codec {
            CODEC_RAW => {
                encoded.range.start += 1;
                encoded
            }
            CODEC_ZSTD => self.decompress(piece_bytes, data).map_err(wrong)?,
            codec => return Err(ArtifactError::ChunkCodec { number, codec }),
        };
        if piece.len() != piece_bytes {
            return Err(wrong("its length differs"));
        }
        Ok(piece)
    }

    fn decompress(&mut self, piece_bytes: usize, data: &[u8]) -> Result<Piece, &'static str> {
        let decompressor = match &mut self.decompressor {
            Some(decompressor) => decompressor,
            none => none.insert(
                zstd::bulk::Decompressor::new()
                    .map_err(|_| "there is no memory to decompress it")?,
            ),
        };
        let mut piece = Piece { buffer: vec![0; piece_bytes], range: 0..0 };
        let length = decompressor
            .decompress_to_buffer(data, piece.buffer.as_mut_slice())
            .map_err(|_| "it does not decompress to the length in the index")?;
        piece.range = 0..length;
        Ok(piece)
    }
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
