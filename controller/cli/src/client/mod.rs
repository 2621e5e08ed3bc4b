//! Speaks to the controller's REST API: typed operations, retries that are safe, whole lists from
//! pages. It must never print, and never send the token anywhere but to the controller.

#[cfg(test)]
mod drift;
pub mod endpoints;
pub mod error;
pub mod request;
mod retry;
pub mod types;
mod upload;

use std::net::IpAddr;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Certificate, Url};

pub use endpoints::Endpoint;
pub use error::{ClientError, Distrust};
pub use request::{Answer, Call, List, Outcome};
pub use upload::{Upload, digest_file};

use edgeformer_proto::token::Token;

/// A controller that is there accepts within this time, even across continents.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time for an ordinary request; uploads are exempt.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Who is asking.
#[derive(Debug, Clone)]
pub enum Credential {
    /// An API token.
    Token(Token),
    /// The access token of a log-in.
    Access(Secret),
    /// Nobody yet: logging in.
    Nobody,
}

/// A text that is never printed.
#[derive(Clone)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Credential {
    /// The text of the Authorization header; none for nobody.
    pub fn reveal(&self) -> &str {
        match self {
            Self::Token(token) => token.reveal(),
            Self::Access(Secret(text)) => text,
            Self::Nobody => "",
        }
    }
}

/// Why the caller acts.
const JUSTIFICATION: &str = "x-edgeformer-justification";
/// The approval that a request goes by.
const APPROVAL: &str = "x-edgeformer-approval";

/// Where, whom to trust, and who is asking.
#[derive(Debug, Clone)]
pub struct Target {
    pub url: Url,
    /// PEM of the only authorities to trust; None trusts those of the system.
    pub ca_pem: Option<String>,
    pub token: Credential,
    /// Why the caller acts; kept with audit records.
    pub because: Option<String>,
    /// The approval that requests go by.
    pub approval: Option<String>,
}

/// A connection to one controller as one principal.
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: Credential,
    headers: HeaderMap,
}

impl Client {
    /// # Errors
    /// [`ClientError::Start`] when the PEM holds no certificate or TLS cannot be set up.
    pub fn new(target: Target) -> Result<Self, ClientError> {
        let start = |why: String| ClientError::Start(why);
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("edgeformer/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .https_only(true)
            .tcp_keepalive(Duration::from_secs(30));
        if let Some(pem) = &target.ca_pem {
            let roots = Certificate::from_pem_bundle(pem.as_bytes())
                .map_err(|e| start(format!("the CA file is not PEM: {e}")))?;
            if roots.is_empty() {
                return Err(start("the CA file holds no certificate".to_owned()));
            }
            builder = builder.tls_certs_only(roots);
        }
        if is_loopback(&target.url) {
            builder = builder.no_proxy();
        }
        let mut headers = HeaderMap::new();
        let given = [(JUSTIFICATION, &target.because), (APPROVAL, &target.approval)];
        for (name, value) in given {
            if let Some(value) = value {
                let value = HeaderValue::from_bytes(value.as_bytes())
                    .map_err(|_| start(format!("{name} must be on one line")))?;
                headers.insert(name, value);
            }
        }
        let http = builder.build().map_err(|e| start(deepest(&e)))?;
        Ok(Self { http, base: target.url, token: target.token, headers })
    }

    /// The request as whoever asks.
    fn authorised(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.token {
            Credential::Nobody => request,
            known => request.bearer_auth(known.reveal()),
        }
    }

    /// The controller's address as people know it.
    pub fn url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }
}

/// An address on this machine is never behind a proxy, whatever the environment says.
fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    })
}

fn deepest(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_recognised() {
        let check = |url: &str, expected| assert_eq!(is_loopback(&url.parse().unwrap()), expected);
        check("https://localhost:8443", true);
        check("https://127.0.0.1:8443", true);
        check("https://[::1]:8443", true);
        check("https://fleet.example", false);
        check("https://127.0.0.1.example", false);
    }
}
