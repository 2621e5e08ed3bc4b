//! OpenSSF Model Signing: a Sigstore bundle (v0.3) with a DSSE envelope around an in-toto statement
//! that names a model's files by their SHA-256, signed with ECDSA on P-256. Programs that know
//! nothing of this product verify it with the public key alone.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::digest::{SHA256, digest};
use serde_json::json;
use zeroize::Zeroizing;

use crate::artifact::Digest;
use crate::tuf::{KeyKind, P256Public, PrivateKey, SignError, Signer as _};

/// Media type of a bundle.
pub const BUNDLE_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
const PREDICATE_TYPE: &str = "https://model_signing/signature/v1.0";

/// A key that signs models.
pub struct ModelKey {
    key: PrivateKey,
    public: P256Public,
}

impl fmt::Debug for ModelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ModelKey({})", self.key_id())
    }
}

impl ModelKey {
    /// A new private key as PKCS#8 (DER), to be wrapped and stored.
    ///
    /// # Errors
    /// [`SignError::Random`].
    pub fn generate_pkcs8() -> Result<Zeroizing<Vec<u8>>, SignError> {
        PrivateKey::generate_pkcs8(KeyKind::EcdsaP256)
    }

    /// From PKCS#8 (DER).
    ///
    /// # Errors
    /// [`SignError::Pkcs8`] when it is no P-256 key.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, SignError> {
        let key = PrivateKey::from_pkcs8(der)?;
        let public = key.p256_public().ok_or(SignError::Pkcs8)?;
        Ok(Self { key, public })
    }

    /// The public key in PEM (SubjectPublicKeyInfo), as verifiers take it.
    pub fn public_pem(&self) -> String {
        self.public.to_pem()
    }

    /// Hex SHA-256 of the public key in PEM: what bundles call their key.
    pub fn key_id(&self) -> String {
        hex(digest(&SHA256, self.public_pem().as_bytes()).as_ref())
    }

    /// The bundle of a model that is the one file `file` with this digest.
    ///
    /// # Errors
    /// The key cannot be used.
    pub fn sign(&self, model: &str, file: &str, sha256: &Digest) -> Result<Vec<u8>, SignError> {
        let body = statement(model, file, sha256);
        let signature = self.key.sign(&pre_authentication_encoding(&body))?;
        let bundle = json!({
            "mediaType": BUNDLE_TYPE,
            "verificationMaterial": {
                "publicKey": {"hint": self.key_id()},
                "tlogEntries": [],
            },
            "dsseEnvelope": {
                "payload": BASE64.encode(&body),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{"sig": BASE64.encode(signature), "keyid": ""}],
            },
        });
        Ok(bundle.to_string().into_bytes())
    }
}

/// What is signed: the files by name, and the digest of their digests as the model's own.
fn statement(model: &str, file: &str, sha256: &Digest) -> Vec<u8> {
    let root = digest(&SHA256, sha256.as_bytes());
    json!({
        "_type": STATEMENT_TYPE,
        "subject": [{"name": model, "digest": {"sha256": hex(root.as_ref())}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": false,
                "ignore_paths": [],
            },
            "resources": [
                {"name": file, "algorithm": "sha256", "digest": hex(sha256.as_bytes())},
            ],
        },
    })
    .to_string()
    .into_bytes()
}

/// DSSE protocol v1.
fn pre_authentication_encoding(body: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), body.len());
    [head.as_bytes(), body].concat()
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn key() -> ModelKey {
        ModelKey::from_pkcs8(&ModelKey::generate_pkcs8().unwrap()).unwrap()
    }

    #[test]
    fn a_bundle_signs_the_statement_it_carries() {
        let key = key();
        let sha256 = Digest::of(b"weights");
        let bundle = key.sign("assistant@1.0.0", "assistant-1.0.0.gguf", &sha256).unwrap();
        let bundle: Value = serde_json::from_slice(&bundle).unwrap();
        assert_eq!(bundle["verificationMaterial"]["publicKey"]["hint"], key.key_id());
        let envelope = &bundle["dsseEnvelope"];
        let bytes = |value: &Value| BASE64.decode(value.as_str().unwrap()).unwrap();
        let body = bytes(&envelope["payload"]);
        let signature = bytes(&envelope["signatures"][0]["sig"]);
        let message = pre_authentication_encoding(&body);
        assert!(key.public.verifies(&message, &signature));
        assert!(!key.public.verifies(&body, &signature));
        let statement: Value = serde_json::from_slice(&body).unwrap();
        let file = &statement["predicate"]["resources"][0];
        assert_eq!(file["name"], "assistant-1.0.0.gguf");
        assert_eq!(file["digest"], sha256.to_string());
    }

    #[test]
    fn a_key_of_another_kind_signs_no_models() {
        let other = PrivateKey::generate_pkcs8(KeyKind::Ed25519).unwrap();
        assert_eq!(ModelKey::from_pkcs8(&other).unwrap_err(), SignError::Pkcs8);
    }
}
