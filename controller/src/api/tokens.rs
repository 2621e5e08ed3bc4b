//! API tokens over REST.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use edgeformer_proto::ids::TokenId;
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;

use super::extract::{Body, InPath, InQuery};
use super::page::{Page, PageQuery};
use super::route::Routes;
use crate::admin::tokens as use_case;
use crate::app::App;
use crate::policy::Action;
use crate::problem::Problem;
use crate::scope::TenantScope;
use crate::store::api_tokens::ApiToken;

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .add(Action::TokenCreate, routes!(create))
        .add(Action::TokenList, routes!(list))
        .add(Action::TokenRevoke, routes!(revoke))
}

/// A token to make.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// For people.
    name: String,
    /// "owner", "admin", "release_manager", "operator", "viewer", "auditor" or "security".
    role: String,
    /// Seconds until it stops working; never unless given.
    expires_in_s: Option<u64>,
}

/// A token that was made: the only answer that has the secret.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TokenCreated {
    id: String,
    name: String,
    role: String,
    /// Shown once.
    token: String,
    expires_at: Option<String>,
}

/// A token.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TokenView {
    id: String,
    name: String,
    role: String,
    created_at: String,
    expires_at: Option<String>,
    /// To the minute.
    last_used_at: Option<String>,
    revoked_at: Option<String>,
}

impl From<ApiToken> for TokenView {
    fn from(token: ApiToken) -> Self {
        Self {
            id: token.id.to_string(),
            name: token.name,
            role: token.role.as_str().to_owned(),
            created_at: token.created_at.rfc3339(),
            expires_at: token.expires_at.map(|at| at.rfc3339()),
            last_used_at: token.last_used_at.map(|at| at.rfc3339()),
            revoked_at: token.revoked_at.map(|at| at.rfc3339()),
        }
    }
}

/// Makes an API token of this tenant.
#[utoipa::path(post, path = "/tokens", tag = "tokens", request_body = TokenRequest,
    responses((status = 201, body = TokenCreated)))]
async fn create(
    State(app): State<App>,
    scope: TenantScope,
    Body(body): Body<TokenRequest>,
) -> Result<(StatusCode, Json<TokenCreated>), Problem> {
    let new = use_case::NewToken::parse(&body.name, &body.role, body.expires_in_s)?;
    let (token, secret) = use_case::create(&app, &scope, new).await?;
    let answer = TokenCreated {
        id: token.id.to_string(),
        name: token.name,
        role: token.role.as_str().to_owned(),
        token: secret.reveal().to_owned(),
        expires_at: token.expires_at.map(|at| at.rfc3339()),
    };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// Lists the API tokens of this tenant, without their secrets.
#[utoipa::path(get, path = "/tokens", tag = "tokens", params(PageQuery),
    responses((status = 200, body = Page<TokenView>)))]
async fn list(
    State(app): State<App>,
    scope: TenantScope,
    InQuery(page): InQuery<PageQuery>,
) -> Result<Json<Page<TokenView>>, Problem> {
    let limit = page.limit()?;
    let rows = use_case::list(&app, &scope, page.after()?, limit + 1).await?;
    Ok(Json(Page::of(rows, limit, |row| row.id, TokenView::from)))
}

/// Revokes an API token; it stops working at once.
#[utoipa::path(delete, path = "/tokens/{id}", tag = "tokens", params(("id" = String, Path)),
    responses((status = 204)))]
async fn revoke(
    State(app): State<App>,
    scope: TenantScope,
    InPath(id): InPath<TokenId>,
) -> Result<StatusCode, Problem> {
    use_case::revoke(&app, &scope, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
