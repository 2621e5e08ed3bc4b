//! Requests that take a second person: held back, signed, repeated, and never more than was signed.

use edgeformer_controller::audit::sequencer;
use edgeformer_controller::clock::Clock;
use http::Method;
use serde_json::{Value, json};

use super::resources::device;
use crate::support::rest::{Answer, Rest};

const TWO: &str = r#"@description("cutting off takes two others")
forbid (principal, action == Action::"device:revoke", resource)
when { context.approvals < 2 };"#;
const ONE: &str = r#"forbid (principal, action == Action::"enrolment_token:create", resource)
when { resource.uses > 10 && context.approvals < 1 };"#;

struct Office {
    rest: Rest,
    owner: String,
    tenant: String,
}

impl Office {
    async fn with(policy: &str) -> Self {
        let rest = Rest::start().await;
        let (tenant, owner) = rest.tenant("a").await;
        let bearer = format!("Bearer {owner}");
        let body = json!({ "text": policy }).to_string();
        let path = "/api/v1/access/policies/second-person";
        let saved = rest.send(Method::PUT, path, &[("authorization", &bearer)], Some(&body)).await;
        assert_eq!(saved.status, 200, "{saved:?}");
        Self { rest, owner, tenant }
    }

    async fn person(&self, name: &str, role: &str) -> String {
        let body = json!({ "name": name, "role": role });
        self.rest.post(&self.owner, "/api/v1/tokens", body).await.text("token")
    }

    async fn with_approval(&self, token: &str, path: &str, body: Value, id: &str) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("x-edgeformer-approval", id)];
        self.rest.send(Method::POST, path, &headers, Some(&body.to_string())).await
    }

    async fn sign(&self, token: &str, id: &str, meaning: &str) -> Answer {
        let path = format!("/api/v1/approvals/{id}/signatures");
        self.rest.post(token, &path, json!({ "meaning": meaning, "comment": "seen" })).await
    }

    async fn records(&self) -> Vec<Value> {
        sequencer::sequence_all(&self.rest.app.store, self.rest.clock.now()).await.unwrap();
        let page = self.rest.get(&self.owner, "/api/v1/audit?limit=100").await;
        page.body["items"].as_array().unwrap().clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_two_others_sign_is_done_once_and_the_log_shows_the_whole_way() {
    let office = Office::with(TWO).await;
    let rest = &office.rest;
    let admin = office.person("Ada", "admin").await;
    let (grace, linus) =
        (office.person("Grace", "release_manager").await, office.person("Linus", "admin").await);
    let press = device(rest, &office.tenant, "press").await;
    let path = format!("/api/v1/devices/{press}/revoke");

    let held = rest.post(&admin, &path, json!({})).await;
    held.is_problem(403, "approval_required");
    let id = held.text("approval_id");
    let detail = held.text("detail");
    for part in ["device press", "cutting off takes two others", "2 others", &id] {
        assert!(detail.contains(part), "{part}: {detail}");
    }
    // The same request again is the same approval.
    assert_eq!(rest.post(&admin, &path, json!({})).await.text("approval_id"), id);

    office.sign(&admin, &id, "approved").await.is_problem(403, "forbidden");
    let one = office.sign(&grace, &id, "approved").await;
    assert_eq!((one.status.as_u16(), one.body["approved"].clone()), (200, json!(1)));
    assert_eq!(one.body["signatures"][0]["signer_name"], "Grace");
    assert_eq!(one.body["signatures"][0]["meaning"], "approved");
    assert!(one.body["signatures"][0]["signed_at"].is_string());
    office.sign(&grace, &id, "approved").await.is_problem(409, "signed_already");
    // One is not enough, and a review counts for nothing.
    let rita = office.person("Rita", "admin").await;
    office.sign(&rita, &id, "reviewed").await;
    let early = office.with_approval(&admin, &path, json!({}), &id).await;
    early.is_problem(403, "approval_required");
    assert_eq!(office.sign(&linus, &id, "approved").await.body["approved"], 2);

    // Nobody else's, for nothing else, and once.
    let stolen = office.with_approval(&linus, &path, json!({}), &id).await;
    stolen.is_problem(409, "approval_of_other_request");
    let lathe = device(rest, &office.tenant, "lathe").await;
    let other = format!("/api/v1/devices/{lathe}/revoke");
    let moved = office.with_approval(&admin, &other, json!({}), &id).await;
    moved.is_problem(409, "approval_of_other_request");
    let done = office.with_approval(&admin, &path, json!({}), &id).await;
    assert_eq!((done.status.as_u16(), done.text("state")), (200, "revoked".to_owned()));
    let again = office.with_approval(&admin, &path, json!({}), &id).await;
    again.is_problem(409, "approval_not_open");
    let shown = rest.get(&grace, &format!("/api/v1/approvals/{id}")).await;
    assert_eq!(shown.text("state"), "used");

    let records = office.records().await;
    let of = |action: &str| -> Vec<&Value> {
        records.iter().filter(|record| record["action"] == action).collect()
    };
    let done = of("device:revoke").into_iter().find(|r| r["outcome"] == "success").unwrap();
    assert_eq!(done["approval"], id, "{done}");
    assert_eq!(of("approval:request").len(), 1);
    let signed = of("approval:sign");
    let signed: Vec<_> = signed.iter().filter(|r| r["outcome"] == "success").collect();
    assert_eq!(signed.len(), 3, "{signed:?}");
    let after = &signed[0]["changes"]["after"];
    assert_eq!(after["meaning"], "approved");
    assert_eq!(after["signed"]["request_sha256"], shown.body["request_sha256"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_signs_for_themselves_with_a_token_of_their_own_making() {
    let office = Office::with(TWO).await;
    let rest = &office.rest;
    let admin = office.person("Ada", "admin").await;
    let body = json!({ "name": "puppet", "role": "admin" });
    let puppet = rest.post(&admin, "/api/v1/tokens", body.clone()).await.text("token");
    let deeper = rest.post(&puppet, "/api/v1/tokens", body).await.text("token");
    let press = device(rest, &office.tenant, "press").await;
    let held = rest.post(&admin, &format!("/api/v1/devices/{press}/revoke"), json!({})).await;
    let id = held.text("approval_id");
    // Who made Ada's token knew it first.
    for token in [&admin, &puppet, &deeper, &office.owner] {
        let refused = office.sign(token, &id, "approved").await;
        refused.is_problem(403, "forbidden");
        assert!(refused.text("detail").contains("another person"), "{refused:?}");
    }
    // A colleague, whose token came from the same owner, is somebody else.
    let grace = office.person("Grace", "admin").await;
    assert_eq!(office.sign(&grace, &id, "approved").await.status, 200);
    let viewer = office.person("Vera", "viewer").await;
    office.sign(&viewer, &id, "approved").await.is_problem(403, "forbidden");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejected_an_expired_and_a_changed_request_are_not_done() {
    let office = Office::with(ONE).await;
    let rest = &office.rest;
    let (ada, grace) = (office.person("Ada", "admin").await, office.person("Grace", "admin").await);
    let path = "/api/v1/enrolment-tokens";
    let many = json!({ "uses": 50, "labels": { "site": "berlin" } });
    assert_eq!(rest.post(&ada, path, json!({ "uses": 10 })).await.status, 201);
    let ask = async || rest.post(&ada, path, many.clone()).await.text("approval_id");

    let id = ask().await;
    assert_eq!(office.sign(&grace, &id, "rejected").await.text("state"), "rejected");
    let refused = office.with_approval(&ada, path, many.clone(), &id).await;
    refused.is_problem(409, "approval_not_open");
    office.sign(&office.owner, &id, "approved").await.is_problem(409, "approval_not_open");

    let id = ask().await;
    office.sign(&grace, &id, "approved").await;
    let more = json!({ "uses": 5000, "labels": { "site": "berlin" } });
    let refused = office.with_approval(&ada, path, more, &id).await;
    refused.is_problem(409, "approval_of_other_request");
    rest.advance(std::time::Duration::from_secs(8 * 24 * 3600));
    let refused = office.with_approval(&ada, path, many.clone(), &id).await;
    refused.is_problem(409, "approval_not_open");
    let listed = rest.get(&grace, "/api/v1/approvals?state=open").await;
    assert_eq!(listed.body["items"][0]["state"], "expired");

    let id = ask().await;
    office.sign(&grace, &id, "approved").await;
    assert_eq!(office.with_approval(&ada, path, many.clone(), &id).await.status, 201);

    // What takes no approval is done without, and what is no id is told.
    let token = json!({ "name": "x", "role": "viewer" });
    assert_eq!(office.with_approval(&ada, "/api/v1/tokens", token, &id).await.status, 201);
    let refused = office.with_approval(&ada, path, many.clone(), "yes").await;
    refused.is_problem(422, "invalid");
    let absent = "01a205d4-02c0-7092-a95b-4f862b0ac47f";
    office.with_approval(&ada, path, many, absent).await.is_problem(404, "not_found");
}

/// The consent was for the fleet as it was: a rollout that has grown since is held back again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consent_is_for_no_more_devices_than_were_there() {
    let policy = r#"forbid (principal, action == Action::"rollout:create", resource)
        when { context.approvals < 1 };"#;
    let office = Office::with(policy).await;
    let rest = &office.rest;
    let (ada, grace) = (office.person("Ada", "admin").await, office.person("Grace", "admin").await);
    device(rest, &office.tenant, "one").await;
    let file = super::isolation::model_file();
    let published = rest.put(&ada, "/api/v1/models/m/versions/1.0.0/payload", file).await;
    assert_eq!(published.status, 201, "{published:?}");
    let body = json!({"model": "m", "version": "1.0.0", "selector": {"all": true}});
    let held = rest.post(&ada, "/api/v1/rollouts", body.clone()).await;
    let id = held.text("approval_id");
    office.sign(&grace, &id, "approved").await;
    device(rest, &office.tenant, "two").await;
    let grown = office.with_approval(&ada, "/api/v1/rollouts", body.clone(), &id).await;
    grown.is_problem(403, "forbidden");
    assert!(grown.text("detail").contains("for 1 devices, now they are 2"), "{grown:?}");
    let fresh = rest.post(&ada, "/api/v1/rollouts", body.clone()).await.text("approval_id");
    assert_ne!(fresh, id);
    office.sign(&grace, &fresh, "approved").await;
    let done = office.with_approval(&ada, "/api/v1/rollouts", body, &fresh).await;
    assert_eq!((done.status.as_u16(), done.body["counts"]["total"].clone()), (201, json!(2)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_does_not_sign_what_their_own_program_asked_for() {
    let office = Office::with(ONE).await;
    let rest = &office.rest;
    let person = async |name: &str| {
        let body = json!({"user_name": name, "roles": ["admin"]});
        let invitation = rest.post(&office.owner, "/api/v1/users", body).await.text("invitation");
        let password = format!("correct horse battery {name}");
        let body = json!({"tenant": "a", "invitation": invitation, "password": password});
        assert_eq!(rest.post("", "/api/v1/login/password", body).await.status, 200);
        let body = json!({"tenant": "a", "user_name": name, "password": password});
        rest.post("", "/api/v1/login", body).await.text("access_token")
    };
    let (ada, grace) = (person("ada").await, person("grace").await);
    let body = json!({"name": "builder", "roles": ["operator"]});
    let account = rest.post(&office.owner, "/api/v1/service-accounts", body).await.text("id");
    let make = async |name: &str| {
        let body = json!({"name": name, "service_account_id": account});
        rest.post(&ada, "/api/v1/tokens", body).await.text("token")
    };
    let program = make("for ci").await;
    let body = json!({"name": "puppet", "role": "admin"});
    let puppet = rest.post(&ada, "/api/v1/tokens", body).await.text("token");
    let held = rest.post(&program, "/api/v1/enrolment-tokens", json!({"uses": 50})).await;
    held.is_problem(403, "approval_required");
    let id = held.text("approval_id");
    for own in [&ada, &puppet, &make("other").await] {
        office.sign(own, &id, "approved").await.is_problem(403, "forbidden");
    }
    assert_eq!(office.sign(&grace, &id, "approved").await.status, 200);
}

/// Two approvals are those of two people: not of one who signs again through a token of their own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_person_is_not_two_by_signing_with_what_they_made() {
    let office = Office::with(TWO).await;
    let rest = &office.rest;
    let (ada, grace) = (office.person("Ada", "admin").await, office.person("Grace", "admin").await);
    let body = json!({ "name": "hand", "role": "admin" });
    let hand = rest.post(&grace, "/api/v1/tokens", body).await.text("token");
    let press = device(rest, &office.tenant, "press").await;
    let held = rest.post(&ada, &format!("/api/v1/devices/{press}/revoke"), json!({})).await;
    let id = held.text("approval_id");
    assert_eq!(office.sign(&grace, &id, "approved").await.status, 200);
    let refused = office.sign(&hand, &id, "approved").await;
    refused.is_problem(403, "forbidden");
    assert!(refused.text("detail").contains("before you"), "{refused:?}");
    let linus = office.person("Linus", "admin").await;
    assert_eq!(office.sign(&linus, &id, "approved").await.body["approved"], 2);
}

/// What got a program in when it asked counts, also when it was taken back before the signature; and so
/// does a trust rule, by which a pipeline gets in without a token.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revoking_what_asked_makes_nobody_a_second_person() {
    let office = Office::with(ONE).await;
    let rest = &office.rest;
    let (ada, grace) = (office.person("Ada", "admin").await, office.person("Grace", "admin").await);
    let body = json!({"name": "builder", "roles": ["admin"]});
    let account = rest.post(&office.owner, "/api/v1/service-accounts", body).await.text("id");
    let make = async |maker: &str, name: &str| {
        let body = json!({"name": name, "service_account_id": account});
        let made = rest.post(maker, "/api/v1/tokens", body).await;
        (made.text("id"), made.text("token"))
    };
    let (token, program) = make(&ada, "ci").await;
    let held = rest.post(&program, "/api/v1/enrolment-tokens", json!({"uses": 50})).await;
    let id = held.text("approval_id");
    let bearer = format!("Bearer {ada}");
    let path = format!("/api/v1/tokens/{token}");
    let gone = rest.send(Method::DELETE, &path, &[("authorization", &bearer)], None).await;
    assert_eq!(gone.status, 204, "{gone:?}");
    office.sign(&ada, &id, "approved").await.is_problem(403, "forbidden");
    assert_eq!(office.sign(&grace, &id, "approved").await.status, 200);

    let rule = json!({"issuer": "https://ci.example.com", "audience": "edgeformer",
        "conditions": {"sub": "repo:grace/*"}});
    let path = format!("/api/v1/service-accounts/{account}/trust");
    let made = rest.post(&grace, &path, rule).await;
    assert_eq!(made.status, 201, "{made:?}");
    let asked = rest.post(&grace, "/api/v1/enrolment-tokens", json!({"uses": 60})).await;
    let (_, other) = make(&office.owner, "other").await;
    office.sign(&other, &asked.text("approval_id"), "approved").await.is_problem(403, "forbidden");
}

/// Consent to a publication is consent to one file: a request that names none is not one to consent to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consent_to_a_publication_is_for_one_file() {
    let policy = r#"forbid (principal, action == Action::"version:publish", resource)
        when { context.approvals < 1 };"#;
    let office = Office::with(policy).await;
    let rest = &office.rest;
    let (ada, grace) = (office.person("Ada", "admin").await, office.person("Grace", "admin").await);
    let path = "/api/v1/models/m/versions/1.0.0/payload";
    let file = super::isolation::model_file();
    let unnamed = rest.put(&ada, path, file).await;
    unnamed.is_problem(403, "approval_required");
    assert!(unnamed.text("detail").contains("Digest"), "{unnamed:?}");
    assert!(unnamed.body.get("approval_id").is_none(), "{unnamed:?}");

    let bearer = format!("Bearer {ada}");
    let digest = "sha-256=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
    let named = [("authorization", bearer.as_str()), ("digest", digest)];
    let id = rest.send(Method::PUT, path, &named, Some("")).await.text("approval_id");
    assert_eq!(office.sign(&grace, &id, "approved").await.status, 200);
    let headers = [("authorization", bearer.as_str()), ("x-edgeformer-approval", id.as_str())];
    rest.send(Method::PUT, path, &headers, Some("")).await.is_problem(422, "invalid");
}
