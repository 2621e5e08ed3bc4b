//! HPKE (RFC 9180), base mode, single shot: DHKEM(P-256, HKDF-SHA256), HKDF-SHA256 and AES-GCM. The
//! recipient's private key is behind [`KeyAgreement`], which gives a Diffie-Hellman result and never
//! the key, so that it can be in a TPM. HKDF and AES-GCM are ring's; the curve is `p256`'s, because
//! ring agrees with keys of one use only.

use std::fmt;

use p256::elliptic_curve::Generate;
use p256::elliptic_curve::sec1::ToSec1Point;
use ring::{aead, hkdf, hmac};
use zeroize::Zeroizing;

/// Uncompressed SEC1 point; also HPKE's encapsulated key.
pub const PUBLIC_BYTES: usize = 65;
/// What AES-GCM adds.
pub const TAG_BYTES: usize = 16;

/// DHKEM(P-256, HKDF-SHA256), section 7.1.
const KEM_ID: [u8; 2] = [0x00, 0x10];
/// HKDF-SHA256, section 7.2.
const KDF_ID: [u8; 2] = [0x00, 0x01];
/// Base mode, section 5.
const MODE_BASE: u8 = 0;
const VERSION: &[u8] = b"HPKE-v1";

type Hash = Zeroizing<[u8; 32]>;

/// Why something could not be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HpkeError {
    /// Not an uncompressed point on P-256.
    #[error("the device's HPKE key is not an uncompressed P-256 point of {PUBLIC_BYTES} bytes")]
    PublicKey,
    /// Not a scalar of P-256.
    #[error("the HPKE private key is not a P-256 scalar of 32 bytes")]
    PrivateKey,
    /// The holder of the private key did not do its part.
    #[error("the holder of the HPKE private key failed: {0}")]
    Agreement(String),
    /// Sealed to another key, with another info or associated data, or altered.
    #[error("it does not open: it was sealed for another recipient or purpose, or altered")]
    Open,
    /// The text is too long for AES-GCM.
    #[error("cannot seal this much at once")]
    Seal,
}

/// The cipher of a suite, section 7.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aead {
    /// AES-128-GCM.
    Aes128Gcm,
    /// AES-256-GCM.
    Aes256Gcm,
}

impl Aead {
    fn id(self) -> [u8; 2] {
        match self {
            Self::Aes128Gcm => [0x00, 0x01],
            Self::Aes256Gcm => [0x00, 0x02],
        }
    }

    fn algorithm(self) -> &'static aead::Algorithm {
        match self {
            Self::Aes128Gcm => &aead::AES_128_GCM,
            Self::Aes256Gcm => &aead::AES_256_GCM,
        }
    }

    fn suite(self) -> [u8; 10] {
        let ([k0, k1], [d0, d1], [a0, a1]) = (KEM_ID, KDF_ID, self.id());
        [b'H', b'P', b'K', b'E', k0, k1, d0, d1, a0, a1]
    }
}

/// The x coordinate of a Diffie-Hellman result, section 4.1; erased when dropped.
pub type Agreed = Zeroizing<[u8; 32]>;

/// A private key that can only be used: a file's, or one in a TPM (`TPM2_ECDH_ZGen`).
pub trait KeyAgreement {
    /// The public half, SEC1 uncompressed.
    fn hpke_public(&self) -> [u8; PUBLIC_BYTES];
    /// Diffie-Hellman with `peer`, which is known to be on the curve.
    fn agree(&self, peer: &HpkePublic) -> Result<Agreed, HpkeError>;
}

/// A public key, checked to be a point on the curve.
#[derive(Clone, PartialEq, Eq)]
pub struct HpkePublic(p256::PublicKey);

impl HpkePublic {
    /// The uncompressed point.
    pub fn to_bytes(&self) -> [u8; PUBLIC_BYTES] {
        let mut bytes = [0; PUBLIC_BYTES];
        bytes.copy_from_slice(self.0.to_sec1_point(false).as_bytes());
        bytes
    }
}

impl TryFrom<&[u8]> for HpkePublic {
    type Error = HpkeError;
    fn try_from(bytes: &[u8]) -> Result<Self, HpkeError> {
        if bytes.len() != PUBLIC_BYTES {
            return Err(HpkeError::PublicKey);
        }
        p256::PublicKey::from_sec1_bytes(bytes).map(Self).map_err(|_| HpkeError::PublicKey)
    }
}

impl fmt::Debug for HpkePublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HpkePublic({})", data_encoding::HEXLOWER.encode(&self.to_bytes()))
    }
}

/// A private key in memory; erased when dropped.
pub struct HpkePrivate(p256::SecretKey);

impl HpkePrivate {
    /// A new key from the operating system's random bytes.
    pub fn generate() -> Self {
        Self(p256::SecretKey::generate())
    }

    /// The public half.
    pub fn public(&self) -> HpkePublic {
        HpkePublic(self.0.public_key())
    }

    /// The scalar, big-endian, to be stored in a file that only the agent reads.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes().into())
    }
}

impl KeyAgreement for HpkePrivate {
    fn hpke_public(&self) -> [u8; PUBLIC_BYTES] {
        self.public().to_bytes()
    }

    fn agree(&self, peer: &HpkePublic) -> Result<Agreed, HpkeError> {
        let shared = self.0.diffie_hellman(&peer.0);
        let mut agreed = Agreed::default();
        agreed.copy_from_slice(shared.raw_secret_bytes());
        Ok(agreed)
    }
}

impl TryFrom<&[u8]> for HpkePrivate {
    type Error = HpkeError;
    fn try_from(bytes: &[u8]) -> Result<Self, HpkeError> {
        if bytes.len() != 32 {
            return Err(HpkeError::PrivateKey);
        }
        p256::SecretKey::from_slice(bytes).map(Self).map_err(|_| HpkeError::PrivateKey)
    }
}

impl fmt::Debug for HpkePrivate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HpkePrivate(redacted)")
    }
}

/// What a text is sealed for and by; the same on both sides, and never sent.
#[derive(Debug, Clone, Copy)]
pub struct Purpose<'a> {
    /// The cipher.
    pub aead: Aead,
    /// What the key is derived for.
    pub info: &'a [u8],
    /// What is authenticated with the text.
    pub aad: &'a [u8],
}

/// Seals `text` to `to`: HPKE's `enc`, and the ciphertext.
pub fn seal(
    to: &HpkePublic,
    purpose: &Purpose<'_>,
    text: &[u8],
) -> Result<([u8; PUBLIC_BYTES], Vec<u8>), HpkeError> {
    seal_with(&HpkePrivate::generate(), to, purpose, text)
}

/// Opens what was sealed to the public half of `keys` for `purpose`.
pub fn open<K: KeyAgreement + ?Sized>(
    keys: &K,
    encapsulated: &[u8],
    purpose: &Purpose<'_>,
    ciphertext: &[u8],
) -> Result<Zeroizing<Vec<u8>>, HpkeError> {
    let shared = decapsulate(keys, encapsulated)?;
    let schedule = Schedule::new(&shared, purpose);
    let mut text = Zeroizing::new(ciphertext.to_vec());
    let length = schedule
        .key(purpose.aead)
        .open_in_place(schedule.nonce(), aead::Aad::from(purpose.aad), &mut text)
        .map_err(|_| HpkeError::Open)?
        .len();
    text.truncate(length);
    Ok(text)
}

fn seal_with(
    ephemeral: &HpkePrivate,
    to: &HpkePublic,
    purpose: &Purpose<'_>,
    text: &[u8],
) -> Result<([u8; PUBLIC_BYTES], Vec<u8>), HpkeError> {
    let encapsulated = ephemeral.hpke_public();
    let shared = extract_and_expand(&ephemeral.agree(to)?, &encapsulated, &to.to_bytes());
    let schedule = Schedule::new(&shared, purpose);
    // Holds the plain text until it is sealed where it lies; room for the tag, so that it never moves.
    let mut sealed = Vec::with_capacity(text.len() + TAG_BYTES);
    sealed.extend_from_slice(text);
    schedule
        .key(purpose.aead)
        .seal_in_place_append_tag(schedule.nonce(), aead::Aad::from(purpose.aad), &mut sealed)
        .map_err(|_| HpkeError::Seal)?;
    Ok((encapsulated, sealed))
}

/// `Decap`, section 4.1.
fn decapsulate<K: KeyAgreement + ?Sized>(keys: &K, encapsulated: &[u8]) -> Result<Hash, HpkeError> {
    let peer = HpkePublic::try_from(encapsulated).map_err(|_| HpkeError::Open)?;
    Ok(extract_and_expand(&keys.agree(&peer)?, &peer.to_bytes(), &keys.hpke_public()))
}

/// `ExtractAndExpand`, section 4.1.
fn extract_and_expand(
    agreed: &Agreed,
    encapsulated: &[u8; PUBLIC_BYTES],
    recipient: &[u8; PUBLIC_BYTES],
) -> Hash {
    let suite = [b'K', b'E', b'M', KEM_ID[0], KEM_ID[1]];
    let prk = labeled_extract(&suite, &[], b"eae_prk", &agreed[..]);
    let mut shared = Hash::default();
    labeled_expand(&suite, &prk, b"shared_secret", &[encapsulated, recipient], &mut shared[..]);
    shared
}

/// Key and first nonce, section 5.1: `KeySchedule` in base mode, where `psk` and `psk_id` are empty.
struct Schedule {
    key: Zeroizing<Vec<u8>>,
    base_nonce: [u8; aead::NONCE_LEN],
}

impl Schedule {
    fn new(shared: &Hash, purpose: &Purpose<'_>) -> Self {
        let suite = purpose.aead.suite();
        let psk_id_hash = labeled_extract(&suite, &[], b"psk_id_hash", &[]);
        let info_hash = labeled_extract(&suite, &[], b"info_hash", purpose.info);
        let context: [&[u8]; 3] = [&[MODE_BASE], &psk_id_hash[..], &info_hash[..]];
        let secret = labeled_extract(&suite, &shared[..], b"secret", &[]);
        let mut key = Zeroizing::new(vec![0; purpose.aead.algorithm().key_len()]);
        labeled_expand(&suite, &secret, b"key", &context, &mut key);
        let mut base_nonce = [0; aead::NONCE_LEN];
        labeled_expand(&suite, &secret, b"base_nonce", &context, &mut base_nonce);
        Self { key, base_nonce }
    }

    fn key(&self, aead: Aead) -> aead::LessSafeKey {
        let key = aead::UnboundKey::new(aead.algorithm(), &self.key);
        aead::LessSafeKey::new(key.expect("the key was made as long as the cipher's keys are"))
    }

    /// Of the first message, which is the only one: the key is fresh each time.
    fn nonce(&self) -> aead::Nonce {
        aead::Nonce::assume_unique_for_key(self.base_nonce)
    }
}

/// `LabeledExtract`, section 4. ring's own extraction gives no bytes, which the context needs.
fn labeled_extract(suite: &[u8], salt: &[u8], label: &[u8], ikm: &[u8]) -> Hash {
    let mut extract = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, salt));
    for part in [VERSION, suite, label, ikm] {
        extract.update(part);
    }
    let mut prk = Hash::default();
    prk.copy_from_slice(extract.sign().as_ref());
    prk
}

/// `LabeledExpand`, section 4, into the whole of `out`.
fn labeled_expand(suite: &[u8], prk: &Hash, label: &[u8], info: &[&[u8]], out: &mut [u8]) {
    let length = u16::try_from(out.len()).expect("HPKE expands to 32 bytes at most").to_be_bytes();
    let mut parts = vec![&length[..], VERSION, suite, label];
    parts.extend_from_slice(info);
    hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &prk[..])
        .expand(&parts, Length(out.len()))
        .and_then(|okm| okm.fill(out))
        .expect("32 bytes at most, of the 8,160 that HKDF-SHA256 gives");
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &[u8] = b"Ode on a Grecian Urn";
    const AAD: &[u8] = b"Count-0";
    const TEXT: &[u8] = b"Beauty is truth, truth beauty";

    fn hex(text: &str) -> Vec<u8> {
        data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap()
    }

    /// One published example; all in hexadecimal.
    struct Vector {
        aead: Aead,
        private: &'static str,
        public: &'static str,
        encapsulated: &'static str,
        shared: &'static str,
        key: &'static str,
        base_nonce: &'static str,
        ciphertext: &'static str,
    }

    fn check(vector: &Vector) {
        let private = HpkePrivate::try_from(&hex(vector.private)[..]).unwrap();
        assert_eq!(private.hpke_public()[..], hex(vector.public));
        let shared = decapsulate(&private, &hex(vector.encapsulated)).unwrap();
        assert_eq!(shared[..], hex(vector.shared));
        let purpose = Purpose { aead: vector.aead, info: INFO, aad: AAD };
        let schedule = Schedule::new(&shared, &purpose);
        assert_eq!(schedule.key[..], hex(vector.key));
        assert_eq!(schedule.base_nonce[..], hex(vector.base_nonce));
        let ciphertext = hex(vector.ciphertext);
        let opened = open(&private, &hex(vector.encapsulated), &purpose, &ciphertext).unwrap();
        assert_eq!(opened[..], *TEXT);
    }

    /// RFC 9180, appendix A.3.1.
    const RFC: Vector = Vector {
        aead: Aead::Aes128Gcm,
        private: "f3ce7fdae57e1a310d87f1ebbde6f328be0a99cdbcadf4d6589cf29de4b8ffd2",
        public: "04fe8c19ce0905191ebc298a9245792531f26f0cece2460639e8bc39cb7f706a826a779b4cf969b8a0e539c7f62fb3d30ad6aa8f80e30f1d128aafd68a2ce72ea0",
        encapsulated: "04a92719c6195d5085104f469a8b9814d5838ff72b60501e2c4466e5e67b325ac98536d7b61a1af4b78e5b7f951c0900be863c403ce65c9bfcb9382657222d18c4",
        shared: "c0d26aeab536609a572b07695d933b589dcf363ff9d93c93adea537aeabb8cb8",
        key: "868c066ef58aae6dc589b6cfdd18f97e",
        base_nonce: "4e0bc5018beba4bf004cca59",
        ciphertext: "5ad590bb8baa577f8619db35a36311226a896e7342a6d836d8b7bcd2f20b6c7f9076ac232e3ab2523f39513434",
    };

    #[test]
    fn the_example_of_the_rfc_is_sealed_and_opened() {
        check(&RFC);
        let ephemeral = "4995788ef4b9d6132b249ce59a77281493eb39af373d236a1fe415cb0c2d7beb";
        let ephemeral = HpkePrivate::try_from(&hex(ephemeral)[..]).unwrap();
        let to = HpkePublic::try_from(&hex(RFC.public)[..]).unwrap();
        let purpose = Purpose { aead: RFC.aead, info: INFO, aad: AAD };
        let (encapsulated, sealed) = seal_with(&ephemeral, &to, &purpose, TEXT).unwrap();
        assert_eq!(encapsulated[..], hex(RFC.encapsulated));
        assert_eq!(sealed, hex(RFC.ciphertext));
    }

    /// Our suite, AES-256-GCM, is not in the appendix, but in the vectors that the appendix is from.
    #[test]
    fn the_working_groups_example_of_our_suite_is_opened() {
        check(&Vector {
            aead: Aead::Aes256Gcm,
            private: "317f915db7bc629c48fe765587897e01e282d3e8445f79f27f65d031a88082b2",
            public: "04abc7e49a4c6b3566d77d0304addc6ed0e98512ffccf505e6a8e3eb25c685136f853148544876de76c0f2ef99cdc3a05ccf5ded7860c7c021238f9e2073d2356c",
            encapsulated: "04c06b4f6bebc7bb495cb797ab753f911aff80aefb86fd8b6fcc35525f3ab5f03e0b21bd31a86c6048af3cb2d98e0d3bf01da5cc4c39ff5370d331a4f1f7d5a4e0",
            shared: "48893fecd82f7c3456af6a42d8f56325d21e08c10fa81299986aaff54cde7b49",
            key: "ee16802a936d5f544771131900ee6973d0551de9e852ece2ef34bf0d5f9e1d1d",
            base_nonce: "9bc50980832a7b4b58c40161",
            ciphertext: "58c61a45059d0c5704560e9d88b564a8b63f1364b8d1fcb3c4c6ddc1d291742465e902cd216f8908da49f8f96f",
        });
    }

    #[test]
    fn keys_read_back_and_anything_else_is_refused() {
        let private = HpkePrivate::generate();
        let read = HpkePrivate::try_from(private.to_bytes().as_slice()).unwrap();
        assert_eq!(read.public(), private.public());
        let public = private.hpke_public();
        assert_eq!(HpkePublic::try_from(public.as_slice()).unwrap(), private.public());
        assert!(HpkePublic::try_from(&public[..64]).is_err());
        assert!(HpkePublic::try_from([4; 65].as_slice()).is_err(), "not on the curve");
        assert!(HpkePublic::try_from([0].as_slice()).is_err(), "the point at infinity");
        assert!(HpkePrivate::try_from([0; 32].as_slice()).is_err(), "zero is no key");
        assert!(HpkePrivate::try_from([0xff; 32].as_slice()).is_err(), "beyond the order");
        assert!(HpkePrivate::try_from([1; 24].as_slice()).is_err(), "too short");
    }

    #[test]
    fn what_fails_in_the_key_is_told() {
        struct Broken;
        impl KeyAgreement for Broken {
            fn hpke_public(&self) -> [u8; PUBLIC_BYTES] {
                HpkePrivate::generate().hpke_public()
            }
            fn agree(&self, _: &HpkePublic) -> Result<Agreed, HpkeError> {
                Err(HpkeError::Agreement("the TPM is locked out".to_owned()))
            }
        }
        let purpose = Purpose { aead: Aead::Aes256Gcm, info: INFO, aad: AAD };
        let error = open(&Broken, &Broken.hpke_public(), &purpose, &[0; 48]).unwrap_err();
        assert!(error.to_string().contains("locked out"), "{error}");
    }
}
