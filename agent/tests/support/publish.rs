//! Seals and signs versions the way a controller does.

use std::collections::HashMap;
use std::sync::Mutex;

use edgeformer_proto::artifact::{
    ChunkIndex, ChunkSecret, DataKey, Details, Digest, Expected, IndexRef, Manifest, Memory,
    PayloadRef, ReleaseKey, seal_piece,
};
use edgeformer_proto::ids::{TenantId, VersionId};
use ring::rand::{SecureRandom as _, SystemRandom};

pub struct Publisher {
    pub tenant: TenantId,
    pub release: ReleaseKey,
    secret: ChunkSecret,
    chunks: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
}

#[derive(Clone)]
pub struct Version {
    pub subject: Expected,
    pub envelope: Vec<u8>,
    pub sealed_index: Vec<u8>,
    pub data_key: DataKey,
    /// The version that the data key is wrapped for; another one than this makes it useless.
    pub wrap_for: VersionId,
    pub payload: Vec<u8>,
    pub chunks: usize,
    pub chunk_ids: Vec<String>,
    /// Of all its chunks, sealed.
    pub chunk_bytes: u64,
}

impl Version {
    pub fn manifest_sha256(&self) -> Digest {
        Digest::of(&self.envelope)
    }
}

impl Publisher {
    pub fn new(tenant: TenantId) -> Self {
        let random = SystemRandom::new();
        let pkcs8 = ReleaseKey::generate_pkcs8(&random).unwrap();
        Self {
            tenant,
            release: ReleaseKey::from_pkcs8(&pkcs8).unwrap(),
            secret: ChunkSecret::generate(&random).unwrap(),
            chunks: Mutex::default(),
        }
    }

    pub fn chunk(&self, id: &[u8]) -> Vec<u8> {
        self.chunks.lock().unwrap()[id].clone()
    }

    /// A version of `pieces` pieces whose content follows from `seed`.
    pub fn publish(&self, number: u64, pieces: usize, seed: u8) -> Version {
        self.publish_signed(number, pieces, seed, Memory::default(), &self.release)
    }

    /// A version of random pieces of this length.
    pub fn publish_random(&self, number: u64, pieces: usize, piece_bytes: usize) -> Version {
        let random = SystemRandom::new();
        let piece = |_| {
            let mut piece = vec![0; piece_bytes];
            random.fill(&mut piece).unwrap();
            piece
        };
        self.publish_pieces(number, (0..pieces).map(piece), Memory::default(), &self.release)
    }

    pub fn publish_signed(
        &self,
        number: u64,
        pieces: usize,
        seed: u8,
        memory: Memory,
        release: &ReleaseKey,
    ) -> Version {
        let piece = |number| {
            let text = format!("piece {number} of {seed}. ");
            text.repeat(40 + number % 7).into_bytes()
        };
        self.publish_pieces(number, (0..pieces).map(piece), memory, release)
    }

    fn publish_pieces(
        &self,
        number: u64,
        pieces: impl ExactSizeIterator<Item = Vec<u8>>,
        memory: Memory,
        release: &ReleaseKey,
    ) -> Version {
        let count = pieces.len();
        let random = SystemRandom::new();
        let subject = Expected {
            tenant: self.tenant,
            model: "m".parse().unwrap(),
            version: semver::Version::new(number, 0, 0),
            version_id: VersionId::new(),
        };
        let mut payload = Vec::new();
        let mut entries = Vec::new();
        for piece in pieces {
            payload.extend_from_slice(&piece);
            let sealed = seal_piece(&self.secret, &piece).unwrap();
            let id = sealed.entry.id.as_bytes().to_vec();
            self.chunks.lock().unwrap().insert(id, sealed.sealed);
            entries.push(sealed.entry);
        }
        let chunk_ids = entries.iter().map(|entry| entry.id.to_string()).collect();
        let chunk_bytes = entries.iter().map(|entry| u64::from(entry.chunk_bytes)).sum();
        let index = ChunkIndex::new(Digest::of(&payload), entries).unwrap();
        let data_key = DataKey::generate(&random).unwrap();
        let sealed_index = index.seal(&data_key, &subject, &random).unwrap();
        let manifest = Manifest::new(
            subject.clone(),
            "2026-11-22T00:00:00Z".to_owned(),
            PayloadRef { size_bytes: payload.len() as u64, sha256: Digest::of(&payload) },
            IndexRef {
                sealed_bytes: sealed_index.len() as u64,
                sha256: Digest::of(&sealed_index),
                chunks: u32::try_from(count).unwrap(),
            },
            Details {
                architecture: "llama".to_owned(),
                quantization: "Q8_0".to_owned(),
                parameters: 1,
                context_length: 64,
            },
            memory,
        );
        let envelope = manifest.sign(release);
        let wrap_for = subject.version_id;
        Version {
            subject,
            envelope,
            sealed_index,
            data_key,
            wrap_for,
            payload,
            chunks: count,
            chunk_ids,
            chunk_bytes,
        }
    }
}
