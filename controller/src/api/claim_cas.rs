//! Manufacturers whose certificates let devices in, over REST.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use data_encoding::HEXLOWER;
use edgeformer_proto::ids::ClaimCaId;
use ring::digest;
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;

use super::extract::{Body, InPath};
use super::route::Routes;
use crate::admin::claim_cas as use_case;
use crate::app::App;
use crate::policy::Action;
use crate::problem::Problem;
use crate::scope::TenantScope;
use crate::store::enrolments::claim_cas::ClaimCa;

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .add(Action::ClaimCaCreate, routes!(add))
        .add(Action::ClaimCaRead, routes!(list))
        .add(Action::ClaimCaDelete, routes!(remove))
        .add(Action::ClaimCaUpdate, routes!(revoke))
        .add(Action::ClaimCaUpdate, routes!(release))
}

/// A manufacturer to add.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimCaRequest {
    name: String,
    /// Of its CA, in PEM.
    certificate: String,
    /// Given to each device that it lets in.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// Only devices whose certificate has such a name (common name, serial number, DNS name), with at
    /// most one `*` each; any unless given.
    #[serde(default)]
    names: Vec<String>,
}

/// A manufacturer.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ClaimCaView {
    id: String,
    name: String,
    /// SHA-256 of its certificate.
    certificate_sha256: String,
    labels: BTreeMap<String, String>,
    names: Vec<String>,
    /// Serial numbers that are kept out.
    revoked: BTreeSet<String>,
    /// Devices that it let in.
    uses: u64,
    created_at: String,
}

impl From<ClaimCa> for ClaimCaView {
    fn from(ca: ClaimCa) -> Self {
        let hash = digest::digest(&digest::SHA256, &ca.cert_der);
        Self {
            id: ca.id.to_string(),
            name: ca.name,
            certificate_sha256: HEXLOWER.encode(hash.as_ref()),
            labels: ca.labels,
            names: ca.names,
            revoked: ca.revoked,
            uses: ca.uses,
            created_at: ca.created_at.rfc3339(),
        }
    }
}

/// All manufacturers of a tenant.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ClaimCaList {
    items: Vec<ClaimCaView>,
}

/// One factory certificate.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FactorySerial {
    /// Its serial number, hexadecimal.
    serial: String,
}

/// Has the certificates of a manufacturer let devices in.
#[utoipa::path(post, path = "/claim-cas", tag = "claim CAs", request_body = ClaimCaRequest,
    responses((status = 201, body = ClaimCaView)))]
async fn add(
    State(app): State<App>,
    scope: TenantScope,
    Body(body): Body<ClaimCaRequest>,
) -> Result<(StatusCode, Json<ClaimCaView>), Problem> {
    let ClaimCaRequest { name, certificate, labels, names } = body;
    let new = use_case::NewClaimCa::parse(&name, &certificate, labels, names)?;
    Ok((StatusCode::CREATED, Json(use_case::add(&app, &scope, new).await?.into())))
}

/// Lists manufacturers whose certificates let devices in.
#[utoipa::path(get, path = "/claim-cas", tag = "claim CAs",
    responses((status = 200, body = ClaimCaList)))]
async fn list(State(app): State<App>, scope: TenantScope) -> Result<Json<ClaimCaList>, Problem> {
    let all = use_case::list(&app, &scope).await?;
    Ok(Json(ClaimCaList { items: all.into_iter().map(ClaimCaView::from).collect() }))
}

/// Lets nobody in by this manufacturer any more; devices that it let in stay.
#[utoipa::path(delete, path = "/claim-cas/{id}", tag = "claim CAs", params(("id" = String, Path)),
    responses((status = 204)))]
async fn remove(
    State(app): State<App>,
    scope: TenantScope,
    InPath(id): InPath<ClaimCaId>,
) -> Result<StatusCode, Problem> {
    use_case::remove(&app, &scope, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Keeps one factory certificate out from now on; a device that it let in stays.
#[utoipa::path(post, path = "/claim-cas/{id}/revoke", tag = "claim CAs",
    params(("id" = String, Path)), request_body = FactorySerial,
    responses((status = 200, body = ClaimCaView)))]
async fn revoke(
    State(app): State<App>,
    scope: TenantScope,
    InPath(id): InPath<ClaimCaId>,
    Body(body): Body<FactorySerial>,
) -> Result<Json<ClaimCaView>, Problem> {
    Ok(Json(use_case::revoke(&app, &scope, id, &body.serial).await?.into()))
}

/// Lets one factory certificate let a device in once more.
#[utoipa::path(post, path = "/claim-cas/{id}/release", tag = "claim CAs",
    params(("id" = String, Path)), request_body = FactorySerial,
    responses((status = 200, body = ClaimCaView)))]
async fn release(
    State(app): State<App>,
    scope: TenantScope,
    InPath(id): InPath<ClaimCaId>,
    Body(body): Body<FactorySerial>,
) -> Result<Json<ClaimCaView>, Problem> {
    Ok(Json(use_case::release(&app, &scope, id, &body.serial).await?.into()))
}
