//! Signatures of versions for programs that know nothing of this product: OpenSSF Model Signing
//! bundles. Signed is what the manifest says that the release key signed when the version was
//! published, never a row alone: who can only write to the store gets no signature of other content.

use edgeformer_proto::artifact::{Expected, Manifest, ReleaseKey};
use edgeformer_proto::model_signature::ModelKey;

use super::catalogue;
use crate::app::App;
use crate::audit::{Intent, Resource};
use crate::error::AppError;
use crate::policy::Action;
use crate::scope::TenantScope;
use crate::store::versions::StoredVersion;
use crate::store::{model_signing_keys, tenants};
use crate::vault::{SecretKind, VaultError};

const COMPONENT: &str = "model-signer";

impl From<VaultError> for AppError {
    fn from(error: VaultError) -> Self {
        Self::Internal(error.to_string())
    }
}

/// The bundle of a version. Signed anew each time: the bytes differ, what they say does not.
pub async fn bundle(
    app: &App,
    scope: &TenantScope,
    name: &str,
    version: &str,
) -> Result<Vec<u8>, AppError> {
    let (version, manifest) = verified(app, scope, name, version).await?;
    let key = key(app, scope).await?;
    let model = format!("{}@{}", manifest.model, manifest.version);
    key.sign(&model, &file_name(&version), &manifest.payload.sha256).map_err(failed)
}

/// The public half of the tenant's key, in PEM.
pub async fn public_key(app: &App, scope: &TenantScope) -> Result<String, AppError> {
    Ok(key(app, scope).await?.public_pem())
}

/// Name of the file that a signature is of: the store keeps none of the uploads' names.
pub fn file_name(version: &StoredVersion) -> String {
    format!("{}-{}.gguf", version.model, version.version)
}

/// A version and its manifest, whose signature was verified.
pub(super) async fn verified(
    app: &App,
    scope: &TenantScope,
    name: &str,
    version: &str,
) -> Result<(StoredVersion, Manifest), AppError> {
    let version = catalogue::version(app, scope, name, version).await?;
    let manifest = manifest(app, scope, &version).await?;
    Ok((version, manifest))
}

/// The manifest, verified with the release key that only the vault opens.
async fn manifest(
    app: &App,
    scope: &TenantScope,
    version: &StoredVersion,
) -> Result<Manifest, AppError> {
    let mut read = app.store.read(scope).await?;
    let tenant = tenants::own(&mut read).await?;
    drop(read);
    let tenant = tenant.ok_or_else(|| AppError::not_found("tenant", scope.tenant()))?;
    let wrapped = &tenant.wrapped_release_key;
    let der = app.vault.unwrap(SecretKind::ReleaseKey, &tenant.id.to_string(), wrapped)?;
    let release = ReleaseKey::from_pkcs8(&der).map_err(failed)?.public();
    let expected = Expected {
        tenant: scope.tenant(),
        model: version.model.clone(),
        version: version.version.clone(),
        version_id: version.id,
    };
    let pinned = &version.manifest_sha256;
    Manifest::verify(&version.manifest_envelope, pinned, &release, &expected).map_err(|error| {
        AppError::Internal(format!(
            "the manifest of {}@{} is not signed: {error}",
            version.model, version.version
        ))
    })
}

/// The tenant's key that signs models; made, and recorded, the first time it is needed.
async fn key(app: &App, scope: &TenantScope) -> Result<ModelKey, AppError> {
    let tenant = scope.tenant().to_string();
    let open = |wrapped: &[u8]| -> Result<ModelKey, AppError> {
        let der = app.vault.unwrap(SecretKind::ModelSigningKey, &tenant, wrapped)?;
        ModelKey::from_pkcs8(&der).map_err(failed)
    };
    let mut read = app.store.read(scope).await?;
    let found = model_signing_keys::get(&mut read).await?;
    drop(read);
    if let Some(wrapped) = found {
        return open(&wrapped);
    }
    let der = ModelKey::generate_pkcs8().map_err(failed)?;
    let made = ModelKey::from_pkcs8(&der).map_err(failed)?;
    let wrapped = app.vault.wrap(SecretKind::ModelSigningKey, &tenant, &der)?;
    let system = TenantScope::system(scope.tenant(), COMPONENT);
    let resource = Resource::new("model_signing_key", made.key_id());
    let mut write =
        app.store.write(&system, Intent::new(Action::ModelSigningKeyCreate, resource)).await?;
    if model_signing_keys::insert(&mut write, &wrapped, app.now()).await? {
        write.commit(app.now()).await?;
        app.nudges.audit.notify_one();
        return Ok(made);
    }
    // Another request was faster: its key is the tenant's.
    let found = model_signing_keys::get(&mut write).await?;
    write.rollback().await?;
    let gone = || AppError::Internal("the key that signs models is gone".to_owned());
    open(&found.ok_or_else(gone)?)
}

fn failed(error: impl std::fmt::Display) -> AppError {
    AppError::Internal(error.to_string())
}
