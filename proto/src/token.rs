//! Secrets that people copy: API tokens `efp_…`, enrolment tokens `efe_…`, a device's local keys
//! `efl_…`, refresh tokens of log-ins `efr_…`, invitations `efi_…`, browsers' log-ins `efb_…` and waiting
//! log-ins of command lines `efd_…`. A checksum tells a typing error from a wrong token without a
//! look-up; only the SHA-256 of a token is ever stored where it is checked.
//!
//! Prefix (4) ‖ 30 base62 characters ‖ CRC-32 of all before it as 6 base62 digits, most significant
//! first.

use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Opens the REST API.
    Api,
    /// Enrols devices.
    Enrolment,
    /// Opens the local API of one device.
    Local,
    /// Continues a log-in session.
    Refresh,
    /// Sets a user's password, once.
    Invitation,
    /// A log-in session of a browser, in its cookie.
    Browser,
    /// With which a command line asks whether a person let it log in.
    DeviceLogin,
}

impl Kind {
    /// The first four characters.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Api => "efp_",
            Self::Enrolment => "efe_",
            Self::Local => "efl_",
            Self::Refresh => "efr_",
            Self::Invitation => "efi_",
            Self::Browser => "efb_",
            Self::DeviceLogin => "efd_",
        }
    }

    /// For people.
    fn name(self) -> &'static str {
        match self {
            Self::Api => "an API token (efp_…)",
            Self::Enrolment => "an enrolment token for devices (efe_…)",
            Self::Local => "a local key of a device (efl_…)",
            Self::Refresh => "a refresh token of a log-in (efr_…)",
            Self::Invitation => "an invitation to set a password (efi_…)",
            Self::Browser => "a browser's log-in (efb_…)",
            Self::DeviceLogin => "a command line's waiting log-in (efd_…)",
        }
    }

    const ALL: [Self; 7] = [
        Self::Api,
        Self::Enrolment,
        Self::Local,
        Self::Refresh,
        Self::Invitation,
        Self::Browser,
        Self::DeviceLogin,
    ];
}

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 30 characters of 62 are 178 bits: nobody guesses one, so an unsalted hash at rest is enough.
const SECRET_CHARS: usize = 30;
/// 62^6 is greater than 2^32.
const CHECKSUM_CHARS: usize = 6;
const TOKEN_CHARS: usize = 4 + SECRET_CHARS + CHECKSUM_CHARS;

/// Text that cannot be a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Nothing was given.
    #[error("there is no token")]
    Empty,
    /// It is a token, for something else.
    #[error("this is {found}, not {wanted}")]
    OtherKind {
        /// What it is.
        found: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
    /// It does not start as any token does.
    #[error("this is not {0}")]
    Prefix(&'static str),
    /// Characters are missing or too many.
    #[error("the token has {0} characters instead of {TOKEN_CHARS}: part of it was not copied")]
    Length(usize),
    /// A character that no token has.
    #[error("the token has a character that no token has: check what was copied")]
    Character,
    /// The checksum does not fit.
    #[error("the token is mistyped, its checksum does not match: copy it again")]
    Checksum,
}

/// A token in the clear. Shown once, never stored, never logged.
#[derive(Clone)]
pub struct Token(Zeroizing<String>);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}…", self.0.get(..4).unwrap_or_default())
    }
}

impl Token {
    /// A new one from the system's randomness.
    pub fn mint(kind: Kind) -> Self {
        Self::mint_from(kind, &SystemRandom::new())
    }

    /// A new one from the given randomness.
    pub fn mint_from(kind: Kind, random: &dyn SecureRandom) -> Self {
        let mut text = Zeroizing::new(String::with_capacity(TOKEN_CHARS));
        text.push_str(kind.prefix());
        while text.len() < 4 + SECRET_CHARS {
            let mut byte = [0_u8; 1];
            random.fill(&mut byte).expect("the system's randomness does not fail after start-up");
            // 248 = 4 * 62: larger values would favour the first letters.
            if byte[0] < 248 {
                text.push(char::from(ALPHABET[usize::from(byte[0] % 62)]));
            }
        }
        let checksum = checksum(&text);
        text.push_str(&checksum);
        Self(text)
    }

    /// Reads what somebody typed or pasted.
    pub fn parse(kind: Kind, text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(TokenError::Empty);
        }
        let wanted = kind.name();
        match Kind::ALL.into_iter().find(|other| text.starts_with(other.prefix())) {
            None => return Err(TokenError::Prefix(wanted)),
            Some(other) if other != kind => {
                return Err(TokenError::OtherKind { found: other.name(), wanted });
            }
            Some(_) => {}
        }
        let chars = text.chars().count();
        if chars != TOKEN_CHARS {
            return Err(TokenError::Length(chars));
        }
        if !text.bytes().skip(4).all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(TokenError::Character);
        }
        let (body, given) = text.split_at(4 + SECRET_CHARS);
        if checksum(body) != given {
            return Err(TokenError::Checksum);
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }

    /// What is stored: SHA-256 of the text.
    pub fn sha256(&self) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, self.0.as_bytes()).as_ref());
        hash
    }

    /// The text, to be shown once.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

fn checksum(body: &str) -> String {
    let mut rest = crc32(body.as_bytes());
    let mut digits = [b'0'; CHECKSUM_CHARS];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[(rest % 62) as usize];
        rest /= 62;
    }
    digits.iter().map(|&digit| char::from(digit)).collect()
}

/// CRC-32 of IEEE 802.3 (reflected, polynomial 0xEDB88320).
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & (0_u32.wrapping_sub(crc & 1)));
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32_is_the_one_everybody_uses() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn a_token_reads_back_and_each_mistake_has_its_own_message() {
        let token = Token::mint(Kind::Api);
        let text = token.reveal();
        let read = Token::parse(Kind::Api, &format!(" {text}\n")).unwrap();
        assert_eq!(read.sha256(), token.sha256());

        let check = |text: &str, expected: &str| {
            let error = Token::parse(Kind::Api, text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
        };
        for at in 4..TOKEN_CHARS {
            let wrong = if text.as_bytes()[at] == b'x' { "y" } else { "x" };
            check(&format!("{}{wrong}{}", &text[..at], &text[at + 1..]), "mistyped");
        }
        check(" ", "there is no token");
        check("hunter2", "this is not an API token");
        check(Token::mint(Kind::Local).reveal(), "this is a local key of a device");
        check(&text[..39], "39 characters");
        check(&format!("efp_{}", "é".repeat(36)), "a character that no token has");
    }

    #[test]
    fn a_token_is_not_printed_by_accident() {
        let token = Token::mint(Kind::Enrolment);
        assert_eq!(format!("{token:?}"), "efe_…");
    }
}
