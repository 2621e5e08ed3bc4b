//! Bundles: a version and what devices need to run it, as one file for sites without a network. Given
//! only for devices that are to run the version now, and recorded with their names before the first
//! byte leaves. Chunks are read while they are sent: the file is never on the controller's disk.

use std::collections::HashSet;

use bytes::Bytes;
use edgeformer_proto::artifact::{ChunkId, DataKey, Digest, Expected, Manifest, ReleaseKey};
use edgeformer_proto::bundle::{Assignment, Kind, MAX_DEVICES, entry, entry_head, preamble};
use edgeformer_proto::ids::{DeviceId, TenantId};
use edgeformer_proto::keywrap::{self, HpkePublic, KeyContext, KeyWrapError};
use edgeformer_proto::tuf::TopLevel;
use futures::{Stream, StreamExt, stream};
use serde_json::json;

use super::catalogue;
use super::objects::{Objects, ObjectsError};
use crate::app::App;
use crate::audit::{Intent, Resource};
use crate::error::AppError;
use crate::policy::Action;
use crate::quota::gate::{Key, NoPlace, Place};
use crate::scope::TenantScope;
use crate::session;
use crate::store::versions::StoredVersion;
use crate::store::{Conn, Write, entitlements, sessions, tenants, trust};
use crate::vault::SecretKind;

/// Chunks read ahead of what is sent: at most four megabytes.
const READ_AHEAD: usize = 4;

/// Roots of the trust repository that go along, the newest of them: as many as metadata has room for.
const MAX_ROOTS: u64 = 512;

/// A bundle that is about to be sent.
#[derive(Debug)]
pub struct Export {
    head: Bytes,
    chunks: Vec<(ChunkId, u32)>,
    objects: Objects,
    tenant: TenantId,
    place: Place,
}

impl From<NoPlace> for AppError {
    fn from(error: NoPlace) -> Self {
        Self::Overloaded(error.to_string())
    }
}

/// Makes a bundle of a version for these devices, and records it.
pub async fn export(
    app: &App,
    scope: &TenantScope,
    name: &str,
    version: &str,
    devices: &[DeviceId],
) -> Result<Export, AppError> {
    let place = app.quota().bundles.enter(Key::Tenant(scope.tenant())).await?;
    let version = catalogue::version(app, scope, name, version).await?;
    let devices = distinct(devices)?;
    let sealed_index = app.objects.index(&version.sealed_index_key).await.map_err(unreadable)?;
    let named = format!("{}@{}", version.model, version.version);
    let resource = Resource::new("version", version.id).named(named);
    let mut write = app.store.write(scope, Intent::new(Action::BundleExport, resource)).await?;
    let keys = Keys::load(app, &mut write, &version).await?;
    let (metadata, metadata_sha256) = metadata(&mut write).await?;
    let chunks = keys.chunks(scope.tenant(), &version, &sealed_index)?;
    let mut head = preamble().to_vec();
    head.extend(entry(Kind::Manifest, b"", &version.manifest_envelope));
    head.extend(entry(Kind::Index, b"", &sealed_index));
    head.extend(metadata);
    let created = app.now().rfc3339();
    let mut generations = serde_json::Map::new();
    for device in devices {
        let assignment = Assignment {
            created: created.clone(),
            metadata_sha256,
            ..keys.assign(&mut write, &version, device).await?
        };
        generations.insert(device.to_string(), json!(assignment.key.generation.to_string()));
        let body = assignment.sign(&keys.release);
        head.extend(entry(Kind::Assignment, device.as_bytes(), &body));
    }
    write.changes(json!(null), json!({ "devices": generations }));
    write.commit(app.now()).await?;
    app.nudges.audit.notify_one();
    let (objects, tenant) = (app.objects.clone(), scope.tenant());
    Ok(Export { head: head.into(), chunks, objects, tenant, place })
}

impl Export {
    /// Length of the file.
    pub fn size_bytes(&self) -> u64 {
        let chunk = |bytes: u32| entry_head(Kind::Chunk, &[0; 32], bytes as usize).len() as u64;
        let chunks = self.chunks.iter().map(|(_, bytes)| chunk(*bytes) + u64::from(*bytes));
        self.head.len() as u64 + chunks.sum::<u64>() + entry(Kind::End, b"", b"").len() as u64
    }

    /// Its bytes, read as fast as they are taken. A chunk that cannot be read breaks it off.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, ObjectsError>> + Send + 'static {
        let Self { head, chunks, objects, tenant, place } = self;
        let chunks = stream::iter(chunks)
            .map(move |(id, bytes)| chunk(objects.clone(), tenant, id, bytes))
            .buffered(READ_AHEAD);
        let end = Bytes::from(entry(Kind::End, b"", b""));
        let all = stream::once(async { Ok(head) }).chain(chunks);
        // The place is kept until all is sent, or nobody takes it any more.
        all.chain(stream::once(async { Ok(end) })).map(move |piece| {
            let _held = &place;
            piece.inspect_err(|error| tracing::error!(%error, "a bundle breaks off"))
        })
    }
}

async fn chunk(
    objects: Objects,
    tenant: TenantId,
    id: ChunkId,
    bytes: u32,
) -> Result<Bytes, ObjectsError> {
    let sealed = objects.chunk(tenant, id).await?.ok_or_else(|| Objects::missing(tenant, id))?;
    if sealed.len() != bytes as usize {
        return Err(Objects::damaged(tenant, id, "it has another length than its index says"));
    }
    Ok([&entry_head(Kind::Chunk, id.as_bytes(), sealed.len())[..], &sealed].concat().into())
}

fn distinct(devices: &[DeviceId]) -> Result<Vec<DeviceId>, AppError> {
    let mut seen = HashSet::new();
    let distinct: Vec<_> = devices.iter().copied().filter(|id| seen.insert(*id)).collect();
    match distinct.len() {
        1..=MAX_DEVICES => Ok(distinct),
        0 => Err(AppError::invalid("device", "name at least one device")),
        many => Err(AppError::invalid(
            "device",
            format!("{many} devices, at most {MAX_DEVICES} in one bundle: make several"),
        )),
    }
}

/// What is opened to make a bundle.
struct Keys {
    release: ReleaseKey,
    data: DataKey,
}

impl Keys {
    async fn load(
        app: &App,
        write: &mut Write<TenantScope>,
        version: &StoredVersion,
    ) -> Result<Self, AppError> {
        let tenant = tenants::own(write).await?;
        let tenant = tenant.ok_or_else(|| AppError::not_found("tenant", write.key()))?;
        let id = tenant.id.to_string();
        let release = app.vault.unwrap(SecretKind::ReleaseKey, &id, &tenant.wrapped_release_key)?;
        let data = app.vault.tenant(&id, &tenant.wrapped_kek)?.unwrap_32(
            SecretKind::DataKey,
            &version.id.to_string(),
            &version.wrapped_data_key,
        )?;
        Ok(Self {
            release: ReleaseKey::from_pkcs8(&release).map_err(failed)?,
            data: DataKey::from(*data),
        })
    }

    /// The version's chunks in the order of its index, each once.
    fn chunks(
        &self,
        tenant: TenantId,
        version: &StoredVersion,
        sealed_index: &[u8],
    ) -> Result<Vec<(ChunkId, u32)>, AppError> {
        let expected = Expected {
            tenant,
            model: version.model.clone(),
            version: version.version.clone(),
            version_id: version.id,
        };
        let (envelope, pinned) = (&version.manifest_envelope, &version.manifest_sha256);
        let manifest = Manifest::verify(envelope, pinned, &self.release.public(), &expected);
        let manifest = manifest.map_err(failed)?;
        let index = manifest.open_index(&self.data, sealed_index).map_err(failed)?;
        let mut seen = HashSet::new();
        let each = index.entries().iter().filter(|entry| seen.insert(entry.id));
        Ok(each.map(|entry| (entry.id, entry.chunk_bytes)).collect())
    }

    /// What a device is told, with the key for it; without date and metadata.
    async fn assign(
        &self,
        write: &mut Write<TenantScope>,
        version: &StoredVersion,
        device: DeviceId,
    ) -> Result<Assignment, AppError> {
        let missing = || AppError::not_found("device", device);
        let desired = sessions::desired(write, device).await?.ok_or_else(missing)?;
        let hpke_key = entitlements::hpke_key(write, device, version.id).await?;
        let is_assigned = desired.slots.iter().any(|slot| slot.version_id == version.id);
        let Some(hpke_key) = hpke_key.filter(|_| is_assigned) else {
            return Err(AppError::conflict(
                "not_assigned",
                format!(
                    "device {device} is {} and is not to run {} {} now: a rollout has to assign it \
                     before a bundle can bring it",
                    desired.state.as_str(),
                    version.model,
                    version.version
                ),
            ));
        };
        let tenant = write.scope().tenant();
        let context = KeyContext { tenant, device, version: version.id };
        let public = HpkePublic::try_from(&hpke_key[..]).map_err(KeyWrapError::from);
        let key =
            public.and_then(|to| keywrap::wrap(&to, &self.data, &context, desired.generation));
        Ok(Assignment {
            tenant,
            device,
            created: String::new(),
            desired: session::desired_state(&desired),
            version: version.id,
            key: key.map_err(failed)?,
            metadata_sha256: Digest::of(b""),
        })
    }
}

/// The entries of what the trust repository serves: all that a client needs to come from any root.
async fn metadata(conn: &mut Conn<TenantScope>) -> Result<(Vec<u8>, Digest), AppError> {
    let mut entries = Vec::new();
    if let Some(root) = trust::metadata(conn, TopLevel::Root, None).await? {
        for version in root.version.saturating_sub(MAX_ROOTS).max(1)..=root.version {
            let Some(root) = trust::metadata(conn, TopLevel::Root, Some(version)).await? else {
                continue;
            };
            entries.extend(entry(
                Kind::Metadata,
                format!("{version}.root.json").as_bytes(),
                &root.file,
            ));
        }
    }
    for role in [TopLevel::Timestamp, TopLevel::Snapshot, TopLevel::Targets] {
        let Some(newest) = trust::metadata(conn, role, None).await? else { continue };
        let name = match role {
            TopLevel::Timestamp => "timestamp.json".to_owned(),
            _ => format!("{}.{}.json", newest.version, role.name()),
        };
        entries.extend(entry(Kind::Metadata, name.as_bytes(), &newest.file));
    }
    let sha256 = Digest::of(&entries);
    Ok((entries, sha256))
}

fn unreadable(error: ObjectsError) -> AppError {
    tracing::error!(%error, "a bundle cannot be made");
    AppError::Internal(error.to_string())
}

fn failed(error: impl std::fmt::Display) -> AppError {
    AppError::Internal(format!("a bundle cannot be made: {error}"))
}
