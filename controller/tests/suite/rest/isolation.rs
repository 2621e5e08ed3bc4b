//! Every route that names a thing, as the admin of another tenant: nothing is there.

use edgeformer_controller::api;
use edgeformer_controller::audit::{checkpointer, sequencer};
use edgeformer_controller::ca;
use edgeformer_controller::clock::Clock;
use edgeformer_controller::scope::TenantScope;
use edgeformer_controller::store::enrolments::requests::{self, EnrolmentRequest, RequestState};
use edgeformer_gguf::{TensorSpec, TensorType, Value as Meta, Writer};
use edgeformer_proto::audit::note::{KeyKind, SignerKey};
use edgeformer_proto::ids::EnrolmentRequestId;
use http::Method;
use serde_json::{Value, json};

use super::resources::device;
use crate::support::rest::{Answer, Rest};

/// One of everything, in one tenant.
pub(super) struct Things {
    pub(super) token: String,
    pub(super) enrolment_token: String,
    pub(super) device: String,
    pub(super) rollout: String,
    pub(super) user: String,
    pub(super) group: String,
    pub(super) account: String,
    pub(super) person: String,
    pub(super) people: String,
    pub(super) approval: String,
    pub(super) witness: String,
    pub(super) provider: String,
    pub(super) sink: String,
    pub(super) rule: String,
    pub(super) request: String,
    pub(super) ca: String,
    pub(super) claim_ca: String,
}

const MODEL: &str = "secret-model";
const VERSION: &str = "1.0.0";

pub(super) fn model_file() -> Vec<u8> {
    let metadata = [
        ("general.architecture".to_owned(), Meta::String("llama".to_owned())),
        ("llama.context_length".to_owned(), Meta::U32(128)),
    ];
    let tensor = TensorSpec { name: "w".to_owned(), dims: vec![32, 4], ty: TensorType::F32 };
    let mut writer = Writer::new(Vec::new(), &metadata, &[tensor]).unwrap();
    writer.write_data(&[7; 32 * 4 * 4]).unwrap();
    writer.finish().unwrap()
}

pub(super) async fn one_of_everything(rest: &Rest, tenant: &str, admin: &str) -> Things {
    let body = json!({"name": "t", "role": "viewer"});
    let token = rest.post(admin, "/api/v1/tokens", body).await.text("id");
    let enrolment_token = rest.post(admin, "/api/v1/enrolment-tokens", json!({})).await.text("id");
    let device = device(rest, tenant, "secret-device").await;
    let path = format!("/api/v1/models/{MODEL}/versions/{VERSION}/payload");
    let published = rest.put(admin, &path, model_file()).await;
    assert_eq!(published.status, 201, "{published:?}");
    let policy =
        json!({"text": "permit (principal, action == Action::\"device:read\", resource);"});
    let path = format!("/api/v1/access/policies/{MODEL}");
    let headers = [("authorization", &*format!("Bearer {admin}"))];
    let saved = rest.send(Method::PUT, &path, &headers, Some(&policy.to_string())).await;
    assert_eq!(saved.status, 200, "{saved:?}");
    let body = json!({"model": MODEL, "version": VERSION, "selector": {"all": true}});
    let rollout = rest.post(admin, "/api/v1/rollouts", body).await.text("id");
    let held = json!({"text": "forbid (principal, action == Action::\"device:revoke\", resource) \
        when { resource.name == \"held\" && context.approvals < 1 };"});
    let path = "/api/v1/access/policies/held";
    let saved = rest.send(Method::PUT, path, &headers, Some(&held.to_string())).await;
    assert_eq!(saved.status, 200, "{saved:?}");
    let body = json!({"user_name": "secret-ada", "roles": ["viewer"]});
    let user = rest.post(admin, "/api/v1/users", body).await.text("id");
    let body = json!({"name": "secret-group", "roles": ["viewer"]});
    let group = rest.post(admin, "/api/v1/groups", body.clone()).await.text("id");
    let member = format!("/api/v1/groups/{group}/members/{user}");
    assert_eq!(rest.send(Method::PUT, &member, &headers, None).await.status, 204);
    let account = rest.post(admin, "/api/v1/service-accounts", body).await.text("id");
    let other = self::device(rest, tenant, "held").await;
    let path = format!("/api/v1/devices/{other}/revoke");
    let approval = rest.post(admin, &path, json!({})).await.text("approval_id");
    let key = SignerKey::from_seed("secret-witness", KeyKind::Cosignature, &[7; 32]).unwrap();
    let body = json!({"url": "https://secret.example", "key": key.verifier().to_string()});
    let witness = rest.post(admin, "/api/v1/audit/witnesses", body).await.text("id");
    let body = json!({"name": "secret-sso", "issuer": "https://id.invalid", "client_id": "fleet"});
    let provider = rest.post(admin, "/api/v1/identity-providers", body).await.text("id");
    let body = json!({"name": "secret-sink", "format": "jsonl",
        "webhook": {"url": "https://secret.example"}});
    let sink = rest.post(admin, "/api/v1/audit/sinks", body).await.text("id");
    let conditions = json!({"sub": "secret-sub"});
    let body =
        json!({"issuer": "https://id.invalid", "audience": "fleet", "conditions": conditions});
    let path = format!("/api/v1/service-accounts/{account}/trust");
    let rule = rest.post(admin, &path, body).await.text("id");
    let person = json!({"userName": "secret-person"});
    let person = rest.post(admin, "/api/v1/scim/v2/Users", person).await.text("id");
    let resource = json!({"displayName": "secret-people", "members": [{"value": person}]});
    let people = rest.post(admin, "/api/v1/scim/v2/Groups", resource).await.text("id");
    let body = json!({"name": "secret-maker", "certificate": rcgen_ca()});
    let claim_ca = rest.post(admin, "/api/v1/claim-cas", body).await.text("id");
    Things {
        ca: next_ca(rest, admin).await,
        token,
        enrolment_token,
        device,
        rollout,
        user,
        group,
        account,
        person,
        people,
        approval,
        witness,
        provider,
        sink,
        rule,
        request: asking(rest, tenant, "secret-asker").await,
        claim_ca,
    }
}

/// The id of the CA that takes the place of the tenant's first one.
async fn next_ca(rest: &Rest, admin: &str) -> String {
    let answer = rest.post(admin, "/api/v1/ca/rotate", json!({})).await;
    answer.body["items"][1]["id"].as_str().unwrap().to_owned()
}

/// A manufacturer's CA, in PEM.
pub(super) fn rcgen_ca() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let made = ca::create_root("maker", i64::try_from(now.as_micros()).unwrap()).unwrap();
    edgeformer_controller::config::pem("CERTIFICATE", &made.cert_der)
}

/// A device that asks to be let in.
pub(super) async fn asking(rest: &Rest, tenant: &str, name: &str) -> String {
    let scope = TenantScope::system(tenant.parse().unwrap(), "test");
    let now = rest.clock.now();
    let request = EnrolmentRequest {
        id: EnrolmentRequestId::new(),
        public_key: name.as_bytes().to_vec(),
        fingerprint: name.to_owned(),
        name: name.to_owned(),
        labels: Default::default(),
        facts: json!({}),
        address: String::new(),
        state: RequestState::Waiting,
        given_name: String::new(),
        given_labels: Default::default(),
        reason: String::new(),
        device: None,
        created_at: now,
        expires_at: now.plus(std::time::Duration::from_secs(3600)),
    };
    let mut write = rest.app.store.write_observation(&scope).await.unwrap();
    requests::insert(&mut write, &request).await.unwrap();
    write.commit(now).await.unwrap();
    request.id.to_string()
}

impl Things {
    /// Every route with a parameter, filled in with what there is. Left out are
    /// publishing and saving a policy, which make a thing of the caller's own whatever others have
    /// under that name, and the files of the audit log, which every tenant has under the same names.
    pub(super) fn routes(&self) -> Vec<(Method, String)> {
        let document = serde_json::to_value(api::document()).unwrap();
        let mut routes = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            // Log-ins are one's own even within a tenant; their tests say so.
            let own = path.contains("/me/")
                || path.ends_with("/payload")
                || path.ends_with("/audit/log/{path}");
            if !path.contains('{') || own {
                continue;
            }
            let id = match path.split('/').nth(3).unwrap() {
                "tokens" => &self.token,
                "enrolment-tokens" => &self.enrolment_token,
                "enrolment" => &self.request,
                "claim-cas" => &self.claim_ca,
                "ca" => &self.ca,
                "devices" => &self.device,
                "rollouts" => &self.rollout,
                "approvals" => &self.approval,
                "users" => &self.user,
                "groups" => &self.group,
                "service-accounts" => &self.account,
                "audit" if path.contains("/sinks/") => &self.sink,
                "audit" => &self.witness,
                "identity-providers" => &self.provider,
                "scim" if path.contains("/Users") => &self.person,
                "scim" if path.contains("/Groups") => &self.people,
                // What every tenant has under the same names.
                "scim" | "trust" => continue,
                "models" | "access" => "",
                // Before anybody is known; the tests of log-ins say so.
                "login" => continue,
                // Of the installation, which no tenant's token may ask.
                "tenants" | "installation" => continue,
                other => panic!("make one of {other} here"),
            };
            let path = path
                .replace("{id}", id)
                .replace("{user}", &self.user)
                .replace("{rule}", &self.rule)
                .replace("{name}", MODEL)
                .replace("{version}", VERSION);
            for method in item.as_object().unwrap().keys() {
                if method == "put" && path.contains("/access/policies/") {
                    continue;
                }
                if let Ok(method) = method.to_uppercase().parse() {
                    routes.push((method, path.clone()));
                }
            }
        }
        assert!(routes.len() > 10, "only {} routes", routes.len());
        routes
    }
}

async fn call(rest: &Rest, token: &str, method: &Method, path: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    let body = match *method {
        Method::GET => None,
        Method::PATCH if path.contains("/sinks/") => Some(r#"{"enabled": false}"#),
        Method::PATCH if path.contains("/witnesses/") => Some(r#"{"url": "https://x.example"}"#),
        Method::PATCH if path.contains("/users/") => Some(r#"{"display_name": "x"}"#),
        _ if path.contains("/scim/") => Some(
            r#"{"userName": "x", "displayName": "x",
                "Operations": [{"op": "add", "value": {"displayName": "x"}}]}"#,
        ),
        Method::PATCH if !path.contains("/devices/") => Some(r#"{"name": "x"}"#),
        Method::PATCH => Some(r#"{"labels": {"site": "here"}}"#),
        _ if path.ends_with("/trust") => {
            Some(r#"{"issuer": "https://a.b", "audience": "x", "conditions": {"sub": "x"}}"#)
        }
        _ if path.contains("/claim-cas/") => Some(r#"{"serial": "0a"}"#),
        _ if path.ends_with("/signatures") => Some(r#"{"meaning": "reviewed"}"#),
        _ => Some("{}"),
    };
    rest.send(method.clone(), path, &[("authorization", &bearer), ("if-match", "\"1\"")], body)
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_hides_another_tenants_things() {
    let rest = Rest::start().await;
    let (tenant, owner) = rest.tenant("a").await;
    let (_, stranger) = rest.tenant("b").await;
    let things = one_of_everything(&rest, &tenant, &owner).await;
    let mut routes = things.routes();
    // What removes comes last, so that the owner still finds the rest.
    routes.sort_by_key(|(method, path)| match *method {
        Method::GET => 0,
        Method::DELETE => 1000 - path.len(),
        _ => 1,
    });
    for (method, path) in &routes {
        let answer = call(&rest, &stranger, method, path).await;
        assert_eq!(answer.status, 404, "{method} {path}: {answer:?}");
        let nothing = path
            .replace(&things.device, "01a205d4-02c0-7092-a95b-4f862b0ac47f")
            .replace(&things.rollout, "01a205d4-02c0-7092-a95b-4f862b0ac47f")
            .replace(&things.user, "01a205d4-02c0-7092-a95b-4f862b0ac47f")
            .replace(&things.sink, "01a205d4-02c0-7092-a95b-4f862b0ac47f")
            .replace(&things.witness, "01a205d4-02c0-7092-a95b-4f862b0ac47f")
            .replace(&things.approval, "01a205d4-02c0-7092-a95b-4f862b0ac47f")
            .replace(&things.rule, "01a205d4-02c0-7092-a95b-4f862b0ac47f")
            .replace(&things.provider, "01a205d4-02c0-7092-a95b-4f862b0ac47f")
            .replace(&things.request, "01a205d4-02c0-7092-a95b-4f862b0ac47f")
            .replace(&things.claim_ca, "01a205d4-02c0-7092-a95b-4f862b0ac47f")
            .replace(&things.token, "01a205d4-02c0-7092-a95b-4f862b0ac47f")
            .replace(&things.enrolment_token, "01a205d4-02c0-7092-a95b-4f862b0ac47f")
            .replace(MODEL, "no-such-model");
        let absent = call(&rest, &stranger, method, &nothing).await;
        let codes = (&answer.body["code"], &absent.body["code"]);
        assert_eq!(codes.0, codes.1, "{method} {path} tells them apart");
        let own = call(&rest, &owner, method, path).await;
        // No such serial number let a device in.
        let of_serial = path.ends_with("/release") && path.contains("/claim-cas/");
        assert!(own.status != 404 || of_serial, "{method} {path} of its owner: {own:?}");
    }
    for list in [
        "devices",
        "models",
        "rollouts",
        "telemetry/points",
        "telemetry/summary",
        "audit",
        "audit/sinks",
        "audit/witnesses",
        "access/policies",
        "approvals",
        "users",
        "identity-providers",
        "enrolment/requests",
        "claim-cas",
    ] {
        let answer = rest.get(&stranger, &format!("/api/v1/{list}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let text = Value::to_string(&answer.body);
        for hidden in ["secret-", &things.device, &things.rollout, &things.approval, &tenant] {
            assert!(!text.contains(hidden), "{list} shows {hidden}: {text}");
        }
    }
    sequencer::sequence_all(&rest.app.store, rest.clock.now()).await.unwrap();
    checkpointer::sign_all(&rest.app).await.unwrap();
    for log in ["audit/export", "audit/bundle", "audit/checkpoint", "audit/log/checkpoint"] {
        let text = rest.text(&stranger, &format!("/api/v1/{log}")).await;
        for hidden in ["secret-", &things.device, &things.rollout, &tenant] {
            assert!(!text.contains(hidden), "{log} shows {hidden}: {text}");
        }
    }
}
