//! Pre-tokenizers: how text is cut into words before merging. A model trained with one gives worse
//! answers with another, so an unknown name is an error, never a guess.
//!
//! The published patterns end in `\s+(?!\S)|\s+`: a run of white space leaves its last character
//! to the word that follows. Look-ahead needs backtracking, which has no time bound, so the
//! patterns here end in `\s+` and the last character is given back in code.

use super::TokenizerError;
use regex::Regex;

/// Accepted values of `tokenizer.ggml.pre`.
const SUPPORTED: &str = "default, gpt-2, smollm, llama-bpe, qwen2";

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+";
const LLAMA3: &str = r"'(?:[sS]|[tT]|[rR][eE]|[vV][eE]|[mM]|[lL][lL]|[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";
const QWEN2: &str = r"'(?:[sS]|[tT]|[rR][eE]|[vV][eE]|[mM]|[lL][lL]|[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";

/// What happens to a match that is all white space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spaces {
    /// The pattern is not about white space.
    Keep,
    /// The last character goes back to the text.
    GiveBack,
    /// The same, unless the run ends in a line break.
    GiveBackUnlessNewline,
}

#[derive(Debug)]
struct Stage {
    pattern: Regex,
    spaces: Spaces,
}

/// A pre-tokenizer: every stage cuts the pieces of the one before into matches and what is between.
#[derive(Debug)]
pub(super) struct Splitter {
    stages: Vec<Stage>,
    llama3: bool,
}

impl Splitter {
    pub(super) fn new(name: &str) -> Result<Self, TokenizerError> {
        let stages: &[(&str, Spaces)] = match name {
            "default" => &[
                (r"[\p{P}\$\+<=>\^~\|]+", Spaces::Keep),
                (GPT2, Spaces::GiveBack),
                (r"\p{N}+", Spaces::Keep),
                (r"[0-9][0-9][0-9]", Spaces::Keep),
            ],
            "gpt-2" | "gpt2" => &[(GPT2, Spaces::GiveBack)],
            "smollm" | "starcoder" | "command-r" | "refact" => {
                &[(r"\p{N}", Spaces::Keep), (GPT2, Spaces::GiveBack)]
            }
            "llama-bpe" | "llama3" | "llama-v3" => &[(LLAMA3, Spaces::GiveBackUnlessNewline)],
            "qwen2" => &[(QWEN2, Spaces::GiveBackUnlessNewline)],
            _ => {
                let found = name.to_owned();
                return Err(TokenizerError::PreTokenizer { found, supported: SUPPORTED });
            }
        };
        let compile = |&(pattern, spaces): &(&str, Spaces)| match Regex::new(pattern) {
            Ok(pattern) => Ok(Stage { pattern, spaces }),
            Err(error) => Err(TokenizerError::Pattern(error.to_string())),
        };
        let stages = stages.iter().map(compile).collect::<Result<_, _>>()?;
        Ok(Self { stages, llama3: name.starts_with("llama") })
    }

    /// Whether vocabularies of this kind begin texts with the begin token unless they say else.
    pub(super) fn adds_bos(&self) -> bool {
        self.llama3
    }

    /// Whether a word that is a token is taken whole, without merging.
    pub(super) fn takes_whole_words(&self) -> bool {
        self.llama3
    }

    /// Calls `word` for every word of the text, in order; together they are the text.
    pub(super) fn split(&self, text: &str, word: &mut dyn FnMut(&str)) {
        split(&self.stages, text, word);
    }
}

fn split(stages: &[Stage], text: &str, word: &mut dyn FnMut(&str)) {
    let Some((stage, later)) = stages.split_first() else {
        if !text.is_empty() {
            word(text);
        }
        return;
    };
    let mut at = 0;
    while let Some(found) = stage.pattern.find_at(text, at) {
        if found.is_empty() {
            break; // no pattern matches the empty string
        }
        let end = stage.spaces.end_of(text, found.start(), found.end());
        if found.start() > at {
            split(later, &text[at..found.start()], word);
        }
        split(later, &text[found.start()..end], word);
        at = end;
    }
    if at < text.len() {
        split(later, &text[at..], word);
    }
}

impl Spaces {
    fn end_of(self, text: &str, start: usize, end: usize) -> usize {
        let run = &text[start..end];
        let Some(last) = run.chars().next_back().filter(|last| last.is_whitespace()) else {
            return end;
        };
        let keep = match self {
            Spaces::Keep => true,
            Spaces::GiveBack => false,
            Spaces::GiveBackUnlessNewline => matches!(last, '\r' | '\n'),
        };
        let single = run.len() == last.len_utf8();
        // Only white-space runs end in white space, apart from those that keep their line break.
        if keep || single || end == text.len() { end } else { end - last.len_utf8() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pre: &str, text: &str, expected: &[&str]) {
        let mut words = Vec::new();
        Splitter::new(pre).unwrap().split(text, &mut |word| words.push(word.to_owned()));
        assert_eq!(words, expected, "{pre} {text:?}");
    }

    #[test]
    fn splits_like_the_published_patterns() {
        check("gpt-2", "I'll  go\n\nthere", &["I", "'ll", " ", " go", "\n", "\n", "there"]);
        check("gpt-2", "x 123!? ", &["x", " 123", "!?", " "]);
        check("gpt-2", "end   ", &["end", "   "]);
        check("smollm", "a 12  3", &["a", " ", "1", "2", "  ", "3"]);
        check("llama-bpe", "It'S 12345\n\n  x", &["It", "'S", " ", "123", "45", "\n\n", " ", " x"]);
        check("llama-bpe", "a;\n\nb", &["a", ";\n\n", "b"]);
        check("qwen2", "12 a", &["1", "2", " a"]);
        check("default", "a,,b 1234", &["a", ",,", "b", " ", "123", "4"]);
        check("gpt-2", "", &[]);
        assert!(Splitter::new("nonsense").is_err());
    }
}
