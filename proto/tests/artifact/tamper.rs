//! A thousand tampered inputs of each kind: manifests, indexes and chunks, with other bytes or properly
//! signed and sealed for something else. None is accepted and none is a panic.

use crate::common::{Published, data_key, manifest, open, publish, release_key, subject};
use crate::random::Random;
use edgeformer_proto::artifact::{
    ArtifactError, ChunkIndex, ChunkKey, ChunkOpener, ChunkSecret, DataKey, Digest, Expected,
    IndexEntry, MANIFEST_TYPE, Manifest, Opener, seal_piece,
};
use edgeformer_proto::ids::{TenantId, VersionId};
use ring::aead;
use ring::rand::SystemRandom;

const INPUTS: u64 = 1_000;
const PAYLOAD: &[u8] = b"a first piece, a second one that is longer, and a third";
const CUTS: [u64; 2] = [14, 43];

impl Random {
    /// Something near to the subject that is not the subject.
    fn other_subject(&mut self) -> Expected {
        let mut other = subject(1, 2);
        let mut bytes = [1; 16];
        match self.below(4) {
            0 => {
                bytes[self.below(16)] ^= 1 << self.below(8);
                other.tenant = TenantId::from_bytes(bytes);
            }
            1 => {
                bytes = [2; 16];
                bytes[self.below(16)] ^= 1 << self.below(8);
                other.version_id = VersionId::from_bytes(bytes);
            }
            2 => other.model = format!("smollm{}", 3 + self.below(9000)).parse().unwrap(),
            _ => other.version.patch += 1 + self.next() % 9000,
        }
        other
    }

    /// `bytes` with a bit flipped, cut, or with more at the end.
    fn spoil(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut spoilt = bytes.to_vec();
        match self.below(4) {
            0 => spoilt.truncate(self.below(bytes.len())),
            1 => spoilt.push(self.next() as u8),
            _ => spoilt[self.below(bytes.len())] ^= 1 << self.below(8),
        }
        spoilt
    }
}

/// Makes the inputs of a kind; each must be refused. Prints the seed of one that was not.
fn check<T: std::fmt::Debug>(
    seed: u64,
    input: impl Fn(u64, &mut Random) -> (&'static str, Result<T, ArtifactError>),
) {
    let mut kinds = std::collections::BTreeMap::new();
    for number in 0..INPUTS {
        let mut random = Random(seed + number);
        let (what, outcome) = input(number, &mut random);
        let seed = seed + number;
        assert!(outcome.is_err(), "seed {seed:#x}: {what} was accepted: {outcome:?}");
        *kinds.entry(what).or_insert(0) += 1;
    }
    assert!(kinds.values().all(|count| *count >= 50), "{kinds:?}");
}

fn version() -> (Published, ChunkIndex) {
    let published = publish(PAYLOAD, &CUTS, &subject(1, 2));
    let index = ChunkIndex::open(&data_key(), &subject(1, 2), &published.sealed_index).unwrap();
    (published, index)
}

#[test]
fn a_thousand_tampered_manifests_are_refused() {
    let (published, index) = version();
    let right = Digest::of(&published.envelope);
    open(&published, &right, &subject(1, 2)).expect("what is not tampered with opens");
    let verify = |envelope: &[u8], pin: &Digest| {
        Manifest::verify(envelope, pin, &release_key(9).public(), &subject(1, 2))
    };
    let of = |subject: &Expected| manifest(subject, &index, &published.sealed_index);
    check(0x7a4e_0001, |number, random| match number % 6 {
        0 => {
            let spoilt = random.spoil(&published.envelope);
            ("other bytes", verify(&spoilt, &right))
        }
        1 => {
            // Whoever spoilt it has the desired state pin it, too.
            let mut text: serde_json::Value = serde_json::from_slice(&published.envelope).unwrap();
            let field = ["payload", "payloadType"][random.below(2)];
            let spoilt = random.spoil(text[field].as_str().unwrap().as_bytes());
            text[field] = String::from_utf8_lossy(&spoilt).into_owned().into();
            let envelope = text.to_string().into_bytes();
            ("signed bytes exchanged, and pinned", verify(&envelope, &Digest::of(&envelope)))
        }
        2 => {
            let envelope = of(&random.other_subject()).sign(&release_key(9));
            ("signed for something else", verify(&envelope, &Digest::of(&envelope)))
        }
        3 => {
            let other_key = release_key(10 + random.below(200) as u8);
            let envelope = of(&subject(1, 2)).sign(&other_key);
            ("signed with another tenant's key", verify(&envelope, &Digest::of(&envelope)))
        }
        4 => {
            let mut text: serde_json::Value = serde_json::from_slice(&published.envelope).unwrap();
            text["payloadType"] = format!("{MANIFEST_TYPE}{}", random.below(100)).into();
            let envelope = text.to_string().into_bytes();
            ("in the role of another document", verify(&envelope, &Digest::of(&envelope)))
        }
        _ => {
            // A true manifest of the same version, signed as it should be, that nobody pinned.
            let mut other = of(&subject(1, 2));
            other.payload.size_bytes += 1 + random.next() % 1000;
            ("signed and not pinned", verify(&other.sign(&release_key(9)), &right))
        }
    });
}

#[test]
fn a_thousand_tampered_indexes_are_refused() {
    let (published, index) = version();
    let manifest = Manifest::verify(
        &published.envelope,
        &Digest::of(&published.envelope),
        &release_key(9).public(),
        &subject(1, 2),
    )
    .unwrap();
    let opens = |key: &DataKey, sealed: &[u8]| ChunkIndex::open(key, &subject(1, 2), sealed);
    let system = SystemRandom::new();
    check(0x7a4e_0002, |number, random| match number % 6 {
        0 => {
            let spoilt = random.spoil(&published.sealed_index);
            ("other bytes", manifest.open_index(&data_key(), &spoilt))
        }
        1 => {
            let spoilt = random.spoil(&published.sealed_index);
            ("other bytes, and the manifest says so", opens(&data_key(), &spoilt))
        }
        2 => {
            let mut other = random.other_subject();
            // The index is of a version's id; its number is the manifest's to say.
            if other.version != subject(1, 2).version {
                other.version_id = VersionId::from_bytes([3; 16]);
            }
            let sealed = index.seal(&data_key(), &other, &system).unwrap();
            ("sealed for something else", opens(&data_key(), &sealed))
        }
        3 => {
            let mut key = [0x44; 32];
            key[random.below(32)] ^= 1 << random.below(8);
            ("with another data key", opens(&DataKey::from(key), &published.sealed_index))
        }
        4 => {
            let sealed = index.seal(&data_key(), &subject(1, 2), &system).unwrap();
            ("sealed properly and not signed", manifest.open_index(&data_key(), &sealed))
        }
        _ => {
            let mut entries = index.entries().to_vec();
            impossible(&mut entries, random);
            let wrong = ChunkIndex::new(index.payload_sha256(), entries).unwrap();
            let sealed = wrong.seal(&data_key(), &subject(1, 2), &system).unwrap();
            ("sealed properly, of chunks that cannot be", opens(&data_key(), &sealed))
        }
    });
}

/// Lengths that no chunk has.
fn impossible(entries: &mut [IndexEntry], random: &mut Random) {
    let at = random.below(entries.len());
    let entry = &mut entries[at];
    match random.below(4) {
        0 => entry.piece_bytes = 0,
        1 => entry.piece_bytes = u32::MAX - random.below(1000) as u32,
        2 => entry.chunk_bytes = random.below(18) as u32,
        _ => entry.chunk_bytes = u32::MAX - random.below(1000) as u32,
    }
}

#[test]
fn a_thousand_tampered_chunks_are_refused() {
    let (published, index) = version();
    let theirs = ChunkSecret::from([0x12; 32]);
    let ours = ChunkSecret::from([0x11; 32]);
    check(0x7a4e_0003, |number, random| {
        let at = random.below(index.entries().len());
        let right = &published.chunks[&index.entries()[at].id];
        let opens = |index: &ChunkIndex, sealed: Vec<u8>| {
            ChunkOpener::default().open(index, at, sealed).map(drop)
        };
        match number % 6 {
            0 => ("other bytes", opens(&index, random.spoil(right))),
            1 => {
                let other = (at + 1 + random.below(2)) % 3;
                let sealed = published.chunks[&index.entries()[other].id].clone();
                ("another chunk of the version", opens(&index, sealed))
            }
            2 => {
                let range = [0..14, 14..43, 43..PAYLOAD.len()][at].clone();
                let sealed = seal_piece(&theirs, &PAYLOAD[range]).unwrap().sealed;
                ("the same piece of another tenant", opens(&index, sealed))
            }
            3 => {
                let mut piece = vec![0; index.entries()[at].piece_bytes as usize];
                piece.fill_with(|| random.next() as u8);
                (
                    "another piece of the tenant",
                    opens(&index, seal_piece(&ours, &piece).unwrap().sealed),
                )
            }
            4 => {
                // Who has the version's data key can seal anything with a chunk's key.
                let mut piece = vec![0; index.entries()[at].piece_bytes as usize];
                piece.fill_with(|| random.next() as u8);
                let sealed = seal_with(&index.entries()[at].key, 0, &piece);
                ("sealed with the chunk's own key", opens(&index, sealed))
            }
            _ => ("an index whose chunks are not its payload", disagrees(&index, random)),
        }
    });
}

fn seal_with(key: &ChunkKey, codec: u8, piece: &[u8]) -> Vec<u8> {
    let key = aead::UnboundKey::new(&aead::AES_256_GCM, key.expose()).unwrap();
    let mut sealed = [&[codec], piece].concat();
    let nonce = aead::Nonce::assume_unique_for_key([0; 12]);
    let key = aead::LessSafeKey::new(key);
    key.seal_in_place_append_tag(nonce, aead::Aad::empty(), &mut sealed).unwrap();
    sealed
}

/// Chunks that are right one by one: a piece exchanged, and the payload's hash left as it was; or a
/// codec or a length that does not fit, in a chunk with the right hash.
fn disagrees(index: &ChunkIndex, random: &mut Random) -> Result<(), ArtifactError> {
    let mut entries = index.entries().to_vec();
    let at = random.below(entries.len());
    let mut piece = vec![0; entries[at].piece_bytes as usize];
    piece.fill_with(|| random.next() as u8);
    let codec = [0, 1, 2 + random.below(254) as u8][random.below(3)];
    let sealed = seal_with(&entries[at].key, codec, &piece);
    entries[at].id = edgeformer_proto::artifact::ChunkId::of(&sealed);
    let wrong = ChunkIndex::new(index.payload_sha256(), entries)?;
    let published = publish(PAYLOAD, &CUTS, &subject(1, 2));
    let mut opener = Opener::new(&wrong);
    while let Some(entry) = opener.wanted() {
        let stored = published.chunks.get(&entry.id).unwrap_or(&sealed);
        opener.open(stored)?;
    }
    opener.finish()
}
