//! Bytes of tokens to text, a token at a time. It never emits half a character: bytes that may
//! begin one wait for the rest.

/// Collects bytes and gives out whole characters. Bytes that cannot be UTF-8 become U+FFFD.
#[derive(Clone, Debug, Default)]
pub struct Detokenizer {
    pending: Vec<u8>,
}

impl Detokenizer {
    /// Adds bytes; appends the characters that are complete to `out`.
    pub fn push(&mut self, bytes: &[u8], out: &mut String) {
        self.pending.extend_from_slice(bytes);
        let mut rest = &self.pending[..];
        loop {
            match std::str::from_utf8(rest) {
                Ok(text) => {
                    out.push_str(text);
                    rest = &[];
                    break;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    out.push_str(std::str::from_utf8(valid).unwrap_or_default());
                    rest = after;
                    // No length means that the text ends inside a character.
                    let Some(length) = error.error_len() else { break };
                    out.push(char::REPLACEMENT_CHARACTER);
                    rest = &rest[length..];
                }
            }
        }
        let keep = rest.len();
        self.pending.drain(..self.pending.len() - keep);
    }

    /// Ends the text: what still waits can no longer become a character.
    pub fn finish(&mut self, out: &mut String) {
        if !self.pending.is_empty() {
            self.pending.clear();
            out.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_come_whole_whatever_the_cuts() {
        let text = "aß😀語\u{1f468}\u{200d}\u{1f469}";
        for step in 1..6 {
            let (mut detokenizer, mut out) = (Detokenizer::default(), String::new());
            for piece in text.as_bytes().chunks(step) {
                detokenizer.push(piece, &mut out);
                assert!(text.starts_with(&out));
            }
            detokenizer.finish(&mut out);
            assert_eq!(out, text);
        }
    }

    #[test]
    fn bad_bytes_are_replaced() {
        let (mut detokenizer, mut out) = (Detokenizer::default(), String::new());
        detokenizer.push(b"a\xffb\xe8\xaa", &mut out);
        assert_eq!(out, "a\u{fffd}b");
        detokenizer.finish(&mut out);
        assert_eq!(out, "a\u{fffd}b\u{fffd}");
    }
}
