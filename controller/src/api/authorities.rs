//! Certificate authorities over REST: the installation's roots, and the CAs that make a tenant's device
//! certificates.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;

use super::extract::{Body, InPath};
use super::route::Routes;
use crate::admin::authorities::{self as use_case, Authority};
use crate::app::App;
use crate::ca;
use crate::clock::Timestamp;
use crate::config::pem;
use crate::policy::Action;
use crate::problem::Problem;
use crate::scope::{InstallationScope, TenantScope};

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .add(Action::InstallationCaRead, routes!(roots))
        .add(Action::InstallationCaRotate, routes!(rotate_root))
        .add(Action::InstallationCaRetire, routes!(retire_root))
        .add(Action::TenantCaRead, routes!(issuing))
        .add(Action::TenantCaRotate, routes!(rotate_issuing))
        .add(Action::TenantCaRetire, routes!(retire_issuing))
}

/// A certificate authority.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AuthorityView {
    /// SHA-256 of its certificate.
    id: String,
    /// "current": it signs; "overlap": what it signed counts; "retired": it does not.
    state: &'static str,
    /// In PEM.
    certificate: String,
    expires_at: String,
    replaced_at: Option<String>,
    retired_at: Option<String>,
    /// Tenants that sign with an authority under it; null for a tenant's own.
    tenants: Option<u64>,
    /// Devices with a certificate from it that is valid.
    devices: u64,
    /// Names of some of them.
    device_names: Vec<String>,
    /// When the last of their certificates ends.
    needed_until: Option<String>,
}

impl From<Authority> for AuthorityView {
    fn from(ca: Authority) -> Self {
        let until = ca::validity(&ca.cert_der).map_or(Timestamp(0), |(_, until)| Timestamp(until));
        Self {
            state: match ca.state {
                use_case::State::Current => "current",
                use_case::State::Overlap => "overlap",
                use_case::State::Retired => "retired",
            },
            certificate: pem("CERTIFICATE", &ca.cert_der),
            expires_at: until.rfc3339(),
            id: ca.id,
            replaced_at: ca.replaced_at.map(Timestamp::rfc3339),
            retired_at: ca.retired_at.map(Timestamp::rfc3339),
            tenants: ca.tenants,
            devices: ca.holders.devices,
            device_names: ca.holders.names,
            needed_until: ca.holders.until.map(Timestamp::rfc3339),
        }
    }
}

/// Certificate authorities, the present one first.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AuthorityList {
    items: Vec<AuthorityView>,
}

impl From<Vec<Authority>> for AuthorityList {
    fn from(all: Vec<Authority>) -> Self {
        Self { items: all.into_iter().map(AuthorityView::from).collect() }
    }
}

/// How to retire an authority.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Retirement {
    /// Also when devices hold certificates from it: they are told to renew before anything else.
    #[serde(default)]
    force: bool,
}

/// Shows the installation's roots, and who needs them.
#[utoipa::path(get, path = "/installation/ca", tag = "installation",
    responses((status = 200, body = AuthorityList)))]
async fn roots(
    State(app): State<App>,
    scope: InstallationScope,
) -> Result<Json<AuthorityList>, Problem> {
    Ok(Json(use_case::roots(&app, &scope).await?.into()))
}

/// Replaces the installation's root, and every tenant's CA after it.
#[utoipa::path(post, path = "/installation/ca/rotate", tag = "installation",
    responses((status = 200, body = AuthorityList)))]
async fn rotate_root(
    State(app): State<App>,
    scope: InstallationScope,
) -> Result<Json<AuthorityList>, Problem> {
    Ok(Json(use_case::rotate_root(&app, &scope).await?.into()))
}

/// Ends the trust in a root that was replaced.
#[utoipa::path(post, path = "/installation/ca/{id}/retire", tag = "installation",
    params(("id" = String, Path)), request_body = Retirement,
    responses((status = 200, body = AuthorityList)))]
async fn retire_root(
    State(app): State<App>,
    scope: InstallationScope,
    InPath(id): InPath<String>,
    Body(body): Body<Retirement>,
) -> Result<Json<AuthorityList>, Problem> {
    Ok(Json(use_case::retire_root(&app, &scope, &id, body.force).await?.into()))
}

/// Shows the CAs that make the devices' certificates, and who needs them.
#[utoipa::path(get, path = "/ca", tag = "certificate authorities",
    responses((status = 200, body = AuthorityList)))]
async fn issuing(
    State(app): State<App>,
    scope: TenantScope,
) -> Result<Json<AuthorityList>, Problem> {
    Ok(Json(use_case::issuing(&app, &scope).await?.into()))
}

/// Replaces the CA that makes the devices' certificates.
#[utoipa::path(post, path = "/ca/rotate", tag = "certificate authorities",
    responses((status = 200, body = AuthorityList)))]
async fn rotate_issuing(
    State(app): State<App>,
    scope: TenantScope,
) -> Result<Json<AuthorityList>, Problem> {
    Ok(Json(use_case::rotate_issuing(&app, &scope).await?.into()))
}

/// Ends what a CA signed that was replaced.
#[utoipa::path(post, path = "/ca/{id}/retire", tag = "certificate authorities",
    params(("id" = String, Path)), request_body = Retirement,
    responses((status = 200, body = AuthorityList)))]
async fn retire_issuing(
    State(app): State<App>,
    scope: TenantScope,
    InPath(id): InPath<String>,
    Body(body): Body<Retirement>,
) -> Result<Json<AuthorityList>, Problem> {
    Ok(Json(use_case::retire_issuing(&app, &scope, &id, body.force).await?.into()))
}
