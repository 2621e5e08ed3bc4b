//! DSSE: the signature around a manifest or an assignment. The bytes that were signed are verified first and parsed
//! only then, and never serialised again.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::{ArtifactError, ReleaseKey, ReleasePublic};

/// Longest envelope, in bytes; a manifest is about one kilobyte.
pub const MAX_ENVELOPE_BYTES: usize = 64 << 10;

/// Most signatures in one envelope: room for a change of keys, not for a search.
pub const MAX_SIGNATURES: usize = 8;

#[derive(Serialize, Deserialize)]
struct Envelope {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Serialize, Deserialize)]
struct Signature {
    #[serde(default)]
    keyid: String,
    sig: String,
}

/// The envelope of `body`, as bytes.
pub(crate) fn sign(payload_type: &str, body: &[u8], key: &ReleaseKey) -> Vec<u8> {
    let signature = Signature {
        keyid: key.public().key_id(),
        sig: STANDARD.encode(key.sign(&pre_authentication_encoding(payload_type, body))),
    };
    let envelope = Envelope {
        payload: STANDARD.encode(body),
        payload_type: payload_type.to_owned(),
        signatures: vec![signature],
    };
    serde_json::to_vec(&envelope).expect("strings serialise")
}

/// The signed body of an envelope of type `payload_type` that `key` signed.
pub(crate) fn verify(
    payload_type: &str,
    envelope: &[u8],
    key: &ReleasePublic,
) -> Result<Vec<u8>, ArtifactError> {
    let unreadable = |what: String| ArtifactError::Envelope(what);
    if envelope.len() > MAX_ENVELOPE_BYTES {
        let bytes = envelope.len();
        return Err(unreadable(format!("it has {bytes} bytes, at most {MAX_ENVELOPE_BYTES}")));
    }
    let envelope: Envelope =
        serde_json::from_slice(envelope).map_err(|e| unreadable(e.to_string()))?;
    if envelope.payload_type != payload_type {
        let found: String = envelope.payload_type.chars().take(100).collect();
        return Err(unreadable(format!("it carries {found:?}, expected {payload_type:?}")));
    }
    if envelope.signatures.len() > MAX_SIGNATURES {
        return Err(unreadable(format!("it has more than {MAX_SIGNATURES} signatures")));
    }
    let body = STANDARD.decode(&envelope.payload).map_err(|e| unreadable(e.to_string()))?;
    let message = pre_authentication_encoding(payload_type, &body);
    let signed = envelope
        .signatures
        .iter()
        .filter_map(|s| STANDARD.decode(&s.sig).ok())
        .any(|signature| key.verifies(&message, &signature));
    if signed { Ok(body) } else { Err(ArtifactError::Signature) }
}

/// As [`verify`], of an envelope that is byte for byte as [`sign`] makes it: for those whose hash nobody
/// pinned, so that nothing in them goes unsigned, not even the hint at the key.
pub(crate) fn verify_exact(
    payload_type: &str,
    envelope: &[u8],
    key: &ReleasePublic,
) -> Result<Vec<u8>, ArtifactError> {
    let body = verify(payload_type, envelope, key)?;
    let mut read: Envelope =
        serde_json::from_slice(envelope).map_err(|e| ArtifactError::Envelope(e.to_string()))?;
    for signature in &mut read.signatures {
        signature.keyid = key.key_id();
    }
    let same = serde_json::to_vec(&read).is_ok_and(|exact| exact == envelope);
    match same && read.signatures.len() == 1 {
        true => Ok(body),
        false => Err(ArtifactError::Envelope("something in it was not signed".to_owned())),
    }
}

/// DSSE protocol v1: what is signed, unambiguous for every type and body.
fn pre_authentication_encoding(payload_type: &str, body: &[u8]) -> Vec<u8> {
    let mut message =
        format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), body.len()).into_bytes();
    message.extend_from_slice(body);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_the_one_in_the_dsse_specification() {
        let message = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world");
        assert_eq!(message, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }
}
