//! The bundle: one file that brings a version to devices without a network. It is the same signed and
//! sealed bytes that a session would carry, in an order that can be written and read as a stream.
//!
//! Nothing here does I/O. Whoever reads a bundle believes nothing of it that the release key did not
//! sign: [`Assignment`] is signed, the manifest is pinned by the desired state in it, the index by the
//! manifest, each chunk by the index, and metadata by its SHA-256 in the assignment.
//!
//! Integers are little-endian.
//! ```text
//! offset size
//!      0    8  magic "EFBUNDLE"
//!      8    2  format, 1
//!     10    6  zero
//!     16       entries, in the order of their kinds
//!
//! entry: 0 1  kind
//!        1 1  bytes of the name n
//!        2 2  zero
//!        4 4  bytes of the body b
//!        8 n  name
//!      8+n b  body
//! ```
//!
//! | kind | how many | name | body |
//! |---|---|---|---|
//! | 1 manifest | 1 | empty | the signed manifest, at most 64 KiB |
//! | 2 index | 1 | empty | the sealed index |
//! | 3 metadata | at most [`MAX_METADATA`] | a file name of the trust repository | the file, at most 4 MiB |
//! | 4 assignment | 1 to [`MAX_DEVICES`] | device id, 16 bytes | an [`Assignment`], signed, at most 64 KiB |
//! | 5 chunk | 1 to [`MAX_CHUNKS`] | chunk id, 32 bytes | the chunk; each once, in the index's order |
//! | 6 end | 1 | empty | empty; the file ends here |

mod assignment;

pub use assignment::{ASSIGNMENT_TYPE, Assignment, AssignmentError};

use crate::artifact::{MAX_CHUNK_BYTES, MAX_CHUNKS, MAX_ENVELOPE_BYTES, MAX_SEALED_INDEX_BYTES};

const MAGIC: &[u8; 8] = b"EFBUNDLE";
const FORMAT: u16 = 1;

/// Bytes before the first entry.
pub const PREAMBLE_BYTES: usize = 16;
/// Bytes of an entry before its name.
pub const ENTRY_HEADER_BYTES: usize = 8;
/// Longest name of a metadata file.
const MAX_METADATA_NAME_BYTES: usize = 128;
/// Longest metadata file: that of the clients of the trust repository.
pub const MAX_METADATA_BYTES: usize = 4 << 20;
/// Most metadata files: every root since the first, for a device that was away for years.
pub const MAX_METADATA: usize = 1024;
/// Most devices in one bundle: those of a site.
pub const MAX_DEVICES: usize = 200;
/// Media type of a bundle.
pub const MEDIA_TYPE: &str = "application/vnd.edgeformer.bundle";

/// Why bytes are not a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// It begins with something else.
    #[error("it is not a bundle of this product")]
    Magic,
    /// It is of another format.
    #[error("its format is {0}, this program reads {FORMAT}: update this program")]
    Format(u16),
    /// A field has a value that no bundle has.
    #[error("its entry {entry} is malformed: {what}")]
    Entry {
        /// Counted from zero.
        entry: usize,
        /// What is wrong.
        what: &'static str,
    },
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The signed manifest.
    Manifest = 1,
    /// The sealed index.
    Index = 2,
    /// A file of the trust repository.
    Metadata = 3,
    /// A device's assignment.
    Assignment = 4,
    /// A chunk.
    Chunk = 5,
    /// The end.
    End = 6,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        let all =
            [Self::Manifest, Self::Index, Self::Metadata, Self::Assignment, Self::Chunk, Self::End];
        all.into_iter().find(|kind| *kind as u8 == byte)
    }

    /// Fewest and most entries of the kind.
    fn count(self) -> (usize, usize) {
        match self {
            Self::Manifest | Self::Index | Self::End => (1, 1),
            Self::Metadata => (0, MAX_METADATA),
            Self::Assignment => (1, MAX_DEVICES),
            Self::Chunk => (1, MAX_CHUNKS),
        }
    }

    fn fits(self, name_bytes: usize, body_bytes: usize) -> bool {
        let (name, body) = match self {
            Self::Manifest => (0..=0, 1..=MAX_ENVELOPE_BYTES),
            Self::Index => (0..=0, 1..=MAX_SEALED_INDEX_BYTES),
            Self::Metadata => (1..=MAX_METADATA_NAME_BYTES, 1..=MAX_METADATA_BYTES),
            Self::Assignment => (16..=16, 1..=MAX_ENVELOPE_BYTES),
            Self::Chunk => (32..=32, 1..=MAX_CHUNK_BYTES),
            Self::End => (0..=0, 0..=0),
        };
        name.contains(&name_bytes) && body.contains(&body_bytes)
    }
}

/// What comes before the first entry.
pub fn preamble() -> [u8; PREAMBLE_BYTES] {
    let mut bytes = [0; PREAMBLE_BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..10].copy_from_slice(&FORMAT.to_le_bytes());
    bytes
}

/// The header and name of an entry whose body follows.
pub fn entry_head(kind: Kind, name: &[u8], body_bytes: usize) -> Vec<u8> {
    debug_assert!(kind.fits(name.len(), body_bytes), "{kind:?} {} {body_bytes}", name.len());
    let mut bytes = vec![kind as u8, name.len() as u8, 0, 0];
    bytes.extend_from_slice(&(body_bytes as u32).to_le_bytes());
    bytes.extend_from_slice(name);
    bytes
}

/// A whole entry.
pub fn entry(kind: Kind, name: &[u8], body: &[u8]) -> Vec<u8> {
    [&entry_head(kind, name, body.len())[..], body].concat()
}

/// Whether `name` can be one of a file in the trust repository.
pub fn is_metadata_name(name: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=MAX_METADATA_NAME_BYTES).contains(&name.len()) && name.bytes().all(good)
}

/// The lengths of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryHeader {
    /// What it is.
    pub kind: Kind,
    /// Bytes of its name.
    pub name_bytes: usize,
    /// Bytes of its body.
    pub body_bytes: usize,
}

/// Follows the entries of a bundle and refuses what no bundle has.
#[derive(Debug, Default)]
pub struct Order {
    entries: usize,
    last: Option<Kind>,
    of_last: usize,
}

impl Order {
    /// Reads what comes before the first entry.
    pub fn begin(bytes: &[u8; PREAMBLE_BYTES]) -> Result<Self, BundleError> {
        if &bytes[..8] != MAGIC {
            return Err(BundleError::Magic);
        }
        let format = u16::from_le_bytes([bytes[8], bytes[9]]);
        match (format == FORMAT, bytes[10..] == [0; 6]) {
            (true, true) => Ok(Self::default()),
            (true, false) => Err(BundleError::Magic),
            (false, _) => Err(BundleError::Format(format)),
        }
    }

    /// Reads the header of the next entry.
    pub fn next(&mut self, bytes: &[u8; ENTRY_HEADER_BYTES]) -> Result<EntryHeader, BundleError> {
        let wrong = |what| BundleError::Entry { entry: self.entries, what };
        let kind = Kind::of(bytes[0]).ok_or(wrong("its kind is not known"))?;
        if bytes[2..4] != [0; 2] {
            return Err(wrong("reserved bytes are not zero"));
        }
        let name_bytes = usize::from(bytes[1]);
        let body_bytes = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as usize;
        if !kind.fits(name_bytes, body_bytes) {
            return Err(wrong("its lengths do not fit its kind"));
        }
        if self.last > Some(kind) {
            return Err(wrong("it is out of order"));
        }
        let of_kind = if self.last == Some(kind) { self.of_last + 1 } else { 1 };
        if of_kind > kind.count().1 {
            return Err(wrong("there are too many of its kind"));
        }
        let skipped = |between: u8| {
            let passed = self.last.is_none_or(|last| (last as u8) < between);
            passed && between < kind as u8
        };
        let required = [Kind::Manifest, Kind::Index, Kind::Assignment, Kind::Chunk];
        if required.iter().any(|one| skipped(*one as u8)) {
            return Err(wrong("what has to come before it is missing"));
        }
        self.entries += 1;
        (self.last, self.of_last) = (Some(kind), of_kind);
        Ok(EntryHeader { kind, name_bytes, body_bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(kind: u8, name: u8, body: u32) -> [u8; 8] {
        let mut bytes = [kind, name, 0, 0, 0, 0, 0, 0];
        bytes[4..].copy_from_slice(&body.to_le_bytes());
        bytes
    }

    #[test]
    fn a_bundle_has_one_order() {
        let check = |headers: &[(u8, u8, u32)], said: Option<&str>| {
            let mut order = Order::begin(&preamble()).unwrap();
            let read: Result<Vec<_>, _> =
                headers.iter().map(|(k, n, b)| order.next(&header(*k, *n, *b))).collect();
            match (read, said) {
                (Ok(_), None) => {}
                (Err(error), Some(said)) => assert!(error.to_string().contains(said), "{error}"),
                other => panic!("{headers:?}: {other:?}"),
            }
        };
        let (manifest, index, metadata) = ((1, 0, 9), (2, 0, 9), (3, 9, 9));
        let (assignment, chunk, end) = ((4, 16, 9), (5, 32, 9), (6, 0, 0));
        check(&[manifest, index, metadata, metadata, assignment, assignment, chunk, end], None);
        check(&[manifest, index, assignment, chunk, chunk, end], None);
        check(&[index], Some("missing"));
        check(&[manifest, manifest], Some("too many"));
        check(&[manifest, index, chunk], Some("missing"));
        check(&[manifest, index, assignment, end], Some("missing"));
        check(&[manifest, index, assignment, metadata], Some("out of order"));
        check(&[manifest, index, assignment, chunk, end, end], Some("too many"));
        check(&[(0, 0, 9)], Some("not known"));
        check(&[(7, 0, 9)], Some("not known"));
        check(&[(1, 1, 9)], Some("lengths"));
        check(&[(1, 0, 0)], Some("lengths"));
        check(&[(1, 0, u32::MAX)], Some("lengths"));
        check(&[manifest, (2, 0, MAX_SEALED_INDEX_BYTES as u32 + 1)], Some("lengths"));
    }

    #[test]
    fn what_begins_otherwise_is_no_bundle() {
        for at in 0..PREAMBLE_BYTES {
            let mut bytes = preamble();
            bytes[at] ^= 0x10;
            assert!(Order::begin(&bytes).is_err(), "{at}");
        }
        assert_eq!(entry(Kind::End, b"", b""), [6, 0, 0, 0, 0, 0, 0, 0]);
        assert!(is_metadata_name("12.root.json") && !is_metadata_name("../x"));
    }
}
