//! OpenID providers of the tenant over REST.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use edgeformer_proto::ids::{IdentityProviderId, TenantId};
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;

use super::etag;
use super::extract::{Body, InPath};
use super::route::Routes;
use crate::admin::identity_providers as use_case;
use crate::app::App;
use crate::oidc::log_in;
use crate::policy::Action;
use crate::problem::Problem;
use crate::scope::TenantScope;
use crate::store::identity_providers::IdentityProvider;

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .add(Action::IdentityProviderCreate, routes!(create))
        .add(Action::IdentityProviderRead, routes!(list))
        .add(Action::IdentityProviderRead, routes!(show))
        .add(Action::IdentityProviderUpdate, routes!(update))
        .add(Action::IdentityProviderDelete, routes!(delete))
        .add(Action::IdentityProviderUpdate, routes!(check))
}

/// An OpenID provider at which people of the tenant log in.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = IdentityProvider)]
pub struct IdentityProviderView {
    id: String,
    name: String,
    issuer: String,
    client_id: String,
    has_client_secret: bool,
    scopes: Vec<String>,
    groups_claim: String,
    /// Roles by group.
    role_mapping: BTreeMap<String, BTreeSet<String>>,
    /// Empty for any.
    email_domains: BTreeSet<String>,
    algorithms: BTreeSet<String>,
    creates_users: bool,
    matches_email: bool,
    matches_provisioned: bool,
    /// Empty for any.
    acr_values: Vec<String>,
    enabled: bool,
    /// To register at the provider.
    redirect_uri: String,
    /// To register at the provider, with sessions required or not.
    back_channel_logout_uri: String,
    revision: u64,
    created_at: String,
    updated_at: String,
}

impl IdentityProviderView {
    fn of(app: &App, tenant: TenantId, provider: IdentityProvider) -> Self {
        let settings = provider.settings;
        Self {
            redirect_uri: log_in::redirect_uri(app, tenant, provider.id),
            back_channel_logout_uri: log_in::back_channel_uri(app, tenant, provider.id),
            id: provider.id.to_string(),
            name: provider.name,
            issuer: provider.issuer,
            client_id: provider.client_id,
            has_client_secret: provider.wrapped_secret.is_some(),
            scopes: settings.scopes,
            groups_claim: settings.groups_claim,
            role_mapping: settings.role_mapping,
            email_domains: settings.email_domains,
            algorithms: settings.algorithms,
            creates_users: settings.creates_users,
            matches_email: settings.matches_email,
            matches_provisioned: settings.matches_provisioned,
            acr_values: settings.acr_values,
            enabled: provider.enabled,
            revision: provider.revision,
            created_at: provider.created_at.rfc3339(),
            updated_at: provider.updated_at.rfc3339(),
        }
    }

    fn tagged(self) -> Response {
        ([(header::ETAG, etag::of(self.revision))], Json(self)).into_response()
    }
}

/// What to make or change of a provider. What is not given stays as it is, or is what is usual.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IdentityProviderEdit {
    /// As people choose it: a-z, 0-9, '.', '_' and '-'. Needed to make one.
    name: Option<String>,
    /// Exactly as the provider names itself. Needed to make one.
    issuer: Option<String>,
    /// As the provider knows this controller. Needed to make one.
    client_id: Option<String>,
    /// Kept wrapped and never shown; empty for a client that has none.
    #[schema(format = Password)]
    client_secret: Option<String>,
    /// "openid" always is among them.
    scopes: Option<Vec<String>>,
    /// Name of the claim that carries groups, or a path with dots.
    groups_claim: Option<String>,
    /// Roles by group.
    role_mapping: Option<BTreeMap<String, BTreeSet<String>>>,
    /// Domains of verified e-mail addresses that may log in; empty for any.
    email_domains: Option<BTreeSet<String>>,
    /// Signature algorithms that are taken.
    algorithms: Option<BTreeSet<String>>,
    /// Whether somebody unknown gets an account at the first log-in.
    creates_users: Option<bool>,
    /// Whether somebody unknown is taken for the account with their verified e-mail address.
    matches_email: Option<bool>,
    /// Whether accounts that were brought in over SCIM are its people's, by their external id. One
    /// provider of a tenant at most, or nobody is matched.
    matches_provisioned: Option<bool>,
    /// Classes of authentication (acr), one of which is asked for and must have been; empty for any.
    acr_values: Option<Vec<String>>,
    enabled: Option<bool>,
}

impl From<IdentityProviderEdit> for use_case::Edit {
    fn from(body: IdentityProviderEdit) -> Self {
        Self {
            name: body.name,
            issuer: body.issuer,
            client_id: body.client_id,
            client_secret: body.client_secret,
            scopes: body.scopes,
            groups_claim: body.groups_claim,
            role_mapping: body.role_mapping,
            email_domains: body.email_domains,
            algorithms: body.algorithms,
            creates_users: body.creates_users,
            matches_email: body.matches_email,
            matches_provisioned: body.matches_provisioned,
            acr_values: body.acr_values,
            enabled: body.enabled,
        }
    }
}

/// Makes a provider.
#[utoipa::path(post, path = "/identity-providers", tag = "identity-providers",
    request_body = IdentityProviderEdit, responses((status = 201, body = IdentityProviderView)))]
async fn create(
    State(app): State<App>,
    scope: TenantScope,
    Body(body): Body<IdentityProviderEdit>,
) -> Result<Response, Problem> {
    let made = use_case::create(&app, &scope, body.into()).await?;
    let view = IdentityProviderView::of(&app, scope.tenant(), made);
    Ok((StatusCode::CREATED, view.tagged()).into_response())
}

/// The tenant's providers.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct IdentityProviderList {
    items: Vec<IdentityProviderView>,
}

/// Lists the tenant's providers.
#[utoipa::path(get, path = "/identity-providers", tag = "identity-providers",
    responses((status = 200, body = IdentityProviderList)))]
async fn list(
    State(app): State<App>,
    scope: TenantScope,
) -> Result<Json<IdentityProviderList>, Problem> {
    let all = use_case::list(&app, &scope).await?.into_iter();
    let view = |provider| IdentityProviderView::of(&app, scope.tenant(), provider);
    Ok(Json(IdentityProviderList { items: all.map(view).collect() }))
}

/// Shows a provider.
#[utoipa::path(get, path = "/identity-providers/{id}", tag = "identity-providers",
    params(("id" = String, Path)), responses((status = 200, body = IdentityProviderView)))]
async fn show(
    State(app): State<App>,
    scope: TenantScope,
    InPath(id): InPath<IdentityProviderId>,
) -> Result<Response, Problem> {
    let found = use_case::get(&app, &scope, id).await?;
    Ok(IdentityProviderView::of(&app, scope.tenant(), found).tagged())
}

/// Changes a provider. Needs `If-Match` with the revision that was read. Another issuer or client, and
/// disabling it, end the log-ins that came from it.
#[utoipa::path(patch, path = "/identity-providers/{id}", tag = "identity-providers",
    params(("id" = String, Path), ("If-Match" = String, Header)),
    request_body = IdentityProviderEdit, responses((status = 200, body = IdentityProviderView)))]
async fn update(
    State(app): State<App>,
    scope: TenantScope,
    InPath(id): InPath<IdentityProviderId>,
    headers: HeaderMap,
    Body(body): Body<IdentityProviderEdit>,
) -> Result<Response, Problem> {
    let revision = etag::required(&headers)?;
    let changed = use_case::update(&app, &scope, id, revision, body.into()).await?;
    Ok(IdentityProviderView::of(&app, scope.tenant(), changed).tagged())
}

/// Removes a provider. Log-ins that came from it end.
#[utoipa::path(delete, path = "/identity-providers/{id}", tag = "identity-providers",
    params(("id" = String, Path)), responses((status = 204)))]
async fn delete(
    State(app): State<App>,
    scope: TenantScope,
    InPath(id): InPath<IdentityProviderId>,
) -> Result<StatusCode, Problem> {
    use_case::delete(&app, &scope, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a provider answers now.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct IdentityProviderCheck {
    /// Whether people can be sent there.
    usable: bool,
    /// What is wrong.
    problem: Option<String>,
    /// Where people are sent.
    authorization_endpoint: Option<String>,
    /// Signing keys that are understood.
    keys: u64,
}

/// Asks the provider for its discovery document and its keys now.
#[utoipa::path(post, path = "/identity-providers/{id}/check", tag = "identity-providers",
    params(("id" = String, Path)), responses((status = 200, body = IdentityProviderCheck)))]
async fn check(
    State(app): State<App>,
    scope: TenantScope,
    InPath(id): InPath<IdentityProviderId>,
) -> Result<Json<IdentityProviderCheck>, Problem> {
    let tried = use_case::check(&app, &scope, id).await?;
    Ok(Json(IdentityProviderCheck {
        usable: tried.problem.is_none(),
        problem: tried.problem,
        authorization_endpoint: tried.authorization_endpoint,
        keys: tried.keys as u64,
    }))
}
