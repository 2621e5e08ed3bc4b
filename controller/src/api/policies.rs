//! Policies over REST: those of the roles, which are part of the program, and the tenant's own.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;

use super::etag;
use super::extract::{Body, InPath};
use super::route::Routes;
use crate::admin::policies as use_case;
use crate::app::App;
use crate::policy::engine::{ROLES, Statement};
use crate::policy::{Action, Policies, Role, engine, schema};
use crate::problem::Problem;
use crate::scope::TenantScope;
use crate::store::policies::{Settings, StoredPolicy};

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .add(Action::PolicyRead, routes!(list))
        .add(Action::PolicyRead, routes!(show))
        .add(Action::PolicyUpdate, routes!(put))
        .add(Action::PolicyDelete, routes!(delete))
        .add(Action::PolicyRead, routes!(read_settings))
        .add(Action::AccessSettingsUpdate, routes!(set_settings))
        .add(Action::PolicyRead, routes!(roles))
        .add(Action::PolicyRead, routes!(read_schema))
}

/// A policy of the tenant.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Policy)]
pub struct PolicyView {
    name: String,
    /// Cedar.
    text: String,
    revision: u64,
    created_at: String,
    updated_at: String,
}

impl From<StoredPolicy> for PolicyView {
    fn from(policy: StoredPolicy) -> Self {
        Self {
            name: policy.name,
            text: policy.text,
            revision: policy.revision,
            created_at: policy.created_at.rfc3339(),
            updated_at: policy.updated_at.rfc3339(),
        }
    }
}

impl PolicyView {
    fn tagged(self) -> Response {
        ([(header::ETAG, etag::of(self.revision))], Json(self)).into_response()
    }
}

/// The tenant's policies.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct PolicyList {
    items: Vec<PolicyView>,
    /// The roles' policies, which every tenant has. Cedar.
    roles: &'static str,
    /// IANA name of the time zone that policies go by.
    time_zone: String,
}

/// One statement of a policy.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct PolicyStatement {
    /// As audit records name it: `role-admin`, `tenant/<policy>` or `tenant/<policy>#2`.
    id: String,
    /// "permit" or "forbid".
    effect: &'static str,
    /// Its `@description`.
    description: String,
    /// Cedar.
    text: String,
}

impl From<Statement> for PolicyStatement {
    fn from(statement: Statement) -> Self {
        Self {
            id: statement.id,
            effect: if statement.permits { "permit" } else { "forbid" },
            description: statement.description,
            text: statement.text,
        }
    }
}

/// Lists the tenant's own policies, with those of the roles.
#[utoipa::path(get, path = "/access/policies", tag = "access",
    responses((status = 200, body = PolicyList)))]
async fn list(State(app): State<App>, scope: TenantScope) -> Result<Json<PolicyList>, Problem> {
    let (policies, settings) = use_case::list(&app, &scope).await?;
    Ok(Json(PolicyList {
        items: policies.into_iter().map(PolicyView::from).collect(),
        roles: ROLES,
        time_zone: settings.time_zone,
    }))
}

/// Shows a policy of the tenant.
#[utoipa::path(get, path = "/access/policies/{name}", tag = "access",
    params(("name" = String, Path)), responses((status = 200, body = PolicyView)))]
async fn show(
    State(app): State<App>,
    scope: TenantScope,
    InPath(name): InPath<String>,
) -> Result<Response, Problem> {
    Ok(PolicyView::from(use_case::get(&app, &scope, &name).await?).tagged())
}

/// A policy to save.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyEdit {
    /// One or more Cedar statements, valid for the schema.
    text: String,
}

/// Makes a policy, or with `If-Match` changes the one that has this ETag. It is checked against the
/// schema, together with all others, and holds at once.
#[utoipa::path(put, path = "/access/policies/{name}", tag = "access",
    params(("name" = String, Path), ("If-Match" = Option<String>, Header)),
    request_body = PolicyEdit, responses((status = 200, body = PolicyView)))]
async fn put(
    State(app): State<App>,
    scope: TenantScope,
    InPath(name): InPath<String>,
    headers: HeaderMap,
    Body(body): Body<PolicyEdit>,
) -> Result<Response, Problem> {
    let revision = match headers.contains_key(header::IF_MATCH) {
        true => Some(etag::required(&headers)?),
        false => None,
    };
    let saved = use_case::put(&app, &scope, &name, &body.text, revision).await?;
    Ok(PolicyView::from(saved).tagged())
}

/// Removes a policy of the tenant. What it forbade is allowed to the roles from then on.
#[utoipa::path(delete, path = "/access/policies/{name}", tag = "access",
    params(("name" = String, Path)), responses((status = 204)))]
async fn delete(
    State(app): State<App>,
    scope: TenantScope,
    InPath(name): InPath<String>,
) -> Result<StatusCode, Problem> {
    use_case::delete(&app, &scope, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What policies go by.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AccessSettings {
    /// IANA name.
    time_zone: String,
    /// Grows with every change of a policy or a setting.
    revision: u64,
}

impl From<Settings> for AccessSettings {
    fn from(settings: Settings) -> Self {
        Self { time_zone: settings.time_zone, revision: settings.revision }
    }
}

/// What policies are to go by.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessSettingsEdit {
    /// IANA name, e.g. "Europe/Berlin".
    time_zone: String,
}

/// Shows what policies go by.
#[utoipa::path(get, path = "/access/settings", tag = "access",
    responses((status = 200, body = AccessSettings)))]
async fn read_settings(
    State(app): State<App>,
    scope: TenantScope,
) -> Result<Json<AccessSettings>, Problem> {
    Ok(Json(use_case::settings(&app, &scope).await?.into()))
}

/// Changes the time zone that policies go by.
#[utoipa::path(put, path = "/access/settings", tag = "access", request_body = AccessSettingsEdit,
    responses((status = 200, body = AccessSettings)))]
async fn set_settings(
    State(app): State<App>,
    scope: TenantScope,
    Body(body): Body<AccessSettingsEdit>,
) -> Result<Json<AccessSettings>, Problem> {
    Ok(Json(use_case::set_time_zone(&app, &scope, &body.time_zone).await?.into()))
}

/// What a role may do, before the tenant's own policies.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct RoleView {
    role: &'static str,
    description: String,
    /// `kind:verb`.
    actions: Vec<&'static str>,
}

/// All roles.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct RoleList {
    items: Vec<RoleView>,
}

/// Shows what each role may do, before the tenant's own policies.
#[utoipa::path(get, path = "/access/roles", tag = "access",
    responses((status = 200, body = RoleList)))]
async fn roles(_: TenantScope) -> Json<RoleList> {
    let policies = Policies::roles();
    let one = |role: Role| {
        let id = format!("role-{}", role.as_str().replace('_', "-"));
        let description = policies.statement(&id).map(|one| one.description.clone());
        let may = |action: &Action| engine::by_roles([&role], *action).is_some();
        RoleView {
            role: role.as_str(),
            description: description.unwrap_or_default(),
            actions: schema::in_policies().filter(may).map(Action::as_str).collect(),
        }
    };
    let tenants = Role::ALL.into_iter().filter(|role| *role != Role::Installation);
    Json(RoleList { items: tenants.map(one).collect() })
}

/// The schema that policies are written for, in Cedar's own notation.
#[utoipa::path(get, path = "/access/schema", tag = "access",
    responses((status = 200, body = String, content_type = "text/plain")))]
async fn read_schema(_: TenantScope) -> &'static str {
    schema::text()
}
