//! Signatures of other parties' tokens (RFC 7515, 7517, 7518). Which algorithm is followed is decided by
//! the tenant's list and by the key's type together; a token only chooses among what is left. There is
//! no HMAC and no "none" to choose.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::jose;

/// Longest token looked at: one with some hundred groups fits.
pub const MAX_TOKEN_BYTES: usize = 32 * 1024;
/// Keys read of a set: providers have two or three, large ones a dozen.
const MAX_KEYS: usize = 64;
/// Longest modulus: 8192 bits, which is the most that is verified with.
const MAX_MODULUS_BYTES: usize = 1024;
/// The algorithms that a provider may be allowed to use.
pub const ALGORITHMS: [(&str, Algorithm); 9] = [
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
];

/// Why a signature is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwsError {
    /// It is no signed token.
    #[error("it is not a signed token: {0}")]
    Form(&'static str),
    /// Its algorithm is not one of those that are allowed.
    #[error("its algorithm {0:?} is not one that may be used here")]
    Algorithm(String),
    /// No key of the set fits.
    #[error("there is no key {kid:?} for {algorithm} among the provider's keys")]
    UnknownKey {
        /// What the token says.
        kid: String,
        /// What the token says.
        algorithm: String,
    },
    /// No key made this signature.
    #[error("its signature is wrong")]
    Signature,
}

/// A public key of a provider.
#[derive(Clone)]
pub struct Key {
    kid: Option<String>,
    /// What it may be used for, by its type and by what it says of itself.
    algorithms: Vec<Algorithm>,
    decoding: DecodingKey,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key")
            .field("kid", &self.kid)
            .field("algorithms", &self.algorithms)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct RawKey {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

#[derive(Deserialize)]
struct RawKeys {
    keys: Vec<Value>,
}

fn bytes(text: Option<&String>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text?).ok()
}

/// The keys of a set (RFC 7517) that can verify signatures. What is not understood is left out, as
/// section 5 says; none if it is no set at all.
pub fn keys(document: &[u8]) -> Option<Vec<Key>> {
    let set: RawKeys = serde_json::from_slice(document).ok()?;
    let understood = set.keys.into_iter().take(MAX_KEYS);
    Some(understood.filter_map(|key| key_of(serde_json::from_value(key).ok()?)).collect())
}

fn key_of(raw: RawKey) -> Option<Key> {
    if raw.usage.as_deref().is_some_and(|usage| usage != "sig") {
        return None;
    }
    let exactly = |bytes: Vec<u8>, length: usize| (bytes.len() == length).then_some(bytes);
    let (decoding, mut algorithms) = match (raw.kty.as_str(), raw.crv.as_deref()) {
        ("RSA", _) => {
            let (n, e) = (bytes(raw.n.as_ref())?, bytes(raw.e.as_ref())?);
            // `ring` refuses fewer than 2048 bits.
            if n.len() > MAX_MODULUS_BYTES || e.len() > 8 {
                return None;
            }
            let all = ALGORITHMS.iter().map(|(_, algorithm)| *algorithm);
            let rsa = |one: &Algorithm| one.family() == jsonwebtoken::AlgorithmFamily::Rsa;
            (DecodingKey::from_rsa_raw_components(&n, &e), all.filter(rsa).collect())
        }
        ("EC", Some(curve)) => {
            let (length, algorithm) = match curve {
                "P-256" => (32, Algorithm::ES256),
                "P-384" => (48, Algorithm::ES384),
                _ => return None,
            };
            exactly(bytes(raw.x.as_ref())?, length)?;
            exactly(bytes(raw.y.as_ref())?, length)?;
            let (x, y) = (raw.x.as_ref()?, raw.y.as_ref()?);
            (DecodingKey::from_ec_components(x, y).ok()?, vec![algorithm])
        }
        ("OKP", Some("Ed25519")) => {
            exactly(bytes(raw.x.as_ref())?, 32)?;
            let decoding = DecodingKey::from_ed_components(raw.x.as_ref()?).ok()?;
            (decoding, vec![Algorithm::EdDSA])
        }
        _ => return None,
    };
    if let Some(alg) = &raw.alg {
        algorithms.retain(|one| name(*one) == Some(alg));
    }
    (!algorithms.is_empty()).then_some(Key { kid: raw.kid, algorithms, decoding })
}

/// How JOSE calls it, if it is one of [`ALGORITHMS`].
fn name(algorithm: Algorithm) -> Option<&'static str> {
    ALGORITHMS.iter().find(|(_, one)| *one == algorithm).map(|(name, _)| *name)
}

#[derive(Deserialize)]
struct RawHeader {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<Value>,
}

/// A token whose signature is right.
#[derive(Debug, Clone)]
pub struct Verified {
    /// What it says.
    pub claims: Map<String, Value>,
    /// What kind of token it says to be, in lower case.
    pub typ: Option<String>,
    /// With which algorithm it is signed.
    pub algorithm: Algorithm,
}

/// Checks the signature with the keys, by one of the allowed algorithms.
pub fn verify<'a>(
    token: &str,
    keys: &[Key],
    allowed: impl IntoIterator<Item = &'a String>,
) -> Result<Verified, JwsError> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(JwsError::Form("it is too long"));
    }
    let parts: Vec<&str> = token.splitn(4, '.').collect();
    let [header, payload, signature] = parts.as_slice() else {
        return Err(JwsError::Form("it does not have three parts"));
    };
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
    let header: RawHeader = decode(header)
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .ok_or(JwsError::Form("its header cannot be read"))?;
    // RFC 7515, section 4.1.11: what must be understood, and is not.
    if header.crit.is_some() {
        return Err(JwsError::Form("it has critical extensions"));
    }
    let shown = || header.alg.chars().take(20).collect::<String>();
    let known = ALGORITHMS.iter().find(|(name, _)| *name == header.alg);
    let allowed = allowed.into_iter().any(|name| *name == header.alg);
    let Some((_, algorithm)) = known.filter(|_| allowed).copied() else {
        return Err(JwsError::Algorithm(shown()));
    };
    let fits = |key: &&Key| {
        let named = header.kid.is_none() || key.kid.is_none() || key.kid == header.kid;
        named && key.algorithms.contains(&algorithm)
    };
    let mut candidates = keys.iter().filter(fits).peekable();
    if candidates.peek().is_none() {
        let kid = header.kid.unwrap_or_default().chars().take(100).collect();
        return Err(JwsError::UnknownKey { kid, algorithm: shown() });
    }
    jose::install();
    let message = &token[..token.len() - signature.len() - 1];
    let made_by = |key: &Key| {
        let checked =
            jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key.decoding, algorithm);
        matches!(checked, Ok(true))
    };
    if !candidates.any(made_by) {
        return Err(JwsError::Signature);
    }
    let claims = decode(payload)
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .ok_or(JwsError::Form("what it says is not an object"))?;
    let typ = header.typ.map(|typ| typ.to_ascii_lowercase());
    Ok(Verified { claims, typ, algorithm })
}
