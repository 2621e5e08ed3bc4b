//! A bundle file as the origin of one version. It is read in place: in memory are the small files and
//! where each chunk is, never a chunk that nobody asked for. Whoever made the file is not believed:
//! what it is and whom it is for is checked here, what it holds by those who fetch from any origin.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use edgeformer_proto::artifact::{ChunkId, Digest};
use edgeformer_proto::bundle::{
    Assignment, AssignmentError, BundleError, ENTRY_HEADER_BYTES, EntryHeader, Kind, Order,
    PREAMBLE_BYTES, is_metadata_name,
};
use edgeformer_proto::ids::{DeviceId, VersionId};
use edgeformer_proto::keywrap::WrappedKey;
use futures::future::BoxFuture;
use ring::digest;

use super::Progress;
use super::error::FetchError;
use super::origin::{Origin, ServedChunk, ServedChunks, ServedVersion};
use super::trust::NEWEST_ROOT;
use super::versions::Opening;
use crate::tuf::SourceError;

/// All metadata together: a thousand roots of a few kilobytes, and room.
const MAX_METADATA_TOTAL: u64 = 64 << 20;

/// Devices that an error message names.
const MAX_NAMED: usize = 3;

/// Why a file is not a bundle for this device.
#[derive(Debug, thiserror::Error)]
pub enum BundleFileError {
    /// It cannot be read.
    #[error("the bundle cannot be read ({0}): check the medium, then import again")]
    Read(#[from] io::Error),
    /// It is not all there.
    #[error(
        "the bundle has {0} bytes and does not end there: it was not copied whole: copy it again, then import it again"
    )]
    Truncated(u64),
    /// It is no bundle, or a damaged one.
    #[error("the file cannot be imported: {0}: copy it again, or export it again")]
    Structure(#[from] BundleError),
    /// Its parts contradict each other.
    #[error("the bundle is damaged or was changed: {0}: copy it again, or export it again")]
    Changed(&'static str),
    /// It is for others.
    #[error(
        "the bundle is for {found}, and not for this device ({device}): export one with --device {device}"
    )]
    OtherDevices {
        /// Some of them.
        found: String,
        /// This device.
        device: DeviceId,
    },
    /// What it tells a device is not from its tenant, or not for it.
    #[error("the bundle is refused: {0}")]
    Assignment(#[from] AssignmentError),
}

/// Where a body is in the file.
#[derive(Debug, Clone, Copy)]
struct Place {
    offset: u64,
    bytes: u32,
}

/// A bundle that is for this device.
#[derive(Debug)]
pub struct BundleFile {
    file: Arc<File>,
    manifest: Bytes,
    index: Bytes,
    key: WrappedKey,
    /// Files of the trust repository.
    metadata: HashMap<String, Place>,
    newest_root: Option<Place>,
    chunks: HashMap<ChunkId, Place>,
    order: Vec<(ChunkId, u32)>,
}

impl BundleFile {
    /// Reads all of a file but its chunks, and what it tells this device.
    pub fn open(file: File, device: &Opening) -> Result<(Self, Assignment), BundleFileError> {
        let mut scan = Scan::begin(file)?;
        while scan.entry()? {}
        let assignment = scan.assignment(device)?;
        let Scan { file, manifest, index, metadata, chunks, order, .. } = scan;
        let key = assignment.key.clone();
        let file = Arc::new(file);
        let version = |name: &str| name.strip_suffix(".root.json")?.parse::<u64>().ok();
        let roots = metadata.iter().filter_map(|(name, place)| Some((version(name)?, *place)));
        let newest_root = roots.max_by_key(|(version, _)| *version).map(|(_, place)| place);
        let bundle = Self {
            file,
            newest_root,
            manifest: manifest.into(),
            index: index.into(),
            key,
            metadata,
            chunks,
            order,
        };
        Ok((bundle, assignment))
    }

    /// Its chunks with their lengths, in their order.
    pub fn order(&self) -> &[(ChunkId, u32)] {
        &self.order
    }

    async fn read(&self, place: Place) -> io::Result<Vec<u8>> {
        let file = Arc::clone(&self.file);
        let read = move || {
            // At most what the kind of the entry allows.
            let mut body = vec![0; place.bytes as usize];
            file.read_exact_at(&mut body, place.offset).map(|()| body)
        };
        tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
    }
}

impl Origin for BundleFile {
    fn trust_metadata<'a>(
        &'a self,
        name: &'a str,
        max_bytes: usize,
    ) -> BoxFuture<'a, Result<Option<Vec<u8>>, SourceError>> {
        Box::pin(async move {
            if self.metadata.is_empty() {
                return Err(SourceError::Unsupported);
            }
            let place = match name {
                NEWEST_ROOT => self.newest_root,
                name => self.metadata.get(name).copied(),
            };
            match place {
                Some(place) if place.bytes as usize > max_bytes => {
                    Err(SourceError::Failed(format!("{name} of the bundle is too long")))
                }
                Some(place) => self.read(place).await.map(Some).map_err(|error| {
                    SourceError::Failed(format!("the bundle cannot be read: {error}"))
                }),
                None => Ok(None),
            }
        })
    }

    fn version(&self, _: VersionId) -> BoxFuture<'_, Result<ServedVersion, FetchError>> {
        let (manifest_envelope, sealed_index) = (self.manifest.clone(), self.index.clone());
        Box::pin(async move { Ok(ServedVersion { manifest_envelope, sealed_index }) })
    }

    fn data_key(&self, _: VersionId) -> BoxFuture<'_, Result<WrappedKey, FetchError>> {
        let key = self.key.clone();
        Box::pin(async move { Ok(key) })
    }

    fn chunks<'a>(&'a self, wanted: Vec<(ChunkId, u32)>, _: &'a Progress) -> ServedChunks<'a> {
        Box::pin(async_stream::try_stream! {
            for (id, _) in wanted {
                let absent = || FetchError::Refused(format!("the bundle has no chunk {id}"));
                let place = self.chunks.get(&id).copied().ok_or_else(absent)?;
                let sealed = self.read(place).await.map_err(|error| {
                    FetchError::Interrupted(format!("the bundle cannot be read: {error}"))
                })?;
                yield ServedChunk { id: id.as_bytes().to_vec().into(), sealed: sealed.into() };
            }
        })
    }
}

/// One pass over the entries.
struct Scan {
    file: File,
    length: u64,
    at: u64,
    entries: Order,
    manifest: Vec<u8>,
    index: Vec<u8>,
    metadata: HashMap<String, Place>,
    metadata_bytes: u64,
    /// Of the entries of metadata, heads included.
    metadata_hash: digest::Context,
    assignments: Vec<(DeviceId, Vec<u8>)>,
    chunks: HashMap<ChunkId, Place>,
    order: Vec<(ChunkId, u32)>,
}

impl Scan {
    fn begin(file: File) -> Result<Self, BundleFileError> {
        let length = file.metadata()?.len();
        let mut preamble = [0; PREAMBLE_BYTES];
        if length < PREAMBLE_BYTES as u64 {
            return Err(BundleFileError::Truncated(length));
        }
        file.read_exact_at(&mut preamble, 0)?;
        Ok(Self {
            entries: Order::begin(&preamble)?,
            at: PREAMBLE_BYTES as u64,
            length,
            file,
            manifest: Vec::new(),
            index: Vec::new(),
            metadata: HashMap::new(),
            metadata_bytes: 0,
            metadata_hash: digest::Context::new(&digest::SHA256),
            assignments: Vec::new(),
            chunks: HashMap::new(),
            order: Vec::new(),
        })
    }

    /// The next bytes, which the caller has bounded.
    fn take(&mut self, bytes: usize) -> Result<Vec<u8>, BundleFileError> {
        let place = self.skip(bytes)?;
        let mut taken = vec![0; bytes];
        self.file.read_exact_at(&mut taken, place.offset)?;
        Ok(taken)
    }

    /// Past the next bytes, which the file has.
    fn skip(&mut self, bytes: usize) -> Result<Place, BundleFileError> {
        let (offset, end) = (self.at, self.at.saturating_add(bytes as u64));
        if end > self.length {
            return Err(BundleFileError::Truncated(self.length));
        }
        self.at = end;
        Ok(Place { offset, bytes: bytes as u32 })
    }

    /// Reads one entry. False if it was the end.
    fn entry(&mut self) -> Result<bool, BundleFileError> {
        let head = self.take(ENTRY_HEADER_BYTES)?;
        let fixed = head.first_chunk().expect("as many as were taken");
        let EntryHeader { kind, name_bytes, body_bytes } = self.entries.next(fixed)?;
        let name = self.take(name_bytes)?;
        match kind {
            Kind::Manifest => self.manifest = self.take(body_bytes)?,
            Kind::Index => self.index = self.take(body_bytes)?,
            Kind::Metadata => self.metadata(&head, name, body_bytes)?,
            Kind::Assignment => {
                let id = <[u8; 16]>::try_from(&name[..]).expect("the order allows 16 bytes alone");
                let body = self.take(body_bytes)?;
                self.assignments.push((DeviceId::from_bytes(id), body));
            }
            Kind::Chunk => {
                let id = ChunkId::try_from(&name[..]).expect("the order allows 32 bytes alone");
                let place = self.skip(body_bytes)?;
                if self.chunks.insert(id, place).is_some() {
                    return Err(BundleFileError::Changed("a chunk is in it twice"));
                }
                self.order.push((id, place.bytes));
            }
            Kind::End if self.at != self.length => {
                return Err(BundleFileError::Changed("something follows its end"));
            }
            Kind::End => return Ok(false),
        }
        Ok(true)
    }

    fn metadata(
        &mut self,
        head: &[u8],
        name: Vec<u8>,
        body_bytes: usize,
    ) -> Result<(), BundleFileError> {
        self.metadata_bytes += body_bytes as u64;
        if self.metadata_bytes > MAX_METADATA_TOTAL {
            return Err(BundleFileError::Changed("its metadata has no end"));
        }
        let offset = self.at;
        let body = self.take(body_bytes)?;
        for part in [head, &name, &body] {
            self.metadata_hash.update(part);
        }
        let name = String::from_utf8(name).ok().filter(|name| is_metadata_name(name));
        let name = name.ok_or(BundleFileError::Changed("a name in it is none"))?;
        let place = Place { offset, bytes: body_bytes as u32 };
        match self.metadata.insert(name, place) {
            Some(_) => Err(BundleFileError::Changed("a metadata file is in it twice")),
            None => Ok(()),
        }
    }

    /// What the bundle tells this device. All devices' parts are checked, so that nothing in a bundle
    /// goes unsigned.
    fn assignment(&mut self, here: &Opening) -> Result<Assignment, BundleFileError> {
        let metadata_sha256 = Digest::from_ring(self.metadata_hash.clone().finish());
        let (mut own, mut seen) = (None, HashSet::new());
        if !self.assignments.iter().any(|(id, _)| *id == here.device_id) {
            let names: Vec<_> =
                self.assignments.iter().take(MAX_NAMED).map(|(id, _)| id.to_string()).collect();
            let more = self.assignments.len().saturating_sub(MAX_NAMED);
            let others = if more > 0 { format!(" and {more} others") } else { String::new() };
            let found = format!("{}{others}", names.join(", "));
            return Err(BundleFileError::OtherDevices { found, device: here.device_id });
        }
        for (id, envelope) in &self.assignments {
            let release = &here.release_public;
            let one = Assignment::verify(envelope, release, here.tenant_id, *id)?;
            if one.metadata_sha256 != metadata_sha256 {
                return Err(BundleFileError::Changed("its metadata is not what was signed"));
            }
            if !seen.insert(*id) {
                return Err(BundleFileError::Changed("a device is in it twice"));
            }
            if *id == here.device_id {
                own = Some(one);
            }
        }
        own.ok_or(BundleFileError::Changed("it has nothing for this device"))
    }
}
