//! A browser that is logged in: what its cookie opens, what other sites cannot make it do, how it ends;
//! and a command line that it lets in.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::Town;
use crate::support::db::PostgresDatabase;
use crate::support::oidc::{Browser, path};
use crate::support::rest::{Answer, PUBLIC_URL};

const LOGOUT_EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_site_cannot_make_the_browser_change_anything() {
    let town = Town::new().await;
    let bob = town.entered("bob").await;
    let csrf = bob.cookie("-csrf").unwrap();
    let me = bob.get(&town.rest, "/api/v1/whoami").await.text("principal_id");
    let path = format!("/api/v1/users/{me}/sign-out");
    let evil = "https://evil.example";
    let other = "A".repeat(43);
    for headers in [
        vec![],
        vec![("x-edgeformer-csrf", csrf.as_str())],
        vec![("origin", PUBLIC_URL)],
        vec![("sec-fetch-site", "same-origin")],
        vec![("origin", PUBLIC_URL), ("x-edgeformer-csrf", "")],
        vec![("origin", PUBLIC_URL), ("x-edgeformer-csrf", &other)],
        vec![("origin", evil), ("x-edgeformer-csrf", &csrf)],
        vec![("origin", "null"), ("x-edgeformer-csrf", &csrf)],
        vec![("sec-fetch-site", "cross-site"), ("x-edgeformer-csrf", &csrf)],
        vec![("sec-fetch-site", "same-site"), ("x-edgeformer-csrf", &csrf)],
        vec![("sec-fetch-site", "none"), ("x-edgeformer-csrf", &csrf)],
        vec![("sec-fetch-site", "same-origin"), ("origin", evil), ("x-edgeformer-csrf", &csrf)],
    ] {
        let answer = bob.ask(&town.rest, Method::POST, &path, &headers, Some("{}")).await;
        answer.is_problem(403, "csrf");
    }
    let good =
        [("sec-fetch-site", "same-origin"), ("origin", PUBLIC_URL), ("x-edgeformer-csrf", &*csrf)];
    let out = bob.ask(&town.rest, Method::POST, &path, &good, Some("{}")).await;
    assert_eq!((out.status.as_u16(), &out.body["ended"]), (200, &json!(1)), "{out:?}");
    bob.get(&town.rest, "/api/v1/whoami").await.is_problem(401, "unauthenticated");

    // A token in the header is no browser's doing: nothing of this concerns it, cookie or not.
    let bob = town.entered("bob").await;
    let bearer = format!("Bearer {}", town.owner);
    let headers = [("authorization", &*bearer), ("sec-fetch-site", "cross-site")];
    let body = Some(r#"{"name": "t", "role": "viewer"}"#);
    let made = bob.ask(&town.rest, Method::POST, "/api/v1/tokens", &headers, body).await;
    assert_eq!(made.status, 201, "{made:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browsers_session_ends_by_idleness_by_age_and_is_no_other_credential() {
    let town = Town::new().await;
    let ada = town.entered("ada").await;
    let token = ada.cookie("-session").unwrap();
    let whoami = async |browser: &Browser| browser.get(&town.rest, "/api/v1/whoami").await;
    // A new log-in never goes on with what a browser had before.
    assert_ne!(town.entered("ada").await.cookie("-session").unwrap(), token);
    // Not as a bearer token, and not as a refresh token.
    town.rest.get(&token, "/api/v1/whoami").await.is_problem(401, "unauthenticated");
    let body = json!({"refresh_token": token}).to_string();
    let refreshed = town.rest.send(Method::POST, "/api/v1/login/refresh", &[], Some(&body)).await;
    refreshed.is_problem(401, "unauthenticated");
    let stranger = Browser::default();
    for wrong in ["", "x", &token[..token.len() - 1], &town.owner] {
        stranger.set_cookie("__Host-edgeformer-session", wrong);
        whoami(&stranger).await.is_problem(401, "unauthenticated");
    }
    // Used every day it lasts a week; not used for a day it is over.
    for _ in 0..7 {
        assert_eq!(whoami(&ada).await.status, 200);
        town.rest.advance(Duration::from_secs(23 * 3600));
    }
    assert_eq!(whoami(&ada).await.status, 200);
    town.rest.advance(Duration::from_secs(8 * 3600));
    whoami(&ada).await.is_problem(401, "unauthenticated");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_logs_out_here_and_at_the_provider() {
    let town = Town::new().await;
    let ada = town.entered("ada").await;
    let page = ada.get(&town.rest, "/api/v1/login/browser").await;
    assert_eq!(page.status, 200);
    assert!(
        page.headers["content-security-policy"].to_str().unwrap().contains("default-src 'none'")
    );
    let (session, csrf) = (ada.cookie("-session").unwrap(), ada.cookie("-csrf").unwrap());
    let out = "/api/v1/login/browser/logout";
    ada.form(&town.rest, out, &[("csrf", "wrong")]).await.is_problem(403, "csrf");
    assert_eq!(ada.get(&town.rest, "/api/v1/whoami").await.status, 200);
    let gone = ada.form(&town.rest, out, &[("csrf", &csrf)]).await;
    assert_eq!(gone.status, 303, "{gone:?}");
    let to = gone.headers["location"].to_str().unwrap();
    assert!(to.starts_with(&town.provider.issuer) && to.contains("id_token_hint="), "{to}");
    assert!(ada.cookie("-session").is_none() && ada.cookie("-csrf").is_none());
    ada.set_cookie("__Host-edgeformer-session", &session);
    ada.get(&town.rest, "/api/v1/whoami").await.is_problem(401, "unauthenticated");
    assert_eq!(town.records("session:end").await.len(), 1);
    // The provider takes the hint and sends the browser to our first page.
    let back = ada.log_out_at_provider(&town.provider, to).await;
    assert_eq!(back, format!("{PUBLIC_URL}/api/v1/login/browser"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_ends_what_came_from_it() {
    let town = Town::new().await;
    let (ada, other, bob) =
        (town.entered("ada").await, town.entered("ada").await, town.entered("bob").await);
    let whoami = async |browser: &Browser| browser.get(&town.rest, "/api/v1/whoami").await.status;
    let tell = async |token: &str| -> Answer {
        let path = town.callback().replace("callback", "back-channel-logout");
        Browser::default().form(&town.rest, &path, &[("logout_token", token)]).await
    };
    // Ada logs out at the provider, which says so to the controller.
    let csrf = ada.cookie("-csrf").unwrap();
    let kept = ada.cookie("-session").unwrap();
    let out = ada.form(&town.rest, "/api/v1/login/browser/logout", &[("csrf", &csrf)]).await;
    ada.log_out_at_provider(&town.provider, out.headers["location"].to_str().unwrap()).await;
    assert_ne!(kept, "");
    let delivered = town.provider.delivered().await;
    assert_eq!(delivered.len(), 1, "{delivered:?}");
    let body = delivered[0]["body"].as_str().unwrap();
    let real = body.strip_prefix("logout_token=").unwrap().to_owned();
    assert!(delivered[0]["url"].as_str().unwrap().ends_with("/back-channel-logout"));
    assert_eq!(tell(&real).await.status, 200);
    tell(&real).await.is_problem(400, "invalid_request");

    // By session: that one alone. By subject: all of theirs. Made by the provider's own key.
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    let base = json!({
        "iss": town.provider.issuer, "aud": "fleet", "iat": now, "exp": now + 120,
        "events": {LOGOUT_EVENT: {}}, "sub": "ada",
    });
    let with = |changes: Value| {
        let mut claims = base.clone();
        claims["jti"] = json!(uuid());
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        claims
    };
    for (claims, how) in [
        (with(json!({})), json!({"by": "a stranger"})),
        (with(json!({})), json!({"header": {"typ": "at+jwt"}})),
        (with(json!({"events": {}})), json!({})),
        (with(json!({"nonce": "n"})), json!({})),
        (with(json!({"aud": "another"})), json!({})),
        (with(json!({"iss": "https://evil.example"})), json!({})),
        (with(json!({"iat": now - 400})), json!({})),
        (with(json!({"exp": now - 100})), json!({})),
        (with(json!({"sub": null})), json!({})),
        (with(json!({"jti": null})), json!({})),
    ] {
        let token = town.provider.sign(claims, how).await;
        tell(&token).await.is_problem(400, "invalid_request");
    }
    tell("x.y.z").await.is_problem(400, "invalid_request");
    assert_eq!((whoami(&other).await, whoami(&bob).await), (200.into_status(), 200.into_status()));
    let nobodys = town.provider.sign(with(json!({"sid": "another"})), json!({})).await;
    assert_eq!(tell(&nobodys).await.status, 200);
    assert_eq!(whoami(&other).await, 200);
    let adas = town.provider.sign(with(json!({})), json!({"header": {"typ": "logout+jwt"}})).await;
    assert_eq!(tell(&adas).await.status, 200);
    assert_eq!((whoami(&other).await, whoami(&bob).await), (401.into_status(), 200.into_status()));
    let record = &town.records("session:provider_end").await[0];
    assert_eq!(
        (&record["actor"]["kind"], &record["outcome"]),
        (&json!("system"), &json!("success"))
    );
}

fn uuid() -> String {
    edgeformer_proto::ids::SessionId::new().to_string()
}

trait IntoStatus {
    fn into_status(self) -> http::StatusCode;
}

impl IntoStatus for u16 {
    fn into_status(self) -> http::StatusCode {
        http::StatusCode::from_u16(self).unwrap()
    }
}

/// A command line that waits: what it got, and what it gets when it asks.
async fn waiting(town: &Town) -> Answer {
    let body = json!({"tenant": "acme"}).to_string();
    let begun = town.rest.send(Method::POST, "/api/v1/login/device", &[], Some(&body)).await;
    assert_eq!(begun.status, 200, "{begun:?}");
    begun
}

async fn poll(town: &Town, device_code: &str) -> Answer {
    let body = json!({"device_code": device_code}).to_string();
    town.rest.send(Method::POST, "/api/v1/login/device/token", &[], Some(&body)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_line_is_let_in_by_a_person_in_a_browser() {
    let_in(&Town::new().await).await;
}

/// Row-level security has to show what a waiting command line and a browser present.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_line_is_let_in_on_postgres_too() {
    let database = PostgresDatabase::create().await;
    let town = Town::on(Some(database.url.clone()), "RS256", json!({})).await;
    let_in(&town).await;
    town.rest.app.store.close().await;
    database.drop_it().await;
}

async fn let_in(town: &Town) {
    let begun = waiting(town).await;
    let (device, code) = (begun.text("device_code"), begun.text("user_code"));
    let page = begun.text("verification_uri_complete");
    assert!(page.starts_with(PUBLIC_URL) && page.ends_with(&code), "{page}");
    poll(town, &device).await.is_problem(409, "authorization_pending");
    poll(town, &device).await.is_problem(409, "slow_down");
    town.rest.advance(Duration::from_secs(11));
    poll(town, &device).await.is_problem(409, "authorization_pending");

    // The page sends whoever is not logged in through the provider and back.
    let ada = Browser::default();
    let sent = ada.get(&town.rest, &path(&page)).await;
    assert_eq!(sent.status, 303, "{sent:?}");
    let start = ada.get(&town.rest, sent.headers["location"].to_str().unwrap()).await;
    let to = start.headers["location"].to_str().unwrap();
    let back = ada.at_provider(&town.provider, to, Some("ada")).await;
    let entered = ada.get(&town.rest, &path(&back)).await;
    let next = entered.headers["location"].to_str().unwrap();
    assert_eq!(next, format!("/api/v1/login/device?user_code={code}"));
    assert_eq!(ada.get(&town.rest, next).await.status, 200);

    let decide = "/api/v1/login/device/decision";
    let csrf = ada.cookie("-csrf").unwrap();
    let lower = code.to_lowercase();
    let say = async |decision: &str, csrf: &str| {
        let pairs = [("user_code", lower.as_str()), ("decision", decision), ("csrf", csrf)];
        ada.form(&town.rest, decide, &pairs).await
    };
    say("allow", "wrong").await.is_problem(403, "csrf");
    say("perhaps", &csrf).await.is_problem(422, "invalid");
    poll(town, &device).await;
    assert_eq!(say("allow", &csrf).await.status, 200);
    say("refuse", &csrf).await.is_problem(422, "invalid");

    let tokens = poll(town, &device).await;
    assert_eq!(tokens.status, 200, "{tokens:?}");
    assert_eq!(tokens.text("user_name"), "ada");
    let access = tokens.text("access_token");
    assert_eq!(town.rest.get(&access, "/api/v1/devices").await.status, 200);
    let sessions = town.rest.get(&access, "/api/v1/me/sessions").await;
    assert_eq!(sessions.body["items"][0]["method"], "oidc");
    poll(town, &device).await.is_problem(409, "expired_token");
    assert_eq!(town.records("session:delegate").await.len(), 1);

    // It outlives the browser's, and the provider ends both.
    let out = ada.form(&town.rest, "/api/v1/login/browser/logout", &[("csrf", &csrf)]).await;
    assert_eq!(town.rest.get(&access, "/api/v1/devices").await.status, 200);
    ada.log_out_at_provider(&town.provider, out.headers["location"].to_str().unwrap()).await;
    let delivered = town.provider.delivered().await;
    let token = delivered[0]["body"].as_str().unwrap().strip_prefix("logout_token=").unwrap();
    let path = town.callback().replace("callback", "back-channel-logout");
    let told = Browser::default().form(&town.rest, &path, &[("logout_token", token)]).await;
    assert_eq!(told.status, 200, "{told:?}");
    town.rest.get(&access, "/api/v1/devices").await.is_problem(401, "unauthenticated");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_line_is_not_let_in_by_others_later_or_twice() {
    let town = Town::new().await;
    let ada = town.entered("ada").await;
    let csrf = ada.cookie("-csrf").unwrap();
    let decide = async |code: &str, decision: &str| {
        let pairs = [("user_code", code), ("decision", decision), ("csrf", &csrf)];
        ada.form(&town.rest, "/api/v1/login/device/decision", &pairs).await
    };
    let refused = waiting(&town).await;
    assert_eq!(decide(&refused.text("user_code"), "refuse").await.status, 200);
    poll(&town, &refused.text("device_code")).await.is_problem(409, "access_denied");
    poll(&town, &refused.text("device_code")).await.is_problem(409, "expired_token");

    // Another tenant's person neither sees nor decides it.
    let (_, owner) = town.rest.tenant("other").await;
    let theirs = super::add(&town.rest, &owner, &town.provider, json!({})).await;
    assert_ne!(theirs, town.id);
    let body = json!({"tenant": "other"}).to_string();
    let begun = town.rest.send(Method::POST, "/api/v1/login/device", &[], Some(&body)).await;
    decide(&begun.text("user_code"), "allow").await.is_problem(422, "invalid");
    let page = format!("/api/v1/login/device?user_code={}", begun.text("user_code"));
    assert_eq!(ada.get(&town.rest, &page).await.status, 403);
    poll(&town, &begun.text("device_code")).await.is_problem(409, "authorization_pending");

    // Not after its time, and not by whoever logged out meanwhile.
    let late = waiting(&town).await;
    town.rest.advance(Duration::from_secs(601));
    decide(&late.text("user_code"), "allow").await.is_problem(422, "invalid");
    poll(&town, &late.text("device_code")).await.is_problem(409, "expired_token");
    let begun = waiting(&town).await;
    assert_eq!(decide(&begun.text("user_code"), "allow").await.status, 200);
    ada.form(&town.rest, "/api/v1/login/browser/logout", &[("csrf", &csrf)]).await;
    poll(&town, &begun.text("device_code")).await.is_problem(409, "expired_token");
    for wrong in ["", "efd_x", &town.owner] {
        poll(&town, wrong).await.is_problem(422, "invalid");
    }
    let nobody = edgeformer_proto::token::Token::mint(edgeformer_proto::token::Kind::DeviceLogin);
    poll(&town, nobody.reveal()).await.is_problem(409, "expired_token");
}

/// Letting a command line in is no new log-in: policies that ask for a fresh one are not satisfied by it,
/// and a chain of them does not outlast the log-in that it began with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_line_is_as_old_as_the_log_in_that_let_it_in() {
    let town = Town::new().await;
    let ada = town.entered("ada").await;
    let csrf = ada.cookie("-csrf").unwrap();
    let day = Duration::from_secs(24 * 3600);
    for _ in 0..13 {
        // In use, so that it is not idle.
        town.rest.advance(day / 2);
        assert_eq!(ada.get(&town.rest, "/api/v1/devices").await.status, 200);
    }
    let begun = waiting(&town).await;
    let code = begun.text("user_code");
    let pairs = [("user_code", code.as_str()), ("decision", "allow"), ("csrf", csrf.as_str())];
    let decided = ada.form(&town.rest, "/api/v1/login/device/decision", &pairs).await;
    assert_eq!(decided.status, 200, "{decided:?}");
    let tokens = poll(&town, &begun.text("device_code")).await;
    let access = tokens.text("access_token");
    let sessions = town.rest.get(&access, "/api/v1/me/sessions").await;
    let all = sessions.body["items"].as_array().unwrap();
    assert_eq!(all.len(), 2, "{all:?}");
    assert_eq!(all[0]["signed_in_at"], all[1]["signed_in_at"], "{all:?}");
    town.rest.advance(day / 2);
    let body = json!({"refresh_token": tokens.text("refresh_token")}).to_string();
    let over = town.rest.send(Method::POST, "/api/v1/login/refresh", &[], Some(&body)).await;
    over.is_problem(401, "unauthenticated");

    // Where she was is hers, and goes with her.
    let record = &town.records("session:delegate").await[0];
    assert_eq!(record["resource"]["kind"], "user", "{record}");
}
