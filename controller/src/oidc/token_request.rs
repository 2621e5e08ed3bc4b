//! What the controller asks a provider itself: tokens for a code, and more about a person.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use reqwest::Url;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::claims::Claims;
use super::discovery::Metadata;
use crate::app::App;
use crate::outbound::Ask;
use crate::store::identity_providers::IdentityProvider;
use crate::vault::SecretKind;

/// Largest answer: tokens with some hundred groups fit several times.
const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// Pairs as `application/x-www-form-urlencoded`.
pub fn form(pairs: &[(&str, &str)]) -> String {
    let mut url = Url::parse("https://form.invalid/").expect("it is a URL");
    url.query_pairs_mut().extend_pairs(pairs);
    url.query().unwrap_or_default().to_owned()
}

/// What a provider gives for a code.
#[derive(Deserialize)]
pub(super) struct Tokens {
    pub(super) id_token: String,
    pub(super) access_token: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

/// A code with what proves that it is ours.
pub(super) struct Code<'a> {
    pub(super) code: &'a str,
    pub(super) verifier: &'a str,
    pub(super) redirect_uri: &'a str,
}

/// Trades a code for tokens. The error is for the log.
pub(super) async fn redeem(
    app: &App,
    provider: &IdentityProvider,
    metadata: &Metadata,
    code: Code<'_>,
) -> Result<Tokens, String> {
    let url = metadata.token_endpoint.as_deref().ok_or("the provider has no token endpoint")?;
    let mut pairs = vec![
        ("grant_type", "authorization_code"),
        ("code", code.code),
        ("redirect_uri", code.redirect_uri),
        ("code_verifier", code.verifier),
    ];
    let secret = client_secret(app, provider)?;
    let mut headers = HeaderMap::new();
    match &secret {
        Some(secret) if !metadata.secret_in_body => {
            headers.insert(header::AUTHORIZATION, basic(&provider.client_id, secret)?);
        }
        Some(secret) => {
            pairs.extend([("client_id", &*provider.client_id), ("client_secret", secret.as_str())]);
        }
        None => pairs.push(("client_id", &provider.client_id)),
    }
    let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    let ask = Ask::new(Method::POST, url, MAX_ANSWER_BYTES).map_err(|error| error.to_string())?;
    let ask = ask.headers(headers).body(form(&pairs));
    let answer = app.outbound.send(ask).await.map_err(|error| error.to_string())?;
    if answer.status != StatusCode::OK {
        let error = serde_json::from_slice::<Refusal>(&answer.body).map(|refusal| refusal.error);
        let error: String = error.unwrap_or_default().chars().take(60).collect();
        return Err(format!("the provider does not take the code: {} {error:?}", answer.status));
    }
    serde_json::from_slice(&answer.body)
        .map_err(|_| "the provider's answer to the code has no ID token".to_owned())
}

fn client_secret(
    app: &App,
    provider: &IdentityProvider,
) -> Result<Option<Zeroizing<String>>, String> {
    let Some(wrapped) = &provider.wrapped_secret else { return Ok(None) };
    let secret = app
        .vault
        .unwrap(SecretKind::ClientSecret, &provider.id.to_string(), wrapped)
        .map_err(|error| error.to_string())?;
    let text = std::str::from_utf8(&secret).map_err(|error| error.to_string())?;
    Ok(Some(Zeroizing::new(text.to_owned())))
}

/// RFC 6749, section 2.3.1: both are encoded like a form before they are put together.
fn basic(id: &str, secret: &str) -> Result<HeaderValue, String> {
    let encoded = |text: &str| form(&[("", text)]).trim_start_matches('=').to_owned();
    let pair = Zeroizing::new(format!("{}:{}", encoded(id), encoded(secret)));
    let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(&*pair)))
        .map_err(|error| error.to_string())?;
    value.set_sensitive(true);
    Ok(value)
}

/// What the provider says about whom the access token is for.
pub(super) async fn userinfo(app: &App, url: &str, access_token: &str) -> Result<Claims, String> {
    let mut headers = HeaderMap::new();
    let mut bearer = HeaderValue::from_str(&format!("Bearer {access_token}"))
        .map_err(|_| "the access token does not fit into a header")?;
    bearer.set_sensitive(true);
    headers.insert(header::AUTHORIZATION, bearer);
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    let ask = Ask::new(Method::GET, url, MAX_ANSWER_BYTES).map_err(|error| error.to_string())?;
    let answer =
        app.outbound.send(ask.headers(headers)).await.map_err(|error| error.to_string())?;
    if answer.status != StatusCode::OK {
        return Err(format!("the provider's userinfo answers {}", answer.status));
    }
    serde_json::from_slice(&answer.body)
        .map_err(|_| "the provider's userinfo is not a JSON object".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_encoded_before_they_are_put_together() {
        assert_eq!(form(&[("a", "x y&=%:"), ("b", "ä")]), "a=x+y%26%3D%25%3A&b=%C3%A4");
        let value = basic("a:b", "p%=").unwrap();
        let text = STANDARD.decode(value.to_str().unwrap().trim_start_matches("Basic ")).unwrap();
        assert_eq!(text, b"a%3Ab:p%25%3D");
    }
}
