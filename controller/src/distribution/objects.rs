//! Sealed chunks and indexes in the object store.
//!
//! Keys start with the tenant, so that what one tenant stored is not found for another. An object's
//! bytes never change: a chunk's key is its hash, an index's the version. Nothing is deleted but all that a
//! purged tenant had.

use std::error::Error as _;
use std::io;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use edgeformer_proto::artifact::{ChunkId, MAX_CHUNK_BYTES, MAX_SEALED_INDEX_BYTES};
use edgeformer_proto::ids::{TenantId, VersionId};
use futures::StreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use self::local::{Batches, Local};

mod local;

/// Why an object could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum ObjectsError {
    /// The folder cannot be used.
    #[error("cannot use {folder} as the object store: {source}")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not there.
    #[error("object {0} is missing from the object store: restore it from your backup")]
    Missing(Path),
    /// It is not what was stored.
    #[error("object {key} is damaged ({what}): restore it from your backup")]
    Damaged {
        /// Its key.
        key: Path,
        /// What is wrong.
        what: String,
    },
    /// No space left.
    #[error("the object store is full: free some space, then publish again")]
    Full,
    /// Anything else.
    #[error("cannot {doing} object {key}: {source}")]
    Store {
        /// "read", "write", "list" or "remove".
        doing: &'static str,
        /// Its key.
        key: Path,
        /// What the store says.
        source: object_store::Error,
    },
}

/// The objects of an installation. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    /// The folder that `store` is, if it is one.
    local: Option<Local>,
}

/// Stores the chunks of one publication, any number at a time. They may be relied on when
/// [`ChunkWriter::finish`] returned, and not before.
#[derive(Debug)]
pub struct ChunkWriter {
    objects: Objects,
    tenant: TenantId,
    batches: Option<Arc<Batches>>,
}

impl ChunkWriter {
    /// Stores a chunk unless it is there. True if it was not.
    pub async fn put(&self, id: ChunkId, sealed: Bytes) -> Result<bool, ObjectsError> {
        let key = chunk_key(self.tenant, id);
        let Some(batches) = self.batches.clone() else {
            return self.objects.put_missing(key, sealed).await;
        };
        let name = key.to_string();
        in_folder(key, move || batches.put(&name, &sealed)).await
    }

    /// Waits until all of them are durable.
    pub async fn finish(self) -> Result<(), ObjectsError> {
        let Some(batches) = self.batches else { return Ok(()) };
        let key = Path::from(format!("tenants/{}/chunks", self.tenant));
        in_folder(key, move || batches.finish()).await
    }
}

/// Does what waits for a disk, about this key.
async fn in_folder<T: Send + 'static>(
    key: Path,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, ObjectsError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|stopped| Err(io::Error::other(stopped))).map_err(|error| {
        if is_full_disk(&error) {
            return ObjectsError::Full;
        }
        let source = object_store::Error::Generic { store: "local", source: Box::new(error) };
        ObjectsError::Store { doing: "write", key, source }
    })
}

impl Objects {
    /// In this store, which makes an object durable before it says that it is there.
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, local: None }
    }

    /// In a local folder, made if it is not there. What was stored survives a power cut.
    pub fn local(folder: &FsPath) -> Result<Self, ObjectsError> {
        let fails = |source| ObjectsError::Folder { folder: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(fails)?;
        let store = LocalFileSystem::new_with_prefix(folder)
            .map_err(|error| fails(io::Error::other(error)))?;
        let local = Some(Local::open(folder).map_err(fails)?);
        Ok(Self { store: Arc::new(store.with_fsync(true)), local })
    }

    /// For the chunks of one publication.
    pub fn chunk_writer(&self, tenant: TenantId) -> ChunkWriter {
        let batches = self.local.as_ref().map(|local| Arc::new(local.batches()));
        ChunkWriter { objects: self.clone(), tenant, batches }
    }

    async fn put_missing(&self, key: Path, sealed: Bytes) -> Result<bool, ObjectsError> {
        match self.store.head(&key).await {
            Ok(meta) if meta.size == sealed.len() as u64 => return Ok(false),
            // Cut short by something that is not us: what is right replaces it.
            Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
            Err(source) => return Err(ObjectsError::Store { doing: "read", key, source }),
        }
        self.put(key, sealed).await.map(|()| true)
    }

    /// A chunk of this tenant, checked against its id; none if the tenant has no such chunk.
    pub async fn chunk(
        &self,
        tenant: TenantId,
        id: ChunkId,
    ) -> Result<Option<Bytes>, ObjectsError> {
        let key = chunk_key(tenant, id);
        let sealed = match self.get(key.clone(), MAX_CHUNK_BYTES).await {
            Err(ObjectsError::Missing(_)) => return Ok(None),
            other => other?,
        };
        let found = ChunkId::of(&sealed);
        if found != id {
            return Err(ObjectsError::Damaged { key, what: format!("its SHA-256 is {found}") });
        }
        Ok(Some(sealed))
    }

    /// That a chunk is not there, and should be.
    pub fn missing(tenant: TenantId, id: ChunkId) -> ObjectsError {
        ObjectsError::Missing(chunk_key(tenant, id))
    }

    /// That a chunk is not as it should be.
    pub fn damaged(tenant: TenantId, id: ChunkId, what: &str) -> ObjectsError {
        ObjectsError::Damaged { key: chunk_key(tenant, id), what: what.to_owned() }
    }

    /// Stores a version's sealed index and returns its key.
    pub async fn put_index(
        &self,
        tenant: TenantId,
        version: VersionId,
        sealed: Bytes,
    ) -> Result<String, ObjectsError> {
        let key = Path::from(format!("tenants/{tenant}/indexes/{version}"));
        self.put(key.clone(), sealed).await.map(|()| key.to_string())
    }

    /// The sealed index under a key that [`Objects::put_index`] returned.
    pub async fn index(&self, key: &str) -> Result<Bytes, ObjectsError> {
        self.get(Path::from(key), MAX_SEALED_INDEX_BYTES).await
    }

    /// Removes everything of a tenant. Returns how many objects went.
    pub async fn remove_tenant(&self, tenant: TenantId) -> Result<u64, ObjectsError> {
        let prefix = Path::from(format!("tenants/{tenant}"));
        let fails = |doing, source| ObjectsError::Store { doing, key: prefix.clone(), source };
        let mut removed = 0;
        let mut found = self.store.list(Some(&prefix));
        while let Some(object) = found.next().await {
            let key = object.map_err(|source| fails("list", source))?.location;
            match self.store.delete(&key).await {
                Ok(()) => removed += 1,
                Err(object_store::Error::NotFound { .. }) => {}
                Err(source) => return Err(fails("remove", source)),
            }
        }
        Ok(removed)
    }

    async fn put(&self, key: Path, sealed: Bytes) -> Result<(), ObjectsError> {
        match self.store.put(&key, sealed.into()).await {
            Ok(_) => Ok(()),
            Err(error) if is_full(&error) => Err(ObjectsError::Full),
            Err(source) => Err(ObjectsError::Store { doing: "write", key, source }),
        }
    }

    async fn get(&self, key: Path, max_bytes: usize) -> Result<Bytes, ObjectsError> {
        let object = match self.store.get(&key).await {
            Ok(object) => object,
            Err(object_store::Error::NotFound { .. }) => return Err(ObjectsError::Missing(key)),
            Err(source) => return Err(ObjectsError::Store { doing: "read", key, source }),
        };
        let size = object.meta.size;
        if size > max_bytes as u64 {
            let what = format!("it has {size} bytes, at most {max_bytes} are possible");
            return Err(ObjectsError::Damaged { key, what });
        }
        object.bytes().await.map_err(|source| ObjectsError::Store { doing: "read", key, source })
    }
}

/// Two digits of the id spread the chunks over 256 folders.
fn chunk_key(tenant: TenantId, id: ChunkId) -> Path {
    let id = id.to_string();
    Path::from(format!("tenants/{tenant}/chunks/{}/{id}", &id[..2]))
}

fn is_full(error: &object_store::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return is_full_disk(error);
        }
        cause = error.source();
    }
    false
}

fn is_full_disk(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn put(objects: &Objects, tenant: TenantId, sealed: &Bytes) -> bool {
        let writer = objects.chunk_writer(tenant);
        let new = writer.put(ChunkId::of(sealed), sealed.clone()).await.unwrap();
        writer.finish().await.unwrap();
        new
    }

    #[tokio::test]
    async fn a_chunk_is_stored_once_and_found_by_its_tenant_only() {
        let folder = tempfile::tempdir().unwrap();
        let objects = Objects::local(folder.path()).unwrap();
        let (ours, theirs) = (TenantId::new(), TenantId::new());
        let sealed = Bytes::from_static(b"sealed bytes");
        let id = ChunkId::of(&sealed);
        assert_eq!(objects.chunk(ours, id).await.unwrap(), None);
        assert!(put(&objects, ours, &sealed).await);
        assert!(!put(&objects, ours, &sealed).await);
        assert_eq!(objects.chunk(ours, id).await.unwrap(), Some(sealed));
        assert_eq!(objects.chunk(theirs, id).await.unwrap(), None);
        assert_eq!(objects.remove_tenant(theirs).await.unwrap(), 0);
        assert!(objects.chunk(ours, id).await.unwrap().is_some());
        assert_eq!(objects.remove_tenant(ours).await.unwrap(), 1);
        assert_eq!(objects.chunk(ours, id).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_damaged_chunk_is_not_handed_out_and_a_short_one_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let objects = Objects::local(folder.path()).unwrap();
        let tenant = TenantId::new();
        let sealed = Bytes::from_static(b"sealed bytes");
        let id = ChunkId::of(&sealed);
        assert!(put(&objects, tenant, &sealed).await);
        let path = folder.path().join(chunk_key(tenant, id).as_ref());
        std::fs::write(&path, b"sealed byteS").unwrap();
        let error = objects.chunk(tenant, id).await.unwrap_err().to_string();
        assert!(error.contains("damaged") && error.contains(&id.to_string()), "{error}");
        std::fs::write(&path, b"sealed").unwrap();
        assert!(put(&objects, tenant, &sealed).await);
        assert_eq!(objects.chunk(tenant, id).await.unwrap(), Some(sealed));
    }

    #[test]
    fn a_full_disk_is_recognised_however_deep_it_is() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let wrapped = object_store::Error::Generic { store: "local", source: Box::new(full) };
        assert!(is_full(&wrapped));
        let other = io::Error::from(io::ErrorKind::PermissionDenied);
        let wrapped = object_store::Error::Generic { store: "local", source: Box::new(other) };
        assert!(!is_full(&wrapped));
    }
}
