//! Sealed chunks on disk, named by their hash: chunks/<2 hex>/<hex>. A file that is there was
//! verified before it got its name. Nothing in this folder is ever plaintext.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use edgeformer_proto::artifact::{ChunkId, MAX_CHUNK_BYTES};

use crate::durable;

/// Writes the bytes of a chunk into its file. Tests put a full disk here.
pub type ChunkWriter = fn(&mut File, &[u8]) -> io::Result<()>;

/// Why a chunk was not stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The bytes are not those of the id.
    #[error("chunk {id}: what was received has another hash ({found})")]
    WrongHash {
        /// The id asked for.
        id: ChunkId,
        /// The hash of what came.
        found: ChunkId,
    },
    /// There is no space; nothing of the chunk is left.
    #[error("{path}: the disk is full")]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// Writing failed otherwise.
    #[error("{path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The folder of sealed chunks.
#[derive(Debug, Clone)]
pub struct ChunkStore {
    root: PathBuf,
    writer: ChunkWriter,
}

impl ChunkStore {
    /// The chunks under `state_dir`.
    pub fn new(state_dir: &Path) -> Self {
        Self::with_writer(state_dir, |file, bytes| file.write_all(bytes))
    }

    /// As [`Self::new`], writing through `writer`.
    pub fn with_writer(state_dir: &Path, writer: ChunkWriter) -> Self {
        Self { root: state_dir.join("chunks"), writer }
    }

    /// Where a chunk is.
    pub fn path(&self, id: &ChunkId) -> PathBuf {
        let name = id.to_string();
        self.root.join(&name[..2]).join(&name)
    }

    /// Whether the chunk is there with this length.
    pub fn has(&self, id: &ChunkId, sealed_bytes: u32) -> bool {
        fs::metadata(self.path(id)).is_ok_and(|meta| meta.len() == u64::from(sealed_bytes))
    }

    /// Stores a chunk after checking its hash. Storing it again does nothing.
    pub fn put(&self, id: &ChunkId, sealed: &[u8]) -> Result<(), StoreError> {
        let found = ChunkId::of(sealed);
        if found != *id {
            return Err(StoreError::WrongHash { id: *id, found });
        }
        let path = self.path(id);
        let written = path
            .parent()
            .map_or(Ok(()), durable::create_private_directory)
            .and_then(|()| durable::write_with(&path, |file| (self.writer)(file, sealed)));
        written.map_err(|source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full { path },
            _ => StoreError::Write { path, source },
        })
    }

    /// Reads a chunk. The caller checks the hash.
    pub fn get(&self, id: &ChunkId) -> io::Result<Vec<u8>> {
        durable::read_limited(&self.path(id), MAX_CHUNK_BYTES as u64)
    }

    /// Removes a chunk that turned out to be damaged.
    pub fn remove(&self, id: &ChunkId) -> io::Result<()> {
        match fs::remove_file(self.path(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes all chunks but `keep`, and the leftovers of interrupted writes. Returns how many
    /// bytes that freed.
    pub fn retain(&self, keep: &HashSet<ChunkId>) -> io::Result<u64> {
        let mut freed = 0;
        for folder in entries(&self.root)? {
            for file in entries(&folder)? {
                let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                let wanted = name.parse::<ChunkId>().is_ok_and(|id| keep.contains(&id));
                if !wanted {
                    let bytes = fs::metadata(&file).map_or(0, |meta| meta.len());
                    fs::remove_file(&file)?;
                    freed += bytes;
                }
            }
        }
        Ok(freed)
    }
}

/// Paths in `directory`; none if it is not there.
fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(directory) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_its_hash_is_stored() {
        let directory = tempfile::tempdir().unwrap();
        let store = ChunkStore::new(directory.path());
        let id = ChunkId::of(b"sealed");
        assert!(matches!(store.put(&id, b"tampered"), Err(StoreError::WrongHash { .. })));
        assert!(!store.path(&id).exists());
        store.put(&id, b"sealed").unwrap();
        store.put(&id, b"sealed").unwrap();
        assert!(store.has(&id, 6) && !store.has(&id, 7));
        assert_eq!(store.get(&id).unwrap(), b"sealed");
    }

    #[test]
    fn a_full_disk_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let store = ChunkStore::with_writer(directory.path(), |file, bytes| {
            file.write_all(&bytes[..bytes.len() / 2])?;
            Err(io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error()))
        });
        let id = ChunkId::of(b"sealed");
        assert!(matches!(store.put(&id, b"sealed"), Err(StoreError::Full { .. })));
        let folder = store.path(&id).parent().unwrap().to_owned();
        assert_eq!(fs::read_dir(folder).unwrap().count(), 0);
    }

    #[test]
    fn unwanted_chunks_and_leftovers_go() {
        let directory = tempfile::tempdir().unwrap();
        let store = ChunkStore::new(directory.path());
        let ids = [b"a", b"b"].map(|sealed| {
            let id = ChunkId::of(sealed);
            store.put(&id, sealed).unwrap();
            id
        });
        let leftover = store.path(&ids[0]).with_file_name(".x.1-1.part");
        fs::write(&leftover, b"half").unwrap();
        assert_eq!(store.retain(&HashSet::from([ids[0]])).unwrap(), 5);
        assert!(store.has(&ids[0], 1) && !store.has(&ids[1], 1) && !leftover.exists());
    }
}
