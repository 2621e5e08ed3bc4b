//! Checkpoints (C2SP tlog-checkpoint): origin, size and root of a log, as the text of a signed note.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::merkle::Hash;
use super::note::{Note, NoteError, SignerKey, VerifierKey};

/// What a log commits to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log; the name of its key.
    pub origin: String,
    /// Leaves.
    pub size: u64,
    /// Root of the tree.
    pub root: Hash,
}

/// A checkpoint that is none, or is not signed by its log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Not a note, or not signed.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The text is not a checkpoint.
    #[error("the signed text is not a checkpoint: {0}")]
    Form(&'static str),
    /// It is of another log.
    #[error("the checkpoint is of the log {found:?}, the key of {expected:?}")]
    Origin {
        /// In the text.
        found: String,
        /// Of the key.
        expected: String,
    },
}

impl Checkpoint {
    /// The text that is signed.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, BASE64.encode(self.root))
    }

    /// As a signed note.
    pub fn sign(&self, key: &SignerKey) -> String {
        let text = self.text();
        format!("{text}\n{}", key.sign(&text, 0))
    }

    /// Reads the text; what follows the root are extensions and ignored.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let mut lines = text.lines();
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next())
        else {
            return Err(CheckpointError::Form("it has fewer than three lines"));
        };
        let canonical = |size: &u64| size.to_string();
        let number = size.parse().ok().filter(|number| canonical(number) == size);
        let size = number.ok_or(CheckpointError::Form("the size is not a number"))?;
        let root = BASE64.decode(root).ok().and_then(|bytes| bytes.try_into().ok());
        let root = root.ok_or(CheckpointError::Form("the root is not a hash"))?;
        Ok(Self { origin: origin.to_owned(), size, root })
    }

    /// Opens a signed note: the signature of the log first, then the text.
    pub fn open(note: &str, log: &VerifierKey) -> Result<(Self, Note), CheckpointError> {
        let note = Note::parse(note)?;
        note.verify(log)?;
        let checkpoint = Self::parse(note.text())?;
        if checkpoint.origin != log.name() {
            let (found, expected) = (checkpoint.origin, log.name().to_owned());
            return Err(CheckpointError::Origin { found, expected });
        }
        Ok((checkpoint, note))
    }
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::Ed25519KeyPair;

    use super::*;
    use crate::audit::note::KeyKind;

    #[test]
    fn a_checkpoint_opens_with_the_key_of_its_log_alone() {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let key = |name| SignerKey::from_pkcs8(name, KeyKind::Note, pkcs8.as_ref()).unwrap();
        let checkpoint = Checkpoint { origin: "a/log".into(), size: 7, root: [3; 32] };
        let note = checkpoint.sign(&key("a/log"));
        let (opened, _) = Checkpoint::open(&note, key("a/log").verifier()).unwrap();
        assert_eq!(opened, checkpoint);
        // The same key under another name signs another log.
        let moved = Checkpoint { origin: "b/log".into(), ..checkpoint }.sign(&key("a/log"));
        let error = Checkpoint::open(&moved, key("a/log").verifier()).unwrap_err();
        assert!(matches!(error, CheckpointError::Origin { .. }), "{error}");
    }

    #[test]
    fn only_canonical_texts_are_read() {
        let root = BASE64.encode([3; 32]);
        assert!(Checkpoint::parse(&format!("o\n7\n{root}\nextension\n")).is_ok());
        for bad in [
            "o\n7\n".to_owned(),
            format!("o\n07\n{root}\n"),
            format!("o\n+7\n{root}\n"),
            format!("o\n-1\n{root}\n"),
            format!("o\n7\n{}\n", &root[..40]),
            format!("o\n7\n{}\n", BASE64.encode([3; 31])),
        ] {
            assert!(Checkpoint::parse(&bad).is_err(), "{bad}");
        }
    }
}
