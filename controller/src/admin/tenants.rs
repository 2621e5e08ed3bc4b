//! Tenants: each gets its own certificate authority, release key, chunk secret and key-encryption
//! key when it is made. None of them ever leaves the store unwrapped.

use edgeformer_proto::artifact::ReleaseKey;
use edgeformer_proto::ids::TenantId;
use ring::rand::SystemRandom;
use serde_json::json;

use super::validate;
use crate::app::App;
use crate::audit::{Intent, Outcome, Resource};
use crate::ca::{self, KeyAndCert};
use crate::error::AppError;
use crate::init::ROOT_KEY_ID;
use crate::policy::{Action, Role};
use crate::scope::{InstallationScope, TenantScope};
use crate::store::api_tokens::{self, ApiToken};
use crate::store::tenants::{self, Tenant, TenantSummary};
use crate::store::{audit_log, installation};
use crate::tenancy::{Lifecycle, Limits, Standing};
use crate::vault::SecretKind;
use edgeformer_proto::token::{Kind, Token};

/// Makes a tenant with its keys and its first admin token, which is in the result and nowhere else.
pub async fn create(
    app: &App,
    scope: &InstallationScope,
    name: &str,
) -> Result<(TenantSummary, Token), AppError> {
    let name = validate::name("name", name)?;
    let now = app.now();
    let row = installation::get(&mut *app.store.read(scope).await?)
        .await?
        .ok_or_else(|| AppError::Internal("the installation's row is gone".into()))?;
    let tenant = keys(app, &row, name, TenantId::new())?;
    let secret = Token::mint(Kind::Api);
    let token = ApiToken::plain("first owner", Role::Owner, now);
    let resource = || Resource::new("tenant", tenant.id).named(tenant.name.clone());
    let intent = || {
        Intent::new(Action::TenantCreate, resource())
            .changes(json!(null), json!({"name": tenant.name, "token_id": token.id}))
    };
    let mut write = app.store.write(scope, intent()).await?;
    match tenants::insert(&mut write, &tenant).await {
        Err(error) if error.is_conflict() => {
            write.rollback().await?;
            let detail =
                format!("a tenant is named {:?} already: choose another name", tenant.name);
            return Err(AppError::conflict("name_taken", detail));
        }
        done => done?,
    }
    let mut write = write.enter(tenant.id).await?;
    api_tokens::insert(&mut write, &token, &secret.sha256()).await?;
    // The tenant's own log begins with how it was made.
    audit_log::enqueue(&mut write, intent(), Outcome::Success, now).await?;
    write.leave(scope).await?.commit(now).await?;
    app.nudges.audit.notify_one();
    app.nudges.trust.notify_one();
    let standing =
        Standing { name: tenant.name, lifecycle: Lifecycle::Active, limits: Limits::default() };
    Ok((TenantSummary { id: tenant.id, standing, created_at: now }, secret))
}

/// A tenant's key material, wrapped for its row.
fn keys(
    app: &App,
    row: &installation::Installation,
    name: String,
    id: TenantId,
) -> Result<Tenant, AppError> {
    fn failed(error: impl std::fmt::Display) -> AppError {
        AppError::Internal(format!("a tenant's keys cannot be made: {error}"))
    }
    let (vault, now) = (&app.vault, app.now());
    let key_pkcs8 =
        vault.unwrap(SecretKind::RootCaKey, ROOT_KEY_ID, &row.wrapped_root_key).map_err(failed)?;
    let root = KeyAndCert { key_pkcs8, cert_der: row.root_cert_der.clone() };
    let issuing = ca::create_issuing(&root, id, now.0).map_err(failed)?;
    let release = ReleaseKey::generate_pkcs8(&SystemRandom::new()).map_err(failed)?;
    let public = ReleaseKey::from_pkcs8(&release).map_err(failed)?.public();
    let kek = vault.generate_secret().map_err(failed)?;
    let chunks = vault.generate_secret().map_err(failed)?;
    let row_id = id.to_string();
    let wrap = |kind, secret: &[u8]| vault.wrap(kind, &row_id, secret).map_err(failed);
    Ok(Tenant {
        id,
        name,
        wrapped_ca_key: wrap(SecretKind::TenantCaKey, &issuing.key_pkcs8)?,
        ca_cert_der: issuing.cert_der,
        release_public: public.as_bytes().to_vec(),
        wrapped_release_key: wrap(SecretKind::ReleaseKey, &release)?,
        wrapped_chunk_secret: wrap(SecretKind::ChunkSecret, chunks.as_slice())?,
        wrapped_kek: wrap(SecretKind::TenantKek, kek.as_slice())?,
        created_at: now,
    })
}

/// Tenants in the order they were made.
pub async fn list(
    app: &App,
    scope: &InstallationScope,
    after: Option<TenantId>,
    limit: i64,
) -> Result<Vec<TenantSummary>, AppError> {
    let mut read = app.store.read(scope).await?;
    Ok(tenants::list(&mut read, after, limit).await?)
}

/// The name of the caller's tenant.
pub async fn own_name(app: &App, scope: &TenantScope) -> Result<String, AppError> {
    let mut read = app.store.read(scope).await?;
    let tenant = tenants::own(&mut read).await?;
    tenant
        .map(|tenant| tenant.name)
        .ok_or_else(|| AppError::Internal("the token's tenant is gone".into()))
}
