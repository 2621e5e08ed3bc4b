//! The printable alphabet of byte-level BPE: vocabularies write each byte as one character, so that
//! their files are text. Printable Latin-1 stands for itself; the other bytes, in order, for the
//! characters from U+0100 on (GPT-2, `bytes_to_unicode`).

use edgeformer_gguf::Strings;

fn is_printable(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff)
}

/// The character that stands for a byte.
pub(super) fn char_of(byte: u8) -> char {
    if is_printable(byte) {
        return char::from(byte);
    }
    let earlier = (0..byte).filter(|&other| !is_printable(other)).count() as u32;
    char::from_u32(0x100 + earlier).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The bytes of all tokens and the end of each. Tokens that are not `encoded` (and characters
/// outside the alphabet) stand for their own UTF-8.
pub(super) fn pieces(texts: &Strings, encoded: impl Fn(usize) -> bool) -> (Vec<u8>, Vec<u32>) {
    let mut byte_of = [None; 0x200];
    for byte in 0..=255u8 {
        byte_of[char_of(byte) as usize] = Some(byte);
    }
    let (mut pieces, mut ends) = (Vec::new(), Vec::new());
    for (index, text) in texts.iter().enumerate() {
        if encoded(index) {
            for c in text.chars() {
                match byte_of.get(c as usize).copied().flatten() {
                    Some(byte) => pieces.push(byte),
                    None => pieces.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
                }
            }
        } else {
            pieces.extend(text.as_bytes());
        }
        ends.push(pieces.len() as u32);
    }
    (pieces, ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_is_the_known_one() {
        assert_eq!(char_of(b' '), 'Ġ');
        assert_eq!(char_of(b'\n'), 'Ċ');
        assert_eq!(char_of(b'a'), 'a');
        assert_eq!(char_of(0xad), 'Ń');
        let distinct: std::collections::HashSet<char> = (0..=255).map(char_of).collect();
        assert_eq!(distinct.len(), 256);
    }
}
