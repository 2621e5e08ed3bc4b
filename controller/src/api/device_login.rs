//! Log-in of a command line by a person with a browser (RFC 8628): what the command line asks, and the
//! page at which the person lets it in.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::{Extension, Json};
use edgeformer_proto::token::{Kind, Token};
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;

use super::browser;
use super::extract::{Body, Form, InQuery};
use super::html::{self, escape};
use super::login::LoginAnswer;
use super::request::RequestInfo;
use super::route::Routes;
use super::sso::see_other;
use crate::app::App;
use crate::error::AppError;
use crate::login_session::browser::authenticate;
use crate::oidc::device::{self, Shown};
use crate::oidc::token_request::form;
use crate::policy::{Action, Principal};
use crate::problem::Problem;
use crate::scope::TenantScope;
use crate::store::{identity_providers, tenants};

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .add_public(Action::SessionCreate, routes!(begin))
        .add_public(Action::SessionCreate, routes!(redeem))
        .add_public(Action::SessionDelegate, routes!(look))
        .add_public(Action::SessionDelegate, routes!(decide))
}

/// A command line that wants to log in.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeviceLoginRequest {
    /// Name of the tenant.
    tenant: String,
    /// Name of the provider, if the tenant has several.
    provider: Option<String>,
}

/// What the person needs, and what the command line asks with.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct DeviceLoginAnswer {
    /// `efd_…`
    device_code: String,
    /// For the person to compare.
    user_code: String,
    /// Where the person goes.
    verification_uri: String,
    /// The same with the code.
    verification_uri_complete: String,
    expires_in_s: u64,
    /// Ask no more often.
    interval_s: u64,
}

/// Begins a log-in that a person finishes in a browser.
#[utoipa::path(post, path = "/login/device", tag = "login", request_body = DeviceLoginRequest,
    responses((status = 200, body = DeviceLoginAnswer)))]
async fn begin(
    State(app): State<App>,
    Extension(info): Extension<RequestInfo>,
    Body(body): Body<DeviceLoginRequest>,
) -> Result<Json<DeviceLoginAnswer>, Problem> {
    let provider = body.provider.as_deref();
    let waiting = device::begin(&app, &body.tenant, provider, &info.origin()).await?;
    Ok(Json(DeviceLoginAnswer {
        device_code: waiting.device_code.reveal().to_owned(),
        verification_uri_complete: format!("{}?user_code={}", waiting.page, waiting.user_code),
        verification_uri: waiting.page,
        user_code: waiting.user_code,
        expires_in_s: device::LIFE.as_secs(),
        interval_s: waiting.interval_s.unsigned_abs(),
    }))
}

/// With what the command line asks.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeviceCode {
    /// `efd_…`
    device_code: String,
}

/// Gives the tokens once the person let the command line in. Until then the code of the refusal is
/// `authorization_pending` or `slow_down`; `access_denied` and `expired_token` are the end.
#[utoipa::path(post, path = "/login/device/token", tag = "login", request_body = DeviceCode,
    responses((status = 200, body = LoginAnswer)))]
async fn redeem(
    State(app): State<App>,
    Extension(info): Extension<RequestInfo>,
    Body(body): Body<DeviceCode>,
) -> Result<Json<LoginAnswer>, Problem> {
    let code = Token::parse(Kind::DeviceLogin, &body.device_code)
        .map_err(|error| AppError::invalid("device_code", error.to_string()))?;
    Ok(Json(device::redeem(&app, &code, info.origin()).await?.into()))
}

/// The code that somebody typed.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct UserCodeQuery {
    user_code: Option<String>,
}

/// Shows the command line that waits with a code, to whoever is logged in; sends others to log in first.
#[utoipa::path(get, path = "/login/device", tag = "login", params(UserCodeQuery),
    responses((status = 200, body = String, content_type = "text/html"),
        (status = 303, description = "To log in first")))]
async fn look(
    State(app): State<App>,
    Extension(info): Extension<RequestInfo>,
    headers: HeaderMap,
    InQuery(query): InQuery<UserCodeQuery>,
) -> Result<Response, Problem> {
    let Some(typed) = query.user_code else { return Ok(ask_for_code("")) };
    // Whoever guesses codes is slowed down like whoever guesses passwords.
    if !app.accounts().throttle.admit(info.address, app.now()) {
        let message = "too many attempts from this address: repeat in a minute";
        return html::answer(
            html::wanted(&headers),
            Err(AppError::Overloaded(message.to_owned()).into()),
        );
    }
    let Some(waiting) = device::look(&app, &typed).await? else {
        let said = "No command line waits with this code: it is mistyped, decided or over.";
        return Ok(ask_for_code(said));
    };
    let token = browser::session_token(&headers);
    let principal = match &token {
        Some(token) => authenticate(&app, token).await?,
        None => None,
    };
    match (token, principal) {
        (Some(token), Some(principal)) if principal.tenant == Some(waiting.tenant) => {
            Ok(ask_to_decide(&waiting, &principal, &browser::csrf_token(&token)))
        }
        (Some(_), Some(_)) => {
            let said = "<p>This command line belongs to another tenant than you are logged in at. \
                        <a href=\"/api/v1/login/browser\">Log out</a> first.</p>";
            Ok(html::page(StatusCode::FORBIDDEN, "Another tenant", said))
        }
        _ => to_log_in(&app, &waiting).await,
    }
}

fn ask_for_code(said: &str) -> Response {
    let body = format!(
        "<p>{}</p><form method=\"get\" action=\"/api/v1/login/device\"><p><label>Code that the \
         command line shows <input name=\"user_code\" autocomplete=\"off\" required></label> \
         <button>Go on</button></p></form>",
        escape(said)
    );
    html::page(StatusCode::OK, "Let a command line in", &body)
}

fn ask_to_decide(waiting: &Shown, principal: &Principal, csrf: &str) -> Response {
    let body = format!(
        "<p>A command line at {} wants to log in as you, {}.</p>\
         <p>Go on only if you began this yourself and it shows the code <b>{}</b>.</p>\
         <form method=\"post\" action=\"/api/v1/login/device/decision\">\
         <input type=\"hidden\" name=\"csrf\" value=\"{}\">\
         <input type=\"hidden\" name=\"user_code\" value=\"{}\">\
         <button name=\"decision\" value=\"allow\">Let it in</button> \
         <button name=\"decision\" value=\"refuse\">Refuse</button></form>",
        escape(&waiting.login.source),
        escape(&principal.name),
        escape(&waiting.user_code),
        escape(csrf),
        escape(&waiting.user_code),
    );
    html::page(StatusCode::OK, "Let a command line in", &body)
}

/// To the tenant's provider, and back to this page.
async fn to_log_in(app: &App, waiting: &Shown) -> Result<Response, Problem> {
    let scope = TenantScope::system(waiting.tenant, "log-in");
    let mut read = app.store.read(&scope).await.map_err(AppError::from)?;
    let tenant = tenants::own(&mut read).await.map_err(AppError::from)?;
    let provider = identity_providers::get(&mut read, waiting.login.provider).await;
    let provider = provider.map_err(AppError::from)?;
    let (Some(tenant), Some(provider)) = (tenant, provider) else {
        return Ok(ask_for_code("The identity provider is gone: begin again."));
    };
    let next = format!("/api/v1/login/device?user_code={}", waiting.user_code);
    let query = form(&[("tenant", &tenant.name), ("provider", &provider.name), ("next", &next)]);
    see_other(&format!("/api/v1/login/sso?{query}"), [])
}

/// What the person decided.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
pub struct DecisionForm {
    user_code: String,
    /// "allow" or "refuse".
    decision: String,
    /// As the page had it.
    csrf: String,
}

/// Lets the command line in, or refuses it.
#[utoipa::path(post, path = "/login/device/decision", tag = "login",
    request_body(content = DecisionForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, body = String, content_type = "text/html")))]
async fn decide(
    State(app): State<App>,
    Extension(info): Extension<RequestInfo>,
    headers: HeaderMap,
    Form(form): Form<DecisionForm>,
) -> Result<Response, Problem> {
    let done = async {
        let over = || Problem::unauthenticated("the browser's log-in is over: log in again");
        let token = browser::session_token(&headers).ok_or_else(over)?;
        browser::check_csrf(&app, &headers, &token, Some(&form.csrf))?;
        let principal = authenticate(&app, &token).await?.ok_or_else(over)?;
        let allow = match form.decision.as_str() {
            "allow" => true,
            "refuse" => false,
            _ => return Err(AppError::invalid("decision", "it is allow or refuse").into()),
        };
        device::decide(&app, &principal, &form.user_code, allow, info.origin()).await?;
        let said = match allow {
            true => "<p>The command line is logged in. You can close this page.</p>",
            false => "<p>The command line was refused. You can close this page.</p>",
        };
        Ok(html::page(StatusCode::OK, "Done", said))
    };
    html::answer(html::wanted(&headers), done.await)
}
