//! Byte-level BPE from the vocabulary, merges and pre-tokenizer name in a GGUF file.
//!
//! It must give the token ids that the model was trained on, and never fail on any text. Work is
//! linear in the text, with a logarithm for the merges of one word.

mod bpe;
mod bytes;
mod detokenize;
mod split;

pub use detokenize::Detokenizer;

use aho_corasick::{AhoCorasick, MatchKind};
use bpe::Merges;
use edgeformer_gguf::Header;
use split::Splitter;
use std::collections::{HashMap, HashSet};

/// Names of tokens that end a turn or a text in published vocabularies; files often name only one.
const END_NAMES: &[&str] = &[
    "<|endoftext|>",
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|end|>",
    "<|eot|>",
    "<end_of_turn>",
    "<|end_of_turn|>",
    "<|return|>",
    "<|call|>",
    "</s>",
    "<EOT>",
];

/// Why a tokenizer could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    #[error("the file lacks {key:?}, or its type is wrong")]
    MissingKey { key: &'static str },
    #[error("tokenizer model {found:?} is not supported; supported: gpt2 (byte-level BPE)")]
    Model { found: String },
    #[error("pre-tokenizer {found:?} is not supported; supported: {supported}")]
    PreTokenizer { found: String, supported: &'static str },
    #[error("the vocabulary has {found} tokens; the embedding has {expected}")]
    VocabSize { found: usize, expected: usize },
    #[error("merge {index} ({merge:?}) does not join two tokens into a token")]
    Merge { index: usize, merge: String },
    #[error("{key} is {found}, beyond the vocabulary of {vocab} tokens")]
    TokenId { key: &'static str, found: u32, vocab: usize },
    #[error("preparing the tokenizer: {0}")]
    Pattern(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Normal,
    /// Part of the protocol, not of the text: matched only when special tokens are parsed.
    Control,
    /// Matched in any text.
    UserDefined,
}

/// A tokenizer. Immutable.
#[derive(Debug)]
pub struct Tokenizer {
    /// The bytes of all tokens, one after the other, and where each ends.
    pieces: Vec<u8>,
    ends: Vec<u32>,
    kinds: Vec<Kind>,
    splitter: Splitter,
    merges: Merges,
    /// Whole words that are taken as one token before any merging, where the vocabulary asks.
    whole_words: Option<HashMap<Box<[u8]>, u32>>,
    /// Finds control and user-defined tokens, and user-defined ones only.
    all_special: Special,
    user_defined: Special,
    bos: Option<u32>,
    eos: Option<u32>,
    add_bos: bool,
    add_eos: bool,
    ends_generation: HashSet<u32>,
}

/// Tokens found in raw text: the leftmost, and of those the longest.
#[derive(Debug)]
struct Special {
    automaton: Option<AhoCorasick>,
    ids: Vec<u32>,
}

impl Special {
    fn new(tokens: impl Iterator<Item = (u32, String)>) -> Result<Self, TokenizerError> {
        let (ids, texts): (Vec<_>, Vec<_>) = tokens.filter(|(_, text)| !text.is_empty()).unzip();
        let build = || AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&texts);
        let automaton = if ids.is_empty() { None } else { Some(build()) };
        let automaton =
            automaton.transpose().map_err(|error| TokenizerError::Pattern(error.to_string()))?;
        Ok(Self { automaton, ids })
    }
}

impl Tokenizer {
    /// Reads the tokenizer of a file whose embedding has `vocab` rows.
    pub(crate) fn from_header(header: &Header, vocab: usize) -> Result<Self, TokenizerError> {
        let model = header
            .str("tokenizer.ggml.model")
            .ok_or(TokenizerError::MissingKey { key: "tokenizer.ggml.model" })?;
        if model != "gpt2" {
            return Err(TokenizerError::Model { found: model.to_owned() });
        }
        let pre = header.str("tokenizer.ggml.pre").unwrap_or("default");
        let splitter = Splitter::new(pre)?;
        let key = "tokenizer.ggml.tokens";
        let texts = header.strings(key).ok_or(TokenizerError::MissingKey { key })?;
        if texts.len() != vocab {
            return Err(TokenizerError::VocabSize { found: texts.len(), expected: vocab });
        }
        let types = header.i32s("tokenizer.ggml.token_type").unwrap_or(&[]);
        let kind = |index: usize| match types.get(index) {
            Some(2 | 3) => Kind::Control,
            Some(4) => Kind::UserDefined,
            _ => Kind::Normal,
        };
        let kinds: Vec<Kind> = (0..vocab).map(kind).collect();
        let (pieces, ends) = bytes::pieces(texts, |index| kinds[index] == Kind::Normal);
        let key = "tokenizer.ggml.merges";
        let merges = header.strings(key).ok_or(TokenizerError::MissingKey { key })?;
        let merges = Merges::new(texts, merges)?;
        let special = |with_control: bool| {
            Special::new(texts.iter().enumerate().filter_map(|(id, text)| {
                let found = match kinds[id] {
                    Kind::Normal => false,
                    Kind::Control => with_control,
                    Kind::UserDefined => true,
                };
                found.then(|| (id as u32, text.to_owned()))
            }))
        };
        let (all_special, user_defined) = (special(true)?, special(false)?);
        let (bos, eos) = (id_of(header, BOS, vocab)?, id_of(header, EOS, vocab)?);
        let mut ends_generation: HashSet<u32> = eos.into_iter().collect();
        for key in ["tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"] {
            ends_generation.extend(id_of(header, key, vocab)?);
        }
        let named = texts
            .iter()
            .enumerate()
            .filter(|(id, text)| kinds[*id] != Kind::Normal && END_NAMES.contains(text));
        ends_generation.extend(named.map(|(id, _)| id as u32));
        let flag = |key: &str, default: bool| header.bool(key).unwrap_or(default);
        let mut tokenizer = Self {
            pieces,
            ends,
            kinds,
            merges,
            whole_words: None,
            all_special,
            user_defined,
            bos,
            eos,
            add_bos: flag("tokenizer.ggml.add_bos_token", splitter.adds_bos()),
            add_eos: flag("tokenizer.ggml.add_eos_token", false),
            splitter,
            ends_generation,
        };
        if tokenizer.splitter.takes_whole_words() {
            let words = (0..vocab as u32).map(|id| (tokenizer.decode_piece(id).into(), id));
            tokenizer.whole_words = Some(words.collect());
        }
        Ok(tokenizer)
    }

    /// Token ids of a text. `add_special` adds the begin and end tokens that the file asks for;
    /// `parse_special` recognizes control tokens such as `<|im_start|>` in the text. Never set it
    /// for text that a user wrote: it would let them speak for the system.
    pub fn encode(&self, text: &str, add_special: bool, parse_special: bool) -> Vec<u32> {
        let mut ids = Vec::new();
        if add_special && self.add_bos {
            ids.extend(self.bos);
        }
        let special = if parse_special { &self.all_special } else { &self.user_defined };
        let mut rest = 0;
        if let Some(automaton) = &special.automaton {
            for found in automaton.find_iter(text) {
                self.encode_plain(&text[rest..found.start()], &mut ids);
                ids.push(special.ids[found.pattern().as_usize()]);
                rest = found.end();
            }
        }
        self.encode_plain(&text[rest..], &mut ids);
        if add_special && self.add_eos {
            ids.extend(self.eos);
        }
        ids
    }

    fn encode_plain(&self, text: &str, ids: &mut Vec<u32>) {
        let mut scratch = bpe::Scratch::default();
        self.splitter.split(text, &mut |word| {
            let whole = self.whole_words.as_ref().and_then(|words| words.get(word.as_bytes()));
            match whole {
                Some(&id) => ids.push(id),
                None => self.merges.apply(word.as_bytes(), &mut scratch, ids),
            }
        });
    }

    /// The bytes of a token; for control tokens their name; empty for an id out of range. Bytes of
    /// one character may be spread over several tokens: see [`Detokenizer`].
    pub fn decode_piece(&self, id: u32) -> &[u8] {
        let index = id as usize;
        let Some(&end) = self.ends.get(index) else { return &[] };
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.pieces[start as usize..end as usize]
    }

    /// Tokens in the vocabulary.
    pub fn vocab(&self) -> usize {
        self.ends.len()
    }

    /// The begin-of-text token.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The end token.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// Whether a model that produces this token has finished its answer.
    pub fn is_end_of_generation(&self, id: u32) -> bool {
        self.ends_generation.contains(&id)
    }

    /// Whether this token belongs to the protocol, not to the text shown to people.
    pub fn is_control(&self, id: u32) -> bool {
        self.kinds.get(id as usize) == Some(&Kind::Control)
    }
}

const BOS: &str = "tokenizer.ggml.bos_token_id";
const EOS: &str = "tokenizer.ggml.eos_token_id";

fn id_of(header: &Header, key: &'static str, vocab: usize) -> Result<Option<u32>, TokenizerError> {
    match header.u32(key) {
        Some(found) if found as usize >= vocab => {
            Err(TokenizerError::TokenId { key, found, vocab })
        }
        id => Ok(id),
    }
}
