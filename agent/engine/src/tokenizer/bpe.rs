//! Byte-pair merging of one word: the adjacent pair with the best rank, leftmost on a tie, is
//! joined until none can be. A heap makes it n log n, so that a word of a megabyte is no attack.

use super::TokenizerError;
use super::bytes::char_of;
use edgeformer_gguf::Strings;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// Marks the end of the list of symbols, and a symbol that was merged away.
const NONE: u32 = u32::MAX;

/// The merge table, over token ids.
#[derive(Debug)]
pub(super) struct Merges {
    /// (left, right) to (rank, joined)
    pairs: HashMap<(u32, u32), (u32, u32)>,
    /// Token of each byte; vocabularies may lack bytes that never occur in UTF-8.
    byte_tokens: [Option<u32>; 256],
}

/// Buffers reused from word to word.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    symbols: Vec<Symbol>,
    /// Best rank first, then leftmost; ids tell entries that are out of date.
    queue: BinaryHeap<Reverse<(u32, u32, u32, u32)>>,
}

#[derive(Debug)]
struct Symbol {
    id: u32,
    previous: u32,
    next: u32,
}

impl Merges {
    pub(super) fn new(tokens: &Strings, merges: &Strings) -> Result<Self, TokenizerError> {
        let ids: HashMap<&str, u32> =
            tokens.iter().enumerate().map(|(id, text)| (text, id as u32)).collect();
        let mut pairs = HashMap::with_capacity(merges.len());
        for (index, merge) in merges.iter().enumerate() {
            let parse = || {
                // A left part is never empty, so a space at the start belongs to it.
                let first = merge.chars().next()?.len_utf8();
                let (left, right) = merge.split_at(first + merge[first..].find(' ')?);
                let right = &right[1..];
                let joined = *ids.get(format!("{left}{right}").as_str())?;
                Some(((*ids.get(left)?, *ids.get(right)?), joined))
            };
            let Some((pair, joined)) = parse() else {
                return Err(TokenizerError::Merge { index, merge: merge.to_owned() });
            };
            pairs.entry(pair).or_insert((index as u32, joined));
        }
        let byte_tokens = std::array::from_fn(|byte| {
            ids.get(char_of(byte as u8).encode_utf8(&mut [0; 4]) as &str).copied()
        });
        Ok(Self { pairs, byte_tokens })
    }

    /// Appends the tokens of a word. Bytes without a token are left out.
    pub(super) fn apply(&self, word: &[u8], scratch: &mut Scratch, out: &mut Vec<u32>) {
        let Scratch { symbols, queue } = scratch;
        symbols.clear();
        queue.clear();
        for id in word.iter().filter_map(|&byte| self.byte_tokens[usize::from(byte)]) {
            let index = symbols.len() as u32;
            symbols.push(Symbol { id, previous: index.wrapping_sub(1), next: index + 1 });
        }
        let Some(last) = symbols.last_mut() else { return };
        last.next = NONE;
        for left in 0..symbols.len() as u32 - 1 {
            self.offer(symbols, queue, left);
        }
        while let Some(Reverse((_, left, left_id, right_id))) = queue.pop() {
            let right = symbols[left as usize].next;
            let current = symbols[left as usize].id == left_id
                && right != NONE
                && symbols[right as usize].id == right_id;
            let Some(&(_, joined)) = self.pairs.get(&(left_id, right_id)).filter(|_| current)
            else {
                continue;
            };
            let after = symbols[right as usize].next;
            symbols[right as usize].id = NONE;
            symbols[left as usize].id = joined;
            symbols[left as usize].next = after;
            if after != NONE {
                symbols[after as usize].previous = left;
                self.offer(symbols, queue, left);
            }
            let before = symbols[left as usize].previous;
            if before != NONE {
                self.offer(symbols, queue, before);
            }
        }
        out.extend(symbols.iter().map(|symbol| symbol.id).filter(|&id| id != NONE));
    }

    /// Queues the pair that starts at `left`, which has a successor, if it can be merged.
    fn offer(
        &self,
        symbols: &[Symbol],
        queue: &mut BinaryHeap<Reverse<(u32, u32, u32, u32)>>,
        left: u32,
    ) {
        let first = &symbols[left as usize];
        let second = &symbols[first.next as usize];
        if let Some(&(rank, _)) = self.pairs.get(&(first.id, second.id)) {
            queue.push(Reverse((rank, left, first.id, second.id)));
        }
    }
}
