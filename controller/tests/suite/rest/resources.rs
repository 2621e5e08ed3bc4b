use std::collections::BTreeMap;

use edgeformer_controller::audit::sequencer;
use edgeformer_controller::scope::TenantScope;
use edgeformer_controller::store::enrolments::{self, NewDevice};
use edgeformer_controller::store::tenants;
use edgeformer_proto::ids::{DeviceId, TokenId};
use http::Method;
use serde_json::json;

use crate::support::rest::Rest;

pub(super) async fn device(rest: &Rest, tenant: &str, name: &str) -> String {
    let scope = TenantScope::system(tenant.parse().unwrap(), "test");
    let now = rest.app.now();
    let device = NewDevice {
        id: DeviceId::new(),
        name: name.to_owned(),
        labels: BTreeMap::from([("site".into(), "berlin".into())]),
        facts: json!({"os": "linux"}),
        public_key: name.as_bytes().to_vec(),
        hpke_public: vec![4; 65],
        credential: TokenId::new().to_string(),
        cert_expires_at_us: now.0,
        ca_id: String::new(),
    };
    let mut write = rest.app.store.write_observation(&scope).await.unwrap();
    enrolments::insert_device(&mut write, &device, now).await.unwrap();
    write.commit(now).await.unwrap();
    device.id.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_gets_keys_of_its_own_and_an_owner() {
    let rest = Rest::start().await;
    let (id, admin) = rest.tenant("acme").await;
    let who = rest.get(&admin, "/api/v1/whoami").await;
    assert_eq!(who.text("tenant_id"), id);
    assert_eq!((who.text("tenant_name"), who.text("role")), ("acme".into(), "owner".into()));
    let top = rest.get(&rest.installation_token, "/api/v1/whoami").await;
    assert_eq!((top.text("role"), top.body["tenant_id"].is_null()), ("installation".into(), true));
    let again =
        rest.post(&rest.installation_token, "/api/v1/tenants", json!({"name": "acme"})).await;
    again.is_problem(409, "name_taken");

    let (other, _) = rest.tenant("other").await;
    let read = async |id: &str| {
        let scope = TenantScope::system(id.parse().unwrap(), "test");
        tenants::own(&mut rest.app.store.read(&scope).await.unwrap()).await.unwrap().unwrap()
    };
    let (a, b) = (read(&id).await, read(&other).await);
    assert_ne!(a.release_public, b.release_public);
    assert_ne!(a.ca_cert_der, b.ca_cert_der);
    use edgeformer_controller::vault::SecretKind;
    let vault = &rest.app.vault;
    assert!(vault.unwrap(SecretKind::TenantCaKey, &id, &a.wrapped_ca_key).is_ok());
    assert!(vault.unwrap_32(SecretKind::ChunkSecret, &id, &a.wrapped_chunk_secret).is_ok());
    assert!(vault.tenant(&id, &a.wrapped_kek).is_ok());
    assert!(vault.tenant(&id, &b.wrapped_kek).is_err(), "bound to its row");

    let audit = rest.get(&admin, "/api/v1/audit").await;
    assert_eq!(audit.body["items"][0]["action"], "tenant:create");
    assert_eq!(audit.body["items"][0]["actor"]["kind"], "installation");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_is_edited_by_who_read_it_last() {
    let rest = Rest::start().await;
    let (tenant, admin) = rest.tenant("a").await;
    let (_, stranger) = rest.tenant("b").await;
    let id = device(&rest, &tenant, "one").await;
    let path = format!("/api/v1/devices/{id}");
    let shown = rest.get(&admin, &path).await;
    assert_eq!(shown.headers["etag"], "\"1\"");
    assert_eq!(
        (shown.text("state"), shown.body["online"].clone()),
        ("enrolled".into(), json!(false))
    );
    assert_eq!(shown.text("desired_generation"), "0.0");
    rest.get(&stranger, &path).await.is_problem(404, "not_found");

    let edit = async |token: &str, etag: Option<&str>, body: serde_json::Value| {
        let bearer = format!("Bearer {token}");
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(etag.map(|etag| ("if-match", etag)));
        rest.send(Method::PATCH, &path, &headers, Some(&body.to_string())).await
    };
    let body = json!({"name": "press 4", "labels": {"line": "4"}});
    edit(&admin, None, body.clone()).await.is_problem(428, "if_match_required");
    edit(&stranger, Some("\"1\""), body.clone()).await.is_problem(404, "not_found");
    edit(&admin, Some("*"), body.clone()).await.is_problem(412, "stale");
    let edited = edit(&admin, Some("\"1\""), body.clone()).await;
    assert_eq!(
        (edited.text("name"), edited.headers["etag"].to_str().unwrap()),
        ("press 4".into(), "\"2\"")
    );
    assert_eq!(edited.body["labels"], json!({"line": "4"}));
    edit(&admin, Some("\"1\""), body).await.is_problem(412, "stale");
    edit(&admin, Some("\"2\""), json!({})).await.is_problem(422, "invalid");
    edit(&admin, Some("\"2\""), json!({"labels": {"a b": "c"}})).await.is_problem(422, "invalid");

    let audit = rest.get(&admin, "/api/v1/audit").await;
    let changes = &audit.body["items"][0]["changes"];
    assert_eq!(
        (&changes["before"]["name"], &changes["after"]["name"]),
        (&json!("one"), &json!("press 4"))
    );

    let mut nudges = rest.app.nudges.devices.subscribe();
    let revoked = rest.post(&admin, &format!("{path}/revoke"), json!({})).await;
    assert_eq!(revoked.text("state"), "revoked");
    assert_eq!(nudges.try_recv().unwrap().1.to_string(), id);
    rest.post(&stranger, &format!("{path}/revoke"), json!({})).await.is_problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_cover_a_list_once() {
    let rest = Rest::start().await;
    let (tenant, admin) = rest.tenant("a").await;
    let mut expected = Vec::new();
    for n in 0..5 {
        expected.push(device(&rest, &tenant, &format!("d{n}")).await);
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/api/v1/devices?limit=2&label=site%3Dberlin{cursor}");
        let page = rest.get(&admin, &path).await;
        let items = page.body["items"].as_array().unwrap();
        seen.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
        match page.body["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
        assert!(seen.len() <= 5, "the pages do not end");
    }
    assert_eq!(seen, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audit_head_grows_with_the_log() {
    let rest = Rest::start().await;
    let (_, admin) = rest.tenant("a").await;
    let empty = rest.get(&admin, "/api/v1/audit/head").await;
    assert_eq!(empty.body["size"], 0);
    rest.token(&admin, "viewer").await;
    sequencer::sequence_all(&rest.app.store, rest.app.now()).await.unwrap();
    let head = rest.get(&admin, "/api/v1/audit/head").await;
    assert_eq!(head.body["size"], 2);
    assert_eq!(head.text("root_sha256").len(), 64);
    let newest = &rest.get(&admin, "/api/v1/audit?limit=1").await.body["items"][0];
    assert_eq!((&newest["sequence"], &newest["action"]), (&json!(1), &json!("token:create")));
}
