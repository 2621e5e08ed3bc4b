//! The OpenID provider that tests log in at. The command line's tests use it too.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use reqwest::{Certificate, Client, Url};
use serde_json::{Value, json};

/// The real package, run by the script beside it.
pub(crate) struct Provider {
    process: Child,
    pub(crate) issuer: String,
    /// The authority that signed its certificate.
    pub(crate) ca_pem: String,
    pub(crate) client: Client,
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
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let script = ["tests/oidc/provider.mjs", "../tests/oidc/provider.mjs"];
        let script = script.map(|path| here.join(path)).into_iter().find(|path| path.is_file());
        let script = script.expect("the provider's script is there");
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
            // So that a provider that hangs is a failure, not a test without an end.
            .timeout(std::time::Duration::from_secs(60))
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

    /// Publishes another key from now on.
    pub(crate) async fn rotate(&self) {
        self.test("rotate", json!({})).await;
    }

    /// A token with these claims, signed with a key of its; `how` may say otherwise.
    pub(crate) async fn sign(&self, claims: Value, mut how: Value) -> String {
        how["claims"] = claims;
        self.test("sign", how).await.as_str().unwrap().to_owned()
    }
}
