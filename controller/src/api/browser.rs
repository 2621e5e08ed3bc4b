//! Requests of browsers: the cookies that stand for a log-in, and the defence against requests that
//! another site makes a browser send. Nothing here concerns requests with an `Authorization` header,
//! which no browser sends by itself.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, Method, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use edgeformer_proto::token::{Kind, Token};
use ring::digest::{SHA256, digest};

use crate::app::App;
use crate::login_session::{self, browser};
use crate::oidc::log_in::{self, BrowserSecret};
use crate::policy::Principal;
use crate::problem::Problem;

/// Holds a browser's log-in. `__Host-` keeps neighbours under the same domain from setting it.
const SESSION: &str = "__Host-edgeformer-session";
/// What scripts of our own pages read and send as [`CSRF_HEADER`].
const CSRF: &str = "__Host-edgeformer-csrf";
/// Ties a log-in that is under way to its browser.
const LOGIN: &str = "__Host-edgeformer-login";
/// Must come with every request that changes something.
pub const CSRF_HEADER: &str = "x-edgeformer-csrf";

fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let pairs = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = pairs.flat_map(|value| value.split(';')).map(str::trim);
    pairs.find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// The token in the session cookie.
pub(super) fn session_token(headers: &HeaderMap) -> Option<Token> {
    Token::parse(Kind::Browser, cookie(headers, SESSION)?).ok()
}

/// What ties log-ins that are under way to this browser.
pub(super) fn login_secret(headers: &HeaderMap) -> Option<BrowserSecret> {
    BrowserSecret::parse(cookie(headers, LOGIN)?)
}

/// What a page of ours sends back with a change: it follows from the session's secret, which no other
/// site knows.
pub(super) fn csrf_token(token: &Token) -> String {
    let text = format!("csrf\0{}", token.reveal());
    URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_bytes()))
}

fn set(name: &str, value: &str, life: Duration, http_only: bool) -> HeaderValue {
    let http_only = if http_only { "; HttpOnly" } else { "" };
    let seconds = life.as_secs();
    let text =
        format!("{name}={value}; Path=/; Secure{http_only}; SameSite=Lax; Max-Age={seconds}");
    HeaderValue::from_str(&text).expect("cookies are made of plain ASCII")
}

/// The cookie of a log-in that is under way.
pub(super) fn set_login(secret: &BrowserSecret) -> HeaderValue {
    set(LOGIN, &secret.reveal(), log_in::LIFE, true)
}

/// The cookies of a browser that is logged in.
pub(super) fn set_session(token: &Token) -> [HeaderValue; 3] {
    [
        set(SESSION, token.reveal(), login_session::LIFE, true),
        set(CSRF, &csrf_token(token), login_session::LIFE, false),
        set(LOGIN, "", Duration::ZERO, true),
    ]
}

/// The same cookies, taken away.
pub(super) fn clear_session() -> [HeaderValue; 2] {
    [set(SESSION, "", Duration::ZERO, true), set(CSRF, "", Duration::ZERO, false)]
}

fn refused(why: &str) -> Problem {
    let detail = format!(
        "a browser's request that changes something must come from a page of this controller: {why}"
    );
    Problem::new(axum::http::StatusCode::FORBIDDEN, "csrf", detail)
}

/// Whether the request comes from a page of ours, as the browser itself says.
fn from_our_page(app: &App, headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let (site, origin) = (text("sec-fetch-site"), text("origin"));
    let ours = |origin: &str| origin == app.public_origin();
    match (site, origin) {
        (Some("same-origin"), origin) => origin.is_none_or(ours),
        // Older browsers say the origin alone.
        (None, Some(origin)) => ours(origin),
        _ => false,
    }
}

/// Refuses a change that another site makes the browser ask for. `given` is what the page sent along.
pub(super) fn check_csrf(
    app: &App,
    headers: &HeaderMap,
    token: &Token,
    given: Option<&str>,
) -> Result<(), Problem> {
    if !from_our_page(app, headers) {
        return Err(refused("its Origin or Sec-Fetch-Site says another site"));
    }
    // Hashes are compared, so the time that it takes tells nothing of the secret.
    let hash = |text: &str| digest(&SHA256, text.as_bytes());
    match hash(given.unwrap_or_default()).as_ref() == hash(&csrf_token(token)).as_ref() {
        true => Ok(()),
        false => Err(refused("it lacks the value of the cookie that ends in -csrf")),
    }
}

/// The principal that the session cookie stands for; none without the cookie.
pub(super) async fn authenticate(
    app: &App,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Option<Principal>, Problem> {
    let Some(token) = session_token(headers) else { return Ok(None) };
    if !method.is_safe() {
        let given = headers.get(CSRF_HEADER).and_then(|value| value.to_str().ok());
        check_csrf(app, headers, &token, given)?;
    }
    let found = browser::authenticate(app, &token).await?;
    let over = || Problem::unauthenticated("the browser's log-in is over: log in again");
    found.ok_or_else(over).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let mut headers = HeaderMap::new();
        headers.append("cookie", HeaderValue::from_static("a=1; x__Host-edgeformer-login=2"));
        headers.append("cookie", HeaderValue::from_static("__Host-edgeformer-login=3;b=4"));
        assert_eq!(cookie(&headers, LOGIN), Some("3"));
        assert_eq!(cookie(&headers, "b"), Some("4"));
        assert_eq!(cookie(&headers, "__Host-edgeformer"), None);
    }

    #[test]
    fn session_cookies_are_for_this_host_over_tls_and_not_for_scripts() {
        let token = Token::mint(Kind::Browser);
        let [session, csrf, _] = set_session(&token);
        let text = session.to_str().unwrap();
        assert!(
            text.starts_with(&format!("__Host-edgeformer-session={}; Path=/; ", token.reveal()))
        );
        for part in ["; Secure", "; HttpOnly", "; SameSite=Lax"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains("Domain"));
        assert!(!csrf.to_str().unwrap().contains("HttpOnly"));
        assert_ne!(csrf_token(&token), csrf_token(&Token::mint(Kind::Browser)));
    }
}
