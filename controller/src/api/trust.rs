//! The tenant's trust repository over HTTP, at the names that any client of TUF asks for.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use edgeformer_proto::tuf::format_time;
use serde::Serialize;
use utoipa_axum::routes;

use super::extract::InPath;
use super::route::Routes;
use crate::admin::trust as use_case;
use crate::app::App;
use crate::policy::Action;
use crate::problem::Problem;
use crate::scope::TenantScope;

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .add(Action::TrustRead, routes!(show))
        .add(Action::TrustRead, routes!(metadata))
        .add(Action::TrustRead, routes!(target))
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
