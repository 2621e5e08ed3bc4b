//! What keys are made of: the public areas that the TPM is asked for, and the wrapped keys that it gives.

use edgeformer_proto::keywrap::HpkePublic;

use super::error::Fault;
use super::wire::{Reader, sized};

/// An uncompressed point.
pub const POINT_BYTES: usize = 65;
/// Longest part of a wrapped key: those of P-256 keys take 90 and 150 bytes.
pub const MAX_PART_BYTES: usize = 1024;

const ALG_NULL: u16 = 0x0010;
const ALG_AES: u16 = 0x0006;
const ALG_CFB: u16 = 0x0043;
const ALG_SHA256: u16 = 0x000b;
const ALG_ECDSA: u16 = 0x0018;
const ALG_ECDH: u16 = 0x0019;
const ALG_ECC: u16 = 0x0023;
const CURVE_P256: u16 = 0x0003;

/// Never leaves this TPM, nor its parent; made by it; no password, and none to be guessed.
const FIXED: u32 = (1 << 1) | (1 << 4) | (1 << 5) | (1 << 6) | (1 << 10);
const RESTRICTED: u32 = 1 << 16;
const DECRYPT: u32 = 1 << 17;
const SIGN: u32 = 1 << 18;

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// ECDSA with SHA-256.
    Signing,
    /// Diffie-Hellman.
    Agreement,
}

impl Kind {
    /// The public area of such a key, without its point.
    fn area(self) -> Vec<u8> {
        match self {
            Self::Signing => area(FIXED | SIGN, &[ALG_NULL], &[ALG_ECDSA, ALG_SHA256]),
            Self::Agreement => area(FIXED | DECRYPT, &[ALG_NULL], &[ALG_ECDH, ALG_SHA256]),
        }
    }

    /// What the TPM is asked for.
    pub(super) fn template(self) -> Vec<u8> {
        [self.area(), sized(&[]), sized(&[])].concat()
    }

    /// The point of `public`, if that is the public area of such a key: with every attribute that was
    /// asked for, and on the curve.
    pub fn point(self, public: &[u8]) -> Result<[u8; POINT_BYTES], Fault> {
        let other = Fault::Reply("another kind of key than was asked for");
        let rest = public.strip_prefix(&self.area()[..]).ok_or(other)?;
        let mut reader = Reader::new(rest);
        let point = read_point(&mut reader)?;
        reader.end()?;
        HpkePublic::try_from(&point[..])
            .map_err(|_| Fault::Reply("a point that is not on the curve"))?;
        Ok(point)
    }
}

/// The storage key under which keys are made: the TCG's template for one on P-256, which is the same key
/// each time until the TPM is cleared.
pub(super) fn storage_template() -> Vec<u8> {
    let attributes = FIXED | RESTRICTED | DECRYPT;
    let area = area(attributes, &[ALG_AES, 128, ALG_CFB], &[ALG_NULL]);
    [area, sized(&[0; 32]), sized(&[0; 32])].concat()
}

/// TPMT_PUBLIC of a P-256 key, up to its point. There is no policy, and no key derivation.
fn area(attributes: u32, symmetric: &[u16], scheme: &[u16]) -> Vec<u8> {
    let words = |words: &[u16]| words.iter().flat_map(|w| w.to_be_bytes()).collect::<Vec<_>>();
    let head = [words(&[ALG_ECC, ALG_SHA256]), attributes.to_be_bytes().to_vec(), sized(&[])];
    [head.concat(), words(symmetric), words(scheme), words(&[CURVE_P256, ALG_NULL])].concat()
}

/// TPMS_ECC_POINT as an uncompressed point.
pub(super) fn read_point(reader: &mut Reader<'_>) -> Result<[u8; POINT_BYTES], Fault> {
    let (x, y) = (reader.scalar()?, reader.scalar()?);
    let mut point = [4; POINT_BYTES];
    point[1..33].copy_from_slice(&x[..]);
    point[33..].copy_from_slice(&y[..]);
    Ok(point)
}

/// An object's name: the hash of its public area.
pub(super) fn name(public: &[u8]) -> Vec<u8> {
    let hash = ring::digest::digest(&ring::digest::SHA256, public);
    [&ALG_SHA256.to_be_bytes()[..], hash.as_ref()].concat()
}

/// A key that one TPM can use, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrappedKey {
    kind: Kind,
    public: Vec<u8>,
    private: Vec<u8>,
    storage_name: Vec<u8>,
    point: [u8; POINT_BYTES],
}

impl WrappedKey {
    /// A key of parts that were stored, or that a TPM gave.
    pub fn new(
        kind: Kind,
        public: &[u8],
        private: &[u8],
        storage_name: &[u8],
    ) -> Result<Self, Fault> {
        let lengths = [public.len(), private.len(), storage_name.len()];
        if lengths.iter().any(|length| *length > MAX_PART_BYTES) || private.is_empty() {
            return Err(Fault::Reply("a wrapped key of another length"));
        }
        let point = kind.point(public)?;
        let [public, private, storage_name] = [public, private, storage_name].map(<[u8]>::to_vec);
        Ok(Self { kind, public, private, storage_name, point })
    }

    /// What it is for.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its public area (TPMT_PUBLIC).
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// Its private part, encrypted by the TPM under the storage key.
    pub fn private(&self) -> &[u8] {
        &self.private
    }

    /// Name of that storage key.
    pub fn storage_name(&self) -> &[u8] {
        &self.storage_name
    }

    /// Its public point, uncompressed.
    pub fn point(&self) -> &[u8; POINT_BYTES] {
        &self.point
    }
}
