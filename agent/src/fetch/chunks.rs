//! Sealed chunks on disk, named by their hash: chunks/<2 hex>/<hex>. Nothing in this folder is ever
//! plaintext. What was just stored may be lost when power is: [`ChunkStore::damaged`] after a sync
//! tells what the medium has.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;

use edgeformer_proto::artifact::{ChunkId, MAX_CHUNK_BYTES};

use crate::durable::{self, Folder};

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
    root: Folder,
}

impl ChunkStore {
    /// The chunks under `state_dir`.
    pub fn new(state_dir: impl Into<Folder>) -> Self {
        Self { root: state_dir.into().folder("chunks") }
    }

    fn place(&self, id: &ChunkId) -> (Folder, String) {
        let name = id.to_string();
        (self.root.folder(&name[..2]), name)
    }

    /// Where a chunk is, for messages.
    pub fn path(&self, id: &ChunkId) -> PathBuf {
        let (folder, name) = self.place(id);
        folder.join(&name)
    }

    /// Whether the chunk is there with this length.
    pub fn has(&self, id: &ChunkId, sealed_bytes: u32) -> bool {
        let (folder, name) = self.place(id);
        folder.size(&name) == Some(u64::from(sealed_bytes))
    }

    /// Stores a chunk after checking its hash. [`Folder::sync_all`] makes it durable.
    pub fn put(&self, id: &ChunkId, sealed: &[u8]) -> Result<(), StoreError> {
        let found = ChunkId::of(sealed);
        if found != *id {
            return Err(StoreError::WrongHash { id: *id, found });
        }
        let (folder, name) = self.place(id);
        folder.write_later(&name, sealed).map_err(|source| match durable::is_full(&source) {
            true => StoreError::Full { path: folder.join(&name) },
            false => StoreError::Write { path: folder.join(&name), source },
        })
    }

    /// Whether reading may wait for a device.
    pub fn blocks(&self) -> bool {
        self.root.blocks()
    }

    /// Reads a chunk. The caller checks the hash.
    pub fn get(&self, id: &ChunkId) -> io::Result<Vec<u8>> {
        let (folder, name) = self.place(id);
        folder.read(&name, MAX_CHUNK_BYTES as u64)
    }

    /// Whether the medium lacks the chunk or holds other bytes under its name.
    pub fn damaged(&self, id: &ChunkId) -> bool {
        let (folder, name) = self.place(id);
        let held = folder.read_back(&name, MAX_CHUNK_BYTES as u64);
        held.map_or(true, |sealed| ChunkId::of(&sealed) != *id)
    }

    /// Removes a chunk that turned out to be damaged.
    pub fn remove(&self, id: &ChunkId) -> io::Result<()> {
        let (folder, name) = self.place(id);
        folder.remove(&name)
    }

    /// Removes all chunks but `keep`, and the leftovers of interrupted writes. Returns how many
    /// bytes that freed.
    pub fn retain(&self, keep: &HashSet<ChunkId>) -> io::Result<u64> {
        let mut freed = 0;
        for entry in self.root.list()? {
            let folder = self.root.folder(&entry.name);
            for file in folder.list()? {
                let wanted = file.name.parse::<ChunkId>().is_ok_and(|id| keep.contains(&id));
                if !wanted {
                    let bytes = folder.size(&file.name).unwrap_or(0);
                    folder.remove(&file.name)?;
                    freed += bytes;
                }
            }
        }
        Ok(freed)
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
        assert!(!store.path(&id).exists() && store.damaged(&id));
        store.put(&id, b"sealed").unwrap();
        store.put(&id, b"sealed").unwrap();
        assert!(store.has(&id, 6) && !store.has(&id, 7) && !store.damaged(&id));
        assert_eq!(store.get(&id).unwrap(), b"sealed");
        std::fs::write(store.path(&id), b"altere").unwrap();
        assert!(store.has(&id, 6) && store.damaged(&id));
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
        std::fs::write(&leftover, b"half").unwrap();
        assert_eq!(store.retain(&HashSet::from([ids[0]])).unwrap(), 5);
        assert!(store.has(&ids[0], 1) && !store.has(&ids[1], 1) && !leftover.exists());
    }
}
