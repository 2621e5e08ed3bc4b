//! The tenant's trust repository over HTTP, at the names that any client of TUF asks for.

use axum::Json;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use edgeformer_proto::artifact::target_path;
use edgeformer_proto::tuf::{Key, TopLevel, format_time};
use serde::{Deserialize, Serialize};
use utoipa_axum::router::UtoipaMethodRouterExt as _;
use utoipa_axum::routes;

use super::extract::{Body, InPath};
use super::route::Routes;
use crate::admin::trust as use_case;
use crate::app::App;
use crate::policy::Action;
use crate::problem::Problem;
use crate::scope::TenantScope;
use crate::store::versions::Released;
use crate::trust::upload::Upload;

/// Largest upload: targets of the greatest length that devices read, as a text in JSON, and roots.
const MAX_UPLOAD_BYTES: usize = 12 << 20;

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .add(Action::TrustRead, routes!(show))
        .add(Action::TrustRead, routes!(metadata))
        .add(Action::TrustRead, routes!(target))
        .add(Action::TrustRead, routes!(pending))
        .add(Action::TrustRead, routes!(online_keys))
        .add(Action::TrustRotate, routes!(rotate).layer(DefaultBodyLimit::max(MAX_UPLOAD_BYTES)))
        .add(Action::TrustRelease, routes!(release).layer(DefaultBodyLimit::max(MAX_UPLOAD_BYTES)))
}

/// A role of the repository.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TrustRole {
    /// `root`, `targets`, `snapshot` or `timestamp`.
    role: String,
    /// Version of its newest metadata.
    version: u64,
    /// From then on nobody believes that metadata.
    expires_at: String,
    /// The keys that may sign it.
    key_ids: Vec<String>,
    /// How many of them must.
    threshold: u32,
    /// Whether the controller holds a key and signs by itself.
    managed: bool,
}

/// The repository.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TrustRepository {
    /// None before the repository is made, moments after its tenant.
    roles: Vec<TrustRole>,
}

impl From<use_case::RoleState> for TrustRole {
    fn from(state: use_case::RoleState) -> Self {
        Self {
            role: state.role.to_owned(),
            version: state.version,
            expires_at: format_time(state.expires_s),
            key_ids: state.key_ids,
            threshold: state.threshold,
            managed: state.managed,
        }
    }
}

/// Shows who signs what is released, and until when it is believed.
#[utoipa::path(get, path = "/trust", tag = "trust",
    responses((status = 200, body = TrustRepository)))]
async fn show(
    State(app): State<App>,
    scope: TenantScope,
) -> Result<Json<TrustRepository>, Problem> {
    let roles = use_case::state(&app, &scope).await?;
    Ok(Json(TrustRepository { roles: roles.into_iter().map(TrustRole::from).collect() }))
}

fn file(bytes: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], bytes).into_response()
}

/// Gives metadata: `timestamp.json`, `<version>.snapshot.json`, `<version>.targets.json` or
/// `<version>.root.json`.
#[utoipa::path(get, path = "/trust/metadata/{name}", tag = "trust",
    params(("name" = String, Path)),
    responses((status = 200, body = Vec<u8>, content_type = "application/json")))]
async fn metadata(
    State(app): State<App>,
    scope: TenantScope,
    InPath(name): InPath<String>,
) -> Result<Response, Problem> {
    Ok(file(use_case::metadata(&app, &scope, &name).await?))
}

/// Gives a target: the signed manifest of a version.
#[utoipa::path(get, path = "/trust/targets/{*path}", tag = "trust",
    params(("path" = String, Path)),
    responses((status = 200, body = Vec<u8>, content_type = "application/json")))]
async fn target(
    State(app): State<App>,
    scope: TenantScope,
    InPath(path): InPath<String>,
) -> Result<Response, Problem> {
    Ok(file(use_case::target(&app, &scope, &path).await?))
}

/// A version that waits for a signature.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TrustWaiting {
    /// Its model.
    model: String,
    /// Semantic version.
    version: String,
    /// Its id.
    version_id: String,
    /// What its manifest is called in the targets.
    path: String,
    /// Length of the signed manifest.
    length: u64,
    /// SHA-256 of the signed manifest, hexadecimal.
    sha256: String,
}

/// What is published and not among the targets.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TrustPending {
    /// Whether the controller signs targets itself, and does so by itself.
    managed: bool,
    /// Oldest first.
    items: Vec<TrustWaiting>,
}

/// A public key that the controller signs with.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TrustKey {
    /// `snapshot` or `timestamp`.
    role: String,
    /// The key object of the metadata, as JSON in a text.
    key: String,
}

/// The keys that snapshots and timestamps are signed with.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TrustKeys {
    items: Vec<TrustKey>,
}

/// Roots that key holders signed.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TrustRotation {
    /// Files, byte for byte, each the next version.
    roots: Vec<String>,
    /// Targets that are signed as the last of them says; needed if it changes who signs them.
    targets: Option<String>,
}

/// Targets that key holders signed.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TrustRelease {
    /// The file, byte for byte.
    targets: String,
}

/// Lists versions that are published and wait for a signature of the targets keys.
#[utoipa::path(get, path = "/trust/pending", tag = "trust",
    responses((status = 200, body = TrustPending)))]
async fn pending(
    State(app): State<App>,
    scope: TenantScope,
) -> Result<Json<TrustPending>, Problem> {
    let pending = use_case::pending(&app, &scope).await?;
    let item = |one: Released| TrustWaiting {
        path: target_path(one.model.as_str(), &one.version.to_string()),
        model: one.model.to_string(),
        version: one.version.to_string(),
        version_id: one.id.to_string(),
        length: one.manifest_bytes,
        sha256: one.manifest_sha256.to_string(),
    };
    let items = pending.versions.into_iter().map(item).collect();
    Ok(Json(TrustPending { managed: pending.managed, items }))
}

/// Gives the public keys with which the controller signs snapshots and timestamps.
#[utoipa::path(get, path = "/trust/online-keys", tag = "trust",
    responses((status = 200, body = TrustKeys)))]
async fn online_keys(
    State(app): State<App>,
    scope: TenantScope,
) -> Result<Json<TrustKeys>, Problem> {
    let keys = use_case::online_keys(&app, &scope).await?.into_iter();
    let key = |(role, key): (TopLevel, Key)| TrustKey {
        role: role.name().to_owned(),
        key: String::from_utf8_lossy(&key.to_json().to_file()).into_owned(),
    };
    Ok(Json(TrustKeys { items: keys.map(key).collect() }))
}

/// Takes roots that key holders signed: who may sign from now on.
#[utoipa::path(post, path = "/trust/roots", tag = "trust", request_body = TrustRotation,
    responses((status = 200, body = TrustRepository)))]
async fn rotate(
    State(app): State<App>,
    scope: TenantScope,
    Body(body): Body<TrustRotation>,
) -> Result<Json<TrustRepository>, Problem> {
    let roots = body.roots.into_iter().map(String::into_bytes).collect();
    let upload = Upload { roots, targets: body.targets.map(String::into_bytes) };
    use_case::rotate(&app, &scope, upload).await?;
    show(State(app), scope).await
}

/// Takes targets that key holders signed: what devices may install from now on.
#[utoipa::path(post, path = "/trust/release", tag = "trust", request_body = TrustRelease,
    responses((status = 200, body = TrustRepository)))]
async fn release(
    State(app): State<App>,
    scope: TenantScope,
    Body(body): Body<TrustRelease>,
) -> Result<Json<TrustRepository>, Problem> {
    use_case::release(&app, &scope, body.targets.into_bytes()).await?;
    show(State(app), scope).await
}
