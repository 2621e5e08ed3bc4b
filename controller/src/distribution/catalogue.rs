//! What operators read of models and versions. A name that cannot be one is of nothing that exists.

use edgeformer_proto::artifact::ModelName;
use edgeformer_proto::ids::VersionId;

use super::publish::{parse_model, parse_version};
use crate::app::App;
use crate::error::AppError;
use crate::scope::TenantScope;
use crate::store::versions::{self, Model, StoredVersion};

/// Models by name, after `after`.
pub async fn models(
    app: &App,
    scope: &TenantScope,
    after: Option<ModelName>,
    limit: i64,
) -> Result<Vec<Model>, AppError> {
    let mut read = app.store.read(scope).await?;
    Ok(versions::models(&mut read, after, limit).await?)
}

/// One model.
pub async fn model(app: &App, scope: &TenantScope, name: &str) -> Result<Model, AppError> {
    let missing = || AppError::not_found("model", name);
    let parsed = parse_model(name).map_err(|_| missing())?;
    let mut read = app.store.read(scope).await?;
    versions::model(&mut read, &parsed).await?.ok_or_else(missing)
}

/// Versions of a model in the order they were published, after `after`.
pub async fn versions(
    app: &App,
    scope: &TenantScope,
    name: &str,
    after: Option<VersionId>,
    limit: i64,
) -> Result<Vec<StoredVersion>, AppError> {
    let model = model(app, scope, name).await?;
    let mut read = app.store.read(scope).await?;
    Ok(versions::list(&mut read, model.id, after, limit).await?)
}

/// One version.
pub async fn version(
    app: &App,
    scope: &TenantScope,
    name: &str,
    version: &str,
) -> Result<StoredVersion, AppError> {
    let missing = || AppError::not_found("version", format!("{name}@{version}"));
    let parsed = parse_model(name).and_then(|name| Ok((name, parse_version(version)?)));
    let (model, semantic) = parsed.map_err(|_| missing())?;
    let mut read = app.store.read(scope).await?;
    versions::find(&mut read, &model, &semantic).await?.ok_or_else(missing)
}
