//! Other systems' tokens: the rules by which they stand for a service account, and their exchange.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use edgeformer_proto::ids::{FederationRuleId, ServiceAccountId};
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;

use super::extract::{Body, BodyOrForm, InPath};
use super::request::RequestInfo;
use super::route::Routes;
use crate::admin::federation as use_case;
use crate::app::App;
use crate::error::AppError;
use crate::oidc::federation::{self, Exchange};
use crate::policy::Action;
use crate::problem::Problem;
use crate::scope::TenantScope;
use crate::store::federation_rules::FederationRule;

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .add(Action::FederationRuleCreate, routes!(create))
        .add(Action::ServiceAccountRead, routes!(list))
        .add(Action::FederationRuleDelete, routes!(delete))
        .add_public(Action::TokenExchange, routes!(exchange))
}

/// By which another system's tokens stand for the service account.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = TrustRule)]
pub struct TrustRuleView {
    id: String,
    service_account_id: String,
    issuer: String,
    audience: String,
    /// Patterns by claim: all must fit.
    conditions: BTreeMap<String, String>,
    created_at: String,
}

impl From<FederationRule> for TrustRuleView {
    fn from(rule: FederationRule) -> Self {
        Self {
            id: rule.id.to_string(),
            service_account_id: rule.account.to_string(),
            issuer: rule.issuer,
            audience: rule.audience,
            conditions: rule.conditions,
            created_at: rule.created_at.rfc3339(),
        }
    }
}

/// A rule to make.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TrustRuleRequest {
    /// Exactly as the other system names itself.
    issuer: String,
    /// For whom the other system must have made the tokens.
    audience: String,
    /// Patterns by claim; one must be about "sub". `*` stands for anything but `/` and `:`, `**` for
    /// anything.
    conditions: BTreeMap<String, String>,
}

/// Lets another system's tokens stand for a service account.
#[utoipa::path(post, path = "/service-accounts/{id}/trust", tag = "service-accounts",
    params(("id" = String, Path)), request_body = TrustRuleRequest,
    responses((status = 201, body = TrustRuleView)))]
async fn create(
    State(app): State<App>,
    scope: TenantScope,
    InPath(account): InPath<ServiceAccountId>,
    Body(body): Body<TrustRuleRequest>,
) -> Result<(StatusCode, Json<TrustRuleView>), Problem> {
    let TrustRuleRequest { issuer, audience, conditions } = body;
    let new = use_case::NewRule { issuer, audience, conditions };
    let rule = use_case::create(&app, &scope, account, new).await?;
    Ok((StatusCode::CREATED, Json(rule.into())))
}

/// The rules of a service account.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TrustRuleList {
    items: Vec<TrustRuleView>,
}

/// Lists whose tokens stand for a service account.
#[utoipa::path(get, path = "/service-accounts/{id}/trust", tag = "service-accounts",
    params(("id" = String, Path)), responses((status = 200, body = TrustRuleList)))]
async fn list(
    State(app): State<App>,
    scope: TenantScope,
    InPath(account): InPath<ServiceAccountId>,
) -> Result<Json<TrustRuleList>, Problem> {
    let all = use_case::list(&app, &scope, account).await?;
    Ok(Json(TrustRuleList { items: all.into_iter().map(TrustRuleView::from).collect() }))
}

/// Removes a rule. What it let in is out at once.
#[utoipa::path(delete, path = "/service-accounts/{id}/trust/{rule}", tag = "service-accounts",
    params(("id" = String, Path), ("rule" = String, Path)), responses((status = 204)))]
async fn delete(
    State(app): State<App>,
    scope: TenantScope,
    InPath((account, rule)): InPath<(ServiceAccountId, FederationRuleId)>,
) -> Result<StatusCode, Problem> {
    use_case::delete(&app, &scope, account, rule).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// RFC 8693, section 2.1.
const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// What can be given and got (section 3).
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// Another system's token to exchange (RFC 8693).
#[derive(Debug, Deserialize, utoipa::ToSchema)]
pub struct TokenExchangeRequest {
    /// `urn:ietf:params:oauth:grant-type:token-exchange`
    grant_type: String,
    /// The other system's token.
    #[schema(format = Password)]
    subject_token: String,
    /// `urn:ietf:params:oauth:token-type:jwt` or `…:id_token`
    subject_token_type: String,
    /// Name of the tenant.
    tenant: String,
    /// Name of the service account.
    service_account: String,
}

/// An access token of the service account. There is no refresh token: bring a new one of the other
/// system.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TokenExchangeAnswer {
    /// JWT, for `Authorization: Bearer`.
    access_token: String,
    /// `urn:ietf:params:oauth:token-type:access_token`
    issued_token_type: &'static str,
    /// `Bearer`
    token_type: &'static str,
    /// In seconds.
    expires_in: u64,
    service_account_id: String,
}

/// Exchanges another system's token, once, for a short one of a service account that trusts it.
#[utoipa::path(post, path = "/token-exchange", tag = "login",
    request_body(content((TokenExchangeRequest = "application/json"),
        (TokenExchangeRequest = "application/x-www-form-urlencoded"))),
    responses((status = 200, body = TokenExchangeAnswer)))]
async fn exchange(
    State(app): State<App>,
    Extension(info): Extension<RequestInfo>,
    BodyOrForm(body): BodyOrForm<TokenExchangeRequest>,
) -> Result<Json<TokenExchangeAnswer>, Problem> {
    if body.grant_type != GRANT {
        return Err(AppError::invalid("grant_type", format!("it must be {GRANT}")).into());
    }
    if ![JWT, ID_TOKEN].contains(&body.subject_token_type.as_str()) {
        let message = format!("it must be {JWT} or {ID_TOKEN}");
        return Err(AppError::invalid("subject_token_type", message).into());
    }
    let TokenExchangeRequest { subject_token: token, tenant, service_account: account, .. } = body;
    let asked = Exchange { tenant, account, token };
    let got = federation::exchange(&app, asked, &info.origin()).await?;
    Ok(Json(TokenExchangeAnswer {
        access_token: got.access,
        issued_token_type: ACCESS_TOKEN,
        token_type: "Bearer",
        expires_in: got.life.as_secs(),
        service_account_id: got.account.to_string(),
    }))
}
