//! A part of the log with all that it takes to check it offline: JSON Lines, a header and then one
//! line per record. The header holds a signed checkpoint and the roots of the perfect subtrees to the
//! left and to the right of the part, so that the records in between lead to the signed root or do
//! not. [`Verifier`] takes line after line and needs the log's public key and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use super::checkpoint::{Checkpoint, CheckpointError};
use super::merkle::{Hash, leaf_hash, node_hash};
use super::note::{Note, NoteError, VerifierKey};
use super::opening::{Salt, commit};
use super::proof::{fold, range};

/// First field of the header.
pub const FORMAT: &str = "edgeformer-audit-bundle/1";
/// Longest line: a record with its values has some kilobytes, a large change a hundred.
pub const MAX_LINE_BYTES: usize = 4 << 20;

/// The first line.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Header {
    /// [`FORMAT`].
    pub format: String,
    /// The signed note, with the cosignatures of witnesses.
    pub checkpoint: String,
    /// First record.
    pub from: u64,
    /// One after the last.
    pub to: u64,
    /// Roots left of the part, as [`range`] orders them; base64.
    pub left: Vec<String>,
    /// Roots right of it, up to the size of the checkpoint; base64.
    pub right: Vec<String>,
}

/// Values beside a record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Opening {
    /// Whose they are; empty for nobody's.
    pub subject: String,
    /// Of a person's, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
    /// By field.
    pub values: BTreeMap<String, String>,
}

/// Every other line.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Line {
    /// Its place.
    pub sequence: u64,
    /// The exact text that was hashed; absent if it was deleted after its retention.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub record: String,
    /// The leaf that the log has for it; base64.
    pub leaf: String,
    /// What stands beside it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub openings: Vec<Opening>,
}

/// What a bundle is found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// What the log signed.
    pub checkpoint: Checkpoint,
    /// First record.
    pub from: u64,
    /// One after the last.
    pub to: u64,
    /// Values that match their commitments.
    pub opened: u64,
    /// Commitments without a value: the person was erased, or the value was not exported.
    pub withheld: u64,
    /// Records whose texts were deleted: their leaves are there, what they said is not.
    pub deleted: u64,
    /// Time of the first and of the last record that is there, as they say.
    pub times: Option<(String, String)>,
    /// Witnesses that signed, and when (seconds since the Unix epoch).
    pub witnesses: Vec<(String, u64)>,
}

/// Why a bundle does not verify.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A line is not what it should be.
    #[error("line {line} is not part of a bundle: {why}")]
    Form {
        /// From 1.
        line: u64,
        /// Why.
        why: String,
    },
    /// The checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A witness that has to have signed did not.
    #[error("witness: {0}")]
    Witness(NoteError),
    /// A key that was given for a witness's is a log's.
    #[error("{0} is the key of a log, and not of a witness")]
    NoWitness(String),
    /// A record is missing, comes twice, or out of order.
    #[error("record {expected} is missing: record {found} comes in its place")]
    Sequence {
        /// What should come.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// The bundle ends early.
    #[error("the bundle ends before record {0}: it was cut")]
    Short(u64),
    /// A record was edited.
    #[error("record {0} was changed: its text does not have the hash that the log has for it")]
    Record(u64),
    /// A value beside a record was edited.
    #[error("record {sequence}: {field} was changed: it is not what the record commits to")]
    Value {
        /// Which record.
        sequence: u64,
        /// Which field.
        field: String,
    },
    /// A value that the record knows nothing of.
    #[error("record {sequence}: {field} stands beside it, but the record does not commit to it")]
    Stranger {
        /// Which record.
        sequence: u64,
        /// Which field.
        field: String,
    },
    /// The records do not lead to the signed root.
    #[error(
        "records {from} to {last} do not lead to the root that the log signed: at least one was \
         changed, added or removed together with its hash"
    )]
    Root {
        /// First record.
        from: u64,
        /// Last record.
        last: u64,
    },
    /// An older checkpoint is of another history.
    #[error(
        "the log signed another history before: at {size} records its root was another one. Keep \
         both checkpoints: together they prove that the log was rewritten"
    )]
    Fork {
        /// Size of the older checkpoint.
        size: u64,
    },
    /// The log is shorter than it was.
    #[error(
        "the log signed {had} records before and has {has} now: records were taken away. Keep both \
         checkpoints: together they prove it"
    )]
    Shrunk {
        /// Size of the older checkpoint.
        had: u64,
        /// Size of the bundle's.
        has: u64,
    },
    /// An older checkpoint cannot be compared.
    #[error("the older checkpoint has {size} records, and the bundle covers {from} to {to} only")]
    OutOfReach {
        /// Size of the older checkpoint.
        size: u64,
        /// First record.
        from: u64,
        /// One after the last.
        to: u64,
    },
}

/// The part of a record that the verifier looks at.
#[derive(Deserialize)]
struct Leaf {
    at: String,
    #[serde(default)]
    sealed: BTreeMap<String, Sealed>,
}

#[derive(Deserialize)]
struct Sealed {
    #[serde(default)]
    subject: String,
    hash: String,
}

/// Perfect subtrees next to each other, merged as far as they can be.
#[derive(Debug, Default)]
struct Stack(Vec<(u8, u64, Hash)>);

impl Stack {
    fn push(&mut self, level: u8, index: u64, hash: Hash) {
        let mut node = (level, index, hash);
        while let Some(&(level, index, left)) = self.0.last()
            && level == node.0
            && index & 1 == 0
            && index + 1 == node.1
        {
            self.0.pop();
            node = (level + 1, index >> 1, node_hash(&left, &node.2));
        }
        self.0.push(node);
    }

    fn root(&self) -> Hash {
        fold(&self.0.iter().map(|(_, _, hash)| *hash).collect::<Vec<_>>())
    }
}

/// Takes a bundle line by line.
#[derive(Debug)]
pub struct Verifier {
    verified: Verified,
    right: Vec<Hash>,
    stack: Stack,
    next: u64,
    line: u64,
    older: Vec<Checkpoint>,
}

impl Verifier {
    /// From the first line. `older` are checkpoints of the same log that were kept: the bundle must
    /// be of the same history. Every one of `witnesses` must have signed.
    pub fn new(
        header: &str,
        log: &VerifierKey,
        witnesses: &[VerifierKey],
        older: Vec<Checkpoint>,
    ) -> Result<Self, BundleError> {
        let form = |why: String| BundleError::Form { line: 1, why };
        let header: Header = serde_json::from_str(header).map_err(|e| form(e.to_string()))?;
        if header.format != FORMAT {
            return Err(form(format!("its format is {:?}, not {FORMAT:?}", header.format)));
        }
        let (checkpoint, note) = Checkpoint::open(&header.checkpoint, log)?;
        if header.from > header.to || header.to > checkpoint.size {
            return Err(form("it is no part of the log that the checkpoint is of".to_owned()));
        }
        for old in &older {
            if old.size > checkpoint.size {
                return Err(BundleError::Shrunk { had: old.size, has: checkpoint.size });
            }
            let reach = header.from..=header.to;
            if !reach.contains(&old.size) && old.size != checkpoint.size {
                let (from, to) = (header.from, header.to);
                return Err(BundleError::OutOfReach { size: old.size, from, to });
            }
        }
        let left = hashes(&header.left).ok_or_else(|| form("left".to_owned()))?;
        let right = hashes(&header.right).ok_or_else(|| form("right".to_owned()))?;
        let (left_nodes, right_nodes) = (range(0, header.from), range(header.to, checkpoint.size));
        if left.len() != left_nodes.len() || right.len() != right_nodes.len() {
            return Err(form("the subtrees beside the part are not those of this tree".to_owned()));
        }
        let mut stack = Stack::default();
        for (node, hash) in left_nodes.iter().zip(&left) {
            stack.push(node.level, node.index, *hash);
        }
        let verified = Verified {
            witnesses: cosigned(&note, witnesses)?,
            checkpoint,
            from: header.from,
            to: header.to,
            opened: 0,
            withheld: 0,
            deleted: 0,
            times: None,
        };
        let mut verifier = Self { verified, right, stack, next: header.from, line: 1, older };
        verifier.compare_older(verifier.next)?;
        Ok(verifier)
    }

    /// Takes the next record.
    pub fn record(&mut self, line: &str) -> Result<(), BundleError> {
        self.line += 1;
        let number = self.line;
        let form = |why: String| BundleError::Form { line: number, why };
        let line: Line = serde_json::from_str(line).map_err(|e| form(e.to_string()))?;
        let sequence = line.sequence;
        if sequence != self.next {
            return Err(BundleError::Sequence { expected: self.next, found: sequence });
        }
        if sequence >= self.verified.to {
            return Err(form(format!("record {sequence} is beyond the end that the header names")));
        }
        if line.record.is_empty() {
            return self.deleted(sequence, &line);
        }
        let hash = leaf_hash(line.record.as_bytes());
        if BASE64.encode(hash) != line.leaf {
            return Err(BundleError::Record(sequence));
        }
        let leaf: Leaf = serde_json::from_str(&line.record)
            .map_err(|error| form(format!("record {sequence} cannot be read: {error}")))?;
        self.check_openings(sequence, &leaf, &line.openings)?;
        let first = self.verified.times.take().map_or_else(|| leaf.at.clone(), |(first, _)| first);
        self.verified.times = Some((first, leaf.at));
        self.stack.push(0, sequence, hash);
        self.next += 1;
        self.compare_older(self.next)
    }

    /// Takes a record whose text was deleted: its leaf still has to lead to the root.
    fn deleted(&mut self, sequence: u64, line: &Line) -> Result<(), BundleError> {
        let hash = hashes(std::slice::from_ref(&line.leaf)).and_then(|mut one| one.pop());
        let Some(hash) = hash else { return Err(BundleError::Record(sequence)) };
        if let Some(field) = line.openings.iter().flat_map(|one| one.values.keys()).next() {
            return Err(BundleError::Stranger { sequence, field: field.clone() });
        }
        self.verified.deleted += 1;
        self.stack.push(0, sequence, hash);
        self.next += 1;
        self.compare_older(self.next)
    }

    /// After the last line: whether it all leads to the signed root.
    pub fn finish(mut self) -> Result<Verified, BundleError> {
        let Verified { from, to, checkpoint, .. } = &self.verified;
        if self.next < *to {
            return Err(BundleError::Short(self.next));
        }
        for (node, hash) in range(*to, checkpoint.size).iter().zip(&self.right) {
            self.stack.push(node.level, node.index, *hash);
        }
        if self.stack.root() != checkpoint.root {
            return Err(BundleError::Root { from: *from, last: to.saturating_sub(1) });
        }
        let size = checkpoint.size;
        self.compare_older(size)?;
        Ok(self.verified)
    }

    /// The tree of the first `size` records against the older checkpoints of that size.
    fn compare_older(&mut self, size: u64) -> Result<(), BundleError> {
        let root = self.stack.root();
        match self.older.iter().find(|old| old.size == size && old.root != root) {
            Some(old) => Err(BundleError::Fork { size: old.size }),
            None => Ok(()),
        }
    }

    fn check_openings(
        &mut self,
        sequence: u64,
        leaf: &Leaf,
        openings: &[Opening],
    ) -> Result<(), BundleError> {
        // A value that is shown twice makes no other one shown.
        let mut opened = BTreeSet::new();
        for opening in openings {
            let salt = opening.salt.as_deref().and_then(|text| BASE64.decode(text).ok());
            let salt = salt.and_then(|bytes| Salt::try_from(bytes.as_slice()).ok());
            for (field, value) in &opening.values {
                let field = || field.clone();
                let sealed = leaf.sealed.get(&field()).filter(|s| s.subject == opening.subject);
                let sealed =
                    sealed.ok_or_else(|| BundleError::Stranger { sequence, field: field() })?;
                if commit(salt.as_ref(), &field(), value) != sealed.hash {
                    return Err(BundleError::Value { sequence, field: field() });
                }
                opened.insert(field());
            }
        }
        let opened = opened.len() as u64;
        self.verified.opened += opened;
        self.verified.withheld += (leaf.sealed.len() as u64).saturating_sub(opened);
        Ok(())
    }
}

fn hashes(texts: &[String]) -> Option<Vec<Hash>> {
    // At most two subtrees per height.
    if texts.len() > 126 {
        return None;
    }
    texts.iter().map(|text| BASE64.decode(text).ok()?.try_into().ok()).collect()
}

fn cosigned(note: &Note, witnesses: &[VerifierKey]) -> Result<Vec<(String, u64)>, BundleError> {
    witnesses
        .iter()
        .map(|key| {
            let time_s = note.verify(key).map_err(BundleError::Witness)?;
            // The log's own signature says nothing about what others saw.
            let time_s = time_s.ok_or_else(|| BundleError::NoWitness(key.name().to_owned()))?;
            Ok((key.name().to_owned(), time_s))
        })
        .collect()
}
