//! API tokens over REST.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use edgeformer_proto::ids::TokenId;
use edgeformer_proto::token::Token;
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;

use super::extract::{Body, InPath, InQuery};
use super::page::{Page, PageQuery};
use super::route::Routes;
use crate::admin::tokens as use_case;
use crate::app::App;
use crate::error::AppError;
use crate::policy::{Action, Granted, Principal};
use crate::problem::Problem;
use crate::scope::TenantScope;
use crate::store::api_tokens::{ApiToken, StandsFor};

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .add(Action::TokenCreate, routes!(create))
        .add(Action::TokenList, routes!(list))
        .add(Action::TokenRotate, routes!(rotate))
        .add(Action::SelfRotate, routes!(rotate_own))
        .add(Action::TokenRevoke, routes!(revoke))
}

/// A token to make.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// For people.
    name: String,
    /// "owner", "admin", "release_manager", "operator", "viewer", "auditor" or "security".
    /// Give this or `service_account_id`.
    role: Option<String>,
    /// The account whose roles it has, as they are at each request.
    service_account_id: Option<String>,
    /// Narrows it to these actions, such as "rollout:create", and groups of actions: "read", "audit",
    /// "write", "govern". All that the role allows unless given.
    scopes: Option<BTreeSet<String>>,
    /// Seconds until it stops working; never unless given.
    expires_in_s: Option<u64>,
}

/// A token that was made: the only answer that has the secret.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TokenCreated {
    id: String,
    name: String,
    role: Option<&'static str>,
    service_account_id: Option<String>,
    scopes: Option<BTreeSet<String>>,
    /// Shown once.
    token: String,
    expires_at: Option<String>,
}

/// A token.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TokenView {
    id: String,
    name: String,
    /// Null if it stands for a service account.
    role: Option<&'static str>,
    service_account_id: Option<String>,
    /// What it is narrowed to; null is all that its role allows.
    scopes: Option<BTreeSet<String>>,
    /// The token whose place it takes.
    rotates: Option<String>,
    created_at: String,
    expires_at: Option<String>,
    /// To the minute.
    last_used_at: Option<String>,
    revoked_at: Option<String>,
}

impl From<ApiToken> for TokenView {
    fn from(token: ApiToken) -> Self {
        let (role, service_account_id) = stands_for(&token);
        Self {
            id: token.id.to_string(),
            name: token.name,
            role,
            service_account_id,
            scopes: token.scopes.map(|scopes| scopes.names().clone()),
            rotates: token.rotates.map(|id| id.to_string()),
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
    let (role, account) = (body.role.as_deref(), body.service_account_id.as_deref());
    let new = use_case::NewToken::parse(&body.name, role, account, body.scopes, body.expires_in_s)?;
    let (token, secret) = use_case::create(&app, &scope, new).await?;
    Ok((StatusCode::CREATED, Json(TokenCreated::of(token, &secret))))
}

/// How a token is rotated.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotationRequest {
    /// Seconds that the old secret works beside the new one: 0 to 604800, a day unless given.
    overlap_s: Option<u64>,
}

/// A token in the place of another.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Rotated {
    /// The new one, with its secret.
    token: TokenCreated,
    /// The one whose place it takes.
    replaces: String,
    /// Until when that one works.
    replaces_until: Option<String>,
}

/// Makes a token in the place of another, with its name, rights and length of life. The old one works
/// a while longer.
#[utoipa::path(post, path = "/tokens/{id}/rotation", tag = "tokens",
    params(("id" = String, Path)), request_body = RotationRequest,
    responses((status = 201, body = Rotated)))]
async fn rotate(
    State(app): State<App>,
    scope: TenantScope,
    InPath(id): InPath<TokenId>,
    Body(body): Body<RotationRequest>,
) -> Result<(StatusCode, Json<Rotated>), Problem> {
    let overlap = use_case::overlap(body.overlap_s)?;
    let done = use_case::rotate(&app, &scope, id, overlap).await?;
    Ok((StatusCode::CREATED, Json(done.into())))
}

/// The same for the token that asks.
#[utoipa::path(post, path = "/me/token/rotation", tag = "tokens", request_body = RotationRequest,
    responses((status = 201, body = Rotated)))]
async fn rotate_own(
    State(app): State<App>,
    principal: Principal,
    granted: Granted,
    Body(body): Body<RotationRequest>,
) -> Result<(StatusCode, Json<Rotated>), Problem> {
    let Some(id) = principal.authentication.token else {
        let detail = "a log-in has no token to rotate: it ends by itself";
        return Err(AppError::Denied(detail.to_owned()).into());
    };
    let overlap = use_case::overlap(body.overlap_s)?;
    let done = match granted {
        Granted::Tenant(scope) => use_case::rotate_own(&app, &scope, id, overlap).await?,
        Granted::Installation(scope) => use_case::rotate_own(&app, &scope, id, overlap).await?,
    };
    Ok((StatusCode::CREATED, Json(done.into())))
}

impl From<use_case::Rotated> for Rotated {
    fn from(done: use_case::Rotated) -> Self {
        Self {
            token: TokenCreated::of(done.token, &done.secret),
            replaces: done.old.id.to_string(),
            replaces_until: done.old.expires_at.map(|at| at.rfc3339()),
        }
    }
}

fn stands_for(token: &ApiToken) -> (Option<&'static str>, Option<String>) {
    match token.stands_for {
        StandsFor::Itself(role) => (Some(role.as_str()), None),
        StandsFor::Account(id) => (None, Some(id.to_string())),
    }
}

impl TokenCreated {
    fn of(token: ApiToken, secret: &Token) -> Self {
        let (role, service_account_id) = stands_for(&token);
        Self {
            id: token.id.to_string(),
            name: token.name,
            role,
            service_account_id,
            scopes: token.scopes.map(|scopes| scopes.names().clone()),
            token: secret.reveal().to_owned(),
            expires_at: token.expires_at.map(|at| at.rfc3339()),
        }
    }
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
