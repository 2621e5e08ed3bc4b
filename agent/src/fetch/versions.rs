//! What is known of each version on disk: versions/<id>/ with the signed manifest, the sealed index
//! and the data key wrapped for this device. Each is checked again whenever it is opened.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use edgeformer_proto::artifact::{
    ChunkIndex, Expected, MAX_ENVELOPE_BYTES, MAX_SEALED_INDEX_BYTES, Manifest, ReleasePublic,
};
use edgeformer_proto::ids::{DeviceId, TenantId};
use edgeformer_proto::keywrap::{KeyContext, STORED_BYTES, WrappedKey};

use super::error::FetchError;
use crate::durable::{self, Folder};
use crate::identity::DeviceKeys;
use crate::reconcile::desired::Target;

const MANIFEST: &str = "manifest.dsse";
const INDEX: &str = "index.sealed";
const KEY: &str = "key.wrapped";

/// Whom versions must be for, and what opens them.
#[derive(Debug, Clone)]
pub struct Opening {
    /// Tenant of this device.
    pub tenant_id: TenantId,
    /// This device.
    pub device_id: DeviceId,
    /// Signs the tenant's manifests.
    pub release_public: ReleasePublic,
    /// Unwraps data keys.
    pub keys: Arc<dyn DeviceKeys>,
}

/// A version whose manifest verified and whose index opened.
#[derive(Debug)]
pub struct OpenVersion {
    /// What was signed.
    pub manifest: Manifest,
    /// Its chunks.
    pub index: ChunkIndex,
}

/// The folder of versions.
#[derive(Debug, Clone)]
pub struct VersionStore {
    root: Folder,
    opening: Opening,
}

impl VersionStore {
    /// The versions under `state_dir`.
    pub fn new(state_dir: impl Into<Folder>, opening: Opening) -> Self {
        Self { root: state_dir.into().folder("versions"), opening }
    }

    /// Checks a manifest that was served for `target`.
    pub fn check_manifest(&self, target: &Target, envelope: &[u8]) -> Result<Manifest, FetchError> {
        let expected = self.expected(target)?;
        let release = &self.opening.release_public;
        Ok(Manifest::verify(envelope, &target.manifest_sha256, release, &expected)?)
    }

    /// Unwraps the key and opens the index.
    pub fn open_index(
        &self,
        target: &Target,
        manifest: &Manifest,
        sealed_index: &[u8],
        wrapped: &WrappedKey,
    ) -> Result<ChunkIndex, FetchError> {
        let context = KeyContext {
            tenant: self.opening.tenant_id,
            device: self.opening.device_id,
            version: target.version_id,
        };
        let key = self.opening.keys.unwrap(wrapped, &context)?;
        Ok(manifest.open_index(&key, sealed_index)?)
    }

    /// Keeps what opens a version. The manifest is written last: with it, the version is whole.
    pub fn save(
        &self,
        target: &Target,
        envelope: &[u8],
        sealed_index: &[u8],
        wrapped: &WrappedKey,
    ) -> Result<(), FetchError> {
        let folder = self.folder(target);
        folder
            .write(KEY, &wrapped.to_bytes())
            .and_then(|()| folder.write(INDEX, sealed_index))
            .and_then(|()| folder.write(MANIFEST, envelope))
            .map_err(|source| match durable::is_full(&source) {
                true => FetchError::DiskFull,
                false => FetchError::Storage { path: folder.path().display().to_string(), source },
            })
    }

    /// The signed manifest of a version on disk.
    pub fn envelope(&self, target: &Target) -> Result<Vec<u8>, FetchError> {
        let read = self.folder(target).read(MANIFEST, MAX_ENVELOPE_BYTES as u64);
        read.map_err(|_| FetchError::Incomplete(MANIFEST.to_owned()))
    }

    /// Opens a version from disk, with every check. [`FetchError::Incomplete`] if a file is missing.
    pub fn open(&self, target: &Target) -> Result<OpenVersion, FetchError> {
        let folder = self.folder(target);
        let read = |name: &str, limit: usize| {
            folder.read(name, limit as u64).map_err(|_| FetchError::Incomplete(name.to_owned()))
        };
        let envelope = read(MANIFEST, MAX_ENVELOPE_BYTES)?;
        let sealed_index = read(INDEX, MAX_SEALED_INDEX_BYTES)?;
        let key = read(KEY, STORED_BYTES)?;
        let damaged = |name: &str| FetchError::Incomplete(name.to_owned());
        // What verified before it was stored and fails now was damaged on disk.
        let manifest = self.check_manifest(target, &envelope).map_err(|_| damaged(MANIFEST))?;
        manifest.check_sealed_index(&sealed_index).map_err(|_| damaged(INDEX))?;
        let wrapped = WrappedKey::from_bytes(&key).map_err(|_| damaged(KEY))?;
        let index = self.open_index(target, &manifest, &sealed_index, &wrapped);
        let index = index.map_err(|error| match error.is_of_key_holder() {
            // A TPM that does not answer says nothing about the file.
            true => error,
            false => damaged(KEY),
        })?;
        Ok(OpenVersion { manifest, index })
    }

    /// Removes what is kept of all versions but `keep`.
    pub fn retain(&self, keep: &[Target]) -> io::Result<()> {
        let names: HashSet<String> = keep.iter().map(|one| one.version_id.to_string()).collect();
        for entry in self.root.list()? {
            match entry.is_directory {
                true if names.contains(&entry.name) => {}
                true => self.root.folder(&entry.name).remove_all()?,
                false => self.root.remove(&entry.name)?,
            }
        }
        Ok(())
    }

    /// What is kept of a version beside its chunks, in bytes.
    pub fn size_bytes(&self, target: &Target) -> u64 {
        let folder = self.folder(target);
        [MANIFEST, INDEX, KEY].iter().filter_map(|name| folder.size(name)).sum()
    }

    /// Whether anything is kept of a version.
    pub fn knows(&self, target: &Target) -> bool {
        self.folder(target).size(MANIFEST).is_some()
    }

    fn folder(&self, target: &Target) -> Folder {
        self.root.folder(&target.version_id.to_string())
    }

    fn expected(&self, target: &Target) -> Result<Expected, FetchError> {
        let wrong = |what, text: &str| FetchError::Assignment {
            what,
            text: text.chars().take(80).collect(),
        };
        Ok(Expected {
            tenant: self.opening.tenant_id,
            model: target.model.parse().map_err(|_| wrong("model", &target.model))?,
            version: target.version.parse().map_err(|_| wrong("version", &target.version))?,
            version_id: target.version_id,
        })
    }
}
