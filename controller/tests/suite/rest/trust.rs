//! The tenant's trust repository: what is published is in it, signed, and clients that others wrote
//! believe it.

use std::path::Path;
use std::time::Duration;

use data_encoding::HEXLOWER;
use edgeformer_agent::tuf::{self, Source, SourceError, Store};
use edgeformer_controller::store::Backend;
use edgeformer_controller::trust;
use edgeformer_proto::tuf::client::Limits;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::isolation::model_file;
use crate::support::db::PostgresDatabase;
use crate::support::rest::Rest;

const DAY: Duration = Duration::from_secs(86_400);
pub(super) const FIRST: &str = "models/m/1.0.0/manifest.json";
pub(super) const SECOND: &str = "models/m/1.1.0-rc.1/manifest.json";

/// A repository as a device reads it, through the API.
pub(super) struct Over<'r> {
    rest: &'r Rest,
    token: &'r str,
}

impl Source for Over<'_> {
    async fn fetch(&self, file: &str, max_bytes: usize) -> Result<Option<Vec<u8>>, SourceError> {
        let path = format!("/api/v1/trust/metadata/{file}");
        if self.rest.get(self.token, &path).await.status == 404 {
            return Ok(None);
        }
        let bytes = self.rest.bytes(self.token, &path).await;
        assert!(bytes.len() <= max_bytes, "{file}");
        Ok(Some(bytes))
    }
}

/// A device that trusts the tenant's first root.
pub(super) struct Device<'r> {
    over: Over<'r>,
    store: Store,
    folder: tempfile::TempDir,
}

impl<'r> Device<'r> {
    pub(super) async fn new(rest: &'r Rest, token: &'r str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("ours"));
        store.init(&rest.bytes(token, "/api/v1/trust/metadata/1.root.json").await).unwrap();
        Self { over: Over { rest, token }, store, folder }
    }

    /// The SHA-256 of a target that is listed and comes as it is listed.
    pub(super) async fn hash(&self, path: &str) -> Result<Option<String>, tuf::StoreError> {
        let Over { rest, token } = self.over;
        let now_s = rest.app.now().0 / 1_000_000;
        let trusted = tuf::refresh(&self.store, &self.over, now_s, Limits::default()).await?;
        let found = tuf::look_up(&self.store, &self.over, trusted, path).await?;
        let Some(target) = found.target else { return Ok(None) };
        let path = target.repository_path(&found.trusted);
        let bytes = rest.bytes(token, &format!("/api/v1/trust/targets/{path}")).await;
        let mut check = target.check().unwrap();
        check.update(&bytes).unwrap();
        check.finish().unwrap();
        Ok(Some(HEXLOWER.encode(digest(&SHA256, &bytes).as_ref())))
    }

    /// The same by python-tuf.
    async fn python(&self, url: &str, paths: &[&str]) -> Value {
        let theirs = self.folder.path().join("theirs");
        let targets = self.folder.path().join("targets");
        for folder in [&theirs, &targets] {
            std::fs::create_dir_all(folder).unwrap();
        }
        std::fs::copy(self.folder.path().join("ours/root.json"), theirs.join("root.json")).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/rest/trust_read.py");
        let output = tokio::process::Command::new(super::python())
            .arg(script)
            .args([&theirs, &targets])
            .arg(format!("{url}/api/v1/trust"))
            .arg(self.over.token)
            .args(paths)
            .output()
            .await
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

pub(super) async fn publish(rest: &Rest, token: &str, version: &str) -> String {
    let path = format!("/api/v1/models/m/versions/{version}/payload");
    let answer = rest.put(token, &path, model_file()).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    trust::reconcile_all(&rest.app).await.unwrap();
    answer.text("manifest_sha256")
}

async fn versions(rest: &Rest, token: &str) -> Vec<(String, u64)> {
    let state = rest.get(token, "/api/v1/trust").await;
    let roles = state.body["roles"].as_array().unwrap().iter();
    roles
        .map(|role| (role["role"].as_str().unwrap().to_owned(), role["version"].as_u64().unwrap()))
        .collect()
}

async fn lists_what_is_published(rest: Rest) {
    let (_, acme) = rest.tenant("acme").await;
    let (_, other) = rest.tenant("other").await;
    assert_eq!(rest.get(&acme, "/api/v1/trust").await.body, json!({"roles": []}));
    trust::reconcile_all(&rest.app).await.unwrap();
    let device = Device::new(&rest, &acme).await;
    assert_eq!(device.hash(FIRST).await.unwrap(), None, "nothing is published");
    let first = publish(&rest, &acme, "1.0.0").await;
    assert_eq!(device.hash(FIRST).await.unwrap(), Some(first.clone()));
    let second = publish(&rest, &acme, "1.1.0-rc.1").await;
    let url = rest.listen().await;
    let expected = json!({ FIRST: first, SECOND: second, "models/m/2.0.0/manifest.json": null });
    let paths = [FIRST, SECOND, "models/m/2.0.0/manifest.json"];
    assert_eq!(device.python(&url, &paths).await, expected);
    // Another tenant's repository is another's, and its device does not believe this one.
    let stranger = Device::new(&rest, &other).await;
    assert_eq!(stranger.hash(FIRST).await.unwrap(), None);
    let path = format!("/api/v1/trust/targets/{FIRST}");
    rest.get(&other, &path).await.is_problem(404, "not_found");
    let taken_over = Device { over: Over { rest: &rest, token: &acme }, ..stranger };
    assert!(taken_over.hash(FIRST).await.is_err(), "it trusts other keys");
    // Signed anew in time, under the same keys, without a word in the audit log for each day.
    let before = versions(&rest, &acme).await;
    for _ in 0..30 {
        rest.advance(DAY);
        trust::reconcile_all(&rest.app).await.unwrap();
    }
    let after = versions(&rest, &acme).await;
    assert_eq!(after[..2], before[..2], "root and targets are good for longer");
    assert_eq!(after[3].1, before[3].1 + 30);
    assert_eq!(device.hash(SECOND).await.unwrap(), Some(second));
    let log = rest.get(&acme, "/api/v1/audit?limit=200").await;
    let items = log.body["items"].as_array().unwrap().iter();
    let signed = items.filter(|item| item["action"] == "trust:sign").count();
    assert_eq!(signed, 3, "the repository was made, and two versions were released");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenants_repository_lists_what_is_published_on_sqlite() {
    lists_what_is_published(Rest::start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenants_repository_lists_what_is_published_on_postgres() {
    let database = PostgresDatabase::create().await;
    let rest = Rest::start_on(Some(database.url.clone())).await;
    let store = rest.app.store.clone();
    assert_eq!(store.backend(), Backend::Postgres);
    lists_what_is_published(rest).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_controllers_sign_a_version_once() {
    let rest = Rest::start().await;
    let (_, acme) = rest.tenant("acme").await;
    let one = || trust::reconcile_all(&rest.app);
    let (a, b, c) = tokio::join!(one(), one(), one());
    a.and(b).and(c).unwrap();
    assert!(versions(&rest, &acme).await.iter().all(|(_, version)| *version == 1));
    let device = Device::new(&rest, &acme).await;
    assert_eq!(device.hash(FIRST).await.unwrap(), None);
}

#[tokio::test]
async fn a_device_that_saw_a_repository_end_believes_it_no_longer() {
    let rest = Rest::start().await;
    let (_, acme) = rest.tenant("acme").await;
    trust::reconcile_all(&rest.app).await.unwrap();
    let device = Device::new(&rest, &acme).await;
    rest.advance(8 * DAY);
    let error = device.hash(FIRST).await.unwrap_err().to_string();
    assert!(error.contains("timestamp") && error.contains("expired"), "{error}");
    trust::reconcile_all(&rest.app).await.unwrap();
    assert_eq!(device.hash(FIRST).await.unwrap(), None);
}
