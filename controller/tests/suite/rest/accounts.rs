//! People: invited, logging in, going on, logging out; and everybody who tries to be one of them.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use data_encoding::BASE32_NOPAD;
use edgeformer_controller::account::totp;
use edgeformer_controller::audit::sequencer;
use edgeformer_controller::clock::Clock;
use http::Method;
use ring::hmac;
use serde_json::{Value, json};

use crate::support::rest::{Answer, Rest};

const PASSWORD: &str = "correct horse battery";

struct Town {
    rest: Rest,
    tenant: String,
    owner: String,
}

impl Town {
    async fn new() -> Self {
        let rest = Rest::start().await;
        let (tenant, owner) = rest.tenant("acme").await;
        Self { rest, tenant, owner }
    }

    /// A user with [`PASSWORD`]; its id.
    async fn user(&self, name: &str, role: &str) -> String {
        let body = json!({ "user_name": name, "display_name": "Ada L.", "roles": [role] });
        let made = self.rest.post(&self.owner, "/api/v1/users", body).await;
        assert_eq!(made.status, 201, "{made:?}");
        let set = self.set_password(&made.text("invitation"), PASSWORD).await;
        assert_eq!(set.status, 200, "{set:?}");
        made.text("id")
    }

    async fn public(&self, path: &str, body: Value) -> Answer {
        self.rest.send(Method::POST, path, &[], Some(&body.to_string())).await
    }

    async fn set_password(&self, invitation: &str, password: &str) -> Answer {
        let body = json!({ "tenant": "acme", "invitation": invitation, "password": password });
        self.public("/api/v1/login/password", body).await
    }

    async fn log_in(&self, user: &str, password: &str) -> Answer {
        let body = json!({ "tenant": "acme", "user_name": user, "password": password });
        self.public("/api/v1/login", body).await
    }

    async fn with_code(&self, user: &str, code: &str) -> Answer {
        let body =
            json!({ "tenant": "acme", "user_name": user, "password": PASSWORD, "code": code });
        self.public("/api/v1/login", body).await
    }

    async fn refresh(&self, token: &str) -> Answer {
        self.public("/api/v1/login/refresh", json!({ "refresh_token": token })).await
    }

    async fn whoami(&self, token: &str) -> Answer {
        self.rest.get(token, "/api/v1/whoami").await
    }

    async fn patch(&self, token: &str, user: &str, body: Value) -> Answer {
        let path = format!("/api/v1/users/{user}");
        let etag = self.rest.get(&self.owner, &path).await.headers["etag"].clone();
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("if-match", etag.to_str().unwrap())];
        self.rest.send(Method::PATCH, &path, &headers, Some(&body.to_string())).await
    }

    fn seconds(&self, seconds: u64) {
        self.rest.advance(Duration::from_secs(seconds));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invited_person_sets_a_password_logs_in_and_is_themselves() {
    let town = Town::new().await;
    let body = json!({ "user_name": "Ada", "display_name": "Ada L.", "roles": ["operator"] });
    let made = town.rest.post(&town.owner, "/api/v1/users", body.clone()).await;
    let invitation = made.text("invitation");
    town.rest.post(&town.owner, "/api/v1/users", body).await.is_problem(409, "name_taken");
    town.log_in("ada", "").await.is_problem(401, "unauthenticated");

    town.set_password(&invitation, "too short").await.is_problem(422, "invalid");
    town.set_password(&invitation, "acme acme acme ada").await.is_problem(422, "invalid");
    assert_eq!(town.set_password(&invitation, PASSWORD).await.text("user_name"), "ada");
    town.set_password(&invitation, PASSWORD).await.is_problem(401, "unauthenticated");

    // Capitals of the name do not matter.
    let login = town.log_in(" ADA ", PASSWORD).await;
    assert_eq!(login.status, 200, "{login:?}");
    let access = login.text("access_token");
    let me = town.whoami(&access).await;
    assert_eq!((me.text("principal_name"), me.text("role")), ("Ada L.".into(), "operator".into()));
    assert_eq!(town.rest.get(&access, "/api/v1/devices").await.status, 200);
    town.rest.get(&access, "/api/v1/audit").await.is_problem(403, "forbidden");
    let enrolment = town.rest.post(&access, "/api/v1/enrolment-tokens", json!({})).await;
    assert_eq!(enrolment.status, 201, "{enrolment:?}");

    // Everything stands in the log under the person, with how they proved who they are.
    sequencer::sequence_all(&town.rest.app.store, town.rest.clock.now()).await.unwrap();
    let page = town.rest.get(&town.owner, "/api/v1/audit?limit=100").await;
    let all = page.body["items"].as_array().unwrap();
    let of = |action: &str| all.iter().find(|record| record["action"] == action).unwrap();
    assert_eq!(of("session:create")["outcome"], "success");
    let act = of("enrolment_token:create");
    assert_eq!((&act["actor"]["kind"], &act["actor"]["name"]), (&json!("user"), &json!("Ada L.")));
    assert_eq!(act["authentication"]["method"], "password");
    assert_eq!(act["authentication"]["session"], login.text("session_id"));
    let text = page.body.to_string();
    assert!(!text.contains(PASSWORD) && !text.contains(&invitation) && !text.contains("argon2"));

    let gone = town.rest.post(&access, "/api/v1/logout", json!({})).await;
    assert_eq!(gone.status, 204, "{gone:?}");
    town.whoami(&access).await.is_problem(401, "unauthenticated");
    town.refresh(&login.text("refresh_token")).await.is_problem(401, "unauthenticated");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_token_works_once_and_a_stolen_one_ends_the_log_in() {
    let town = Town::new().await;
    town.user("ada", "viewer").await;
    let login = town.log_in("ada", PASSWORD).await;
    let (first, access) = (login.text("refresh_token"), login.text("access_token"));
    town.seconds(11 * 60);
    town.whoami(&access).await.is_problem(401, "unauthenticated");
    let next = town.refresh(&first).await;
    assert_eq!(next.status, 200, "{next:?}");
    let (second, access) = (next.text("refresh_token"), next.text("access_token"));
    assert_eq!(town.whoami(&access).await.status, 200);
    // Two commands at once: the slower one is told, and nothing is lost.
    town.refresh(&first).await.is_problem(409, "refresh_changed");
    assert_eq!(town.whoami(&access).await.status, 200);
    // Later it is theft: whoever has which token, neither goes on.
    town.seconds(60);
    town.refresh(&first).await.is_problem(401, "unauthenticated");
    town.refresh(&second).await.is_problem(401, "unauthenticated");
    town.whoami(&access).await.is_problem(401, "unauthenticated");

    // Unused for a day, or a week old: over.
    let login = town.log_in("ada", PASSWORD).await.text("refresh_token");
    town.seconds(25 * 3600);
    town.refresh(&login).await.is_problem(401, "unauthenticated");
    let mut token = town.log_in("ada", PASSWORD).await.text("refresh_token");
    for _ in 0..8 {
        town.seconds(20 * 3600);
        let next = town.refresh(&token).await;
        assert_eq!(next.status, 200, "{next:?}");
        token = next.text("refresh_token");
    }
    town.seconds(20 * 3600);
    town.refresh(&token).await.is_problem(401, "unauthenticated");
    for wrong in ["", "efr_", &town.owner] {
        town.refresh(wrong).await.is_problem(401, "unauthenticated");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_guesses_learns_nothing_and_is_locked_out() {
    let town = Town::new().await;
    let id = town.user("ada", "viewer").await;
    let disabled = town.user("bob", "viewer").await;
    town.patch(&town.owner, &disabled, json!({ "active": false })).await;
    let right = town.log_in("ada", "wrong wrong wrong").await;
    let elsewhere = json!({ "tenant": "nobody", "user_name": "ada", "password": PASSWORD });
    for other in [
        town.log_in("nobody", PASSWORD).await,
        town.log_in("bob", PASSWORD).await,
        town.public("/api/v1/login", elsewhere).await,
    ] {
        other.is_problem(401, "unauthenticated");
        assert_eq!(other.text("detail"), right.text("detail"));
    }
    for _ in 0..4 {
        town.log_in("ada", "wrong wrong wrong").await.is_problem(401, "unauthenticated");
    }
    // Locked: the right password is refused with the same words, and trying does not lock for longer.
    let locked = town.log_in("ada", PASSWORD).await;
    assert_eq!(locked.text("detail"), right.text("detail"));
    let path = format!("/api/v1/users/{id}");
    assert!(town.rest.get(&town.owner, &path).await.body["locked_until"].is_string());
    town.seconds(61);
    assert_eq!(town.log_in("ada", PASSWORD).await.status, 200);
    for _ in 0..5 {
        town.log_in("ada", "wrong wrong wrong").await;
    }
    town.log_in("ada", PASSWORD).await.is_problem(401, "unauthenticated");
    let unlocked = town.rest.post(&town.owner, &format!("{path}/unlock"), json!({})).await;
    assert_eq!((unlocked.status.as_u16(), &unlocked.body["locked_until"]), (200, &Value::Null));
    assert_eq!(town.log_in("ada", PASSWORD).await.status, 200);

    sequencer::sequence_all(&town.rest.app.store, town.rest.clock.now()).await.unwrap();
    let page = town.rest.get(&town.owner, "/api/v1/audit?limit=100").await;
    let all = page.body["items"].as_array().unwrap();
    let denied = all
        .iter()
        .filter(|r| r["action"] == "session:create" && r["outcome"] == "denied")
        .map(|r| r["reason"].as_str().unwrap().to_owned())
        .collect::<Vec<_>>();
    assert!(denied.iter().any(|why| why.contains("5 in a row, locked until")), "{denied:?}");
    assert!(denied.iter().any(|why| why.contains("disabled")), "{denied:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_factor_is_asked_for_works_once_and_can_be_recovered_from() {
    let town = Town::new().await;
    town.user("ada", "viewer").await;
    let login = town.log_in("ada", PASSWORD).await;
    let access = login.text("access_token");
    let again = json!({ "current_password": PASSWORD });
    let wrong = json!({ "current_password": "not the password" });
    town.rest.post(&access, "/api/v1/me/totp", wrong).await.is_problem(422, "invalid");
    let begun = town.rest.post(&access, "/api/v1/me/totp", again.clone()).await;
    assert!(begun.text("uri").starts_with("otpauth://totp/EdgeFormer%20Fleet:ada?secret="));
    let secret = BASE32_NOPAD.decode(begun.text("secret").as_bytes()).unwrap();
    let code = || totp::current(&secret, town.rest.clock.now());
    // Not asked for before it is confirmed.
    assert_eq!(town.log_in("ada", PASSWORD).await.status, 200);
    let confirm = async |code: &str| {
        town.rest.post(&access, "/api/v1/me/totp/confirm", json!({ "code": code })).await
    };
    confirm("000000").await.is_problem(422, "invalid");
    let confirmed = confirm(&code()).await;
    let codes: Vec<String> =
        serde_json::from_value(confirmed.body["recovery_codes"].clone()).unwrap();
    assert_eq!(codes.len(), 10);
    confirm(&code()).await.is_problem(409, "no_second_factor");

    town.log_in("ada", PASSWORD).await.is_problem(401, "second_factor_required");
    // The code that confirmed is used; so is each that logged in.
    town.with_code("ada", &code()).await.is_problem(401, "unauthenticated");
    town.seconds(30);
    let now = code();
    assert_eq!(town.with_code("ada", &now).await.status, 200);
    town.with_code("ada", &now).await.is_problem(401, "unauthenticated");
    let recovered = town.with_code("ada", &codes[3].to_uppercase()).await;
    assert_eq!(recovered.status, 200, "{recovered:?}");
    town.with_code("ada", &codes[3]).await.is_problem(401, "unauthenticated");

    let token = recovered.text("access_token");
    let sessions = town.rest.get(&token, "/api/v1/me/sessions").await;
    let first = &sessions.body["items"][0];
    assert_eq!((&first["method"], &first["current"]), (&json!("recovery_code"), &json!(true)));
    let removed = town.rest.post(&token, "/api/v1/me/totp/remove", again).await;
    assert_eq!(removed.status, 204, "{removed:?}");
    assert_eq!(town.log_in("ada", PASSWORD).await.status, 200);
    town.with_code("ada", &codes[4]).await;
}

/// With which an attacker would sign as if it were a shared secret.
async fn public_key(town: &Town) -> Vec<u8> {
    let database = sqlx::AnyPool::connect(&town.rest.database_url()).await.unwrap();
    let row = sqlx::query("SELECT public_key FROM session_keys").fetch_one(&database).await;
    let public: Vec<u8> = sqlx::Row::get(&row.unwrap(), "public_key");
    database.close().await;
    public
}

/// Forged, altered, expired, downgraded and foreign access tokens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_access_token_but_a_live_one_of_ours_is_taken() {
    let town = Town::new().await;
    town.user("ada", "admin").await;
    let login = town.log_in("ada", PASSWORD).await;
    let access = login.text("access_token");
    let parts: Vec<&str> = access.split('.').collect();
    let header: Value = serde_json::from_slice(&BASE64.decode(parts[0]).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&BASE64.decode(parts[1]).unwrap()).unwrap();
    assert_eq!((&header["alg"], &claims["aud"]), (&json!("EdDSA"), &json!("edgeformer-api")));
    assert!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap() <= 600);
    let encode = |value: &Value| BASE64.encode(value.to_string());
    let with = |base: &Value, name: &str, new: Value| {
        let mut changed = base.clone();
        changed[name] = new;
        changed
    };
    let mut forged = vec![
        // Nothing signed it.
        format!("{}.{}.", encode(&with(&header, "alg", json!("none"))), parts[1]),
        format!("{}.{}.{}", encode(&with(&header, "alg", json!("none"))), parts[1], parts[2]),
        format!("{}.{}", parts[0], parts[1]),
        format!("{}.{}.", parts[0], parts[1]),
        // Another key, or none of ours.
        format!("{}.{}.{}", encode(&with(&header, "kid", json!("other"))), parts[1], parts[2]),
        format!("{}.{}.{}", encode(&with(&header, "kid", Value::Null)), parts[1], parts[2]),
        // Another algorithm of the same family, and of others.
        format!("{}.{}.{}", encode(&with(&header, "alg", json!("ES256"))), parts[1], parts[2]),
        format!("{}.{}.{}", encode(&with(&header, "alg", json!("RS256"))), parts[1], parts[2]),
        format!("{access}."),
        format!("{access}.{}", parts[2]),
        "..".to_owned(),
        "a.b.c".to_owned(),
        format!("{}.{}.{}", parts[0], parts[1], "A".repeat(4000)),
        login.text("refresh_token"),
    ];
    // Other claims under the old signature: another user, tenant, session, a longer life.
    let id = "01a205d4-02c0-7092-a95b-4f862b0ac47f";
    for (name, value) in [
        ("sub", json!(id)),
        ("tid", json!(id)),
        ("sid", json!(id)),
        ("exp", json!(4_000_000_000_i64)),
        ("aud", json!("else")),
    ] {
        let changed = encode(&with(&claims, name, value));
        forged.push(format!("{}.{changed}.{}", parts[0], parts[2]));
    }
    let public = public_key(&town).await;
    for secret in [public.clone(), BASE64.encode(&public).into_bytes()] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let message = format!("{}.{}", encode(&with(&header, "alg", json!("HS256"))), parts[1]);
        let tag = BASE64.encode(hmac::sign(&key, message.as_bytes()));
        forged.push(format!("{message}.{tag}"));
    }
    // Another installation's.
    let other = Town::new().await;
    other.user("ada", "admin").await;
    forged.push(other.log_in("ada", PASSWORD).await.text("access_token"));
    for token in &forged {
        town.whoami(token).await.is_problem(401, "unauthenticated");
    }
    assert_eq!(town.whoami(&access).await.status, 200, "the true one is");
    town.seconds(600 + 6);
    town.whoami(&access).await.is_problem(401, "unauthenticated");
    assert_ne!(town.tenant, other.tenant);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_disabled_or_signed_out_is_out_at_once() {
    let town = Town::new().await;
    let id = town.user("ada", "viewer").await;
    let eve = town.user("eve", "viewer").await;
    let enter = async || town.log_in("ada", PASSWORD).await.text("access_token");
    let (one, two) = (enter().await, enter().await);
    let listed = town.rest.get(&one, "/api/v1/me/sessions").await;
    assert_eq!(listed.body["items"].as_array().unwrap().len(), 2);

    // Nobody ends another's log-in.
    let hers = town.log_in("eve", PASSWORD).await;
    let session = hers.text("session_id");
    let bearer = format!("Bearer {one}");
    let path = format!("/api/v1/me/sessions/{session}");
    let refused = town.rest.send(Method::DELETE, &path, &[("authorization", &bearer)], None).await;
    refused.is_problem(404, "not_found");
    assert_eq!(town.whoami(&hers.text("access_token")).await.status, 200);

    // A new password ends the other log-ins.
    let new = "another horse battery";
    let body = json!({ "current_password": PASSWORD, "password": new });
    let changed = town.rest.post(&one, "/api/v1/me/password", body).await;
    assert_eq!(changed.status, 204, "{changed:?}");
    town.whoami(&two).await.is_problem(401, "unauthenticated");
    assert_eq!(town.whoami(&one).await.status, 200);
    town.log_in("ada", PASSWORD).await.is_problem(401, "unauthenticated");

    let out = town.rest.post(&town.owner, &format!("/api/v1/users/{id}/sign-out"), json!({})).await;
    assert_eq!(out.body["ended"], 1);
    town.whoami(&one).await.is_problem(401, "unauthenticated");
    let token = town.log_in("ada", new).await.text("access_token");
    let off = town.patch(&town.owner, &id, json!({ "active": false })).await;
    assert_eq!(off.body["active"], false);
    town.whoami(&token).await.is_problem(401, "unauthenticated");
    town.log_in("ada", new).await.is_problem(401, "unauthenticated");

    // What roles give changes with them, without a new log-in.
    let token = town.log_in("eve", PASSWORD).await.text("access_token");
    town.rest.get(&token, "/api/v1/audit").await.is_problem(403, "forbidden");
    town.patch(&town.owner, &eve, json!({ "roles": ["auditor"] })).await;
    assert_eq!(town.rest.get(&token, "/api/v1/audit").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_neither_makes_nor_becomes_an_owner() {
    let town = Town::new().await;
    town.user("ada", "admin").await;
    let chief = town.user("chief", "owner").await;
    let admin = town.log_in("ada", PASSWORD).await.text("access_token");
    let body = json!({ "user_name": "x", "roles": ["owner"] });
    town.rest.post(&admin, "/api/v1/users", body).await.is_problem(403, "forbidden");
    let invite = format!("/api/v1/users/{chief}/invitation");
    town.rest.post(&admin, &invite, json!({})).await.is_problem(403, "forbidden");
    for change in [json!({ "roles": ["viewer"] }), json!({ "active": false })] {
        town.patch(&admin, &chief, change).await.is_problem(403, "forbidden");
    }
    let own = town.rest.get(&admin, "/api/v1/whoami").await.text("principal_id");
    let raise = town.patch(&admin, &own, json!({ "roles": ["owner"] })).await;
    raise.is_problem(403, "forbidden");
    // Fields that are nobody's to set are refused, not ignored.
    let body = json!({ "user_name": "y", "password_hash": "x", "source": "oidc" });
    town.rest.post(&admin, "/api/v1/users", body).await.is_problem(422, "invalid");
    let sneak = town.patch(&admin, &own, json!({ "totp_confirmed": false })).await;
    sneak.is_problem(422, "invalid");
}

/// A log-in that somebody left open is no way to find the password out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_logged_in_does_not_guess_the_password() {
    let town = Town::new().await;
    town.user("ada", "admin").await;
    let access = town.log_in("ada", PASSWORD).await.text("access_token");
    let guess = async |current: &str| {
        let body = json!({"current_password": current});
        town.rest.post(&access, "/api/v1/me/totp", body).await
    };
    for n in 0..5 {
        guess(&format!("another horse battery {n}")).await.is_problem(422, "invalid");
    }
    let locked = guess(PASSWORD).await;
    locked.is_problem(403, "forbidden");
    assert!(locked.text("detail").contains("after failed ones"), "{locked:?}");
    town.seconds(61);
    assert_eq!(guess(PASSWORD).await.status, 200);
    let log = town.rest.get(&town.owner, "/api/v1/audit?limit=100").await;
    let denied = |record: &&Value| record["action"] == "self:totp" && record["outcome"] == "denied";
    assert_eq!(log.body["items"].as_array().unwrap().iter().filter(denied).count(), 6);
}
