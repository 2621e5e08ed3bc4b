//! Signed notes (C2SP signed-note) with Ed25519, and the cosignatures of witnesses (C2SP
//! tlog-cosignature v1). A note is text, an empty line, and a line per signature:
//! `— <key name> <base64(key id ‖ signature)>`.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use data_encoding::HEXLOWER;
use ring::digest;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use zeroize::Zeroizing;

/// Longest note read: a checkpoint has some hundred bytes, a signature about 150.
pub const MAX_NOTE_BYTES: usize = 64 << 10;
/// Signatures of a note that are read; a log and its witnesses are far fewer.
pub const MAX_SIGNATURES: usize = 64;
/// Begins a signature line: an em dash and a space.
const SIGNATURE: &str = "\u{2014} ";
/// Begins the text of a private key.
const PRIVATE: &str = "PRIVATE+KEY+";
/// Bytes of an Ed25519 signature.
const SIGNATURE_BYTES: usize = 64;

/// What a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// The text of the note: a log.
    Note,
    /// The text and the time: a witness.
    Cosignature,
}

impl KeyKind {
    fn byte(self) -> u8 {
        match self {
            Self::Note => 0x01,
            Self::Cosignature => 0x04,
        }
    }

    fn of(byte: u8) -> Option<Self> {
        match byte {
            0x01 => Some(Self::Note),
            0x04 => Some(Self::Cosignature),
            _ => None,
        }
    }
}

/// Why a note or a key is not one, or does not verify.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not the text of a key.
    #[error("{0:?} is not a verifier key: it must be <name>+<8 hexadecimal digits>+<base64>")]
    Key(String),
    /// Not the text of a private key.
    #[error("this is not a private key: it must begin with PRIVATE+KEY+<name>+")]
    Private,
    /// Not a note.
    #[error("this is not a signed note: {0}")]
    Form(&'static str),
    /// The key has not signed it.
    #[error("the note has no signature by {0}")]
    Unsigned(String),
    /// The signature is wrong.
    #[error("the signature by {0} is not valid: the note was altered, or signed with another key")]
    Signature(String),
}

/// Whether this can be the name of a key: one word without a plus sign.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 255 && !name.contains(|c: char| c.is_whitespace() || c == '+')
}

/// A public key with its name: what a verifier has to be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    kind: KeyKind,
    public: [u8; 32],
}

impl VerifierKey {
    /// A key with a name. None if the name is not one word.
    pub fn new(name: &str, kind: KeyKind, public: [u8; 32]) -> Option<Self> {
        is_name(name).then(|| Self { name: name.to_owned(), kind, public })
    }

    /// Its name; for a log also the origin of its checkpoints.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key itself.
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// What it signs.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// First four bytes of SHA-256(name ‖ newline ‖ kind ‖ key).
    pub fn id(&self) -> [u8; 4] {
        let text = [self.name.as_bytes(), b"\n", &[self.kind.byte()], &self.public].concat();
        let mut id = [0; 4];
        id.copy_from_slice(&digest::digest(&digest::SHA256, &text).as_ref()[..4]);
        id
    }

    fn holds(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.public).verify(message, signature).is_ok()
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[self.kind.byte()][..], &self.public].concat();
        write!(f, "{}+{}+{}", self.name, HEXLOWER.encode(&self.id()), BASE64.encode(key))
    }
}

impl FromStr for VerifierKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let bad = || NoteError::Key(text.chars().take(200).collect());
        let mut parts = text.trim().splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(bad());
        };
        let key = BASE64.decode(key).map_err(|_| bad())?;
        let (kind, public) = key.split_first().ok_or_else(bad)?;
        let kind = KeyKind::of(*kind).ok_or_else(bad)?;
        let public = public.try_into().map_err(|_| bad())?;
        let key = Self::new(name, kind, public).ok_or_else(bad)?;
        (HEXLOWER.encode(&key.id()) == id).then_some(key).ok_or_else(bad)
    }
}

/// A private key with its name.
pub struct SignerKey {
    public: VerifierKey,
    pair: Ed25519KeyPair,
}

impl fmt::Debug for SignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignerKey({})", self.public)
    }
}

impl SignerKey {
    /// From a PKCS#8 document. None if it holds no Ed25519 key or the name is not one word.
    pub fn from_pkcs8(name: &str, kind: KeyKind, pkcs8: &[u8]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8).ok()?;
        let public = <[u8; 32]>::try_from(pair.public_key().as_ref()).ok()?;
        Some(Self { public: VerifierKey::new(name, kind, public)?, pair })
    }

    /// From the 32 bytes that the key is derived from. None if the name is not one word.
    pub fn from_seed(name: &str, kind: KeyKind, seed: &[u8; 32]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
        let public = <[u8; 32]>::try_from(pair.public_key().as_ref()).ok()?;
        Some(Self { public: VerifierKey::new(name, kind, public)?, pair })
    }

    /// Reads what [`private_text`] printed.
    ///
    /// # Errors
    /// [`NoteError::Private`], which tells nothing of the text.
    pub fn from_private_text(text: &str) -> Result<Self, NoteError> {
        let key = || {
            let (name, rest) = text.trim().strip_prefix(PRIVATE)?.split_once('+')?;
            let (id, key) = rest.split_once('+')?;
            let key = Zeroizing::new(BASE64.decode(key).ok()?);
            let (kind, seed) = key.split_first()?;
            let key = Self::from_seed(name, KeyKind::of(*kind)?, seed.try_into().ok()?)?;
            (HEXLOWER.encode(&key.public.id()) == id).then_some(key)
        };
        key().ok_or(NoteError::Private)
    }

    /// What verifies its signatures.
    pub fn verifier(&self) -> &VerifierKey {
        &self.public
    }

    /// A signature line for `text`. A witness says when, in seconds since the Unix epoch.
    pub fn sign(&self, text: &str, time_s: u64) -> String {
        let signature = match self.public.kind {
            KeyKind::Note => self.pair.sign(text.as_bytes()).as_ref().to_vec(),
            KeyKind::Cosignature => {
                let signature = self.pair.sign(&cosigned(text, time_s));
                [&time_s.to_be_bytes(), signature.as_ref()].concat()
            }
        };
        let bytes = [&self.public.id()[..], &signature].concat();
        format!("{SIGNATURE}{} {}\n", self.public.name, BASE64.encode(bytes))
    }
}

/// A private key as text, in the form that Go's `note` package reads: `PRIVATE+KEY+<name>+<id>+<base64>`.
/// None if the name is not one word.
pub fn private_text(name: &str, kind: KeyKind, seed: &[u8; 32]) -> Option<Zeroizing<String>> {
    let id = SignerKey::from_seed(name, kind, seed)?.public.id();
    let key = Zeroizing::new([&[kind.byte()][..], seed].concat());
    let key = Zeroizing::new(BASE64.encode(&*key));
    Some(Zeroizing::new(format!("{PRIVATE}{name}+{}+{}", HEXLOWER.encode(&id), *key)))
}

/// What a witness signs.
fn cosigned(text: &str, time_s: u64) -> Vec<u8> {
    format!("cosignature/v1\ntime {time_s}\n{text}").into_bytes()
}

/// A signature that a note carries.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Signature {
    name: String,
    id: [u8; 4],
    bytes: Vec<u8>,
}

/// A note that was read; nothing in it is verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

impl Note {
    /// Reads a note.
    pub fn parse(note: &str) -> Result<Self, NoteError> {
        if note.len() > MAX_NOTE_BYTES {
            return Err(NoteError::Form("it is longer than 64 KiB"));
        }
        if note.contains(|c: char| c.is_control() && c != '\n') {
            return Err(NoteError::Form("it holds control characters"));
        }
        let at = note.rfind("\n\n").ok_or(NoteError::Form("it has no empty line"))?;
        let (text, signatures) = (&note[..=at], &note[at + 2..]);
        if signatures.is_empty() || !signatures.ends_with('\n') {
            return Err(NoteError::Form("it does not end in a signature line"));
        }
        let signatures: Vec<Signature> = signatures
            .lines()
            .take(MAX_SIGNATURES + 1)
            .map(|line| signature(line).ok_or(NoteError::Form("a signature line is malformed")))
            .collect::<Result<_, _>>()?;
        if signatures.len() > MAX_SIGNATURES {
            return Err(NoteError::Form("it has more than 64 signatures"));
        }
        Ok(Self { text: text.to_owned(), signatures })
    }

    /// What was signed, with its last newline.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether `key` signed it; of a witness, when (seconds since the Unix epoch). A key that is
    /// there twice with a wrong signature is no signature.
    pub fn verify(&self, key: &VerifierKey) -> Result<Option<u64>, NoteError> {
        let ours = |s: &&Signature| s.name == key.name && s.id == key.id();
        let mut found = None;
        for signature in self.signatures.iter().filter(ours) {
            let wrong = || NoteError::Signature(key.name.clone());
            found = Some(match key.kind {
                KeyKind::Note => {
                    let holds = key.holds(self.text.as_bytes(), &signature.bytes);
                    holds.then_some(None).ok_or_else(wrong)?
                }
                KeyKind::Cosignature => {
                    let (time, bytes) = signature.bytes.split_first_chunk().ok_or_else(wrong)?;
                    let time_s = u64::from_be_bytes(*time);
                    let holds = key.holds(&cosigned(&self.text, time_s), bytes);
                    holds.then_some(Some(time_s)).ok_or_else(wrong)?
                }
            });
        }
        found.ok_or_else(|| NoteError::Unsigned(key.name.clone()))
    }

    /// The first signature line that is under the key's name and id, whether or not it is valid.
    pub fn line_of(&self, key: &VerifierKey) -> Option<String> {
        let ours = |s: &&Signature| s.name == key.name && s.id == key.id();
        self.signatures.iter().find(ours).map(|found| {
            let bytes = [&found.id[..], &found.bytes].concat();
            format!("{SIGNATURE}{} {}\n", found.name, BASE64.encode(bytes))
        })
    }
}

fn signature(line: &str) -> Option<Signature> {
    let (name, bytes) = line.strip_prefix(SIGNATURE)?.split_once(' ')?;
    let bytes = BASE64.decode(bytes).ok()?;
    let (id, bytes) = bytes.split_first_chunk()?;
    let fits = is_name(name) && (1..=SIGNATURE_BYTES * 4).contains(&bytes.len());
    fits.then(|| Signature { name: name.to_owned(), id: *id, bytes: bytes.to_vec() })
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;

    use super::*;

    /// Example of the C2SP specification signed-note.
    const KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";

    fn signer(name: &str, kind: KeyKind) -> SignerKey {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        SignerKey::from_pkcs8(name, kind, pkcs8.as_ref()).unwrap()
    }

    #[test]
    fn the_key_of_the_specification_reads_and_prints() {
        let key: VerifierKey = KEY.parse().unwrap();
        assert_eq!((key.name(), key.kind()), ("example.com/foo", KeyKind::Note));
        assert_eq!(key.to_string(), KEY);
        for bad in [
            "",
            "example.com/foo",
            &KEY.replace("530d903a", "530d903b"),
            &KEY.replace("530d903a", "530D903A"),
            &KEY.replace("foo", "bar"),
            &KEY.replace("Aeky", "Beky"),
            &KEY[..KEY.len() - 4],
            &format!("a b{KEY}"),
        ] {
            assert!(bad.parse::<VerifierKey>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_note_verifies_with_its_keys_and_no_others() {
        let (log, other) = (signer("log", KeyKind::Note), signer("log", KeyKind::Note));
        let witness = signer("witness", KeyKind::Cosignature);
        let text = "log\n7\nx=\n";
        let whole = format!("{text}\n{}{}", log.sign(text, 0), witness.sign(text, 1_700_000_000));
        let note = Note::parse(&whole).unwrap();
        assert_eq!(note.text(), text);
        assert_eq!(note.verify(log.verifier()), Ok(None));
        assert_eq!(note.verify(witness.verifier()), Ok(Some(1_700_000_000)));
        assert_eq!(note.verify(other.verifier()), Err(NoteError::Unsigned("log".into())));
        let again = witness.verifier().to_string().parse::<VerifierKey>().unwrap();
        assert_eq!(&again, witness.verifier());

        let altered = Note::parse(&whole.replace("\n7\n", "\n8\n")).unwrap();
        assert_eq!(altered.verify(log.verifier()), Err(NoteError::Signature("log".into())));
        assert!(altered.verify(witness.verifier()).is_err());
        // The same signature under another time.
        let line = witness.sign(text, 1);
        let bytes = BASE64.decode(line.trim().rsplit(' ').next().unwrap()).unwrap();
        let moved = [&bytes[..4], &2_u64.to_be_bytes(), &bytes[12..]].concat();
        let moved = format!("{text}\n{SIGNATURE}witness {}\n", BASE64.encode(moved));
        assert!(Note::parse(&moved).unwrap().verify(witness.verifier()).is_err());
    }

    #[test]
    fn a_private_key_reads_back_and_is_bound_to_its_name() {
        let text = private_text("w/1", KeyKind::Cosignature, &[7; 32]).unwrap();
        let key = SignerKey::from_private_text(&text).unwrap();
        let again = SignerKey::from_seed("w/1", KeyKind::Cosignature, &[7; 32]).unwrap();
        assert_eq!(key.verifier(), again.verifier());
        assert!(private_text("two words", KeyKind::Note, &[7; 32]).is_none());
        for bad in ["", "PRIVATE+KEY+w/1", &text.replace("w/1", "w/2"), &text[..text.len() - 4]] {
            assert_eq!(SignerKey::from_private_text(bad).unwrap_err(), NoteError::Private);
        }
    }

    #[test]
    fn what_is_no_note_is_refused() {
        let log = signer("log", KeyKind::Note);
        let line = log.sign("t\n", 0);
        let long = format!("t\n\n{}", line.repeat(MAX_SIGNATURES + 1));
        for bad in [
            "",
            "t\n",
            "t\n\n",
            &format!("t\n{line}"),
            &format!("t\n\n{}", line.trim_end()),
            &format!("t\n\n{line}x\n"),
            &format!("t\t\n\n{line}"),
            &format!("t\n\n{}", line.replace("\u{2014}", "-")),
            "t\n\n\u{2014} log AAAA\n",
            &long,
            &"x".repeat(MAX_NOTE_BYTES + 1),
        ] {
            assert!(Note::parse(bad).is_err(), "{bad:?}");
        }
    }
}
