//! Tenants over REST, and who the caller is.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;

use super::extract::{Body, InQuery};
use super::page::{Page, PageQuery};
use super::route::Routes;
use crate::admin::tenants as use_case;
use crate::app::App;
use crate::policy::{Action, Principal};
use crate::problem::Problem;
use crate::scope::{InstallationScope, TenantScope};
use crate::store::tenants::TenantSummary;
use crate::tenancy::{Lifecycle, Standing};

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .add(Action::Whoami, routes!(whoami))
        .add(Action::TenantCreate, routes!(create))
        .add(Action::TenantList, routes!(list))
}

/// Who the caller is.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Whoami {
    tenant_id: Option<String>,
    tenant_name: Option<String>,
    principal_id: String,
    principal_name: String,
    /// Every role that it has.
    roles: Vec<&'static str>,
    /// The first of them.
    role: &'static str,
}

/// Says who the token stands for.
#[utoipa::path(get, path = "/whoami", tag = "access", responses((status = 200, body = Whoami)))]
async fn whoami(
    State(app): State<App>,
    principal: Principal,
    scope: Result<TenantScope, Problem>,
) -> Result<Json<Whoami>, Problem> {
    let tenant_name = match &scope {
        Ok(scope) => Some(use_case::own_name(&app, scope).await?),
        Err(_) => None,
    };
    Ok(Json(Whoami {
        tenant_id: principal.tenant.map(|id| id.to_string()),
        tenant_name,
        principal_id: principal.subject.to_string(),
        principal_name: principal.name,
        role: principal.roles.first().map_or("", |role| role.as_str()),
        roles: principal.roles.iter().map(|role| role.as_str()).collect(),
    }))
}

/// A tenant to make.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantRequest {
    /// Unique in the installation.
    name: String,
}

/// A tenant that was made: the only answer that has its first owner's token.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TenantCreated {
    id: String,
    name: String,
    /// Shown once.
    admin_token: String,
}

/// A tenant.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TenantView {
    id: String,
    name: String,
    /// "active", "suspended", "deleted" or "purging".
    state: &'static str,
    /// Why it is suspended.
    suspended_reason: Option<String>,
    /// When a deleted tenant is purged; until then it can be restored.
    purge_at: Option<String>,
    /// What it may use at most.
    quota: LimitsView,
    created_at: String,
}

/// What a tenant may use at most; null: no limit.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Quota)]
pub struct LimitsView {
    /// Enrolled devices.
    pub devices: Option<u64>,
    /// Sealed bytes of its versions.
    pub stored_bytes: Option<u64>,
    /// Requests of people and programs per second.
    pub requests_per_second: Option<u32>,
}

impl From<TenantSummary> for TenantView {
    fn from(tenant: TenantSummary) -> Self {
        let Standing { name, lifecycle, limits } = tenant.standing;
        let suspended = match &lifecycle {
            Lifecycle::Suspended(suspension)
            | Lifecycle::Deleted { suspended: Some(suspension), .. } => {
                Some(suspension.reason.clone())
            }
            _ => None,
        };
        let purge_at = match &lifecycle {
            Lifecycle::Deleted { purge_at, .. } | Lifecycle::Purging { purge_at, .. } => {
                Some(purge_at.rfc3339())
            }
            _ => None,
        };
        Self {
            id: tenant.id.to_string(),
            name,
            state: lifecycle.as_str(),
            suspended_reason: suspended,
            purge_at,
            quota: limits.into(),
            created_at: tenant.created_at.rfc3339(),
        }
    }
}

/// Makes a tenant with keys of its own.
#[utoipa::path(post, path = "/tenants", tag = "tenants", request_body = TenantRequest,
    responses((status = 201, body = TenantCreated)))]
async fn create(
    State(app): State<App>,
    scope: InstallationScope,
    Body(body): Body<TenantRequest>,
) -> Result<(StatusCode, Json<TenantCreated>), Problem> {
    let (tenant, secret) = use_case::create(&app, &scope, &body.name).await?;
    let answer = TenantCreated {
        id: tenant.id.to_string(),
        name: tenant.standing.name,
        admin_token: secret.reveal().to_owned(),
    };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// Lists tenants.
#[utoipa::path(get, path = "/tenants", tag = "tenants", params(PageQuery),
    responses((status = 200, body = Page<TenantView>)))]
async fn list(
    State(app): State<App>,
    scope: InstallationScope,
    InQuery(page): InQuery<PageQuery>,
) -> Result<Json<Page<TenantView>>, Problem> {
    let limit = page.limit()?;
    let rows = use_case::list(&app, &scope, page.after()?, limit + 1).await?;
    Ok(Json(Page::of(rows, limit, |row| row.id, TenantView::from)))
}
