//! Programs with an account over REST.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use edgeformer_proto::ids::ServiceAccountId;
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;

use super::etag;
use super::extract::{Body, InPath, InQuery};
use super::page::{Page, PageQuery};
use super::route::Routes;
use crate::account::parse_roles;
use crate::admin::service_accounts as use_case;
use crate::app::App;
use crate::policy::Action;
use crate::problem::Problem;
use crate::scope::TenantScope;
use crate::store::service_accounts::ServiceAccount;

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .add(Action::ServiceAccountCreate, routes!(create))
        .add(Action::ServiceAccountRead, routes!(list))
        .add(Action::ServiceAccountRead, routes!(show))
        .add(Action::ServiceAccountUpdate, routes!(update))
}

/// A program with an account.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = ServiceAccount)]
pub struct ServiceAccountView {
    id: String,
    name: String,
    roles: Vec<&'static str>,
    /// Whether its tokens work.
    active: bool,
    revision: u64,
    created_at: String,
}

impl From<ServiceAccount> for ServiceAccountView {
    fn from(account: ServiceAccount) -> Self {
        Self {
            id: account.id.to_string(),
            name: account.name,
            roles: account.roles.iter().map(|role| role.as_str()).collect(),
            active: account.active,
            revision: account.revision,
            created_at: account.created_at.rfc3339(),
        }
    }
}

impl ServiceAccountView {
    fn tagged(self) -> Response {
        ([(header::ETAG, etag::of(self.revision))], Json(self)).into_response()
    }
}

/// An account to make.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceAccountRequest {
    /// Unique in the tenant.
    name: String,
    #[serde(default)]
    roles: BTreeSet<String>,
}

/// Makes a service account. Its tokens are made with `POST /tokens`.
#[utoipa::path(post, path = "/service-accounts", tag = "service accounts",
    request_body = ServiceAccountRequest, responses((status = 201, body = ServiceAccountView)))]
async fn create(
    State(app): State<App>,
    scope: TenantScope,
    Body(body): Body<ServiceAccountRequest>,
) -> Result<Response, Problem> {
    let roles = parse_roles(&body.roles)?;
    let account = use_case::create(&app, &scope, &body.name, roles).await?;
    let mut answer = ServiceAccountView::from(account).tagged();
    *answer.status_mut() = StatusCode::CREATED;
    Ok(answer)
}

/// Lists the service accounts of the tenant.
#[utoipa::path(get, path = "/service-accounts", tag = "service accounts", params(PageQuery),
    responses((status = 200, body = Page<ServiceAccountView>)))]
async fn list(
    State(app): State<App>,
    scope: TenantScope,
    InQuery(page): InQuery<PageQuery>,
) -> Result<Json<Page<ServiceAccountView>>, Problem> {
    let limit = page.limit()?;
    let rows = use_case::list(&app, &scope, page.after()?, limit + 1).await?;
    Ok(Json(Page::of(rows, limit, |row| row.id, ServiceAccountView::from)))
}

/// Shows a service account.
#[utoipa::path(get, path = "/service-accounts/{id}", tag = "service accounts",
    params(("id" = String, Path)), responses((status = 200, body = ServiceAccountView)))]
async fn show(
    State(app): State<App>,
    scope: TenantScope,
    InPath(id): InPath<ServiceAccountId>,
) -> Result<Response, Problem> {
    Ok(ServiceAccountView::from(use_case::get(&app, &scope, id).await?).tagged())
}

/// What to change of a service account.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceAccountEdit {
    name: Option<String>,
    /// Replaces all roles.
    roles: Option<BTreeSet<String>>,
    /// False stops all its tokens at once.
    active: Option<bool>,
}

/// Changes a service account. Needs `If-Match` with the revision that was read.
#[utoipa::path(patch, path = "/service-accounts/{id}", tag = "service accounts",
    params(("id" = String, Path), ("If-Match" = String, Header)),
    request_body = ServiceAccountEdit, responses((status = 200, body = ServiceAccountView)))]
async fn update(
    State(app): State<App>,
    scope: TenantScope,
    InPath(id): InPath<ServiceAccountId>,
    headers: HeaderMap,
    Body(body): Body<ServiceAccountEdit>,
) -> Result<Response, Problem> {
    let revision = etag::required(&headers)?;
    let roles = body.roles.map(|names| parse_roles(&names)).transpose()?;
    let edit = use_case::Edit { name: body.name, roles, active: body.active };
    let account = use_case::update(&app, &scope, id, revision, edit).await?;
    Ok(ServiceAccountView::from(account).tagged())
}
