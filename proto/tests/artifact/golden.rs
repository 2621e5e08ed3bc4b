//! Golden vectors: what the first release writes, later ones must write and read. A change here
//! makes stored versions unreadable, or useless for deduplication against new ones.
//!
//! The vectors were made with pyca/cryptography from the format's description alone, except for the
//! zstd frame, which is libzstd's.

use crate::common::{data_key, manifest, open_chunk, release_key, subject};
use data_encoding::HEXLOWER;
use edgeformer_proto::artifact::{ChunkIndex, ChunkSecret, Digest, Manifest, seal_piece};

/// `EdgeFormer` as one raw piece of the tenant with the secret 11…11.
const RAW_KEY: &str = "96d56142584677e11333240386e24022d8faf5b173df64fbdf71b5e9c9e791ab";
const RAW_SEALED: &str = "cef3573eea64abe507831d8a38f9dc325fc65f5e7ade362257e589";
const RAW_ID: &str = "4b07771a4d6ee53398da46d04c5826febc76d5e069f8fc3e6a82404d51fd98ff";

/// 4096 zero bytes of the same tenant: compressed.
const ZSTD_SEALED: &str =
    "23eb743e3dc76a7ee11f1c833aeed1abd1d2aeca19f0829cf0f660de6dda95ba31c180a6";
const ZSTD_ID: &str = "4340b581125913ee33beda9b34526f9ce3a33ac74515790e8d123e08a27d4c5a";

/// `Edge` and `Former` as two pieces, the index sealed under 44…44 with the nonce 00 01 … 0b, for
/// tenant 01…01, model smollm2, version id 02…02.
const SEALED_INDEX: &str = concat!(
    "4546535801000000000102030405060708090a0b8e5e3180ba5c176a7d8d84a71aff0be2d549d3569ffdf0b1",
    "1dadc716f0fe01cf7ae2ffdc288b75ef3e51c686c041d3301a6e1c84c05fdbee8cbd8e9ff0fd3cb8784c34de",
    "7524685cf95cfe82cd4222363ab4e30ececf7ec6beed1c1ef4d6fc0afa6396850371dbdcc39f16782d5ea2fb",
    "81cb0cfdbdbe98bc99926ffbbc22e47abcbe06756ac7bc45bea17efb113f8b3fe7fe00316dd14dd2e9833c81",
    "2ff9848516044d8c533d50613a9712cb1334a38720c362c8872a3cace9065e5f90019037fc1e4302321ff268",
    "597effdf594e13d096824936",
);

/// The same in format 1, which is read and not written any more.
const SEALED_INDEX_1: &str = concat!(
    "4546535801000000000102030405060708090a0b8e5e3180b95c176a7d8d84a71aff0be2d549d3569ffdf0b1",
    "1dadc716f0fe01cf7ae2ffdc288b75ef3e51c686c041d3301a6e1c84c05fdbee8cbd8e9ff0fd3cb8784c34de",
    "7524685cf95cfe82cd4222363ab4e30ececf7ec6beed1c1ef4d6fc0afa6396850371dbdcc39f16782d5ea2fb",
    "81cb0cfdb63c66cefbc48461454bc44861ac947ab24247617e42d83ed38533e96a7328f8b73d67ff6b1847b4",
    "9fc592c90918f9393d0b72e6214c81263dac065ad692f275307f3f477a1bed685fb44f1ca8e28a9ed6194cce",
    "611c783331447c80e12ba74fcbd7d0291a3c582a14c9841867aba83fe56043285efebfbe5b3ff146760f7087",
    "2ecce2f0b9bf5216f68820a8cd3644e5df67e1bf096aa5b420cb064498e128ec",
);

/// Public half of the release key with the seed 09…09.
const RELEASE_PUBLIC: &str = "fd1724385aa0c75b64fb78cd602fa1d991fdebf76b13c58ed702eac835e9f618";

/// SHA-256 of the signed envelope. Ed25519 is deterministic, so this covers field names, their
/// order, the signature and the encoding.
const ENVELOPE_SHA256: &str = "1e711c145e0a213f2257609a55f67c0ec50493054036719f18dca12f47a3234d";

fn secret() -> ChunkSecret {
    ChunkSecret::from([0x11; 32])
}

fn unhex(text: &str) -> Vec<u8> {
    HEXLOWER.decode(text.as_bytes()).unwrap()
}

#[test]
fn a_raw_chunk_has_these_bytes() {
    let chunk = seal_piece(&secret(), b"EdgeFormer").unwrap();
    assert_eq!(HEXLOWER.encode(chunk.entry.key.expose()), RAW_KEY);
    assert_eq!(HEXLOWER.encode(&chunk.sealed), RAW_SEALED);
    assert_eq!(chunk.entry.id.to_string(), RAW_ID);
    assert_eq!(chunk.entry.piece_bytes, 10);
    assert_eq!(chunk.entry.chunk_bytes, 27);
    let other = seal_piece(&ChunkSecret::from([0x12; 32]), b"EdgeFormer").unwrap();
    assert_ne!(other.entry.id, chunk.entry.id, "tenants share no chunks");
}

#[test]
fn a_compressed_chunk_has_these_bytes_and_opens() {
    let chunk = seal_piece(&secret(), &[0; 4096]).unwrap();
    assert_eq!(HEXLOWER.encode(&chunk.sealed), ZSTD_SEALED);
    assert_eq!(chunk.entry.id.to_string(), ZSTD_ID);
    let index = ChunkIndex::new(Digest::of(&[0; 4096]), vec![chunk.entry]).unwrap();
    assert_eq!(*open_chunk(&index, 0, &unhex(ZSTD_SEALED)).unwrap(), [0; 4096]);
}

#[test]
fn a_stored_index_opens_to_what_was_sealed() {
    for sealed in [SEALED_INDEX, SEALED_INDEX_1] {
        let index = ChunkIndex::open(&data_key(), &subject(1, 2), &unhex(sealed)).unwrap();
        check_index(&index);
    }
}

fn check_index(index: &ChunkIndex) {
    assert_eq!(index.payload_bytes(), 10);
    assert_eq!(index.payload_sha256(), Digest::of(b"EdgeFormer"));
    let pieces: [&[u8]; 2] = [b"Edge", b"Former"];
    assert_eq!(index.entries().len(), pieces.len());
    for (number, piece) in pieces.into_iter().enumerate() {
        let sealed = seal_piece(&secret(), piece).unwrap().sealed;
        assert_eq!(*open_chunk(index, number, &sealed).unwrap(), *piece);
    }
}

#[test]
fn a_signed_manifest_has_these_bytes() {
    let index = ChunkIndex::open(&data_key(), &subject(1, 2), &unhex(SEALED_INDEX)).unwrap();
    let manifest = manifest(&subject(1, 2), &index, b"index");
    let envelope = manifest.sign(&release_key(9));
    assert_eq!(HEXLOWER.encode(release_key(9).public().as_bytes()), RELEASE_PUBLIC);
    assert_eq!(Digest::of(&envelope).to_string(), ENVELOPE_SHA256);
    let pin = ENVELOPE_SHA256.parse().unwrap();
    let read = Manifest::verify(&envelope, &pin, &release_key(9).public(), &subject(1, 2));
    assert_eq!(read.unwrap(), manifest);
}
