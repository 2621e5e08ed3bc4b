//! Log-in at the tenant's OpenID provider, against the real package.

mod browser;
mod federation;
mod log_in;

use edgeformer_controller::audit::sequencer;
use edgeformer_controller::clock::Clock;
use edgeformer_controller::outbound::OutboundRules;
use http::Method;
use serde_json::{Value, json};

use crate::support::oidc::{Browser, Provider, path};
use crate::support::rest::{Answer, PUBLIC_URL, Rest};

/// An installation whose tenant "acme" logs in at a provider.
pub(super) struct Town {
    pub(super) rest: Rest,
    pub(super) provider: Provider,
    pub(super) tenant: String,
    pub(super) owner: String,
    /// Its identity provider.
    pub(super) id: String,
}

/// A client of the real provider. The addresses of the controller are registered once they are known.
fn client(name: &str, algorithm: &str) -> Value {
    json!({
        "client_id": name, "client_secret": SECRET,
        "redirect_uris": [format!("{PUBLIC_URL}/placeholder")],
        "post_logout_redirect_uris": [format!("{PUBLIC_URL}/api/v1/login/browser")],
        "id_token_signed_response_alg": algorithm,
    })
}

pub(super) const SECRET: &str = "not the safest: + & % a";

impl Town {
    pub(super) async fn new() -> Self {
        Self::with("RS256", json!({})).await
    }

    /// The provider signs with `algorithm`; `extra` is laid over its script's settings.
    pub(super) async fn with(algorithm: &str, extra: Value) -> Self {
        Self::on(None, algorithm, extra).await
    }

    /// The same on another database than the embedded one.
    pub(super) async fn on(database: Option<String>, algorithm: &str, extra: Value) -> Self {
        let provider = Provider::start(json!([client("fleet", algorithm)]), extra);
        let rules = OutboundRules {
            allow: vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
            ca_pem: Some(provider.ca_pem.clone()),
        };
        let rest = Rest::start_with(database, rules).await;
        let (tenant, owner) = rest.tenant("acme").await;
        let id = add(&rest, &owner, &provider, json!({})).await;
        Self { rest, provider, tenant, owner, id }
    }

    /// Path of the way back.
    pub(super) fn callback(&self) -> String {
        format!("/api/v1/login/sso/{}/{}/callback", self.tenant, self.id)
    }

    /// Logs `account` in with `browser`, all the way. Returns the answer to the way back.
    pub(super) async fn enter(&self, browser: &Browser, account: &str) -> Answer {
        let url = browser.start(&self.rest, "tenant=acme").await;
        let back = browser.at_provider(&self.provider, &url, Some(account)).await;
        browser.get(&self.rest, &path(&back)).await
    }

    /// The same for somebody new, who gets in.
    pub(super) async fn entered(&self, account: &str) -> Browser {
        let browser = Browser::default();
        let answer = self.enter(&browser, account).await;
        assert_eq!(answer.status, 303, "{answer:?}");
        browser
    }

    /// Changes the identity provider.
    pub(super) async fn edit(&self, change: Value) -> Answer {
        let path = format!("/api/v1/identity-providers/{}", self.id);
        let tag = self.rest.get(&self.owner, &path).await.headers["etag"].clone();
        let bearer = format!("Bearer {}", self.owner);
        let headers = [("authorization", &*bearer), ("if-match", tag.to_str().unwrap())];
        let body = change.to_string();
        self.rest.send(Method::PATCH, &path, &headers, Some(&body)).await
    }

    /// The records of an action, newest first.
    pub(super) async fn records(&self, action: &str) -> Vec<Value> {
        sequencer::sequence_all(&self.rest.app.store, self.rest.clock.now()).await.unwrap();
        let page = self.rest.get(&self.owner, "/api/v1/audit?limit=200").await;
        let all = page.body["items"].as_array().unwrap().clone();
        all.into_iter().filter(|record| record["action"] == action).collect()
    }
}

/// Makes an identity provider of a tenant for a real one; `extra` is laid over the usual.
pub(super) async fn add(rest: &Rest, owner: &str, provider: &Provider, extra: Value) -> String {
    let mut body = json!({
        "name": "corp", "issuer": provider.issuer, "client_id": "fleet", "client_secret": SECRET,
        "scopes": ["openid", "profile", "email", "groups"], "creates_users": true,
        "role_mapping": {"ops": ["operator"], "sec": ["security", "auditor"]},
    });
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let made = rest.post(owner, "/api/v1/identity-providers", body).await;
    assert_eq!(made.status, 201, "{made:?}");
    let uri = made.text("redirect_uri");
    assert!(uri.starts_with(PUBLIC_URL), "{uri}");
    let logout = made.text("back_channel_logout_uri");
    provider.register(&made.text("client_id"), &uri, &logout).await;
    made.text("id")
}
