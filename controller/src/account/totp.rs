//! One-time codes by time (RFC 6238, with SHA-1, six digits and 30 seconds, which every app can), and
//! codes for when the device with the app is lost.

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hmac};

use crate::clock::Timestamp;

/// Length of a time step.
const STEP_S: i64 = 30;
/// Steps before and after now that are taken too: clocks of phones differ.
const SKEW: i64 = 1;
/// 160 bits, as RFC 4226 recommends.
pub const SECRET_BYTES: usize = 20;
/// Codes that a user gets for a lost device.
pub const RECOVERY_CODES: usize = 10;
/// Bytes of a recovery code: 80 bits, so that an unsalted hash at rest is enough.
const RECOVERY_BYTES: usize = 10;

/// The code of a time step.
fn code(secret: &[u8], step: i64) -> u32 {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let tag = tag.as_ref();
    // RFC 4226, section 5.3.
    let at = usize::from(tag[19] & 0xf);
    let bytes: [u8; 4] = [tag[at] & 0x7f, tag[at + 1], tag[at + 2], tag[at + 3]];
    u32::from_be_bytes(bytes) % 1_000_000
}

/// The time step at which `given` is right, if it is newer than `last`: each code works once.
pub fn verify(secret: &[u8], given: &str, now: Timestamp, last: i64) -> Option<i64> {
    let given = given.trim();
    if given.len() != 6 || !given.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let given: u32 = given.parse().ok()?;
    let current = now.0 / 1_000_000 / STEP_S;
    (current - SKEW..=current + SKEW)
        .filter(|step| *step > last)
        .find(|step| code(secret, *step) == given)
}

/// The code that is right at `at`: for tests and for those who have no app.
pub fn current(secret: &[u8], at: Timestamp) -> String {
    format!("{:06}", code(secret, at.0 / 1_000_000 / STEP_S))
}

/// A new secret.
pub fn secret() -> Option<[u8; SECRET_BYTES]> {
    let mut secret = [0; SECRET_BYTES];
    SystemRandom::new().fill(&mut secret).ok()?;
    Some(secret)
}

/// The secret as apps take it by hand.
pub fn base32(secret: &[u8]) -> String {
    BASE32_NOPAD.encode(secret)
}

/// The address that a QR code holds.
pub fn uri(secret: &[u8], issuer: &str, user: &str) -> String {
    let quoted = |text: &str| -> String {
        text.bytes()
            .map(|b| match b {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
                    char::from(b).to_string()
                }
                other => format!("%{other:02X}"),
            })
            .collect()
    };
    let (issuer, user) = (quoted(issuer), quoted(user));
    format!("otpauth://totp/{issuer}:{user}?secret={}&issuer={issuer}", base32(secret))
}

/// New recovery codes, to be shown once: four groups of four characters.
pub fn recovery_codes() -> Option<Vec<String>> {
    let random = SystemRandom::new();
    (0..RECOVERY_CODES)
        .map(|_| {
            let mut bytes = [0; RECOVERY_BYTES];
            random.fill(&mut bytes).ok()?;
            let text = BASE32_NOPAD.encode(&bytes).to_lowercase();
            let groups: Vec<&str> = (0..4).filter_map(|at| text.get(at * 4..at * 4 + 4)).collect();
            Some(groups.join("-"))
        })
        .collect()
}

/// What is kept of a recovery code. Spaces, dashes and capitals do not matter.
pub fn recovery_sha256(code: &str) -> [u8; 32] {
    let plain: String = code.chars().filter(char::is_ascii_alphanumeric).collect();
    let hash = digest::digest(&digest::SHA256, plain.to_lowercase().as_bytes());
    let mut out = [0; 32];
    out.copy_from_slice(hash.as_ref());
    debug_assert_eq!(HEXLOWER.encode(&out).len(), 64);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of RFC 6238, appendix B, for SHA-1, in their last six digits.
    #[test]
    fn codes_are_those_of_the_rfc() {
        let secret = b"12345678901234567890";
        for (seconds, expected) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(current(secret, Timestamp(seconds * 1_000_000)), expected);
        }
    }

    #[test]
    fn a_code_works_once_and_a_step_early_or_late() {
        let secret = secret().unwrap();
        let at = |s: i64| Timestamp(s * 1_000_000);
        let code = current(&secret, at(1_000_000_000));
        let step = verify(&secret, &code, at(1_000_000_000), 0).unwrap();
        assert_eq!(verify(&secret, &format!(" {code} "), at(1_000_000_030), 0), Some(step));
        assert_eq!(verify(&secret, &code, at(1_000_000_000), step), None, "replayed");
        assert_eq!(verify(&secret, &code, at(1_000_000_090), 0), None, "too late");
        for wrong in ["", "12345", "1234567", "12345x", "+12345"] {
            assert_eq!(verify(&secret, wrong, at(1_000_000_000), 0), None);
        }
    }

    #[test]
    fn recovery_codes_are_read_as_people_type_them() {
        let codes = recovery_codes().unwrap();
        assert_eq!(codes.len(), RECOVERY_CODES);
        assert_eq!(codes[0].len(), 19);
        let typed = codes[0].to_uppercase().replace('-', " ");
        assert_eq!(recovery_sha256(&typed), recovery_sha256(&codes[0]));
        assert_ne!(recovery_sha256(&codes[1]), recovery_sha256(&codes[0]));
    }
}
