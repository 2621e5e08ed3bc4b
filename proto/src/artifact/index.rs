//! The chunk index: which chunks make a payload, with the key and hash of each. It holds keys, so it
//! exists sealed everywhere but in the memory of those who opened it.

use ring::aead;
use ring::rand::SecureRandom;
use zeroize::Zeroizing;

use super::{
    ArtifactError, CHUNK_OVERHEAD_BYTES, ChunkId, ChunkKey, DataKey, Digest, Expected, MAX_CHUNKS,
    PIECE_BYTES, random_bytes,
};

const MAGIC: &[u8; 4] = b"EFIX";
const SEALED_MAGIC: &[u8; 4] = b"EFSX";
/// Written and read.
const FORMAT: u16 = 2;
/// Read: it had the SHA-256 of each piece between key and lengths, which the chunk's says already.
const FORMAT_WITH_PIECE_HASHES: u16 = 1;
/// Of the frame around an index.
const SEALED_FORMAT: u16 = 1;
const HEADER_BYTES: usize = 52;
const ENTRY_BYTES: usize = 72;
const PIECE_HASH_BYTES: usize = 32;
const SEALED_HEADER_BYTES: usize = 8 + aead::NONCE_LEN;
const TAG_BYTES: usize = 16;

/// Longest sealed index, in bytes: that of [`MAX_CHUNKS`] chunks, in the longest of the formats.
pub const MAX_SEALED_INDEX_BYTES: usize =
    SEALED_HEADER_BYTES + HEADER_BYTES + MAX_CHUNKS * (ENTRY_BYTES + PIECE_HASH_BYTES) + TAG_BYTES;

/// One chunk of a payload.
#[derive(Debug, Clone)]
pub struct IndexEntry {
    /// SHA-256 of the sealed chunk.
    pub id: ChunkId,
    /// Opens the chunk.
    pub key: ChunkKey,
    /// Length of the piece: 1..=[`PIECE_BYTES`].
    pub piece_bytes: u32,
    /// Length of the sealed chunk.
    pub chunk_bytes: u32,
}

/// All chunks of a payload, in order; they add up to it.
#[derive(Debug, Clone)]
pub struct ChunkIndex {
    payload_bytes: u64,
    payload_sha256: Digest,
    entries: Vec<IndexEntry>,
}

impl ChunkIndex {
    /// The index of the payload with this SHA-256, whose pieces are `entries`.
    pub fn new(payload_sha256: Digest, entries: Vec<IndexEntry>) -> Result<Self, ArtifactError> {
        let payload_bytes = entries.iter().map(|e| u64::from(e.piece_bytes)).sum();
        if entries.is_empty() {
            return Err(ArtifactError::EmptyPayload);
        }
        if entries.len() > MAX_CHUNKS {
            return Err(ArtifactError::TooManyChunks { size: payload_bytes });
        }
        Ok(Self { payload_bytes, payload_sha256, entries })
    }

    /// Length of the payload in bytes.
    pub fn payload_bytes(&self) -> u64 {
        self.payload_bytes
    }

    /// SHA-256 of the payload.
    pub fn payload_sha256(&self) -> Digest {
        self.payload_sha256
    }

    /// The chunks in payload order; one chunk may stand here more than once.
    pub fn entries(&self) -> &[IndexEntry] {
        &self.entries
    }

    /// Sum of the sealed chunks' lengths, repeated ones counted each time.
    pub fn chunk_bytes(&self) -> u64 {
        self.entries.iter().map(|e| u64::from(e.chunk_bytes)).sum()
    }

    /// The line of chunk `number`.
    pub(super) fn entry(&self, number: usize) -> Result<&IndexEntry, ArtifactError> {
        let chunks = self.entries.len();
        self.entries.get(number).ok_or(ArtifactError::ChunkBeyondEnd { number, chunks })
    }

    /// The sealed form, bound to what `subject` names.
    pub fn seal(
        &self,
        key: &DataKey,
        subject: &Expected,
        random: &dyn SecureRandom,
    ) -> Result<Vec<u8>, ArtifactError> {
        let nonce = random_bytes(random)?;
        let mut text = self.encode();
        let tag = aead_key(key)
            .seal_in_place_separate_tag(
                aead::Nonce::assume_unique_for_key(nonce),
                aead::Aad::from(associated_data(subject)),
                &mut text,
            )
            .expect("an index is far below the limit of AES-GCM");
        let mut sealed = Vec::with_capacity(SEALED_HEADER_BYTES + text.len() + TAG_BYTES);
        sealed.extend_from_slice(SEALED_MAGIC);
        sealed.extend_from_slice(&SEALED_FORMAT.to_le_bytes());
        sealed.extend_from_slice(&[0; 2]);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&text);
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    /// Opens and checks a sealed index. Prefer [`super::Manifest::open_index`], which also checks
    /// that it is the one the publisher signed.
    pub fn open(key: &DataKey, subject: &Expected, sealed: &[u8]) -> Result<Self, ArtifactError> {
        if sealed.len() > MAX_SEALED_INDEX_BYTES {
            let what = "it is longer than any index may be";
            return Err(ArtifactError::Index { offset: MAX_SEALED_INDEX_BYTES, what });
        }
        let mut reader = Reader { bytes: sealed, at: 0 };
        reader.preamble(SEALED_MAGIC, &[SEALED_FORMAT])?;
        let nonce = aead::Nonce::assume_unique_for_key(reader.array()?);
        let mut text = Zeroizing::new(reader.rest().to_vec());
        let text = aead_key(key)
            .open_in_place(nonce, aead::Aad::from(associated_data(subject)), &mut text)
            .map_err(|_| ArtifactError::IndexSeal)?;
        Self::decode(text)
    }

    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(self.encoded_bytes()));
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&self.payload_bytes.to_le_bytes());
        out.extend_from_slice(self.payload_sha256.as_bytes());
        out.extend_from_slice(&(self.entries.len() as u32).to_le_bytes());
        for entry in &self.entries {
            out.extend_from_slice(entry.id.as_bytes());
            out.extend_from_slice(entry.key.expose());
            out.extend_from_slice(&entry.piece_bytes.to_le_bytes());
            out.extend_from_slice(&entry.chunk_bytes.to_le_bytes());
        }
        out
    }

    fn encoded_bytes(&self) -> usize {
        HEADER_BYTES + self.entries.len() * ENTRY_BYTES
    }

    fn decode(bytes: &[u8]) -> Result<Self, ArtifactError> {
        let mut reader = Reader { bytes, at: 0 };
        let format = reader.preamble(MAGIC, &[FORMAT, FORMAT_WITH_PIECE_HASHES])?;
        let hash_bytes = if format == FORMAT { 0 } else { PIECE_HASH_BYTES };
        let payload_bytes = u64::from_le_bytes(reader.array()?);
        let payload_sha256 = Digest::from(reader.array()?);
        let chunks = u32::from_le_bytes(reader.array()?) as usize;
        if chunks == 0
            || chunks > MAX_CHUNKS
            || reader.left() != chunks * (ENTRY_BYTES + hash_bytes)
        {
            return Err(reader.wrong("the number of chunks does not fit"));
        }
        let entries =
            (0..chunks).map(|_| reader.entry(hash_bytes)).collect::<Result<Vec<_>, _>>()?;
        let index = Self::new(payload_sha256, entries)?;
        if index.payload_bytes != payload_bytes {
            return Err(reader.wrong("the pieces do not add up to the payload"));
        }
        Ok(index)
    }
}

/// What the sealed index is bound to: it opens for nothing else.
fn associated_data(subject: &Expected) -> Vec<u8> {
    let model = subject.model.as_str().as_bytes();
    let mut aad = b"edgeformer index v1".to_vec();
    aad.extend_from_slice(subject.tenant.as_bytes());
    aad.extend_from_slice(subject.version_id.as_bytes());
    aad.extend_from_slice(&(model.len() as u16).to_le_bytes());
    aad.extend_from_slice(model);
    aad
}

fn aead_key(key: &DataKey) -> aead::LessSafeKey {
    let key = aead::UnboundKey::new(&aead::AES_256_GCM, key.expose())
        .expect("AES-256 takes a key of 32 bytes");
    aead::LessSafeKey::new(key)
}

/// Reads fields and knows where it is, for the error message.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], ArtifactError> {
        let array = self.bytes[self.at..].first_chunk::<N>().ok_or(self.wrong("it ends early"))?;
        self.at += N;
        Ok(*array)
    }

    /// Reads magic and format, and returns the format.
    fn preamble(&mut self, magic: &[u8; 4], formats: &[u16]) -> Result<u16, ArtifactError> {
        if self.array::<4>()? != *magic {
            return Err(ArtifactError::Index { offset: 0, what: "the magic is wrong" });
        }
        let what = "its format is newer than this program: update it";
        let format = u16::from_le_bytes(self.array()?);
        if !formats.contains(&format) {
            return Err(ArtifactError::Index { offset: 4, what });
        }
        if self.array::<2>()? != [0; 2] {
            return Err(ArtifactError::Index { offset: 6, what: "reserved bytes are not zero" });
        }
        Ok(format)
    }

    /// One line; `hash_bytes` of it say nothing that is read.
    fn entry(&mut self, hash_bytes: usize) -> Result<IndexEntry, ArtifactError> {
        let id = ChunkId::from(self.array()?);
        let key = ChunkKey::from(self.array()?);
        // The caller compared the length with the number of lines.
        self.at += hash_bytes;
        let entry = IndexEntry {
            id,
            key,
            piece_bytes: u32::from_le_bytes(self.array()?),
            chunk_bytes: u32::from_le_bytes(self.array()?),
        };
        let (piece, chunk) = (entry.piece_bytes as usize, entry.chunk_bytes as usize);
        if piece == 0 || piece > PIECE_BYTES {
            return Err(self.wrong("a piece has no length that the format knows"));
        }
        if chunk <= CHUNK_OVERHEAD_BYTES || chunk > piece + CHUNK_OVERHEAD_BYTES {
            return Err(self.wrong("a chunk's length does not fit its piece"));
        }
        Ok(entry)
    }

    fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn wrong(&self, what: &'static str) -> ArtifactError {
        ArtifactError::Index { offset: self.at, what }
    }
}
