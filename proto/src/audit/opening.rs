//! Commitments to values that stand beside the log. A leaf holds the commitment; the value, and for a
//! person's data the salt, can be shown to whoever is to check it, and forgotten.

use data_encoding::HEXLOWER;
use ring::{digest, hmac};

/// Bytes of a salt: as many as the hash gives, so that guessing it is guessing a key.
pub const SALT_BYTES: usize = 32;
/// Separates these hashes from every other use of SHA-256.
const DOMAIN: &[u8] = b"edgeformer audit value v1";

/// Random bytes that belong to one subject.
pub type Salt = [u8; SALT_BYTES];

/// The hash that a leaf holds of `value` in `field`, in lower-case hexadecimal: HMAC-SHA-256 under a
/// person's salt, SHA-256 of what is nobody's.
pub fn commit(salt: Option<&Salt>, field: &str, value: &str) -> String {
    // The length keeps the end of the field from passing for the start of the value.
    let length = (field.len() as u64).to_be_bytes();
    let text = [DOMAIN, &length, field.as_bytes(), value.as_bytes()].concat();
    match salt {
        Some(salt) => {
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, salt), &text);
            HEXLOWER.encode(tag.as_ref())
        }
        None => HEXLOWER.encode(digest::digest(&digest::SHA256, &text).as_ref()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commitment_depends_on_salt_field_and_value() {
        let hash = |salt, field, value| commit(Some(&[salt; SALT_BYTES]), field, value);
        let all = [hash(1, "a", "b"), hash(2, "a", "b"), hash(1, "b", "b"), hash(1, "a", "c")];
        let without = [commit(None, "a", "b"), commit(None, "a\0", "b"), commit(None, "a", "\0b")];
        let mut seen: Vec<_> = all.iter().chain(&without).collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 7);
    }
}
