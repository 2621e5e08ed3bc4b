//! What a witness is asked and how it decides (C2SP tlog-witness, `add-checkpoint`). A witness holds one
//! size and root per log, cosigns what grew from it and nothing else, so that two of its cosignatures
//! never speak of two histories. Deciding is pure; whoever keeps the state makes it durable before the
//! cosignature leaves, and decides about one log at a time.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::checkpoint::{Checkpoint, CheckpointError};
use super::merkle::{Hash, root_of_nothing};
use super::note::{MAX_NOTE_BYTES, Note, NoteError, VerifierKey};
use super::proof::{MAX_PROOF_HASHES, ProofError, verify_consistency};

/// Below the witness's submission prefix.
pub const ADD_CHECKPOINT: &str = "add-checkpoint";
/// Of the body of 409.
pub const SIZE_CONTENT_TYPE: &str = "text/x.tlog.size";
/// Longest request: a note, and 63 lines of 45 bytes before it.
pub const MAX_REQUEST_BYTES: usize = MAX_NOTE_BYTES + 4096;
/// Longest answer that a log reads: signature lines are about 150 bytes each.
pub const MAX_ANSWER_BYTES: usize = 16 << 10;

/// A request: the newest checkpoint, and the proof that it grew from what the witness holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// Size that the log believes the witness to hold.
    pub old: u64,
    /// From there to the checkpoint.
    pub proof: Vec<Hash>,
    /// The signed note.
    pub note: String,
}

/// What a witness holds of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Leaves.
    pub size: u64,
    /// Root of the tree.
    pub root: Hash,
}

impl Seen {
    /// Of a log that was never cosigned.
    pub fn nothing() -> Self {
        Self { size: 0, root: root_of_nothing() }
    }
}

/// What a witness may cosign, once it holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// What is signed: the whole text of the note.
    pub text: String,
}

/// Why a witness does not cosign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 400: not a request.
    #[error("this is not a request to add a checkpoint: {0}")]
    Malformed(String),
    /// 404: no log that this witness knows.
    #[error("this witness does not know the log {0:?}")]
    UnknownLog(String),
    /// 403: no key of the log signed it.
    #[error("the checkpoint is not signed by a key that this witness knows of the log {0:?}")]
    Unsigned(String),
    /// 409: the witness holds another size than the request builds on, or another root of this size.
    #[error("this witness holds the log at {0} records")]
    Conflict(u64),
    /// 422: the proof does not hold.
    #[error("the proof does not lead from the log as this witness holds it: {0}")]
    Inconsistent(ProofError),
}

impl Refusal {
    /// The HTTP status that the specification gives it.
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) => 400,
            Self::UnknownLog(_) => 404,
            Self::Unsigned(_) => 403,
            Self::Conflict(_) => 409,
            Self::Inconsistent(_) => 422,
        }
    }
}

fn malformed(why: impl ToString) -> Refusal {
    Refusal::Malformed(why.to_string())
}

impl AddCheckpoint {
    /// As it is sent.
    pub fn render(&self) -> String {
        let mut text = format!("old {}\n", self.old);
        for hash in &self.proof {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{}", BASE64.encode(hash));
        }
        text + "\n" + &self.note
    }

    /// Reads a request.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        if text.len() > MAX_REQUEST_BYTES {
            return Err(malformed("it is too long"));
        }
        let (head, note) =
            text.split_once("\n\n").ok_or_else(|| malformed("it has no empty line"))?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old "));
        let old = old.and_then(number).ok_or_else(|| malformed("the old size is missing"))?;
        let mut proof = Vec::new();
        for line in lines {
            if proof.len() == MAX_PROOF_HASHES {
                return Err(malformed("the proof has more than 63 hashes"));
            }
            let hash = BASE64.decode(line).ok().and_then(|bytes| bytes.try_into().ok());
            proof.push(hash.ok_or_else(|| malformed("a line of the proof is not a hash"))?);
        }
        Ok(Self { old, proof, note: note.to_owned() })
    }

    /// What a witness that knows the keys `logs` and holds `seen(origin)` has to cosign. Checked in the
    /// order of the specification, so that nobody but the log learns what is held.
    pub fn decide(
        &self,
        logs: &[VerifierKey],
        seen: impl FnOnce(&str) -> Seen,
    ) -> Result<Accepted, Refusal> {
        let note = Note::parse(&self.note).map_err(malformed)?;
        let checkpoint = Checkpoint::parse(note.text()).map_err(malformed)?;
        let keys: Vec<_> = logs.iter().filter(|key| key.name() == checkpoint.origin).collect();
        // What is echoed is bounded, whatever was sent.
        let shown = || checkpoint.origin.chars().take(128).collect::<String>();
        if keys.is_empty() {
            return Err(Refusal::UnknownLog(shown()));
        }
        if !keys.iter().any(|key| note.verify(key).is_ok()) {
            return Err(Refusal::Unsigned(shown()));
        }
        if self.old > checkpoint.size || checkpoint.size > i64::MAX as u64 {
            return Err(malformed("the old size is larger than the checkpoint's"));
        }
        let held = seen(&checkpoint.origin);
        if self.old != held.size {
            return Err(Refusal::Conflict(held.size));
        }
        if checkpoint.size == held.size {
            return match (checkpoint.root == held.root, self.proof.len()) {
                (true, 0) => Ok(Accepted { checkpoint, text: note.text().to_owned() }),
                (true, n) => Err(Refusal::Inconsistent(ProofError::Length(n))),
                (false, _) => Err(Refusal::Conflict(held.size)),
            };
        }
        let (size, root) = (checkpoint.size, &checkpoint.root);
        verify_consistency(held.size, &held.root, size, root, &self.proof)
            .map_err(Refusal::Inconsistent)?;
        Ok(Accepted { checkpoint, text: note.text().to_owned() })
    }
}

/// A decimal number in its one spelling.
pub fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

/// The signature line of `witness` in its answer to `note`, and when it signed (seconds since the Unix
/// epoch). Lines of keys that are not asked for are ignored.
///
/// # Errors
/// When the answer holds no valid cosignature of the witness.
pub fn cosignature(
    note: &str,
    answer: &str,
    witness: &VerifierKey,
) -> Result<(String, u64), CheckpointError> {
    let whole = Note::parse(&format!("{note}{answer}"))?;
    let time_s = whole.verify(witness)?;
    let unsigned = || NoteError::Unsigned(witness.name().to_owned());
    let line = whole.line_of(witness).ok_or_else(unsigned)?;
    Ok((line, time_s.ok_or_else(unsigned)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::audit::merkle::{Tree, leaf_hash};
    use crate::audit::note::{KeyKind, SignerKey};
    use crate::audit::proof::{consistency, fold, range};

    fn signer(name: &str, kind: KeyKind, seed: u8) -> SignerKey {
        SignerKey::from_seed(name, kind, &[seed; 32]).unwrap()
    }

    fn leaves(count: u64, what: &str) -> Vec<Hash> {
        (0..count).map(|n| leaf_hash(format!("{what}{n}").as_bytes())).collect()
    }

    fn root(leaves: &[Hash]) -> Hash {
        let mut tree = Tree::default();
        leaves.iter().for_each(|leaf| tree.append(*leaf));
        tree.root()
    }

    fn checkpoint(leaves: &[Hash]) -> Checkpoint {
        Checkpoint { origin: "a/log".into(), size: leaves.len() as u64, root: root(leaves) }
    }

    /// Proof from the first `old` leaves to all of them.
    fn proof(leaves: &[Hash], old: u64) -> Vec<Hash> {
        if old == 0 || old == leaves.len() as u64 {
            return Vec::new();
        }
        let node = |low: u64, high: u64| root(&leaves[low as usize..high as usize]);
        let plan = consistency(old, leaves.len() as u64).unwrap();
        let one = |list: &Vec<crate::audit::proof::Node>| {
            let parts: Vec<Hash> =
                list.iter().map(|n| node(n.index << n.level, (n.index + 1) << n.level)).collect();
            fold(&parts)
        };
        assert!(!range(0, old).is_empty());
        plan.iter().map(one).collect()
    }

    fn ask(key: &SignerKey, leaves: &[Hash], old: u64) -> AddCheckpoint {
        let note = checkpoint(leaves).sign(key);
        AddCheckpoint { old, proof: proof(leaves, old), note }
    }

    fn seen(leaves: &[Hash]) -> Seen {
        Seen { size: leaves.len() as u64, root: root(leaves) }
    }

    #[test]
    fn a_log_that_grew_is_cosigned_from_any_size_to_any_size() {
        let key = signer("a/log", KeyKind::Note, 1);
        let logs = [key.verifier().clone()];
        let all = leaves(20, "r");
        for new in 0..=20_u64 {
            for old in 0..=new {
                let request = ask(&key, &all[..new as usize], old);
                let read = AddCheckpoint::parse(&request.render()).unwrap();
                assert_eq!(read, request);
                let held = seen(&all[..old as usize]);
                let decided = read.decide(&logs, |origin| {
                    assert_eq!(origin, "a/log");
                    held
                });
                let decided = decided.map(|accepted| accepted.checkpoint);
                assert_eq!(decided, Ok(checkpoint(&all[..new as usize])), "{old} to {new}");
            }
        }
    }

    #[test]
    fn every_refusal_is_the_one_of_the_specification() {
        let key = signer("a/log", KeyKind::Note, 1);
        let logs = [key.verifier().clone()];
        let (all, other) = (leaves(9, "r"), leaves(9, "x"));
        let held = seen(&all[..5]);
        let check = |request: &AddCheckpoint, status: u16, held: Seen| {
            let refused = request.decide(&logs, |_| held).unwrap_err();
            assert_eq!(refused.status(), status, "{refused}");
            refused
        };
        let good = ask(&key, &all, 5);
        // Another log, and another key under its name.
        let stranger = signer("b/log", KeyKind::Note, 2);
        let moved = Checkpoint { origin: "b/log".into(), ..checkpoint(&all) }.sign(&stranger);
        check(&AddCheckpoint { note: moved, ..good.clone() }, 404, held);
        let forged = checkpoint(&all).sign(&signer("a/log", KeyKind::Note, 2));
        check(&AddCheckpoint { note: forged, ..good.clone() }, 403, held);
        // What is held is told to the log only, so the signature comes first.
        check(&ask(&key, &all, 3), 409, held);
        assert_eq!(check(&ask(&key, &all, 0), 409, held), Refusal::Conflict(5));
        check(&AddCheckpoint { old: 10, ..good.clone() }, 400, held);
        // Smaller than what is held.
        check(&ask(&key, &all[..4], 4), 409, held);
        // Rewritten: of the same size, and grown.
        check(&ask(&key, &other[..5], 5), 409, held);
        check(&ask(&key, &other, 5), 422, held);
        check(&AddCheckpoint { proof: Vec::new(), ..good.clone() }, 422, held);
        let padded = AddCheckpoint { proof: vec![[0; 32]], ..ask(&key, &all[..5], 5) };
        check(&padded, 422, held);
        let first = AddCheckpoint { proof: vec![[0; 32]], ..ask(&key, &all, 0) };
        check(&first, 422, Seen::nothing());
        // A tree of nothing has one root.
        let empty = Checkpoint { origin: "a/log".into(), size: 0, root: [7; 32] }.sign(&key);
        let empty = AddCheckpoint { old: 0, proof: Vec::new(), note: empty };
        check(&empty, 409, Seen::nothing());
    }

    #[test]
    fn only_whole_requests_are_read() {
        let key = signer("a/log", KeyKind::Note, 1);
        let good = ask(&key, &leaves(9, "r"), 5).render();
        assert!(AddCheckpoint::parse(&good).is_ok());
        let hash = format!("{}\n", BASE64.encode([3; 32]));
        for bad in [
            String::new(),
            good.replacen("old 5", "old 05", 1),
            good.replacen("old 5", "old", 1),
            good.replacen("old 5", "old -5", 1),
            good.replacen("old 5\n", "", 1),
            good.replacen("old 5\n", &format!("old 5\n{}", hash.repeat(64)), 1),
            good.replacen("old 5\n", "old 5\nAAAA\n", 1),
            good.replacen("old 5\n", "old 5\r\n", 1),
            "old 5\n".to_owned(),
            "x".repeat(MAX_REQUEST_BYTES + 1),
        ] {
            let refused = AddCheckpoint::parse(&bad).unwrap_err();
            assert_eq!(refused.status(), 400, "{bad:?}");
        }
        let no_note = AddCheckpoint::parse("old 0\n\nnothing").unwrap();
        assert_eq!(no_note.decide(&[], |_| Seen::nothing()).unwrap_err().status(), 400);
    }

    #[test]
    fn a_log_takes_the_cosignature_of_the_witness_it_asked_and_no_other() {
        let (log, witness) =
            (signer("a/log", KeyKind::Note, 1), signer("w", KeyKind::Cosignature, 2));
        let other = signer("w", KeyKind::Cosignature, 3);
        let text = checkpoint(&leaves(3, "r"));
        let note = text.sign(&log);
        let line = witness.sign(&text.text(), 1_700_000_000);
        let answer = format!("{}{line}", other.sign(&text.text(), 1_600_000_000));
        let found = cosignature(&note, &answer, witness.verifier());
        assert_eq!(found, Ok((line.clone(), 1_700_000_000)));
        let whole = Note::parse(&format!("{note}{line}")).unwrap();
        assert_eq!(whole.verify(witness.verifier()), Ok(Some(1_700_000_000)));
        for bad in [
            String::new(),
            other.sign(&text.text(), 1),
            witness.sign("another text\n", 1),
            line.trim_end().to_owned(),
            "<html>\n".to_owned(),
        ] {
            assert!(cosignature(&note, &bad, witness.verifier()).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_request_of_a_stranger_panics(text in "(old [0-9]{1,20}\n)?([A-Za-z0-9+/=]{0,50}\n){0,70}\n?.{0,200}") {
            if let Ok(request) = AddCheckpoint::parse(&text) {
                let _ = request.decide(&[], |_| Seen::nothing());
            }
        }
    }
}
