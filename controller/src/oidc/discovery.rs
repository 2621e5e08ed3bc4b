//! What a provider says of itself: its discovery document (OpenID Connect Discovery 1.0) and its keys.
//! Fetched over the guarded way out, capped, kept for a while. Each tenant has its own copy, so that
//! none learns from the time an answer takes where another one's people log in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use edgeformer_proto::ids::TenantId;
use http::{Method, StatusCode};
use serde::Deserialize;

use super::jws::{self, JwsError, Key, Verified};
use crate::app::App;
use crate::clock::Timestamp;
use crate::outbound::{self, Ask};

/// Largest discovery document; real ones have some KiB.
const MAX_DOCUMENT_BYTES: usize = 256 * 1024;
/// How long a document and keys are believed.
const FRESH_FOR: Duration = Duration::from_secs(3600);
/// After an unknown key the keys are fetched again, at most so often: tokens name keys at will.
const KEYS_EVERY: Duration = Duration::from_secs(60);
/// After a failure nothing is fetched for so long.
const FAILURE_LASTS: Duration = Duration::from_secs(10);
/// Providers remembered; beyond, all are fetched again.
const MAX_REMEMBERED: usize = 4096;

/// Why a provider cannot be used now. For admins and the log: strangers are not told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DiscoveryError(pub String);

#[derive(Debug, Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
    jwks_uri: String,
    userinfo_endpoint: Option<String>,
    end_session_endpoint: Option<String>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

/// What a provider says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// Where browsers log in; none if it only signs tokens.
    pub authorization_endpoint: Option<String>,
    /// Where codes become tokens.
    pub token_endpoint: Option<String>,
    /// Where the keys are.
    pub jwks_uri: String,
    /// Where more is said about a person.
    pub userinfo_endpoint: Option<String>,
    /// Where browsers log out.
    pub end_session_endpoint: Option<String>,
    /// Whether it says with each code who it is (RFC 9207).
    pub sends_issuer: bool,
    /// Whether the client's secret goes into the body instead of the header.
    pub secret_in_body: bool,
}

/// What is known of a provider.
#[derive(Debug, Clone)]
pub struct Known {
    /// What it says of itself.
    pub metadata: Arc<Metadata>,
    /// What it signs with.
    pub keys: Arc<Vec<Key>>,
    at: Timestamp,
    keys_at: Timestamp,
}

#[derive(Debug, Default)]
struct State {
    known: Option<Known>,
    failed: Option<(Timestamp, DiscoveryError)>,
}

type Slot = Arc<tokio::sync::Mutex<State>>;

/// What is known of the tenants' providers.
#[derive(Debug, Default)]
pub struct Providers(Mutex<HashMap<(TenantId, String), Slot>>);

impl Providers {
    fn slot(&self, tenant: TenantId, issuer: &str) -> Slot {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_REMEMBERED {
            all.clear();
        }
        Arc::clone(all.entry((tenant, issuer.to_owned())).or_default())
    }

    /// Forgets what is known: the settings changed.
    pub fn forget(&self, tenant: TenantId, issuer: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&(tenant, issuer.to_owned()));
    }
}

/// What is known of the provider, fetched if it is not fresh. Who asks at once waits for one fetch.
pub async fn known(app: &App, tenant: TenantId, issuer: &str) -> Result<Known, DiscoveryError> {
    let slot = app.providers().slot(tenant, issuer);
    let mut state = slot.lock().await;
    let now = app.now();
    let within = |at: Timestamp, life: Duration| at <= now && now < at.plus(life);
    if let Some(known) = state.known.as_ref().filter(|known| within(known.at, FRESH_FOR)) {
        return Ok(known.clone());
    }
    if let Some((_, error)) = state.failed.as_ref().filter(|(at, _)| within(*at, FAILURE_LASTS)) {
        return Err(error.clone());
    }
    match fetch(app, issuer).await {
        Ok((metadata, keys)) => {
            let (metadata, keys) = (Arc::new(metadata), Arc::new(keys));
            let known = Known { metadata, keys, at: now, keys_at: now };
            *state = State { known: Some(known.clone()), failed: None };
            Ok(known)
        }
        Err(error) => {
            tracing::warn!(%tenant, issuer, %error, "an identity provider cannot be used");
            state.failed = Some((now, error.clone()));
            Err(error)
        }
    }
}

/// Fetches the keys again, unless they were fetched a moment ago.
async fn newer_keys(app: &App, tenant: TenantId, issuer: &str) -> Option<Arc<Vec<Key>>> {
    let slot = app.providers().slot(tenant, issuer);
    let mut state = slot.lock().await;
    let now = app.now();
    let known = state.known.as_mut()?;
    if known.keys_at <= now && now < known.keys_at.plus(KEYS_EVERY) {
        return Some(Arc::clone(&known.keys));
    }
    known.keys_at = now;
    match fetch_keys(app, &known.metadata.jwks_uri).await {
        Ok(keys) => known.keys = Arc::new(keys),
        Err(error) => tracing::warn!(%tenant, issuer, %error, "keys are not fetched again"),
    }
    Some(Arc::clone(&known.keys))
}

/// Why a token is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Untrusted {
    /// Its provider cannot be used now.
    #[error(transparent)]
    Provider(#[from] DiscoveryError),
    /// Its signature.
    #[error(transparent)]
    Signature(#[from] JwsError),
}

/// Checks a token's signature with the provider's keys, which are fetched again when it names one that
/// is not among them.
pub async fn verify(
    app: &App,
    tenant: TenantId,
    issuer: &str,
    token: &str,
    allowed: impl IntoIterator<Item = &String> + Clone,
) -> Result<Verified, Untrusted> {
    let known = known(app, tenant, issuer).await?;
    match jws::verify(token, &known.keys, allowed.clone()) {
        Err(JwsError::UnknownKey { kid, algorithm }) => {
            match newer_keys(app, tenant, issuer).await {
                Some(keys) => Ok(jws::verify(token, &keys, allowed)?),
                None => Err(JwsError::UnknownKey { kid, algorithm }.into()),
            }
        }
        other => Ok(other?),
    }
}

async fn get(app: &App, url: &str) -> Result<Vec<u8>, DiscoveryError> {
    let failed = |error: outbound::OutboundError| DiscoveryError(format!("{url}: {error}"));
    let ask = Ask::new(Method::GET, url, MAX_DOCUMENT_BYTES).map_err(failed)?;
    let answer = app.outbound.send(ask).await.map_err(failed)?;
    match answer.status {
        StatusCode::OK => Ok(answer.body.to_vec()),
        status => Err(DiscoveryError(format!("{url} answers {status}, not 200"))),
    }
}

async fn fetch(app: &App, issuer: &str) -> Result<(Metadata, Vec<Key>), DiscoveryError> {
    let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    let metadata = read(&get(app, &url).await?, issuer)
        .map_err(|what| DiscoveryError(format!("{url}: {what}")))?;
    let keys = fetch_keys(app, &metadata.jwks_uri).await?;
    Ok((metadata, keys))
}

async fn fetch_keys(app: &App, url: &str) -> Result<Vec<Key>, DiscoveryError> {
    let keys = jws::keys(&get(app, url).await?);
    keys.ok_or_else(|| DiscoveryError(format!("{url} is not a set of keys")))
}

/// Reads a discovery document, which must be of `issuer` to the letter.
fn read(document: &[u8], issuer: &str) -> Result<Metadata, String> {
    let document: Document = serde_json::from_slice(document)
        .map_err(|error| format!("it is not a discovery document: {error}"))?;
    if document.issuer != issuer {
        let shown: String = document.issuer.chars().take(200).collect();
        return Err(format!("it is of the issuer {shown:?}, not of {issuer:?}"));
    }
    let encrypted = issuer.starts_with("https:");
    let good = |what: &str, url: &str| match outbound::parse_url(url) {
        Ok(parsed) if encrypted && parsed.scheme() != "https" => {
            Err(format!("its {what} is not https"))
        }
        Ok(_) => Ok(()),
        Err(error) => Err(format!("its {what}: {error}")),
    };
    good("jwks_uri", &document.jwks_uri)?;
    for (what, url) in [
        ("authorization_endpoint", &document.authorization_endpoint),
        ("token_endpoint", &document.token_endpoint),
        ("userinfo_endpoint", &document.userinfo_endpoint),
        ("end_session_endpoint", &document.end_session_endpoint),
    ] {
        if let Some(url) = url {
            good(what, url)?;
        }
    }
    // Without a list it is the header (OpenID Connect Discovery 1.0, section 3).
    let methods = document.token_endpoint_auth_methods_supported;
    let has = |methods: &[String], name: &str| methods.iter().any(|method| method == name);
    let secret_in_body = methods.is_some_and(|methods| {
        !has(&methods, "client_secret_basic") && has(&methods, "client_secret_post")
    });
    Ok(Metadata {
        authorization_endpoint: document.authorization_endpoint,
        token_endpoint: document.token_endpoint,
        jwks_uri: document.jwks_uri,
        userinfo_endpoint: document.userinfo_endpoint,
        end_session_endpoint: document.end_session_endpoint,
        sends_issuer: document.authorization_response_iss_parameter_supported,
        secret_in_body,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_document_must_be_of_the_issuer_and_name_only_safe_places() {
        let base = json!({
            "issuer": "https://id.example/t", "jwks_uri": "https://id.example/keys",
            "authorization_endpoint": "https://id.example/auth",
            "token_endpoint": "https://id.example/token",
        });
        let check = |name: &str, value: Value| {
            let mut document = base.clone();
            document[name] = value;
            read(document.to_string().as_bytes(), "https://id.example/t")
        };
        let good = check("token_endpoint_auth_methods_supported", json!(["client_secret_post"]));
        assert!(good.unwrap().secret_in_body);
        assert!(!check("x", json!(1)).unwrap().secret_in_body);
        for (name, value, why) in [
            ("issuer", json!("https://id.example/t/"), "of the issuer"),
            ("issuer", json!("https://evil.example"), "of the issuer"),
            ("jwks_uri", json!("http://id.example/keys"), "not https"),
            ("token_endpoint", json!("file:///etc/passwd"), "https"),
            ("authorization_endpoint", json!("javascript:alert(1)"), "authorization_endpoint"),
            ("end_session_endpoint", json!("http://10.0.0.1/"), "not https"),
            ("jwks_uri", Value::Null, "not a discovery document"),
        ] {
            let refused = check(name, value).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
    }
}
