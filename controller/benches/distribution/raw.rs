//! The reference: zstd level 3, AES-256-GCM and SHA-256 over the bytes of a file, as fast as these
//! libraries go on one core. No index, no signature, no deduplication, one key for everything.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

use ring::{aead, digest};

/// Bytes that are compressed and sealed at a time: as many as in one of our pieces.
const BLOCK_BYTES: usize = 1 << 20;
const LEVEL: i32 = 3;

fn key() -> aead::LessSafeKey {
    let key = aead::UnboundKey::new(&aead::AES_256_GCM, &[7; 32]).expect("32 bytes");
    aead::LessSafeKey::new(key)
}

fn nonce(number: u64) -> aead::Nonce {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    aead::Nonce::assume_unique_for_key(bytes)
}

/// Fills `buffer` as far as the file goes.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> usize {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]).expect("the file reads") {
            0 => break,
            some => filled += some,
        }
    }
    filled
}

/// Compresses, seals and hashes a file; what came out goes to `sealed`, if there is one. Returns the
/// SHA-256 of the file.
pub fn seal(from: &Path, mut sealed: Option<&Path>) -> digest::Digest {
    let mut source = File::open(from).expect("the model");
    let mut sink = sealed.take().map(|path| BufWriter::new(File::create(path).expect("a file")));
    let mut compressor = zstd::bulk::Compressor::new(LEVEL).expect("zstd");
    let (key, mut hash) = (key(), digest::Context::new(&digest::SHA256));
    let mut block = vec![0; BLOCK_BYTES];
    let mut packed = Vec::with_capacity(zstd::zstd_safe::compress_bound(BLOCK_BYTES) + 16);
    for number in 0.. {
        let length = fill(&mut source, &mut block);
        if length == 0 {
            break;
        }
        hash.update(&block[..length]);
        packed.clear();
        compressor.compress_to_buffer(&block[..length], &mut packed).expect("zstd");
        key.seal_in_place_append_tag(nonce(number), aead::Aad::empty(), &mut packed)
            .expect("AES-GCM");
        if let Some(sink) = &mut sink {
            sink.write_all(&(packed.len() as u32).to_le_bytes()).expect("room");
            sink.write_all(&packed).expect("room");
        }
    }
    if let Some(sink) = sink {
        let file = sink.into_inner().expect("room");
        file.sync_all().expect("a disk");
    }
    hash.finish()
}

/// Opens, decompresses and hashes what [`seal`] wrote. Returns the SHA-256 of the whole.
pub fn open(sealed: &Path) -> digest::Digest {
    let mut source = BufReader::new(File::open(sealed).expect("what was sealed"));
    let mut decompressor = zstd::bulk::Decompressor::new().expect("zstd");
    let (key, mut hash) = (key(), digest::Context::new(&digest::SHA256));
    let mut packed = Vec::with_capacity(zstd::zstd_safe::compress_bound(BLOCK_BYTES) + 16);
    let mut block = vec![0; BLOCK_BYTES];
    for number in 0.. {
        let mut length = [0; 4];
        if fill(&mut source, &mut length) < 4 {
            break;
        }
        packed.resize(u32::from_le_bytes(length) as usize, 0);
        fill(&mut source, &mut packed);
        let opened =
            key.open_in_place(nonce(number), aead::Aad::empty(), &mut packed).expect("it opens");
        let length = decompressor.decompress_to_buffer(opened, &mut block[..]).expect("zstd");
        hash.update(&block[..length]);
    }
    hash.finish()
}
