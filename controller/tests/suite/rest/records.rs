//! What changes something leaves a record, whatever it is: the list of actions is the program's own.

use std::collections::BTreeSet;

use edgeformer_controller::clock::Clock;
use edgeformer_controller::policy::{Action, Group};
use edgeformer_controller::scope::TenantScope;
use edgeformer_controller::store::devices::{self, DeviceState};
use edgeformer_proto::audit::note::{KeyKind, SignerKey};
use http::Method;
use serde_json::{Value, json};

use super::access;
use super::isolation::{Things, asking, model_file, one_of_everything, rcgen_ca};
use crate::support::rest::{Answer, Rest};

/// Changing actions that one caller alone cannot do, and the tests that look at their records.
const ELSEWHERE: [(Action, &str); 4] = [
    // By another person than the one who asks.
    (Action::ApprovalSign, "rest::approvals"),
    // Of devices that ran something.
    (Action::RolloutRollback, "the end-to-end test of the whole path"),
    // With keys that people hold.
    (Action::TrustRotate, "rest::trust_offline"),
    (Action::TrustRelease, "rest::trust_offline"),
];

/// The actions that some route changes something by.
fn changing() -> BTreeSet<Action> {
    let changes = |group| matches!(group, Group::Write | Group::Govern | Group::Installation);
    access::routes()
        .into_iter()
        .filter(|(method, _, action)| *method != Method::GET && changes(action.group()))
        .map(|(_, _, action)| action)
        .collect()
}

/// A caller, and which log their doings are in.
struct Caller<'r> {
    rest: &'r Rest,
    token: String,
    log: &'static str,
    seen: BTreeSet<String>,
    done: BTreeSet<Action>,
}

impl Caller<'_> {
    /// Records that were not there before.
    async fn new_records(&mut self) -> Vec<Value> {
        let all = self.rest.get(&self.token, &format!("/api/v1/{}?limit=50", self.log)).await;
        let items = all.body["items"].as_array().unwrap_or_else(|| panic!("{all:?}")).clone();
        let is_new = |record: &Value| self.seen.insert(record["id"].as_str().unwrap().to_owned());
        items.into_iter().filter(is_new).collect()
    }

    /// Does something, and looks for its record.
    async fn does(&mut self, action: Action, method: Method, path: &str, body: Value) -> Answer {
        self.does_as(action, action, method, path, body).await
    }

    /// The same, where the record names what was done more closely than the route.
    async fn does_as(
        &mut self,
        action: Action,
        recorded: Action,
        method: Method,
        path: &str,
        body: Value,
    ) -> Answer {
        self.new_records().await;
        let path = format!("/api/v1/{path}");
        let bearer = format!("Bearer {}", self.token);
        let read = self.rest.get(&self.token, &path).await;
        let mut headers = vec![("authorization", bearer.as_str())];
        let tag = read.headers.get("etag").map(|tag| ("if-match", tag.to_str().unwrap()));
        headers.extend(tag);
        let text = body.to_string();
        let body = (!body.is_null()).then_some(text.as_str());
        let answer = match path.ends_with("/payload") {
            true => self.rest.put(&self.token, &path, model_file()).await,
            false => self.rest.send(method.clone(), &path, &headers, body).await,
        };
        assert!(answer.status.is_success(), "{method} {path}: {answer:?}");
        let records = self.new_records().await;
        let ours = |record: &&Value| {
            record["action"] == recorded.as_str()
                && record["outcome"] == "success"
                && record["request_id"] == answer.headers["x-request-id"].to_str().unwrap()
        };
        assert!(records.iter().any(|one| ours(&one)), "{method} {path} left {records:?}");
        self.done.insert(action);
        answer
    }
}

async fn on_the_log(owner: &mut Caller<'_>, things: &Things) {
    use Action as A;
    let (post, put, patch, delete) =
        (|| Method::POST, || Method::PUT, || Method::PATCH, || Method::DELETE);
    let url = json!({"url": "https://new.example"});
    let path = format!("audit/witnesses/{}", things.witness);
    owner.does(A::AuditWitnessUpdate, patch(), &path, url).await;
    owner.does(A::AuditWitnessDelete, delete(), &path, Value::Null).await;
    let key = SignerKey::from_seed("w", KeyKind::Cosignature, &[3; 32]).unwrap();
    let made = json!({"url": "https://w.example", "key": key.verifier().to_string()});
    owner.does(A::AuditWitnessCreate, post(), "audit/witnesses", made).await;
    let path = format!("audit/sinks/{}", things.sink);
    owner.does(A::AuditSinkUpdate, patch(), &path, json!({"enabled": false})).await;
    owner.does(A::AuditSinkDelete, delete(), &path, Value::Null).await;
    let hook = json!({"name": "n", "format": "jsonl", "webhook": {"url": "https://h.example"}});
    owner.does(A::AuditSinkCreate, post(), "audit/sinks", hook).await;
    let period = json!({"keep_days": 400});
    owner.does(A::AuditRetentionUpdate, put(), "audit/retention", period).await;
    owner.does(A::LegalHoldCreate, put(), "audit/hold", json!({"reason": "r"})).await;
    owner.does(A::LegalHoldLift, delete(), "audit/hold", Value::Null).await;
    let settings = json!({
        "telemetry_days": 9, "answers_hours": 9, "log_ins_days": 9, "device_facts_days": 9,
        "telemetry_names": [],
    });
    owner.does(A::PrivacySettingsUpdate, put(), "privacy/settings", settings).await;
    let viewer = owner.rest.token(&owner.token, "viewer").await;
    let id = owner.rest.get(&viewer, "/api/v1/whoami").await.text("principal_id");
    owner.rest.get(&viewer, "/api/v1/audit").await.is_problem(403, "forbidden");
    let subject = json!({"subject": format!("token:{id}")});
    owner.does(A::ErasureCreate, post(), "audit/erasures", subject).await;
}

async fn on_people(owner: &mut Caller<'_>, things: &Things) {
    use Action as A;
    let (post, put, patch, delete) =
        (|| Method::POST, || Method::PUT, || Method::PATCH, || Method::DELETE);
    let made = json!({"user_name": "new", "roles": ["viewer"]});
    let new = owner.does(A::UserCreate, post(), "users", made).await;
    let public = async |path: &str, body: Value| {
        let path = format!("/api/v1/login{path}");
        owner.rest.send(Method::POST, &path, &[], Some(&body.to_string())).await.status.as_u16()
    };
    let password = "correct horse battery";
    let invitation = new.text("invitation");
    let body = json!({"tenant": "a", "invitation": invitation, "password": password});
    assert_eq!(public("/password", body).await, 200);
    let login = |password: &str| json!({"tenant": "a", "user_name": "new", "password": password});
    assert_eq!(public("", login(password)).await, 200);
    for _ in 0..5 {
        assert_eq!(public("", login("wrong wrong wrong")).await, 401);
    }
    let path = format!("users/{}", new.text("id"));
    owner.does(A::UserUnlock, post(), &format!("{path}/unlock"), Value::Null).await;
    owner.does(A::UserSignOut, post(), &format!("{path}/sign-out"), Value::Null).await;
    let path = format!("users/{}", things.user);
    owner.does(A::UserUpdate, patch(), &path, json!({"display_name": "x"})).await;
    owner.does(A::UserInvite, post(), &format!("{path}/invitation"), Value::Null).await;
    let made = json!({"name": "g", "roles": ["viewer"]});
    owner.does(A::GroupCreate, post(), "groups", made.clone()).await;
    let group = format!("groups/{}", things.group);
    owner.does(A::GroupUpdate, patch(), &group, json!({"name": "x"})).await;
    owner.does(A::GroupDelete, delete(), &group, Value::Null).await;
    owner.does(A::ServiceAccountCreate, post(), "service-accounts", made).await;
    let account = format!("service-accounts/{}", things.account);
    owner.does(A::ServiceAccountUpdate, patch(), &account, json!({"name": "x"})).await;
    let rule = json!({"issuer": "https://a.b", "audience": "x", "conditions": {"sub": "y"}});
    owner.does(A::FederationRuleCreate, post(), &format!("{account}/trust"), rule).await;
    let rule = format!("{account}/trust/{}", things.rule);
    owner.does(A::FederationRuleDelete, delete(), &rule, Value::Null).await;
    let person = json!({"userName": "another"});
    owner.does_as(A::ScimProvision, A::UserCreate, post(), "scim/v2/Users", person).await;
    let sso = json!({"name": "n", "issuer": "https://n.invalid", "client_id": "fleet"});
    owner.does(A::IdentityProviderCreate, post(), "identity-providers", sso).await;
    let sso = format!("identity-providers/{}", things.provider);
    owner.does(A::IdentityProviderUpdate, patch(), &sso, json!({"name": "x"})).await;
    owner.does(A::IdentityProviderDelete, delete(), &sso, Value::Null).await;
    let made = json!({"name": "n", "role": "viewer"});
    let token = owner.does(A::TokenCreate, post(), "tokens", made).await.text("id");
    let path = format!("tokens/{token}");
    owner.does(A::TokenRotate, post(), &format!("{path}/rotation"), json!({})).await;
    owner.does(A::TokenRevoke, delete(), &path, Value::Null).await;
    let policy =
        json!({"text": "permit (principal, action == Action::\"device:read\", resource);"});
    owner.does(A::PolicyUpdate, put(), "access/policies/new", policy).await;
    owner.does(A::PolicyDelete, delete(), "access/policies/new", Value::Null).await;
    let zone = json!({"time_zone": "Europe/Berlin"});
    owner.does(A::AccessSettingsUpdate, put(), "access/settings", zone).await;
}

/// As a session does when it finds two machines.
async fn quarantine(rest: &Rest, tenant: &str, device: &str) {
    let scope = TenantScope::system(tenant.parse().unwrap(), "test");
    let mut write = rest.app.store.write_observation(&scope).await.unwrap();
    let (id, now) = (device.parse().unwrap(), rest.clock.now());
    let (from, to) = ([DeviceState::Enrolled], DeviceState::Quarantined);
    assert!(devices::set_state(&mut write, id, &from, to, "two", now).await.unwrap());
    write.commit(now).await.unwrap();
}

async fn on_the_fleet(owner: &mut Caller<'_>, things: &Things) {
    use Action as A;
    let (post, put, patch, delete) =
        (|| Method::POST, || Method::PUT, || Method::PATCH, || Method::DELETE);
    let made = owner.does(A::EnrolmentTokenCreate, post(), "enrolment-tokens", json!({})).await;
    let path = format!("enrolment-tokens/{}", made.text("id"));
    owner.does(A::EnrolmentTokenRevoke, delete(), &path, Value::Null).await;
    owner.does(A::EnrolmentDoorUpdate, put(), "enrolment/door", Value::Null).await;
    let tenant = owner.rest.get(&owner.token, "/api/v1/whoami").await.text("tenant_id");
    let path = format!("enrolment/requests/{}/approve", things.request);
    owner.does(A::EnrolmentRequestApprove, post(), &path, json!({})).await;
    let other = asking(owner.rest, &tenant, "another").await;
    let path = format!("enrolment/requests/{other}/reject");
    owner.does(A::EnrolmentRequestReject, post(), &path, json!({})).await;
    let made = json!({"name": "m", "certificate": rcgen_ca()});
    let ca = owner.does(A::ClaimCaCreate, post(), "claim-cas", made).await.text("id");
    let path = format!("claim-cas/{ca}");
    let serial = json!({"serial": "0a"});
    owner.does(A::ClaimCaUpdate, post(), &format!("{path}/revoke"), serial).await;
    owner.does(A::ClaimCaDelete, delete(), &path, Value::Null).await;
    let rotated = owner.does(A::TenantCaRotate, post(), "ca/rotate", Value::Null).await;
    let path = format!("ca/{}/retire", rotated.body["items"][1]["id"].as_str().unwrap());
    owner.does(A::TenantCaRetire, post(), &path, json!({"force": true})).await;
    let rollout = format!("rollouts/{}/abort", things.rollout);
    owner.does(A::RolloutAbort, post(), &rollout, Value::Null).await;
    let path = "models/new-model/versions/1.0.0/payload";
    owner.does(A::VersionPublish, put(), path, Value::Null).await;
    let body = json!({"model": "new-model", "version": "1.0.0", "selector": {"all": true}});
    owner.does(A::RolloutCreate, post(), "rollouts", body).await;
    let device = format!("devices/{}", things.device);
    owner.does(A::DeviceUpdate, patch(), &device, json!({"labels": {"site": "here"}})).await;
    owner.does(A::DeviceReplace, post(), &format!("{device}/replace"), json!({})).await;
    quarantine(owner.rest, &tenant, &things.device).await;
    owner.does(A::DeviceRelease, post(), &format!("{device}/release"), Value::Null).await;
    owner.does(A::DeviceDecommission, post(), &format!("{device}/decommission"), json!({})).await;
    owner.does(A::DeviceRevoke, post(), &format!("{device}/revoke"), Value::Null).await;
}

async fn on_tenants(top: &mut Caller<'_>) {
    use Action as A;
    let (post, put) = (|| Method::POST, || Method::PUT);
    let id = top.does(A::TenantCreate, post(), "tenants", json!({"name": "c"})).await.text("id");
    let path = format!("tenants/{id}");
    let quota = json!({"devices": 5});
    top.does(A::TenantQuotaUpdate, put(), &format!("{path}/quota"), quota).await;
    let why = json!({"reason": "unpaid"});
    top.does(A::TenantSuspend, post(), &format!("{path}/suspend"), why).await;
    top.does(A::TenantResume, post(), &format!("{path}/resume"), Value::Null).await;
    top.does(A::TenantDelete, post(), &format!("{path}/delete"), json!({"name": "c"})).await;
    top.does(A::TenantRestore, post(), &format!("{path}/restore"), Value::Null).await;
    let rotate = "installation/ca/rotate";
    let rotated = top.does(A::InstallationCaRotate, post(), rotate, Value::Null).await;
    let path =
        format!("installation/ca/{}/retire", rotated.body["items"][1]["id"].as_str().unwrap());
    top.does(A::InstallationCaRetire, post(), &path, json!({"force": true})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_action_that_changes_something_leaves_its_record() {
    let rest = Rest::start().await;
    let (tenant, token) = rest.tenant("a").await;
    let things = one_of_everything(&rest, &tenant, &token).await;
    let caller = |token: String, log| Caller {
        rest: &rest,
        token,
        log,
        seen: BTreeSet::new(),
        done: BTreeSet::new(),
    };
    let mut owner = caller(token, "audit");
    on_the_log(&mut owner, &things).await;
    on_the_fleet(&mut owner, &things).await;
    on_people(&mut owner, &things).await;
    let mut top = caller(rest.installation_token.clone(), "installation/audit");
    on_tenants(&mut top).await;
    let mut missing = changing();
    missing.retain(|action| !owner.done.contains(action) && !top.done.contains(action));
    missing.retain(|action| !ELSEWHERE.iter().any(|(known, _)| known == action));
    let names: Vec<_> = missing.iter().map(|action| action.as_str()).collect();
    assert!(names.is_empty(), "do each of {names:?} here, and see its record");
}
