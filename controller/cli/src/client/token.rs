//! API tokens as people type and paste them: the checksum tells a typing error from a wrong token
//! before anything is sent.

/// Marks an API token; other kinds are told apart by it.
const API: &str = "efp_";
const ENROLMENT: &str = "efe_";
const LOCAL: &str = "efl_";
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const SECRET_CHARS: usize = 30;
const CHECKSUM_CHARS: usize = 6;
const TOKEN_CHARS: usize = API.len() + SECRET_CHARS + CHECKSUM_CHARS;

/// A well-formed API token. Not printable by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("there is no token")]
    Empty,
    #[error("this is {0}, not an API token (efp_…)")]
    OtherKind(&'static str),
    #[error("this is not an API token: they start with efp_")]
    Prefix,
    #[error("the token has {0} characters instead of {TOKEN_CHARS}: part of it was not copied")]
    Length(usize),
    #[error("the token has a character that no token has; check what was copied")]
    Character,
    #[error("the token is mistyped: its checksum does not match; copy it again")]
    Checksum,
}

impl Token {
    /// Reads a token; space and line ends around it are ignored.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        match text {
            "" => return Err(TokenError::Empty),
            t if t.starts_with(ENROLMENT) => {
                return Err(TokenError::OtherKind("an enrolment token for devices"));
            }
            t if t.starts_with(LOCAL) => {
                return Err(TokenError::OtherKind("a local key of a device"));
            }
            t if !t.starts_with(API) => return Err(TokenError::Prefix),
            _ => {}
        }
        let chars = text.chars().count();
        if chars != TOKEN_CHARS {
            return Err(TokenError::Length(chars));
        }
        if !text[API.len()..].bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(TokenError::Character);
        }
        let (body, given) = text.split_at(TOKEN_CHARS - CHECKSUM_CHARS);
        if checksum(body) != given {
            return Err(TokenError::Checksum);
        }
        Ok(Self(text.to_owned()))
    }

    /// The secret, to be sent or saved.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("efp_…")
    }
}

/// CRC-32 in six base62 digits, most significant first.
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
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 }
        })
    })
}

/// A token with a right checksum, for tests.
#[cfg(test)]
pub fn sample() -> String {
    let body = format!("{API}{}", "7".repeat(SECRET_CHARS));
    format!("{body}{}", checksum(&body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_common_crc32() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(checksum(""), "000000");
    }

    #[test]
    fn each_mistake_has_its_own_message() {
        let good = sample();
        let check = |text: &str, expected: Result<(), TokenError>| {
            assert_eq!(Token::parse(text).map(|_| ()), expected, "{text:?}");
        };
        check(&format!("  {good}\n"), Ok(()));
        check("", Err(TokenError::Empty));
        check("hunter2", Err(TokenError::Prefix));
        check(&good.replace("efp_", "efl_"), Err(TokenError::OtherKind("a local key of a device")));
        check(&good[..39], Err(TokenError::Length(39)));
        check(&format!("efp_{}", "é".repeat(36)), Err(TokenError::Character));
        check(&good.replacen('7', "8", 1), Err(TokenError::Checksum));
    }
}
