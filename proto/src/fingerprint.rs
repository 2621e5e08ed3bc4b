//! A key as people compare it, on the device and at the operator's side.

use core::fmt::Write as _;

use ring::digest::{SHA256, digest};

/// Bytes of the hash that are shown: nobody finds a second key with the same 128 bits.
const SHOWN_BYTES: usize = 16;

/// The fingerprint of a public key (SEC1 point): groups of four hexadecimal digits.
pub fn fingerprint(public_point: &[u8]) -> String {
    let hash = digest(&SHA256, public_point);
    let mut text = String::new();
    for (at, byte) in hash.as_ref().iter().take(SHOWN_BYTES).enumerate() {
        if at > 0 && at % 2 == 0 {
            text.push('-');
        }
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_beginning_of_the_hash_in_groups() {
        // SHA-256 of "abc", FIPS 180-2.
        assert_eq!(fingerprint(b"abc"), "ba78-16bf-8f01-cfea-4141-40de-5dae-2223");
    }
}
