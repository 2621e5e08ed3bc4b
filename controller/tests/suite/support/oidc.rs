//! The OpenID provider that tests log in at, and a browser that goes between it and the API.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use http::{HeaderMap, Method};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use reqwest::{Certificate, Client, Url};
use serde_json::{Value, json};

use super::rest::{Answer, Rest};

/// The real package, run by the script beside it.
pub(crate) struct Provider {
    process: Child,
    pub(crate) issuer: String,
    /// The authority that signed its certificate.
    pub(crate) ca_pem: String,
    client: Client,
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Tls {
    ca_pem: String,
    cert_pem: String,
    key_pem: String,
}

fn tls() -> Tls {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&ca_key).unwrap();
    let issuer = Issuer::from_params(&params, &ca_key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let cert = leaf.signed_by(&key, &issuer).unwrap();
    Tls { ca_pem: ca.pem(), cert_pem: cert.pem(), key_pem: key.serialize_pem() }
}

/// The people that the provider knows.
fn accounts() -> Value {
    let one = |name: &str, groups: &[&str]| {
        json!({
            "name": format!("{name} the First"), "preferred_username": name,
            "email": format!("{name}@example.com"), "email_verified": true, "groups": groups,
        })
    };
    json!({
        "ada": one("ada", &["ops", "everyone"]),
        "bob": one("bob", &["sec"]),
        "eve": one("eve", &["everyone"]),
    })
}

impl Provider {
    /// With these clients; `extra` is laid over the script's settings.
    pub(crate) fn start(clients: Value, extra: Value) -> Self {
        let packages = std::env::var("EDGEFORMER_TEST_OIDC")
            .expect("EDGEFORMER_TEST_OIDC is not set: run the tests with `cargo xtask test`");
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/oidc/provider.mjs");
        // Another test may have installed it before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let tls = tls();
        let mut config = json!({
            "key": tls.key_pem, "cert": tls.cert_pem, "clients": clients, "accounts": accounts(),
        });
        config.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let mut process = Command::new("node")
            .arg(script)
            .env("EDGEFORMER_TEST_OIDC", packages)
            .env("CONFIG", config.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("node runs the provider");
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).expect("the provider starts");
        let issuer = said["issuer"].as_str().unwrap().to_owned();
        let root = Certificate::from_pem(tls.ca_pem.as_bytes()).unwrap();
        let client = Client::builder()
            .tls_certs_only([root])
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .unwrap();
        Self { process, issuer, ca_pem: tls.ca_pem, client }
    }

    async fn test(&self, what: &str, body: Value) -> Value {
        let url = Url::parse(&self.issuer).unwrap().join(&format!("/test/{what}")).unwrap();
        let answer = self.client.post(url).body(body.to_string()).send().await.unwrap();
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
    }

    /// What is wrong with its ID tokens from now on; nothing, with an empty object.
    pub(crate) async fn tamper(&self, how: Value) {
        self.test("tamper", how).await;
    }

    /// Registers a controller's addresses with a client.
    pub(crate) async fn register(&self, client_id: &str, back: &str, logout: &str) {
        let body = json!({
            "client_id": client_id, "redirect_uri": back, "back_channel_logout_uri": logout,
        });
        self.test("register", body).await;
    }

    /// What it sent to clients by itself since it was asked last.
    pub(crate) async fn delivered(&self) -> Vec<Value> {
        self.test("delivered", json!({})).await.as_array().unwrap().clone()
    }

    /// How often a path was asked for.
    pub(crate) async fn requests(&self, path: &str) -> u64 {
        self.test("requests", json!({})).await[path].as_u64().unwrap_or_default()
    }

    /// A token with these claims, signed with a key of its; `how` may say otherwise.
    pub(crate) async fn sign(&self, claims: Value, mut how: Value) -> String {
        how["claims"] = claims;
        self.test("sign", how).await.as_str().unwrap().to_owned()
    }
}

/// A browser with its cookies, of the API and of the provider apart.
#[derive(Default)]
pub(crate) struct Browser {
    ours: Mutex<BTreeMap<String, String>>,
    theirs: Mutex<BTreeMap<String, String>>,
}

fn keep(jar: &Mutex<BTreeMap<String, String>>, headers: &HeaderMap) {
    let mut jar = jar.lock().unwrap();
    for value in headers.get_all("set-cookie") {
        let pair = value.to_str().unwrap().split(';').next().unwrap().to_owned();
        let (name, value) = pair.split_once('=').unwrap();
        match value.is_empty() {
            true => jar.remove(name),
            false => jar.insert(name.to_owned(), value.to_owned()),
        };
    }
}

fn header(jar: &Mutex<BTreeMap<String, String>>) -> String {
    let jar = jar.lock().unwrap();
    jar.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
}

impl Browser {
    /// A cookie of the API whose name ends like this.
    pub(crate) fn cookie(&self, end: &str) -> Option<String> {
        let jar = self.ours.lock().unwrap();
        jar.iter().find(|(name, _)| name.ends_with(end)).map(|(_, value)| value.clone())
    }

    /// Puts a cookie of another browser in.
    pub(crate) fn set_cookie(&self, name: &str, value: &str) {
        self.ours.lock().unwrap().insert(name.to_owned(), value.to_owned());
    }

    /// Asks the API; `headers` come with the cookies.
    pub(crate) async fn ask(
        &self,
        rest: &Rest,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Answer {
        let cookies = header(&self.ours);
        let mut all = vec![("cookie", cookies.as_str())];
        all.extend(headers);
        let answer = rest.send(method, path, &all, body).await;
        keep(&self.ours, &answer.headers);
        answer
    }

    pub(crate) async fn get(&self, rest: &Rest, path: &str) -> Answer {
        self.ask(rest, Method::GET, path, &[], None).await
    }

    /// Sends a form as a page of the API does.
    pub(crate) async fn form(&self, rest: &Rest, path: &str, pairs: &[(&str, &str)]) -> Answer {
        let origin = rest.app.public_origin();
        let mut url = Url::parse("https://form/").unwrap();
        url.query_pairs_mut().extend_pairs(pairs);
        let body = url.query().unwrap().to_owned();
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("origin", origin.as_str()),
            ("sec-fetch-site", "same-origin"),
        ];
        self.ask(rest, Method::POST, path, &headers, Some(&body)).await
    }

    /// Follows the provider's pages from `url` as `account`, until it sends the browser elsewhere.
    /// Nobody refuses. Returns where.
    pub(crate) async fn at_provider(
        &self,
        provider: &Provider,
        url: &str,
        account: Option<&str>,
    ) -> String {
        let mut url = Url::parse(url).unwrap();
        let here = Url::parse(&provider.issuer).unwrap().origin();
        for _ in 0..10 {
            let mut request =
                provider.client.get(url.clone()).header("cookie", header(&self.theirs));
            if let Some(account) = account {
                request = request.header("x-test-account", account);
            }
            let answer = request.send().await.unwrap();
            keep(&self.theirs, answer.headers());
            let Some(to) = answer.headers().get("location") else {
                panic!("{url} answers {}: {}", answer.status(), answer.text().await.unwrap());
            };
            url = url.join(to.to_str().unwrap()).unwrap();
            if url.origin() != here {
                return url.into();
            }
        }
        panic!("the provider sends the browser round in circles");
    }

    /// Logs out at the provider's page, and confirms there. Returns where it sends the browser.
    pub(crate) async fn log_out_at_provider(&self, provider: &Provider, url: &str) -> String {
        let page = provider.client.get(url).header("cookie", header(&self.theirs));
        let page = page.send().await.unwrap();
        keep(&self.theirs, page.headers());
        let text = page.text().await.unwrap();
        let after = |mark: &str| text.split(mark).nth(1).unwrap().split('"').next().unwrap();
        let (action, xsrf) = (after("action=\""), after("name=\"xsrf\" value=\""));
        let form = format!("xsrf={xsrf}&logout=yes");
        let confirm = provider.client.post(action).header("cookie", header(&self.theirs));
        let confirm = confirm.header("content-type", "application/x-www-form-urlencoded");
        let done = confirm.body(form).send().await.unwrap();
        keep(&self.theirs, done.headers());
        done.headers()["location"].to_str().unwrap().to_owned()
    }

    /// Begins a log-in at the API. Returns where it sends the browser.
    pub(crate) async fn start(&self, rest: &Rest, query: &str) -> String {
        let answer = self.get(rest, &format!("/api/v1/login/sso?{query}")).await;
        assert_eq!(answer.status, 303, "{answer:?}");
        answer.headers["location"].to_str().unwrap().to_owned()
    }
}

/// Path and query of an address of the API.
pub(crate) fn path(url: &str) -> String {
    let url = Url::parse(url).unwrap();
    format!("{}?{}", url.path(), url.query().unwrap_or_default())
}
