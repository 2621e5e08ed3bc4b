//! Approvals over REST.

use axum::Json;
use axum::extract::State;
use edgeformer_proto::ids::ApprovalId;
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;

use super::extract::{Body, InPath, InQuery};
use super::page::{Page, PageQuery};
use super::route::Routes;
use crate::admin::approvals as use_case;
use crate::app::App;
use crate::error::AppError;
use crate::policy::{Action, Principal};
use crate::problem::Problem;
use crate::scope::TenantScope;
use crate::store::approvals::{Meaning, Signature, State as Progress};

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .add(Action::ApprovalRead, routes!(list))
        .add(Action::ApprovalRead, routes!(show))
        .add(Action::ApprovalSign, routes!(sign))
}

/// An electronic signature.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SignatureView {
    signer_id: String,
    /// Printed name.
    signer_name: String,
    /// How the signer proved who they are.
    method: String,
    /// "approved", "reviewed" or "rejected".
    meaning: &'static str,
    comment: String,
    signed_at: String,
}

impl From<Signature> for SignatureView {
    fn from(signature: Signature) -> Self {
        Self {
            signer_id: signature.signer,
            signer_name: signature.signer_name,
            method: signature.method,
            meaning: signature.meaning.as_str(),
            comment: signature.comment,
            signed_at: signature.signed_at.rfc3339(),
        }
    }
}

/// A request that needs others' consent.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Approval)]
pub struct ApprovalView {
    id: String,
    /// "open", "expired", "rejected" or "used".
    state: &'static str,
    /// `kind:verb`.
    action: &'static str,
    /// On what, in words.
    on: String,
    /// On what, as policies saw it.
    #[schema(value_type = Object)]
    facts: serde_json::Value,
    /// Method and path.
    request: String,
    /// SHA-256 of method, path and body, hex: what the consent is good for.
    request_sha256: String,
    requested_by_id: String,
    requested_by_name: String,
    justification: String,
    /// How many others must approve.
    needed: u32,
    /// How many did.
    approved: u32,
    signatures: Vec<SignatureView>,
    created_at: String,
    expires_at: String,
}

impl ApprovalView {
    fn of(signed: use_case::Signed, app: &App) -> Self {
        let approved = signed.count();
        let approval = signed.approval;
        let expired = approval.state == Progress::Open && approval.expires_at <= app.now();
        Self {
            id: approval.id.to_string(),
            state: if expired { "expired" } else { approval.state.as_str() },
            action: approval.action.as_str(),
            on: approval.facts.describe(),
            facts: serde_json::to_value(&approval.facts).unwrap_or_default(),
            request: approval.request,
            request_sha256: data_encoding::HEXLOWER.encode(&approval.request_sha256),
            requested_by_id: approval.requested_by,
            requested_by_name: approval.requested_by_name,
            justification: approval.justification,
            needed: approval.needed,
            approved,
            signatures: signed.signatures.into_iter().map(SignatureView::from).collect(),
            created_at: approval.created_at.rfc3339(),
            expires_at: approval.expires_at.rfc3339(),
        }
    }
}

/// Which approvals.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ApprovalQuery {
    limit: Option<i64>,
    cursor: Option<String>,
    /// "open" (expired ones included), "rejected" or "used".
    state: Option<String>,
}

/// Lists requests that need or needed others' consent, newest first.
#[utoipa::path(get, path = "/approvals", tag = "approvals", params(ApprovalQuery),
    responses((status = 200, body = Page<ApprovalView>)))]
async fn list(
    State(app): State<App>,
    scope: TenantScope,
    InQuery(query): InQuery<ApprovalQuery>,
) -> Result<Json<Page<ApprovalView>>, Problem> {
    let parse = |text: &str| {
        Progress::parse(text)
            .ok_or_else(|| AppError::invalid("state", "it is \"open\", \"rejected\" or \"used\""))
    };
    let state = query.state.as_deref().map(parse).transpose()?;
    let page = PageQuery::new(query.limit, query.cursor);
    let limit = page.limit()?;
    let rows = use_case::list(&app, &scope, state, page.after()?, limit + 1).await?;
    Ok(Json(Page::of(rows, limit, |row| row.approval.id, |row| ApprovalView::of(row, &app))))
}

/// Shows an approval with its signatures.
#[utoipa::path(get, path = "/approvals/{id}", tag = "approvals",
    params(("id" = String, Path)), responses((status = 200, body = ApprovalView)))]
async fn show(
    State(app): State<App>,
    scope: TenantScope,
    InPath(id): InPath<ApprovalId>,
) -> Result<Json<ApprovalView>, Problem> {
    Ok(Json(ApprovalView::of(use_case::get(&app, &scope, id).await?, &app)))
}

/// A signature to give.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignatureRequest {
    /// "approved", "reviewed" (counts for nothing by itself) or "rejected" (ends it).
    meaning: String,
    #[serde(default)]
    comment: String,
}

/// Signs an approval. Whoever asked for it cannot, nor can a token that they made.
#[utoipa::path(post, path = "/approvals/{id}/signatures", tag = "approvals",
    params(("id" = String, Path)), request_body = SignatureRequest,
    responses((status = 200, body = ApprovalView)))]
async fn sign(
    State(app): State<App>,
    scope: TenantScope,
    principal: Principal,
    InPath(id): InPath<ApprovalId>,
    Body(body): Body<SignatureRequest>,
) -> Result<Json<ApprovalView>, Problem> {
    let meaning = Meaning::parse(&body.meaning).ok_or_else(|| {
        let message = "it is \"approved\", \"reviewed\" or \"rejected\"";
        AppError::invalid("meaning", message)
    })?;
    let signed = use_case::sign(&app, &scope, &principal, id, meaning, &body.comment).await?;
    Ok(Json(ApprovalView::of(signed, &app)))
}
