//! Models and versions over REST.

use axum::Json;
use axum::body::Body as RawBody;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use edgeformer_proto::artifact::ModelName;
use edgeformer_proto::model_signature::BUNDLE_TYPE;
use edgeformer_proto::publication::PUBLICATION_TYPE;
use serde::Serialize;
use utoipa_axum::routes;

use super::extract::{InPath, InQuery};
use super::page::{Page, PageQuery};
use super::route::Routes;
use crate::app::App;
use crate::distribution::bom::BOM_TYPE;
use crate::distribution::{catalogue, documents, publish, signatures};
use crate::policy::Action;
use crate::problem::Problem;
use crate::scope::TenantScope;
use crate::store::versions::{Model, StoredVersion};

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .add(Action::ModelRead, routes!(list_models))
        .add(Action::ModelRead, routes!(show_model))
        .add(Action::ModelRead, routes!(list_versions))
        .add(Action::ModelRead, routes!(show_version))
        .add(Action::ModelRead, routes!(show_bom))
        .add(Action::ModelRead, routes!(show_card))
        .add(Action::ModelRead, routes!(show_signature))
        .add(Action::ModelRead, routes!(show_signing_key))
        .add(Action::VersionPublish, routes!(put_payload))
}

/// A model.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ModelView {
    id: String,
    name: String,
    /// The version published last.
    latest_version: Option<String>,
    version_count: u64,
    created_at: String,
}

impl From<Model> for ModelView {
    fn from(model: Model) -> Self {
        Self {
            id: model.id.to_string(),
            name: model.name.to_string(),
            latest_version: model.latest_version,
            version_count: model.version_count,
            created_at: model.created_at.rfc3339(),
        }
    }
}

/// What the file says about the model.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct DetailsView {
    /// E.g. `llama`.
    architecture: String,
    /// The type of most weights, e.g. `Q4_1`.
    quantization: String,
    /// Number of weights.
    parameters: u64,
    /// Tokens; 0 if the file does not say.
    context_length: u64,
}

/// An immutable version of a model.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct VersionView {
    id: String,
    model: String,
    version: String,
    payload_bytes: u64,
    /// New sealed bytes that it added to the object store.
    stored_bytes: u64,
    chunk_count: u64,
    /// Hex; what desired states pin.
    manifest_sha256: String,
    /// Hex.
    payload_sha256: String,
    details: DetailsView,
    created_at: String,
}

impl From<StoredVersion> for VersionView {
    fn from(version: StoredVersion) -> Self {
        Self {
            id: version.id.to_string(),
            model: version.model.to_string(),
            version: version.version.to_string(),
            payload_bytes: version.payload_bytes,
            stored_bytes: version.stored_bytes,
            chunk_count: version.chunk_count,
            manifest_sha256: version.manifest_sha256.to_string(),
            payload_sha256: version.payload_sha256.to_string(),
            details: DetailsView {
                architecture: version.details.architecture,
                quantization: version.details.quantization,
                parameters: version.details.parameters,
                context_length: version.details.context_length,
            },
            created_at: version.created_at.rfc3339(),
        }
    }
}

/// Lists models by name.
#[utoipa::path(get, path = "/models", tag = "models", params(PageQuery),
    responses((status = 200, body = Page<ModelView>)))]
async fn list_models(
    State(app): State<App>,
    scope: TenantScope,
    InQuery(page): InQuery<PageQuery>,
) -> Result<Json<Page<ModelView>>, Problem> {
    let limit = page.limit()?;
    let rows = catalogue::models(&app, &scope, page.after::<ModelName>()?, limit + 1).await?;
    Ok(Json(Page::of(rows, limit, |row| row.name.clone(), ModelView::from)))
}

/// Shows a model.
#[utoipa::path(get, path = "/models/{name}", tag = "models", params(("name" = String, Path)),
    responses((status = 200, body = ModelView)))]
async fn show_model(
    State(app): State<App>,
    scope: TenantScope,
    InPath(name): InPath<String>,
) -> Result<Json<ModelView>, Problem> {
    Ok(Json(catalogue::model(&app, &scope, &name).await?.into()))
}

/// Lists a model's versions in the order they were published.
#[utoipa::path(get, path = "/models/{name}/versions", tag = "models",
    params(("name" = String, Path), PageQuery),
    responses((status = 200, body = Page<VersionView>)))]
async fn list_versions(
    State(app): State<App>,
    scope: TenantScope,
    InPath(name): InPath<String>,
    InQuery(page): InQuery<PageQuery>,
) -> Result<Json<Page<VersionView>>, Problem> {
    let limit = page.limit()?;
    let rows = catalogue::versions(&app, &scope, &name, page.after()?, limit + 1).await?;
    Ok(Json(Page::of(rows, limit, |row| row.id, VersionView::from)))
}

/// Shows a version.
#[utoipa::path(get, path = "/models/{name}/versions/{version}", tag = "models",
    params(("name" = String, Path), ("version" = String, Path)),
    responses((status = 200, body = VersionView)))]
async fn show_version(
    State(app): State<App>,
    scope: TenantScope,
    InPath((name, version)): InPath<(String, String)>,
) -> Result<Json<VersionView>, Problem> {
    Ok(Json(catalogue::version(&app, &scope, &name, &version).await?.into()))
}

/// Gives the bill of materials of a version: a CycloneDX document of one machine-learning model. The
/// version's manifest names its SHA-256.
#[utoipa::path(get, path = "/models/{name}/versions/{version}/bom", tag = "models",
    params(("name" = String, Path), ("version" = String, Path)),
    responses((status = 200, body = serde_json::Value,
        content_type = "application/vnd.cyclonedx+json")))]
async fn show_bom(
    State(app): State<App>,
    scope: TenantScope,
    InPath((name, version)): InPath<(String, String)>,
) -> Result<Response, Problem> {
    let bom = documents::bom(&app, &scope, &name, &version).await?;
    Ok(([(header::CONTENT_TYPE, BOM_TYPE)], bom).into_response())
}

/// Gives what people said of a version when they published it.
#[utoipa::path(get, path = "/models/{name}/versions/{version}/card", tag = "models",
    params(("name" = String, Path), ("version" = String, Path)),
    responses((status = 200, body = serde_json::Value, content_type = "application/json")))]
async fn show_card(
    State(app): State<App>,
    scope: TenantScope,
    InPath((name, version)): InPath<(String, String)>,
) -> Result<Response, Problem> {
    let card = documents::card(&app, &scope, &name, &version).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], card).into_response())
}

/// Gives the OpenSSF Model Signing bundle of a version, of the one file `{name}-{version}.gguf`.
#[utoipa::path(get, path = "/models/{name}/versions/{version}/signature", tag = "models",
    params(("name" = String, Path), ("version" = String, Path)),
    responses((status = 200, body = serde_json::Value,
        content_type = "application/vnd.dev.sigstore.bundle.v0.3+json")))]
async fn show_signature(
    State(app): State<App>,
    scope: TenantScope,
    InPath((name, version)): InPath<(String, String)>,
) -> Result<Response, Problem> {
    let bundle = signatures::bundle(&app, &scope, &name, &version).await?;
    Ok(([(header::CONTENT_TYPE, BUNDLE_TYPE)], bundle).into_response())
}

/// Gives the public key that verifies the signatures of versions, in PEM. Keep it apart from the
/// controller.
#[utoipa::path(get, path = "/model-signing-key", tag = "models",
    responses((status = 200, body = String, content_type = "text/plain")))]
async fn show_signing_key(State(app): State<App>, scope: TenantScope) -> Result<Response, Problem> {
    let pem = signatures::public_key(&app, &scope).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], pem).into_response())
}

/// Publishes a version: the body is the model file (GGUF). Makes the model if it is new. Repeating
/// it with the same file answers 200; with another file 409.
///
/// With the content type `application/vnd.edgeformer.publication.v1` a head comes in front of the file:
/// its length (four bytes, big-endian) and JSON, `{"card": {"license": "MIT", …}}`.
#[utoipa::path(put, path = "/models/{name}/versions/{version}/payload", tag = "models",
    params(
        ("name" = String, Path),
        ("version" = String, Path, description = "Semantic version"),
        ("Digest" = Option<String>, Header, description = "sha-256=<base64> of the file"),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 201, body = VersionView), (status = 200, body = VersionView)))]
async fn put_payload(
    State(app): State<App>,
    scope: TenantScope,
    InPath((name, version)): InPath<(String, String)>,
    headers: HeaderMap,
    body: RawBody,
) -> Result<(StatusCode, Json<VersionView>), Problem> {
    let digest = headers.get("digest").map(|value| value.to_str().unwrap_or_default());
    let kind = headers.get(header::CONTENT_TYPE).map(|kind| kind.as_bytes());
    let has_head = kind.is_some_and(|kind| kind.eq_ignore_ascii_case(PUBLICATION_TYPE.as_bytes()));
    let new = publish::NewVersion::parse(&name, &version, digest)?.with_head(has_head);
    match publish::publish(&app, &scope, new, body.into_data_stream()).await? {
        publish::Published::New(version) => Ok((StatusCode::CREATED, Json(version.into()))),
        publish::Published::Same(version) => Ok((StatusCode::OK, Json(version.into()))),
    }
}
