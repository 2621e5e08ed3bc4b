//! Logging in, going on, logging out, and what people do about their own account.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use edgeformer_proto::ids::SessionId;
use edgeformer_proto::token::{Kind, Token};
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;

use super::extract::{Body, InPath};
use super::request::RequestInfo;
use super::route::Routes;
use crate::account::log_in::{self, Attempt};
use crate::account::own;
use crate::account::password::Password;
use crate::app::App;
use crate::clock::Timestamp;
use crate::error::AppError;
use crate::login_session::{self, Issued};
use crate::policy::{Action, Principal};
use crate::problem::Problem;
use crate::scope::TenantScope;
use crate::store::login_sessions::{Ending, LoginSession};

/// Most of one's own log-ins that are listed.
const MAX_SESSIONS: i64 = 100;

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .add_public(Action::SessionCreate, routes!(log_in))
        .add_public(Action::SessionRefresh, routes!(refresh))
        .add_public(Action::PasswordSet, routes!(set_password))
        .add(Action::SelfSessions, routes!(log_out))
        .add(Action::SelfSessions, routes!(sessions))
        .add(Action::SelfSessions, routes!(end_session))
        .add(Action::SelfPassword, routes!(change_password))
        .add(Action::SelfTotp, routes!(begin_totp))
        .add(Action::SelfTotp, routes!(confirm_totp))
        .add(Action::SelfTotp, routes!(remove_totp))
}

/// A log-in.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginRequest {
    /// Name of the tenant.
    tenant: String,
    user_name: String,
    #[schema(value_type = String, format = Password)]
    password: Password,
    /// A one-time code or a recovery code, if there is a second factor.
    code: Option<String>,
}

/// A log-in that was taken. Both tokens are shown once.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct LoginAnswer {
    /// JWT, for `Authorization: Bearer`.
    access_token: String,
    expires_in_s: u64,
    /// Gives the next access token, and itself changes with that.
    refresh_token: String,
    session_id: String,
    /// The log-in is over then at the latest.
    ends_at: String,
    user_id: String,
    user_name: String,
    display_name: String,
}

impl From<Issued> for LoginAnswer {
    fn from(issued: Issued) -> Self {
        Self {
            access_token: issued.access,
            expires_in_s: issued.access_life.as_secs(),
            refresh_token: issued.refresh.reveal().to_owned(),
            session_id: issued.session.to_string(),
            ends_at: issued.ends_at.rfc3339(),
            user_id: issued.user.id.to_string(),
            user_name: issued.user.user_name,
            display_name: issued.user.display_name,
        }
    }
}

/// Logs in with a password. Whatever does not fit gets one answer; `second_factor_required` says that
/// the password fits and a code is missing.
#[utoipa::path(post, path = "/login", tag = "login", request_body = LoginRequest,
    responses((status = 200, body = LoginAnswer)))]
async fn log_in(
    State(app): State<App>,
    Extension(info): Extension<RequestInfo>,
    Body(body): Body<LoginRequest>,
) -> Result<Json<LoginAnswer>, Problem> {
    let LoginRequest { tenant, user_name, password, code } = body;
    let attempt = Attempt { tenant, user_name, password, code };
    Ok(Json(log_in::log_in(&app, attempt, info.address, info.origin()).await?.into()))
}

/// Goes on with a log-in.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RefreshRequest {
    refresh_token: String,
}

/// Gives the next access token and the next refresh token. A refresh token that was used before ends
/// the log-in.
#[utoipa::path(post, path = "/login/refresh", tag = "login", request_body = RefreshRequest,
    responses((status = 200, body = LoginAnswer)))]
async fn refresh(
    State(app): State<App>,
    Extension(info): Extension<RequestInfo>,
    Body(body): Body<RefreshRequest>,
) -> Result<Json<LoginAnswer>, Problem> {
    let token = Token::parse(Kind::Refresh, &body.refresh_token)
        .map_err(|error| Problem::unauthenticated(error.to_string()))?;
    Ok(Json(login_session::refresh(&app, &token, info.origin()).await?.into()))
}

/// A password to set with an invitation.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordRequest {
    /// Name of the tenant.
    tenant: String,
    /// `efi_…`
    invitation: String,
    #[schema(value_type = String, format = Password)]
    password: Password,
}

/// Whose password was set.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct PasswordAnswer {
    user_name: String,
}

/// Sets a password with an invitation, which is used up by that.
#[utoipa::path(post, path = "/login/password", tag = "login", request_body = PasswordRequest,
    responses((status = 200, body = PasswordAnswer)))]
async fn set_password(
    State(app): State<App>,
    Extension(info): Extension<RequestInfo>,
    Body(body): Body<PasswordRequest>,
) -> Result<Json<PasswordAnswer>, Problem> {
    if !app.accounts().throttle.admit(info.address, app.now()) {
        let message = "too many attempts from this address: repeat in a minute";
        return Err(AppError::Overloaded(message.to_owned()).into());
    }
    let token = Token::parse(Kind::Invitation, &body.invitation)
        .map_err(|error| AppError::invalid("invitation", error.to_string()))?;
    let user = own::set_password(&app, &body.tenant, &token, body.password, info.origin()).await?;
    Ok(Json(PasswordAnswer { user_name: user.user_name }))
}

/// Ends the log-in that this request comes with.
#[utoipa::path(post, path = "/logout", tag = "login", responses((status = 204)))]
async fn log_out(
    State(app): State<App>,
    scope: TenantScope,
    principal: Principal,
) -> Result<StatusCode, Problem> {
    let (_, session) = own::person(&principal)?;
    let which = Ending::One(session);
    login_session::end(&app, &scope, Action::SelfSessions, which, "logout").await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A log-in of one's own.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SessionView {
    id: String,
    /// "password", "password_totp", "recovery_code" or "oidc".
    method: &'static str,
    /// Address of the log-in.
    source: String,
    signed_in_at: String,
    /// When it was used for a new access token last.
    refreshed_at: String,
    ends_at: String,
    /// Whether it is the one that asks.
    current: bool,
}

impl SessionView {
    fn of(session: LoginSession, current: SessionId) -> Self {
        let text = Timestamp::rfc3339;
        Self {
            id: session.id.to_string(),
            method: session.method.as_str(),
            source: session.source,
            signed_in_at: text(session.signed_in_at),
            refreshed_at: text(session.rotated_at),
            ends_at: text(session.ends_at.min(session.idle_ends_at)),
            current: session.id == current,
        }
    }
}

/// One's own log-ins.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SessionList {
    items: Vec<SessionView>,
}

/// Lists one's own log-ins that last, newest first.
#[utoipa::path(get, path = "/me/sessions", tag = "login",
    responses((status = 200, body = SessionList)))]
async fn sessions(
    State(app): State<App>,
    scope: TenantScope,
    principal: Principal,
) -> Result<Json<SessionList>, Problem> {
    let (user, current) = own::person(&principal)?;
    let all = login_session::own(&app, &scope, user, MAX_SESSIONS).await?;
    let items = all.into_iter().map(|session| SessionView::of(session, current)).collect();
    Ok(Json(SessionList { items }))
}

/// Ends a log-in of one's own.
#[utoipa::path(delete, path = "/me/sessions/{id}", tag = "login", params(("id" = String, Path)),
    responses((status = 204)))]
async fn end_session(
    State(app): State<App>,
    scope: TenantScope,
    principal: Principal,
    InPath(id): InPath<SessionId>,
) -> Result<StatusCode, Problem> {
    let (user, _) = own::person(&principal)?;
    let own: BTreeSet<SessionId> = login_session::own(&app, &scope, user, MAX_SESSIONS)
        .await?
        .into_iter()
        .map(|session| session.id)
        .collect();
    if !own.contains(&id) {
        return Err(AppError::not_found("session", id).into());
    }
    let which = Ending::One(id);
    login_session::end(&app, &scope, Action::SelfSessions, which, "revoked").await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A new password of one's own.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordChange {
    #[schema(value_type = String, format = Password)]
    current_password: Password,
    #[schema(value_type = String, format = Password)]
    password: Password,
}

/// Changes one's own password. All other log-ins end.
#[utoipa::path(post, path = "/me/password", tag = "login", request_body = PasswordChange,
    responses((status = 204)))]
async fn change_password(
    State(app): State<App>,
    scope: TenantScope,
    principal: Principal,
    Body(body): Body<PasswordChange>,
) -> Result<StatusCode, Problem> {
    let (old, new) = (body.current_password, body.password);
    own::change_password(&app, &scope, &principal, old, new).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The password, again: for what a stranger at an open screen must not do.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordAgain {
    #[schema(value_type = String, format = Password)]
    current_password: Password,
}

/// A second factor to put into an app.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TotpSecret {
    /// Base32, for typing.
    secret: String,
    /// For a QR code.
    uri: String,
}

/// Begins a second factor by one-time codes. It is asked for once a code was confirmed.
#[utoipa::path(post, path = "/me/totp", tag = "login", request_body = PasswordAgain,
    responses((status = 200, body = TotpSecret)))]
async fn begin_totp(
    State(app): State<App>,
    scope: TenantScope,
    principal: Principal,
    Body(body): Body<PasswordAgain>,
) -> Result<Json<TotpSecret>, Problem> {
    let made = own::begin_totp(&app, &scope, &principal, body.current_password).await?;
    Ok(Json(TotpSecret { secret: made.secret, uri: made.uri }))
}

/// A one-time code.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TotpCode {
    code: String,
}

/// Codes for when the app is lost. Shown once.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct RecoveryCodes {
    recovery_codes: Vec<String>,
}

/// Confirms the second factor with a code of it. It is asked for from then on.
#[utoipa::path(post, path = "/me/totp/confirm", tag = "login", request_body = TotpCode,
    responses((status = 200, body = RecoveryCodes)))]
async fn confirm_totp(
    State(app): State<App>,
    scope: TenantScope,
    principal: Principal,
    Body(body): Body<TotpCode>,
) -> Result<Json<RecoveryCodes>, Problem> {
    let recovery_codes = own::confirm_totp(&app, &scope, &principal, &body.code).await?;
    Ok(Json(RecoveryCodes { recovery_codes }))
}

/// Removes the second factor and its recovery codes.
#[utoipa::path(post, path = "/me/totp/remove", tag = "login", request_body = PasswordAgain,
    responses((status = 204)))]
async fn remove_totp(
    State(app): State<App>,
    scope: TenantScope,
    principal: Principal,
    Body(body): Body<PasswordAgain>,
) -> Result<StatusCode, Problem> {
    own::remove_totp(&app, &scope, &principal, body.current_password).await?;
    Ok(StatusCode::NO_CONTENT)
}
