//! Enrolment tokens over REST.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use edgeformer_proto::ids::TokenId;
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;

use super::extract::{Body, InPath, InQuery};
use super::page::{Page, PageQuery};
use super::route::Routes;
use crate::admin::enrolment_tokens as use_case;
use crate::app::App;
use crate::policy::Action;
use crate::problem::Problem;
use crate::scope::TenantScope;
use crate::store::enrolment_tokens::EnrolmentToken;

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .add(Action::EnrolmentTokenCreate, routes!(create))
        .add(Action::EnrolmentTokenList, routes!(list))
        .add(Action::EnrolmentTokenRevoke, routes!(revoke))
}

/// A token to make.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnrolmentTokenRequest {
    /// Devices that it enrols: 1 unless given.
    uses: Option<u32>,
    /// Seconds until it stops working: a day unless given.
    expires_in_s: Option<u64>,
    /// Given to each device that uses it.
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// A token that was made: the only answer that has the secret.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct EnrolmentTokenCreated {
    id: String,
    /// Shown once.
    token: String,
    uses_left: u32,
    expires_at: String,
    labels: BTreeMap<String, String>,
}

/// A token.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct EnrolmentTokenView {
    id: String,
    uses_left: u32,
    labels: BTreeMap<String, String>,
    created_at: String,
    expires_at: String,
    revoked_at: Option<String>,
    /// The device whose place it gives.
    replaces: Option<String>,
}

impl From<EnrolmentToken> for EnrolmentTokenView {
    fn from(token: EnrolmentToken) -> Self {
        Self {
            id: token.id.to_string(),
            uses_left: token.uses_left,
            labels: token.labels,
            created_at: token.created_at.rfc3339(),
            expires_at: token.expires_at.rfc3339(),
            revoked_at: token.revoked_at.map(|at| at.rfc3339()),
            replaces: token.replaces.map(|id| id.to_string()),
        }
    }
}

/// Makes an enrolment token.
#[utoipa::path(post, path = "/enrolment-tokens", tag = "enrolment tokens",
    request_body = EnrolmentTokenRequest, responses((status = 201, body = EnrolmentTokenCreated)))]
async fn create(
    State(app): State<App>,
    scope: TenantScope,
    Body(body): Body<EnrolmentTokenRequest>,
) -> Result<(StatusCode, Json<EnrolmentTokenCreated>), Problem> {
    let new = use_case::NewEnrolmentToken::parse(body.uses, body.expires_in_s, body.labels)?;
    let (token, secret) = use_case::create(&app, &scope, new).await?;
    let answer = EnrolmentTokenCreated {
        id: token.id.to_string(),
        token: secret.reveal().to_owned(),
        uses_left: token.uses_left,
        expires_at: token.expires_at.rfc3339(),
        labels: token.labels,
    };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// Lists enrolment tokens, without their secrets.
#[utoipa::path(get, path = "/enrolment-tokens", tag = "enrolment tokens", params(PageQuery),
    responses((status = 200, body = Page<EnrolmentTokenView>)))]
async fn list(
    State(app): State<App>,
    scope: TenantScope,
    InQuery(page): InQuery<PageQuery>,
) -> Result<Json<Page<EnrolmentTokenView>>, Problem> {
    let limit = page.limit()?;
    let rows = use_case::list(&app, &scope, page.after()?, limit + 1).await?;
    Ok(Json(Page::of(rows, limit, |row| row.id, EnrolmentTokenView::from)))
}

/// Revokes an enrolment token; devices that used it stay enrolled.
#[utoipa::path(delete, path = "/enrolment-tokens/{id}", tag = "enrolment tokens",
    params(("id" = String, Path)), responses((status = 204)))]
async fn revoke(
    State(app): State<App>,
    scope: TenantScope,
    InPath(id): InPath<TokenId>,
) -> Result<StatusCode, Problem> {
    use_case::revoke(&app, &scope, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
