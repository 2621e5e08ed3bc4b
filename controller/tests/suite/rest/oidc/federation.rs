//! Another system's token in exchange for one of a service account. The real provider's keys sign what
//! a CI system would say.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::Town;
use crate::support::rest::Answer;

const SUB: &str = "repo:acme/app:ref:refs/heads/main";

/// A service account that trusts tokens of the main branch.
async fn builder(town: &Town) -> (String, String) {
    let body = json!({"name": "builder", "roles": ["operator"]});
    let account = town.rest.post(&town.owner, "/api/v1/service-accounts", body).await.text("id");
    let body = json!({
        "issuer": town.provider.issuer, "audience": "edgeformer",
        "conditions": {"sub": "repo:acme/*:ref:refs/heads/main", "environment": "production"},
    });
    let path = format!("/api/v1/service-accounts/{account}/trust");
    let made = town.rest.post(&town.owner, &path, body).await;
    assert_eq!(made.status, 201, "{made:?}");
    (account, made.text("id"))
}

/// What the CI system says; `changes` are laid over it, null takes away.
fn claims(town: &Town, changes: Value) -> Value {
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    let mut claims = json!({
        "iss": town.provider.issuer, "aud": "edgeformer", "sub": SUB, "environment": "production",
        "iat": now, "exp": now + 600, "jti": edgeformer_proto::ids::SessionId::new().to_string(),
    });
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    claims
}

async fn exchange(town: &Town, tenant: &str, account: &str, token: &str) -> Answer {
    let body = json!({
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "subject_token": token, "tenant": tenant, "service_account": account,
    });
    let body = body.to_string();
    town.rest.send(Method::POST, "/api/v1/token-exchange", &[], Some(&body)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_trades_its_token_for_a_short_one_once() {
    let town = Town::new().await;
    let (account, rule) = builder(&town).await;
    let token = town.provider.sign(claims(&town, json!({})), json!({})).await;
    let got = exchange(&town, "acme", "builder", &token).await;
    assert_eq!(got.status, 200, "{got:?}");
    assert_eq!(got.body["token_type"], "Bearer");
    let life = got.body["expires_in"].as_u64().unwrap();
    assert!((600..=660).contains(&life), "no longer than the pipeline's own: {life}");
    let access = got.text("access_token");
    let me = town.rest.get(&access, "/api/v1/whoami").await;
    assert_eq!(
        (me.text("principal_name"), me.text("principal_id")),
        ("builder".into(), account.clone())
    );
    assert_eq!(town.rest.get(&access, "/api/v1/devices").await.status, 200);
    town.rest
        .post(&access, "/api/v1/users", json!({"user_name": "x"}))
        .await
        .is_problem(403, "forbidden");
    let body = json!({"uses": 1});
    let made = town.rest.post(&access, "/api/v1/enrolment-tokens", body).await;
    assert_eq!(made.status, 201, "{made:?}");
    let record = &town.records("enrolment_token:create").await[0];
    assert_eq!(record["authentication"]["method"], "federated");
    assert_eq!(record["actor"]["kind"], "service_account");
    let record = &town.records("token:exchange").await[0];
    assert_eq!(
        (&record["outcome"], &record["authentication"]["method"]),
        (&json!("success"), &json!("federated"))
    );

    // Replayed, by the same id in another token too; and for want of an id, by what was signed.
    exchange(&town, "acme", "builder", &token).await.is_problem(401, "unauthenticated");
    let reason = town.records("token:exchange").await[0]["reason"].to_string();
    assert!(reason.contains("used before"), "{reason}");
    let same = claims(&town, json!({"jti": "one"}));
    let first = town.provider.sign(same.clone(), json!({})).await;
    assert_eq!(exchange(&town, "acme", "builder", &first).await.status, 200);
    let second = town.provider.sign(same, json!({"header": {"x": 1}})).await;
    exchange(&town, "acme", "builder", &second).await.is_problem(401, "unauthenticated");
    let without = town.provider.sign(claims(&town, json!({"jti": null})), json!({})).await;
    assert_eq!(exchange(&town, "acme", "builder", &without).await.status, 200);
    exchange(&town, "acme", "builder", &without).await.is_problem(401, "unauthenticated");

    // It ends by itself, and cannot be gone on with.
    let body = json!({"refresh_token": access}).to_string();
    let refreshed = town.rest.send(Method::POST, "/api/v1/login/refresh", &[], Some(&body)).await;
    refreshed.is_problem(401, "unauthenticated");
    town.rest.advance(Duration::from_secs(life + 6));
    town.rest.get(&access, "/api/v1/whoami").await.is_problem(401, "unauthenticated");
    assert!(!rule.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_token_but_one_that_fits_a_rule_is_taken() {
    let town = Town::new().await;
    builder(&town).await;
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    for (changes, how) in [
        (json!({"sub": "repo:evil/app:ref:refs/heads/main"}), json!({})),
        (json!({"sub": "repo:acme/app:ref:refs/heads/other"}), json!({})),
        (json!({"sub": "repo:acme/a:ref:x/app:ref:refs/heads/main"}), json!({})),
        (json!({"sub": null}), json!({})),
        (json!({"environment": "staging"}), json!({})),
        (json!({"environment": null}), json!({})),
        (json!({"environment": {"production": 1}}), json!({})),
        (json!({"aud": "another"}), json!({})),
        (json!({"aud": null}), json!({})),
        (json!({"iss": "https://evil.example"}), json!({})),
        (json!({"iss": format!("{}/", town.provider.issuer)}), json!({})),
        (json!({"exp": now - 100}), json!({})),
        (json!({"exp": now + 200_000}), json!({})),
        (json!({"exp": null}), json!({})),
        (json!({"iat": now + 600}), json!({})),
        (json!({}), json!({"by": "a stranger"})),
        (json!({}), json!({"header": {"kid": "unknown"}})),
        (json!({}), json!({"header": {"kid": null}, "by": "a stranger"})),
    ] {
        let token = town.provider.sign(claims(&town, changes.clone()), how.clone()).await;
        let refused = exchange(&town, "acme", "builder", &token).await;
        assert_eq!(refused.status, 401, "{changes} {how}: {refused:?}");
    }
    let good = town.provider.sign(claims(&town, json!({})), json!({})).await;
    let [_, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!() };
    let none = format!("eyJhbGciOiJub25lIn0.{payload}.");
    let altered = format!("eyJhbGciOiJub25lIn0.{payload}.{signature}");
    for bad in ["", "x", "a.b.c", &none, &altered, &town.owner] {
        exchange(&town, "acme", "builder", bad).await.is_problem(401, "unauthenticated");
    }
    // For nobody else: another account, another tenant, whoever has no rule.
    let body = json!({"name": "other", "roles": ["viewer"]});
    town.rest.post(&town.owner, "/api/v1/service-accounts", body).await;
    town.rest.tenant("else").await;
    for (tenant, account) in
        [("acme", "other"), ("acme", "nobody"), ("else", "builder"), ("nobody", "builder")]
    {
        let refused = exchange(&town, tenant, account, &good).await;
        refused.is_problem(401, "unauthenticated");
    }
    assert_eq!(
        exchange(&town, "acme", "builder", &good).await.status,
        200,
        "it was good all along"
    );
    let wrong = json!({
        "grant_type": "password", "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "subject_token": good, "tenant": "acme", "service_account": "builder",
    });
    let wrong = wrong.to_string();
    let answer = town.rest.send(Method::POST, "/api/v1/token-exchange", &[], Some(&wrong)).await;
    answer.is_problem(422, "invalid");
    // A form is taken too, as the specification has it.
    let next = town.provider.sign(claims(&town, json!({})), json!({})).await;
    let form = format!(
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&tenant=acme&\
         subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt&\
         service_account=builder&subject_token={next}"
    );
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let answer =
        town.rest.send(Method::POST, "/api/v1/token-exchange", &headers, Some(&form)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_key_is_looked_for_once_a_minute_at_most() {
    let town = Town::new().await;
    builder(&town).await;
    let enter = async |by: &str| {
        let token = town.provider.sign(claims(&town, json!({})), json!({"by": by})).await;
        exchange(&town, "acme", "builder", &token).await.status.as_u16()
    };
    assert_eq!(enter("").await, 200);
    town.provider.rotate().await;
    for _ in 0..5 {
        assert_eq!(enter("the newest key").await, 401);
    }
    assert_eq!(town.provider.requests("/jwks").await, 1);
    town.rest.advance(Duration::from_secs(61));
    assert_eq!((enter("the newest key").await, enter("").await), (200, 200));
    assert_eq!(town.provider.requests("/jwks").await, 2);
    // Names that are none are names of nobody.
    for (tenant, account) in [("ac\u{1}me", "builder"), ("acme", "buil\u{1}der")] {
        exchange(&town, tenant, account, "x").await.is_problem(401, "unauthenticated");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_let_a_program_in_can_be_taken_back_at_once() {
    let town = Town::new().await;
    let (account, rule) = builder(&town).await;
    let enter = async || {
        let token = town.provider.sign(claims(&town, json!({})), json!({})).await;
        exchange(&town, "acme", "builder", &token).await
    };
    let access = enter().await.text("access_token");
    let path = format!("/api/v1/service-accounts/{account}");
    let bearer = format!("Bearer {}", town.owner);
    let patch = async |tag: &str, body: Value| {
        let headers = [("authorization", &*bearer), ("if-match", tag)];
        town.rest.send(Method::PATCH, &path, &headers, Some(&body.to_string())).await
    };
    assert_eq!(patch("\"1\"", json!({"active": false})).await.status, 200);
    town.rest.get(&access, "/api/v1/whoami").await.is_problem(401, "unauthenticated");
    enter().await.is_problem(401, "unauthenticated");
    assert_eq!(patch("\"2\"", json!({"active": true, "roles": ["viewer"]})).await.status, 200);
    assert_eq!(town.rest.get(&access, "/api/v1/whoami").await.status, 200);
    town.rest
        .post(&access, "/api/v1/enrolment-tokens", json!({}))
        .await
        .is_problem(403, "forbidden");
    let listed = town.rest.get(&town.owner, &format!("{path}/trust")).await;
    assert_eq!(listed.body["items"][0]["id"], rule);
    let headers = [("authorization", &*bearer)];
    let one = format!("{path}/trust/{rule}");
    assert_eq!(town.rest.send(Method::DELETE, &one, &headers, None).await.status, 204);
    town.rest.get(&access, "/api/v1/whoami").await.is_problem(401, "unauthenticated");
    enter().await.is_problem(401, "unauthenticated");

    // Nobody trusts everybody, and nobody gives what they could not give.
    let base = json!({
        "issuer": town.provider.issuer, "audience": "edgeformer", "conditions": {"sub": "x"},
    });
    for (name, value) in [
        ("conditions", json!({})),
        ("conditions", json!({"sub": "**"})),
        ("conditions", json!({"sub": ""})),
        ("conditions", json!({"environment": "production"})),
        ("audience", json!("")),
        ("issuer", json!("file:///etc/passwd")),
    ] {
        let mut wrong = base.clone();
        wrong[name] = value;
        let answer = town.rest.post(&town.owner, &format!("{path}/trust"), wrong).await;
        answer.is_problem(422, "invalid");
    }
    assert_eq!(patch("\"3\"", json!({"roles": ["owner"]})).await.status, 200);
    let admin = town.rest.token(&town.owner, "admin").await;
    let refused = town.rest.post(&admin, &format!("{path}/trust"), base).await;
    refused.is_problem(403, "forbidden");
}
