//! Publishing: from an upload to a version that devices can be told to run.
//!
//! Chunks and index are stored before the rows that name them, so that a version in the store is
//! always complete; what a failure in between leaves are sealed chunks that the next attempt reuses.

use std::io::BufReader;

use bytes::Bytes;
use edgeformer_proto::artifact::{
    ArtifactError, ChunkSecret, DataKey, Digest, Expected, IndexRef, Manifest, ModelName,
    PayloadRef, ReleaseKey, ReleaseKeyError,
};
use edgeformer_proto::ids::VersionId;
use edgeformer_proto::model_card::ModelCard;
use futures::Stream;
use ring::rand::SystemRandom;
use semver::Version;
use serde_json::json;

use super::documents::{Documents, Kind};
use super::head::{self, HeadError};
use super::inspect::{InspectError, Inspected, inspect};
use super::objects::ObjectsError;
use super::seal::{SealError, SealedPayload, seal_payload};
use super::staging::{Staged, StagingError};
use crate::app::App;
use crate::audit::{Intent, Outcome, Resource};
use crate::error::AppError;
use crate::policy::{Action, Facts};
use crate::quota::gate::{Key, NoPlace};
use crate::scope::TenantScope;
use crate::store::versions::{self, StoredVersion};
use crate::store::{Conn, StoreError, tenant_rows, tenants, version_documents};
use crate::vault::{SecretKind, Vault, VaultError};

/// Longest version, in bytes: semantic versions with a commit hash fit.
const MAX_VERSION_BYTES: usize = 64;

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The upload was not received.
    #[error(transparent)]
    Staging(#[from] StagingError),
    /// It is not a model.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// It could not be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The version is there, with another payload.
    #[error(
        "version {version} of {model} exists with other content (SHA-256 {sha256}): versions are immutable, publish this file under a new version"
    )]
    Exists {
        /// The model.
        model: ModelName,
        /// The version.
        version: Version,
        /// SHA-256 of the payload it has.
        sha256: Digest,
    },
    /// What goes with the file.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The version is there, and something else was said of it.
    #[error(
        "version {version} of {model} exists, and something else was said of it (see `edgeformer model \
         bom`): versions are immutable, publish this under a new version"
    )]
    OtherCard {
        /// The model.
        model: ModelName,
        /// The version.
        version: Version,
    },
    /// The tenant's row is gone.
    #[error("the tenant is not in the store")]
    NoTenant,
    /// A wrapped key does not open.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The release key cannot be used.
    #[error(transparent)]
    ReleaseKey(#[from] ReleaseKeyError),
    /// The tenant would have more than it may.
    #[error(
        "the tenant may store {max} bytes and has {stored}: this version, of {size} bytes at most, does \
         not fit; ask the operator of the installation for more (edgeformer tenant quota)"
    )]
    Quota {
        /// What it may store.
        max: u64,
        /// What it stores.
        stored: u64,
        /// What this version would add.
        size: u64,
    },
    /// Too many uploads of the tenant.
    #[error("uploads of your tenant take all its places ({0}): publish again when one is done")]
    NoPlace(#[from] NoPlace),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A worker died.
    #[error("inspecting the upload stopped: {0}")]
    Worker(#[from] tokio::task::JoinError),
}

impl From<ArtifactError> for PublishError {
    fn from(error: ArtifactError) -> Self {
        Self::Seal(error.into())
    }
}

impl From<ObjectsError> for PublishError {
    fn from(error: ObjectsError) -> Self {
        Self::Seal(error.into())
    }
}

impl From<PublishError> for AppError {
    fn from(error: PublishError) -> Self {
        let detail = error.to_string();
        match error {
            PublishError::Exists { .. } | PublishError::OtherCard { .. } => {
                Self::conflict("version_exists", detail)
            }
            PublishError::Head(_) => Self::invalid("publication", detail),
            PublishError::Inspect(_) => Self::invalid("payload", detail),
            PublishError::Staging(error) => match error {
                StagingError::TooLarge { .. } => Self::TooLarge(detail),
                StagingError::DiskFull { .. } => Self::StorageFull(detail),
                StagingError::Busy => Self::Overloaded(detail),
                StagingError::Digest { .. } => Self::invalid("Digest", detail),
                StagingError::Interrupted { .. } | StagingError::Stalled { .. } => {
                    Self::invalid("payload", detail)
                }
                StagingError::Folder { .. } | StagingError::Write { .. } => Self::Internal(detail),
            },
            PublishError::Seal(SealError::Objects(ObjectsError::Full)) => Self::StorageFull(detail),
            PublishError::Seal(SealError::Artifact(ArtifactError::TooManyChunks { .. })) => {
                Self::TooLarge(detail)
            }
            PublishError::Quota { .. } => Self::conflict("quota_stored_bytes", detail),
            PublishError::NoPlace(_) => Self::Overloaded(detail),
            PublishError::Store(error) => Self::Store(error),
            PublishError::NoTenant
            | PublishError::Seal(_)
            | PublishError::Vault(_)
            | PublishError::ReleaseKey(_)
            | PublishError::Worker(_) => Self::Internal(detail),
        }
    }
}

/// A version to be published.
#[derive(Debug, Clone)]
pub struct NewVersion {
    model: ModelName,
    version: Version,
    digest: Option<Digest>,
    has_head: bool,
    card: ModelCard,
}

impl NewVersion {
    /// From a request's path and its `Digest: sha-256=<base64>` header (RFC 3230), if there is one.
    pub fn parse(model: &str, version: &str, digest: Option<&str>) -> Result<Self, AppError> {
        Ok(Self {
            model: parse_model(model)?,
            version: parse_version(version)?,
            digest: digest.map(parse_digest).transpose()?,
            has_head: false,
            card: ModelCard::default(),
        })
    }

    /// What goes with the file comes in front of it.
    pub fn with_head(self, has_head: bool) -> Self {
        Self { has_head, ..self }
    }

    fn resource(&self, id: impl ToString) -> Resource {
        Resource::new("version", id).named(format!("{}@{}", self.model, self.version))
    }
}

/// A model's name from a request.
pub fn parse_model(text: &str) -> Result<ModelName, AppError> {
    text.parse().map_err(|error| AppError::invalid("name", format!("{error}")))
}

/// A semantic version from a request.
pub fn parse_version(text: &str) -> Result<Version, AppError> {
    let shown: String = text.chars().take(80).collect();
    if text.len() > MAX_VERSION_BYTES {
        let message = format!("{shown:?} is longer than {MAX_VERSION_BYTES} characters");
        return Err(AppError::invalid("version", message));
    }
    Version::parse(text).map_err(|error| {
        let message = format!("{shown:?} is not a semantic version like 1.4.0: {error}");
        AppError::invalid("version", message)
    })
}

fn parse_digest(header: &str) -> Result<Digest, AppError> {
    header
        .split_once('=')
        .filter(|(algorithm, _)| algorithm.trim().eq_ignore_ascii_case("sha-256"))
        .and_then(|(_, value)| data_encoding::BASE64.decode(value.trim().as_bytes()).ok())
        .and_then(|bytes| Digest::try_from(bytes.as_slice()).ok())
        .ok_or_else(|| AppError::invalid("Digest", "it must be sha-256=<base64 of 32 bytes>"))
}

/// What became of a publication.
#[derive(Debug, Clone)]
pub enum Published {
    /// The version is new.
    New(StoredVersion),
    /// It was published before, with this very payload.
    Same(StoredVersion),
}

/// Publishes `body` as `new`. A failure after the upload arrived is recorded in the audit log.
pub async fn publish<E>(
    app: &App,
    scope: &TenantScope,
    mut new: NewVersion,
    body: impl Stream<Item = Result<Bytes, E>>,
) -> Result<Published, AppError> {
    let facts = Facts::Version { model: new.model.to_string(), version: new.version.to_string() };
    // Before a byte is received: policies look at names, and an upload takes minutes.
    let mut scope = scope.clone();
    scope.decide(Action::VersionPublish, &facts)?;
    let scope = &scope;
    let place = app.quota().uploads.enter(Key::Tenant(scope.tenant())).await;
    let _place = place.map_err(PublishError::from)?;
    // Before minutes are spent on what does not fit anyhow.
    let mut read = app.store.read(scope).await?;
    within_quota(&mut read, 1).await?;
    drop(read);
    let (said, body) = head::split(body, new.has_head).await.map_err(PublishError::from)?;
    new.card = said.card;
    let staged = app.staging.receive(body, new.digest).await.map_err(PublishError::from)?;
    let published = publish_staged(app, scope, &new, &staged).await;
    match published {
        Ok(published) => Ok(published),
        Err(error) => {
            let intent =
                Intent::new(Action::VersionPublish, new.resource("")).because(error.to_string());
            app.store.record(scope, intent, Outcome::Failure, app.now()).await?;
            app.nudges.audit.notify_one();
            Err(error.into())
        }
    }
}

async fn publish_staged(
    app: &App,
    scope: &TenantScope,
    new: &NewVersion,
    staged: &Staged,
) -> Result<Published, PublishError> {
    if let Some(same) = find_same(app, scope, new, staged).await? {
        return Ok(Published::Same(same));
    }
    // Sealed pieces stay once they are stored: what may not be kept is not begun.
    let mut read = app.store.read(scope).await?;
    within_quota(&mut read, staged.size_bytes()).await?;
    drop(read);
    let inspected = inspect_staged(staged).await?;
    let keys = Keys::load(app, scope).await?;
    let payload = seal_payload(
        &app.objects,
        scope.tenant(),
        &keys.chunk_secret,
        staged,
        inspected.cuts.clone(),
    )
    .await?;
    let (version, documents) =
        seal_version(app, scope, new, staged, inspected, &keys, payload).await?;
    match insert(app, scope, new, version, &documents).await {
        // Somebody published it meanwhile: the same or another payload.
        Err(PublishError::Store(error)) if error.is_conflict() => {
            app.store.settled().await?;
            match find_same(app, scope, new, staged).await? {
                Some(same) => Ok(Published::Same(same)),
                None => Err(error.into()),
            }
        }
        inserted => Ok(Published::New(inserted?)),
    }
}

/// Whether the tenant may store `size` bytes more.
async fn within_quota(conn: &mut Conn<TenantScope>, size: u64) -> Result<(), PublishError> {
    let tenant = tenants::standing(conn).await?.ok_or(PublishError::NoTenant)?;
    let Some(max) = tenant.limits.stored_bytes else { return Ok(()) };
    let stored = tenant_rows::stored_bytes(conn).await?;
    match stored.saturating_add(size) <= max {
        true => Ok(()),
        false => Err(PublishError::Quota { max, stored, size }),
    }
}

/// The version, if it is there with this payload. An error if it is there with another.
async fn find_same(
    app: &App,
    scope: &TenantScope,
    new: &NewVersion,
    staged: &Staged,
) -> Result<Option<StoredVersion>, PublishError> {
    let mut read = app.store.read(scope).await?;
    match versions::find(&mut read, &new.model, &new.version).await? {
        Some(found) if found.payload_sha256 != staged.sha256() => Err(PublishError::Exists {
            model: new.model.clone(),
            version: new.version.clone(),
            sha256: found.payload_sha256,
        }),
        Some(found) if !new.card.is_empty() => {
            let card = version_documents::get(&mut read, found.id, Kind::Card.as_str()).await?;
            match card.is_some_and(|card| card == new.card.to_json()) {
                true => Ok(Some(found)),
                false => Err(PublishError::OtherCard {
                    model: new.model.clone(),
                    version: new.version.clone(),
                }),
            }
        }
        found => Ok(found),
    }
}

async fn inspect_staged(staged: &Staged) -> Result<Inspected, PublishError> {
    let (path, size_bytes) = (staged.path().to_owned(), staged.size_bytes());
    tokio::task::spawn_blocking(move || {
        let file = std::fs::File::open(&path)
            .map_err(|source| SealError::Read { path: path.clone(), source })?;
        Ok(inspect(&mut BufReader::new(file), size_bytes)?)
    })
    .await?
}

/// The tenant's keys that publishing uses.
struct Keys {
    chunk_secret: ChunkSecret,
    release: ReleaseKey,
    /// Wraps data keys.
    vault: Vault,
}

impl Keys {
    async fn load(app: &App, scope: &TenantScope) -> Result<Self, PublishError> {
        let mut read = app.store.read(scope).await?;
        let tenant = tenants::own(&mut read).await?.ok_or(PublishError::NoTenant)?;
        drop(read);
        let id = tenant.id.to_string();
        let chunk_secret =
            app.vault.unwrap_32(SecretKind::ChunkSecret, &id, &tenant.wrapped_chunk_secret)?;
        let release = app.vault.unwrap(SecretKind::ReleaseKey, &id, &tenant.wrapped_release_key)?;
        Ok(Self {
            chunk_secret: ChunkSecret::from(*chunk_secret),
            release: ReleaseKey::from_pkcs8(&release)?,
            vault: app.vault.tenant(&id, &tenant.wrapped_kek)?,
        })
    }
}

/// Seals and stores the index, signs the manifest, wraps the data key.
async fn seal_version(
    app: &App,
    scope: &TenantScope,
    new: &NewVersion,
    staged: &Staged,
    inspected: Inspected,
    keys: &Keys,
    payload: SealedPayload,
) -> Result<(StoredVersion, Documents), PublishError> {
    let random = SystemRandom::new();
    let now = app.now();
    let id = VersionId::new();
    let subject = Expected {
        tenant: scope.tenant(),
        model: new.model.clone(),
        version: new.version.clone(),
        version_id: id,
    };
    let data_key = DataKey::generate(&random)?;
    let wrapped_data_key =
        keys.vault.wrap(SecretKind::DataKey, &id.to_string(), data_key.expose())?;
    let sealed_index = payload.index.seal(&data_key, &subject, &random)?;
    let chunks = payload.index.entries().len();
    let index = IndexRef {
        sealed_bytes: sealed_index.len() as u64,
        sha256: Digest::of(&sealed_index),
        chunks: chunks as u32,
    };
    let payload_ref = PayloadRef { size_bytes: staged.size_bytes(), sha256: staged.sha256() };
    let details = inspected.details.clone();
    let mut manifest = Manifest::new(
        subject,
        now.rfc3339(),
        payload_ref,
        index,
        inspected.details,
        inspected.memory,
    );
    let documents = Documents::make(&manifest, &inspected.facts, &new.card);
    manifest.documents = documents.names();
    let manifest_envelope = manifest.sign(&keys.release);
    let sealed_index_key = app.objects.put_index(scope.tenant(), id, sealed_index.into()).await?;
    let version = StoredVersion {
        id,
        model: new.model.clone(),
        version: new.version.clone(),
        manifest_sha256: Digest::of(&manifest_envelope),
        manifest_envelope,
        sealed_index_key,
        wrapped_data_key,
        payload_bytes: staged.size_bytes(),
        payload_sha256: staged.sha256(),
        stored_bytes: payload.stored_bytes,
        chunk_count: chunks as u64,
        details,
        created_at: now,
    };
    Ok((version, documents))
}

/// The rows and their audit record, all or nothing.
async fn insert(
    app: &App,
    scope: &TenantScope,
    new: &NewVersion,
    version: StoredVersion,
    documents: &Documents,
) -> Result<StoredVersion, PublishError> {
    let mut after = json!({
        "manifest_sha256": version.manifest_sha256,
        "payload_sha256": version.payload_sha256,
        "payload_bytes": version.payload_bytes,
        "chunks": version.chunk_count,
        "details": version.details,
        "documents": documents.names(),
    });
    if !new.card.evaluations.is_empty() {
        after["evaluation"] = json!(new.card.evaluations);
    }
    let intent =
        Intent::new(Action::VersionPublish, new.resource(version.id)).changes(json!(null), after);
    let mut write = app.store.write(scope, intent).await?;
    // Others of the tenant may have published since it was looked at.
    tenants::lock(&mut write).await?;
    within_quota(&mut write, version.stored_bytes + documents.size_bytes()).await?;
    let model = versions::ensure_model(&mut write, &new.model, version.created_at).await?;
    versions::insert(&mut write, model, &version).await?;
    for (kind, body) in documents.iter() {
        version_documents::insert(&mut write, version.id, kind.as_str(), body).await?;
    }
    write.commit(version.created_at).await?;
    app.nudges.audit.notify_one();
    app.nudges.trust.notify_one();
    Ok(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_version_is_called_is_checked_before_anything_is_received() {
        let good = "sha-256=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        assert!(NewVersion::parse("smollm2", "1.0.0-rc.1+abc", Some(good)).is_ok());
        let refused = |model, version: &str, digest| match NewVersion::parse(model, version, digest)
        {
            Err(AppError::Invalid(fields)) => fields[0].field.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(refused("Smol", "1.0.0", None), "name");
        assert_eq!(refused("smol", "1.0", None), "version");
        let long = format!("1.0.0-{}", "x".repeat(60));
        assert_eq!(refused("smol", &long, None), "version");
        assert_eq!(refused("smol", "1.0.0", Some("md5=1234")), "Digest");
        assert_eq!(refused("smol", "1.0.0", Some("sha-256=1234")), "Digest");
    }
}
