//! Log-in of browsers at the tenant's OpenID provider: there, back, and out again.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use edgeformer_proto::ids::{IdentityProviderId, TenantId};
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;

use super::browser;
use super::extract::{Form, InPath, InQuery};
use super::html::{self, escape};
use super::request::RequestInfo;
use super::route::Routes;
use crate::app::App;
use crate::login_session;
use crate::oidc::log_in::{self, HOME, Returned};
use crate::oidc::log_out;
use crate::policy::Action;
use crate::problem::Problem;

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .add_public(Action::SessionCreate, routes!(providers))
        .add_public(Action::SessionCreate, routes!(start))
        .add_public(Action::SessionCreate, routes!(come_back))
        .add_public(Action::SessionCreate, routes!(home))
        .add_public(Action::SessionEnd, routes!(log_out_of_browser))
        .add_public(Action::SessionProviderEnd, routes!(back_channel_logout))
}

/// A redirect by GET, whatever the request was, with cookies.
pub(super) fn see_other(
    to: &str,
    cookies: impl IntoIterator<Item = HeaderValue>,
) -> Result<Response, Problem> {
    let to = HeaderValue::from_str(to).map_err(|error| Problem::internal(&error))?;
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, to);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // What stands in our addresses is nobody else's to know.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    for cookie in cookies {
        headers.append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// Whose providers.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ProvidersQuery {
    /// Name of the tenant.
    tenant: String,
}

/// A provider that people may choose.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct LoginProvider {
    name: String,
}

/// The providers that people may choose from.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct LoginProviders {
    items: Vec<LoginProvider>,
}

/// Lists where people of a tenant can log in. A tenant that there is not has none.
#[utoipa::path(get, path = "/login/providers", tag = "login", params(ProvidersQuery),
    responses((status = 200, body = LoginProviders)))]
async fn providers(
    State(app): State<App>,
    InQuery(query): InQuery<ProvidersQuery>,
) -> Result<Json<LoginProviders>, Problem> {
    let (_, all) = log_in::choice(&app, &query.tenant).await?;
    let items = all.into_iter().map(|provider| LoginProvider { name: provider.name }).collect();
    Ok(Json(LoginProviders { items }))
}

/// Where to log in, and where to go afterwards.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct StartQuery {
    /// Name of the tenant.
    tenant: String,
    /// Name of the provider, if the tenant has several.
    provider: Option<String>,
    /// Path of this controller to go on to.
    next: Option<String>,
}

/// Sends a browser to the tenant's provider.
#[utoipa::path(get, path = "/login/sso", tag = "login", params(StartQuery),
    responses((status = 303, description = "To the provider")))]
async fn start(
    State(app): State<App>,
    headers: HeaderMap,
    InQuery(query): InQuery<StartQuery>,
) -> Result<Response, Problem> {
    let sent = async {
        let who = (query.tenant.as_str(), query.provider.as_deref());
        let secret = browser::login_secret(&headers);
        let sent = log_in::begin(&app, who, query.next.as_deref(), secret).await?;
        see_other(&sent.url, [browser::set_login(&sent.browser)])
    };
    html::answer(html::wanted(&headers), sent.await)
}

/// What a provider sends back with the browser.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CallbackQuery {
    code: Option<String>,
    state: Option<String>,
    iss: Option<String>,
    error: Option<String>,
}

/// Takes a browser back from the tenant's provider and logs it in.
#[utoipa::path(get, path = "/login/sso/{tenant}/{id}/callback", tag = "login",
    params(("tenant" = String, Path), ("id" = String, Path), CallbackQuery),
    responses((status = 303, description = "Logged in")))]
async fn come_back(
    State(app): State<App>,
    Extension(info): Extension<RequestInfo>,
    headers: HeaderMap,
    InPath(ids): InPath<(TenantId, IdentityProviderId)>,
    InQuery(query): InQuery<CallbackQuery>,
) -> Result<Response, Problem> {
    let CallbackQuery { code, state, iss, error } = query;
    let returned = Returned { code, state, iss, error };
    let entered = async {
        let secret = browser::login_secret(&headers);
        let entered = log_in::finish(&app, ids, returned, secret, info.origin()).await?;
        see_other(&entered.next_path, browser::set_session(&entered.begun.token))
    };
    html::answer(html::wanted(&headers), entered.await)
}

/// A form that a log-in page sends.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
pub struct LogoutForm {
    /// As the page had it.
    csrf: String,
}

/// Shows who is logged in in this browser, or asks for the tenant to log in at.
#[utoipa::path(get, path = "/login/browser", tag = "login",
    responses((status = 200, body = String, content_type = "text/html")))]
async fn home(State(app): State<App>, headers: HeaderMap) -> Result<Response, Problem> {
    let token = browser::session_token(&headers);
    let principal = match &token {
        Some(token) => login_session::browser::authenticate(&app, token).await?,
        None => None,
    };
    let (Some(token), Some(principal)) = (token, principal) else {
        let form = "<form method=\"get\" action=\"/api/v1/login/sso\"><p><label>Name of your tenant \
                    <input name=\"tenant\" required></label> <button>Log in</button></p></form>";
        return Ok(html::page(StatusCode::OK, "Log in", form));
    };
    let roles: Vec<&str> = principal.roles.iter().map(|role| role.as_str()).collect();
    let body = format!(
        "<p>You are logged in as {} ({}).</p>\
         <form method=\"post\" action=\"/api/v1/login/browser/logout\">\
         <input type=\"hidden\" name=\"csrf\" value=\"{}\"><button>Log out</button></form>",
        escape(&principal.name),
        escape(&roles.join(", ")),
        escape(&browser::csrf_token(&token)),
    );
    Ok(html::page(StatusCode::OK, "Logged in", &body))
}

/// Logs a browser out, here and at the provider that it logged in at.
#[utoipa::path(post, path = "/login/browser/logout", tag = "login",
    request_body(content = LogoutForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 303, description = "To the provider, to log out there, or to the first page")))]
async fn log_out_of_browser(
    State(app): State<App>,
    Extension(info): Extension<RequestInfo>,
    headers: HeaderMap,
    Form(form): Form<LogoutForm>,
) -> Result<Response, Problem> {
    let done = async {
        let Some(token) = browser::session_token(&headers) else { return see_other(HOME, []) };
        browser::check_csrf(&app, &headers, &token, Some(&form.csrf))?;
        let elsewhere = log_out::browser(&app, &token, info.origin()).await?;
        see_other(elsewhere.as_deref().unwrap_or(HOME), browser::clear_session())
    };
    html::answer(html::wanted(&headers), done.await)
}

/// What a provider sends when somebody logged out there.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
pub struct LogoutToken {
    logout_token: String,
}

/// Ends the log-ins that came from a session at the provider, or from a person there. For the provider.
#[utoipa::path(post, path = "/login/sso/{tenant}/{id}/back-channel-logout", tag = "login",
    params(("tenant" = String, Path), ("id" = String, Path)),
    request_body(content = LogoutToken, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "They are over")))]
async fn back_channel_logout(
    State(app): State<App>,
    Extension(info): Extension<RequestInfo>,
    InPath(ids): InPath<(TenantId, IdentityProviderId)>,
    Form(form): Form<LogoutToken>,
) -> Result<Response, Problem> {
    let ended = log_out::back_channel(&app, ids, &form.logout_token, &info.origin()).await;
    // The specification's answer to whatever is wrong with the token.
    ended.map_err(|error| match Problem::from(error) {
        problem if problem.status == StatusCode::UNPROCESSABLE_ENTITY => {
            Problem::new(StatusCode::BAD_REQUEST, "invalid_request", problem.detail)
        }
        other => other,
    })?;
    Ok((StatusCode::OK, [(header::CACHE_CONTROL, "no-store")]).into_response())
}
