//! A published version in memory, for the tests of the artifact format.

use std::collections::HashMap;

use edgeformer_proto::artifact::{
    ArtifactError, ChunkId, ChunkIndex, ChunkOpener, ChunkSecret, DataKey, Details, Digest,
    Expected, IndexRef, Manifest, Memory, Opener, PayloadRef, Piece, ReleaseKey, pieces,
    seal_piece,
};
use edgeformer_proto::ids::{TenantId, VersionId};
use ring::rand::SystemRandom;

/// What a publisher makes and a device fetches.
#[derive(Clone)]
pub struct Published {
    pub chunks: HashMap<ChunkId, Vec<u8>>,
    pub ids: Vec<ChunkId>,
    pub sealed_index: Vec<u8>,
    pub envelope: Vec<u8>,
}

pub fn subject(tenant: u8, version_id: u8) -> Expected {
    Expected {
        tenant: TenantId::from_bytes([tenant; 16]),
        model: "smollm2".parse().unwrap(),
        version: "1.2.3".parse().unwrap(),
        version_id: VersionId::from_bytes([version_id; 16]),
    }
}

pub fn data_key() -> DataKey {
    DataKey::from([0x44; 32])
}

/// A release key from a fixed seed, in PKCS#8 (RFC 8410, section 10.3).
pub fn release_key(seed: u8) -> ReleaseKey {
    let mut der = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    der.extend_from_slice(&[seed; 32]);
    ReleaseKey::from_pkcs8(&der).unwrap()
}

pub fn publish(payload: &[u8], cuts: &[u64], subject: &Expected) -> Published {
    let secret = ChunkSecret::from([0x11; 32]);
    let (mut chunks, mut entries) = (HashMap::new(), Vec::new());
    for range in pieces(payload.len() as u64, cuts.to_vec()).unwrap() {
        let piece = &payload[range.start as usize..range.end as usize];
        let chunk = seal_piece(&secret, piece).unwrap();
        chunks.insert(chunk.entry.id, chunk.sealed);
        entries.push(chunk.entry);
    }
    let ids = entries.iter().map(|entry| entry.id).collect();
    let index = ChunkIndex::new(Digest::of(payload), entries).unwrap();
    let sealed_index = index.seal(&data_key(), subject, &SystemRandom::new()).unwrap();
    let envelope = manifest(subject, &index, &sealed_index).sign(&release_key(9));
    Published { chunks, ids, sealed_index, envelope }
}

pub fn manifest(subject: &Expected, index: &ChunkIndex, sealed_index: &[u8]) -> Manifest {
    Manifest::new(
        subject.clone(),
        "2026-11-22T10:00:00Z".to_owned(),
        PayloadRef { size_bytes: index.payload_bytes(), sha256: index.payload_sha256() },
        IndexRef {
            sealed_bytes: sealed_index.len() as u64,
            sha256: Digest::of(sealed_index),
            chunks: index.entries().len() as u32,
        },
        Details {
            architecture: "llama".to_owned(),
            quantization: "Q4_1".to_owned(),
            parameters: 134_515_008,
            context_length: 8192,
        },
        Memory { weight_bytes: Some(98_000_000) },
    )
}

/// One chunk alone.
pub fn open_chunk(
    index: &ChunkIndex,
    number: usize,
    sealed: &[u8],
) -> Result<Piece, ArtifactError> {
    ChunkOpener::default().open(index, number, sealed.to_vec())
}

/// What a device does, given the pin of its desired state.
pub fn open(
    published: &Published,
    pin: &Digest,
    expected: &Expected,
) -> Result<Vec<u8>, ArtifactError> {
    let manifest = Manifest::verify(&published.envelope, pin, &release_key(9).public(), expected)?;
    let index = manifest.open_index(&data_key(), &published.sealed_index)?;
    let mut opener = Opener::new(&index);
    let mut payload = Vec::new();
    while let Some(entry) = opener.wanted() {
        payload.extend_from_slice(&opener.open(&published.chunks[&entry.id])?);
    }
    opener.finish()?;
    Ok(payload)
}
