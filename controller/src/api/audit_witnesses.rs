//! Witnesses of the audit log over REST.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use edgeformer_proto::ids::WitnessId;
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;

use super::extract::{Body, InPath};
use super::route::Routes;
use crate::admin::audit_witnesses as use_case;
use crate::app::App;
use crate::policy::Action;
use crate::problem::Problem;
use crate::scope::TenantScope;
use crate::store::audit_witnesses::Witness;

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .add(Action::AuditWitnessRead, routes!(list))
        .add(Action::AuditWitnessRead, routes!(show))
        .add(Action::AuditWitnessCreate, routes!(create))
        .add(Action::AuditWitnessUpdate, routes!(update))
        .add(Action::AuditWitnessDelete, routes!(remove))
}

/// A witness of the log, and how it stands with it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AuditWitness {
    id: String,
    /// Of its key.
    name: String,
    /// `<name>+<id>+<base64>`, as signed notes have it.
    key: String,
    /// Where it takes checkpoints, without `/add-checkpoint`.
    url: String,
    /// "waiting", "cosigned", "unreachable", "refused", or "contradicted": it holds another history.
    state: &'static str,
    /// Records of the checkpoint that it cosigned last; 0 if it never did.
    cosigned_size: u64,
    cosigned_at: Option<String>,
    /// Why it did not cosign the last time; empty if it did.
    last_error: String,
    /// When it is asked again at the earliest.
    next_try_at: String,
    created_at: String,
}

impl From<Witness> for AuditWitness {
    fn from(witness: Witness) -> Self {
        Self {
            id: witness.id.to_string(),
            name: witness.key.name().to_owned(),
            key: witness.key.to_string(),
            url: witness.url,
            state: witness.state.as_str(),
            cosigned_size: witness.held_size,
            cosigned_at: witness.cosigned_at.map(|at| at.rfc3339()),
            last_error: witness.last_error,
            next_try_at: witness.next_try_at.rfc3339(),
            created_at: witness.created_at.rfc3339(),
        }
    }
}

/// All of them.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AuditWitnessList {
    items: Vec<AuditWitness>,
}

/// A witness to ask.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditWitnessRequest {
    /// Submission prefix: what stands before `/add-checkpoint`. https, unless the installation allows
    /// its address.
    url: String,
    /// Its public key, `<name>+<id>+<base64>`.
    key: String,
}

/// What to change of a witness.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditWitnessEdit {
    /// Where it takes checkpoints now.
    url: String,
}

/// Lists the witnesses of the log.
#[utoipa::path(get, path = "/audit/witnesses", tag = "audit",
    responses((status = 200, body = AuditWitnessList)))]
async fn list(
    State(app): State<App>,
    scope: TenantScope,
) -> Result<Json<AuditWitnessList>, Problem> {
    let items = use_case::list(&app, &scope).await?.into_iter().map(AuditWitness::from).collect();
    Ok(Json(AuditWitnessList { items }))
}

/// Shows a witness.
#[utoipa::path(get, path = "/audit/witnesses/{id}", tag = "audit", params(("id" = String, Path)),
    responses((status = 200, body = AuditWitness)))]
async fn show(
    State(app): State<App>,
    scope: TenantScope,
    InPath(id): InPath<WitnessId>,
) -> Result<Json<AuditWitness>, Problem> {
    Ok(Json(use_case::get(&app, &scope, id).await?.into()))
}

/// Has a witness cosign the log from now on.
#[utoipa::path(post, path = "/audit/witnesses", tag = "audit",
    request_body = AuditWitnessRequest, responses((status = 201, body = AuditWitness)))]
async fn create(
    State(app): State<App>,
    scope: TenantScope,
    Body(body): Body<AuditWitnessRequest>,
) -> Result<(StatusCode, Json<AuditWitness>), Problem> {
    let made = use_case::create(&app, &scope, &body.url, &body.key).await?;
    Ok((StatusCode::CREATED, Json(made.into())))
}

/// Changes where a witness is asked.
#[utoipa::path(patch, path = "/audit/witnesses/{id}", tag = "audit",
    params(("id" = String, Path)), request_body = AuditWitnessEdit,
    responses((status = 200, body = AuditWitness)))]
async fn update(
    State(app): State<App>,
    scope: TenantScope,
    InPath(id): InPath<WitnessId>,
    Body(body): Body<AuditWitnessEdit>,
) -> Result<Json<AuditWitness>, Problem> {
    Ok(Json(use_case::update(&app, &scope, id, &body.url).await?.into()))
}

/// Asks a witness no longer; what it cosigned stays.
#[utoipa::path(delete, path = "/audit/witnesses/{id}", tag = "audit",
    params(("id" = String, Path)), responses((status = 204)))]
async fn remove(
    State(app): State<App>,
    scope: TenantScope,
    InPath(id): InPath<WitnessId>,
) -> Result<StatusCode, Problem> {
    use_case::delete(&app, &scope, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
