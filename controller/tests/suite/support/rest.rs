//! The REST API of a real installation on SQLite, without sockets.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use edgeformer_controller::api;
use edgeformer_controller::app::{App, Nudges, Parts};
use edgeformer_controller::clock::{Clock, ManualClock, SystemClock};
use edgeformer_controller::config::DataDir;
use edgeformer_controller::init::{self, NewInstallation};
use edgeformer_controller::outbound::OutboundRules;
use edgeformer_controller::serve;
use edgeformer_controller::store::connect;
use http::{HeaderMap, Method, Request, StatusCode};
use serde_json::{Value, json};
use sqlx::Connection;
use tempfile::TempDir;
use tower::ServiceExt;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    /// The answer's field as text.
    #[track_caller]
    pub(crate) fn text(&self, field: &str) -> String {
        self.body[field].as_str().unwrap_or_else(|| panic!("no {field} in {self:?}")).to_owned()
    }

    /// Fails unless the answer is a problem of this status and code, or SCIM's error of this status.
    #[track_caller]
    pub(crate) fn is_problem(&self, status: u16, code: &str) {
        if self.headers["content-type"] == "application/scim+json" {
            assert_eq!((self.status.as_u16(), self.text("status")), (status, status.to_string()));
            return;
        }
        assert_eq!(
            (self.status.as_u16(), self.body["code"].as_str()),
            (status, Some(code)),
            "{self:?}"
        );
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.body["status"], status);
        let request = self.headers["x-request-id"].to_str().unwrap();
        assert_eq!(self.body["instance"], format!("urn:uuid:{request}"));
        assert!(self.body["title"].is_string() && self.body["detail"].is_string());
    }
}

/// Under which people would reach it.
pub(crate) const PUBLIC_URL: &str = "https://fleet.example";

/// An installation and its API.
pub(crate) struct Rest {
    pub(crate) app: App,
    pub(crate) clock: ManualClock,
    pub(crate) installation_token: String,
    router: Router,
    dir: TempDir,
}

impl Rest {
    pub(crate) async fn start() -> Self {
        Self::start_on(None).await
    }

    /// On another database than the embedded one.
    pub(crate) async fn start_on(database_url: Option<String>) -> Self {
        Self::start_with(database_url, OutboundRules::default()).await
    }

    /// Settings may name servers that the test itself runs.
    pub(crate) async fn start_beside_servers(database_url: Option<String>) -> Self {
        let allow = vec!["127.0.0.0/8".parse().unwrap()];
        Self::start_with(database_url, OutboundRules { allow, ca_pem: None }).await
    }

    /// In a folder of its own below `folder`.
    pub(crate) async fn start_below(folder: &std::path::Path) -> Self {
        let dir = tempfile::tempdir_in(folder).unwrap();
        Self::start_in(dir, None, OutboundRules::default()).await
    }

    /// That may ask others within these rules.
    pub(crate) async fn start_with(database_url: Option<String>, outbound: OutboundRules) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), database_url, outbound).await
    }

    async fn start_in(dir: TempDir, database_url: Option<String>, outbound: OutboundRules) -> Self {
        let data = DataDir::new(&dir.path().join("data")).unwrap();
        let new = NewInstallation {
            dir: data.clone(),
            database_url: database_url.clone(),
            trust_domain: "test.local".into(),
            server_names: vec!["localhost".into()],
        };
        init::init(&new, SystemClock.now()).await.unwrap();
        let (opened, _) = serve::open(&data, database_url.as_deref(), outbound).await.unwrap();
        let clock = ManualClock::at(SystemClock.now());
        let app = App::new(Parts {
            store: opened.store.clone(),
            vault: Arc::clone(&opened.vault),
            objects: opened.objects.clone(),
            staging: opened.staging.clone(),
            clock: Arc::new(clock.clone()),
            nudges: Nudges::default(),
            outbound: opened.outbound.clone(),
        });
        let installation_token = std::fs::read_to_string(data.admin_token()).unwrap();
        let installation_token = installation_token.trim().to_owned();
        app.set_public_url(PUBLIC_URL);
        Self { router: api::router(app.clone()), app, clock, installation_token, dir }
    }

    /// Makes a tenant; returns its id and first admin token.
    pub(crate) async fn tenant(&self, name: &str) -> (String, String) {
        let answer =
            self.post(&self.installation_token, "/api/v1/tenants", json!({"name": name})).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        (answer.text("id"), answer.text("admin_token"))
    }

    /// A token of this role, made by `admin`.
    pub(crate) async fn token(&self, admin: &str, role: &str) -> String {
        let body = json!({"name": role, "role": role});
        self.post(admin, "/api/v1/tokens", body).await.text("token")
    }

    pub(crate) async fn get(&self, token: &str, path: &str) -> Answer {
        self.send(Method::GET, path, &[("authorization", &format!("Bearer {token}"))], None).await
    }

    /// URL of the embedded database.
    pub(crate) fn database_url(&self) -> String {
        connect::sqlite_url(&self.data_dir().join("controller.db"), false)
    }

    /// A text that is no JSON.
    pub(crate) async fn text(&self, token: &str, path: &str) -> String {
        String::from_utf8(self.bytes(token, path).await).unwrap()
    }

    /// A body as it is.
    pub(crate) async fn bytes(&self, token: &str, path: &str) -> Vec<u8> {
        let request = Request::get(path).header("authorization", format!("Bearer {token}"));
        let request = request.body(Body::empty()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let bytes = to_bytes(response.into_body(), 16 << 20).await.unwrap();
        bytes.to_vec()
    }

    pub(crate) async fn post(&self, token: &str, path: &str, body: Value) -> Answer {
        let token = format!("Bearer {token}");
        self.send(Method::POST, path, &[("authorization", &token)], Some(&body.to_string())).await
    }

    /// Any request; a body is sent as JSON.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if body.is_some() && !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/json");
        }
        let body = body.map_or_else(Body::empty, |text| Body::from(text.to_owned()));
        self.answer(request, body).await
    }

    /// Uploads bytes.
    pub(crate) async fn put(&self, token: &str, path: &str, bytes: Vec<u8>) -> Answer {
        let request = Request::put(path)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/octet-stream");
        self.answer(request, Body::from(bytes)).await
    }

    async fn answer(&self, request: http::request::Builder, body: Body) -> Answer {
        let response = self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, 16 << 20).await.unwrap();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// Serves over plain HTTP on loopback until the runtime ends, for clients that others wrote.
    pub(crate) async fn listen(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = self.router.clone();
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }

    /// The API, for a listener.
    pub(crate) fn router(&self) -> Router {
        self.router.clone()
    }

    /// The installation's folder.
    pub(crate) fn data_dir(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }

    /// Leaves a key as a crash between commit and answer does.
    pub(crate) async fn forget_answer(&self, key: &str) {
        let mut connection = sqlx::AnyConnection::connect(&self.database_url()).await.unwrap();
        let done =
            sqlx::query("UPDATE idempotency_keys SET status = 1, response = '' WHERE key = $1")
                .bind(key)
                .execute(&mut connection)
                .await
                .unwrap();
        assert_eq!(done.rows_affected(), 1);
        connection.close().await.unwrap();
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }
}
