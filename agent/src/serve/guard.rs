//! Who may talk to the local API. A web page that the user of this machine happens to visit must not:
//! foreign `Host` names (DNS rebinding) and foreign `Origin`s are refused before anything else is
//! looked at. The judgements are pure; [`guard`] applies them.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use super::{App, ServeConfig};
use crate::local_keys::{KeyCheck, LocalKeys};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Lets a request through or answers it.
pub async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let id = format!("req_{}", uuid::Uuid::new_v4().simple());
    let mut response = match admit(&app.config, &request) {
        Ok(Admission::Preflight) => preflight(),
        Ok(Admission::Pass) => next.run(request).await,
        Err(error) => {
            tracing::info!(request_id = id, reason = error.label(), "a local request was refused");
            error.into_response()
        }
    };
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, HeaderValue::try_from(id).expect("hex is a header value"));
    if let Some(origin) = origin.filter(|o| origin_allowed(o.to_str().ok(), &app.config)) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    }
    response
}

enum Admission {
    Pass,
    /// A browser asks on behalf of an allowed page.
    Preflight,
}

fn admit(config: &ServeConfig, request: &Request) -> Result<Admission, ApiError> {
    check_host(config, request.uri(), request.headers())?;
    let origin = request.headers().get(header::ORIGIN);
    if let Some(origin) = origin {
        let text = origin.to_str().ok();
        if !origin_allowed(text, config) {
            let message = format!(
                "web pages of {} may not use this device's models; the device's operator can allow it \
                 with --allow-origin",
                text.unwrap_or("this origin").chars().take(100).collect::<String>()
            );
            return Err(ApiError::forbidden("origin_not_allowed", message));
        }
        if request.method() == Method::OPTIONS {
            return Ok(Admission::Preflight);
        }
    }
    if request.uri().path() != "/healthz" {
        check_key(config, request.headers())?;
    }
    Ok(Admission::Pass)
}

/// Without a key a name in `Host` is all that tells a program on this machine from a web page whose
/// name an attacker points here. Where keys are required, the page has none.
fn check_host(config: &ServeConfig, uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
    if config.allow_remote {
        return Ok(());
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (uri.authority(), hosts.next(), hosts.next()) {
        (Some(authority), _, _) => Some(authority.as_str()),
        (None, Some(host), None) => host.to_str().ok(),
        (None, _, _) => None,
    };
    if host.is_some_and(is_loopback) {
        return Ok(());
    }
    let message =
        "the Host header must name this machine: use http://127.0.0.1 or http://localhost";
    Err(ApiError::forbidden("host_not_allowed", message))
}

/// Whether `host[:port]` is a name or address that never leaves this machine.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, port)) if port.is_empty() || port.starts_with(':') => v6,
        Some(_) => return false,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let localhost = name.eq_ignore_ascii_case("localhost");
    localhost || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn origin_allowed(origin: Option<&str>, config: &ServeConfig) -> bool {
    let is = |allowed: &String| origin.is_some_and(|o| o.eq_ignore_ascii_case(allowed));
    config.allowed_origins.iter().any(is)
}

/// A key is required once one has been made, and always when other machines can reach the listener.
fn check_key(config: &ServeConfig, headers: &HeaderMap) -> Result<(), ApiError> {
    let keys = LocalKeys::load(&config.state_dir).map_err(|error| {
        tracing::error!(%error, "local keys cannot be read: all requests are refused");
        ApiError::engine("the keys of this device cannot be read: see the log of its agent")
    })?;
    if !keys.required() && !config.allow_remote {
        return Ok(());
    }
    if keys.list().is_empty() {
        let message = "this device has no keys: its operator makes one with `edgeformer-agent key \
                       create`";
        return Err(ApiError::unauthorized(message));
    }
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = value
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let Some((_, key)) = bearer else {
        let message = "a key is needed: send `Authorization: Bearer efl_…`; the device's operator makes \
                       one with `edgeformer-agent key create`";
        return Err(ApiError::unauthorized(message));
    };
    match keys.check(key.trim()) {
        KeyCheck::Known(_) => Ok(()),
        KeyCheck::Mistyped => {
            let message = "the key is mistyped or cut off: a key is efl_ and 36 more characters";
            Err(ApiError::unauthorized(message))
        }
        KeyCheck::Unknown => {
            let message =
                "the key is not valid on this device: it was revoked or is another device's";
            Err(ApiError::unauthorized(message))
        }
    }
}

fn preflight() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    let methods = HeaderValue::from_static("GET, POST");
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    let allowed = HeaderValue::from_static("authorization, content-type");
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_stay_on_this_machine_are_loopback() {
        for yes in ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "127.9.9.9", "[::1]:80", "[::1]"]
        {
            assert!(is_loopback(yes), "{yes}");
        }
        for no in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:80",
            "192.168.0.2",
            "[::2]:80",
            "",
            ":80",
            "0.0.0.0",
            "[::1].evil.example",
        ] {
            assert!(!is_loopback(no), "{no}");
        }
    }
}
