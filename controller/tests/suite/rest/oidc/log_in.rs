//! There and back: who gets in, as what, and what is refused.

use http::Method;
use serde_json::{Value, json};

use super::{Town, add};
use crate::support::oidc::{Browser, path};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_logs_in_with_groups_for_roles_and_everything_is_recorded() {
    let town = Town::new().await;
    let browser = Browser::default();
    let url = browser.start(&town.rest, "tenant=acme&next=/api/v1/devices").await;
    for part in ["response_type=code", "code_challenge_method=S256", "state=", "nonce=", "openid"] {
        assert!(url.contains(part), "{url}");
    }
    let back = browser.at_provider(&town.provider, &url, Some("ada")).await;
    assert!(back.contains("iss="), "the provider says who it is: {back}");
    let answer = browser.get(&town.rest, &path(&back)).await;
    assert_eq!(answer.status, 303, "{answer:?}");
    assert_eq!(answer.headers["location"], "/api/v1/devices");
    assert_eq!(answer.headers["cache-control"], "no-store");

    let me = browser.get(&town.rest, "/api/v1/whoami").await;
    assert_eq!((me.status.as_u16(), me.text("principal_name")), (200, "ada the First".to_owned()));
    assert_eq!(browser.get(&town.rest, "/api/v1/devices").await.status, 200);
    browser.get(&town.rest, "/api/v1/audit").await.is_problem(403, "forbidden");
    let users = town.rest.get(&town.owner, "/api/v1/users").await;
    let ada = &users.body["items"][0];
    assert_eq!((&ada["user_name"], &ada["source"]), (&json!("ada"), &json!("oidc")));
    assert_eq!(ada["email"], "ada@example.com");
    assert_eq!(ada["roles"], json!([]), "what the provider gives is kept apart");

    let record = &town.records("session:create").await[0];
    assert_eq!(record["outcome"], "success");
    assert_eq!(record["authentication"]["method"], "oidc");
    assert_eq!(record["actor"]["kind"], "user");
    let made = &town.records("user:create").await[0];
    assert_eq!(made["authentication"]["method"], "oidc");
    let provider = &town.records("identity_provider:create").await[0].to_string();
    assert!(!provider.contains(super::SECRET));

    // The same person again is the same user.
    town.entered("ada").await;
    let users = town.rest.get(&town.owner, "/api/v1/users").await;
    assert_eq!(users.body["items"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_algorithm_of_the_list_works_and_groups_come_from_userinfo_too() {
    for algorithm in ["PS256", "ES256", "ES384", "EdDSA"] {
        let town = Town::with(algorithm, json!({"claims_in_userinfo": algorithm == "ES256"})).await;
        town.entered("ada").await;
        assert_eq!(town.provider.requests("/me").await, u64::from(algorithm == "ES256"));
        // One that the tenant does not allow is not taken, however good the signature is.
        assert_eq!(town.edit(json!({"algorithms": ["RS256"]})).await.status, 200);
        town.enter(&Browser::default(), "ada").await.is_problem(401, "unauthenticated");
        let why = town.records("session:create").await[0]["reason"].as_str().unwrap().to_owned();
        assert!(why.contains("may be used here"), "{why}");
    }
}

/// Everything that can be wrong with an ID token, made by the provider itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_id_token_lets_nobody_in() {
    let town = Town::new().await;
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    for (how, why) in [
        (json!({"claims": {"nonce": "another"}}), "nonce"),
        (json!({"without": ["nonce"]}), "nonce"),
        (json!({"claims": {"iss": "https://evil.example"}}), "another issuer"),
        (json!({"claims": {"aud": "another"}}), "another audience"),
        (json!({"claims": {"aud": ["fleet", "another"]}}), "azp"),
        (json!({"claims": {"azp": "another"}}), "azp"),
        (json!({"claims": {"exp": now - 120}}), "expired"),
        (json!({"without": ["exp"]}), "exp"),
        (json!({"claims": {"iat": now + 600}}), "future"),
        (json!({"claims": {"iat": now - 600}}), "older than the log-in"),
        (json!({"claims": {"nbf": now + 600}}), "not good yet"),
        (json!({"claims": {"sub": ""}}), "sub"),
        (json!({"claims": {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}}), "at_hash"),
        (json!({"by": "nobody"}), "\"none\""),
        (json!({"by": "public key as secret"}), "\"HS256\""),
        (json!({"by": "a stranger"}), "signature is wrong"),
        (json!({"by": "a broken signature", "claims": {"sub": "bob"}}), "signature is wrong"),
        (json!({"header": {"kid": "unknown"}}), "no key \"unknown\""),
        (json!({"header": {"crit": ["x"], "x": 1}}), "critical"),
    ] {
        town.provider.tamper(how.clone()).await;
        let browser = Browser::default();
        let answer = town.enter(&browser, "ada").await;
        answer.is_problem(401, "unauthenticated");
        assert!(browser.cookie("-session").is_none(), "{how}");
        let record = &town.records("session:create").await[0];
        let reason = record["reason"].as_str().unwrap();
        assert!(record["outcome"] == "denied" && reason.contains(why), "{how}: {record}");
        assert!(!answer.text("detail").contains(why), "a stranger is not told: {answer:?}");
    }
    let users = town.rest.get(&town.owner, "/api/v1/users").await;
    assert_eq!(users.body["items"], json!([]), "nobody was made");
    town.provider.tamper(json!({"claims": {"at_hash": null}, "without": ["at_hash"]})).await;
    town.entered("ada").await;
    // An unknown key makes the controller look again once, not each time.
    assert!(town.provider.requests("/jwks").await <= 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_and_code_are_good_once_and_in_the_browser_that_began() {
    let town = Town::new().await;
    let (ada, eve) = (Browser::default(), Browser::default());
    let over = |answer: crate::support::rest::Answer| {
        answer.is_problem(401, "unauthenticated");
        assert!(answer.text("detail").contains("unknown, used or over"), "{answer:?}");
    };
    // Another browser with the address, with a secret of its own or with none.
    let url = ada.start(&town.rest, "tenant=acme").await;
    let back = ada.at_provider(&town.provider, &url, Some("ada")).await;
    over(Browser::default().get(&town.rest, &path(&back)).await);
    let url = ada.start(&town.rest, "tenant=acme").await;
    let back = ada.at_provider(&town.provider, &url, Some("ada")).await;
    eve.start(&town.rest, "tenant=acme").await;
    over(eve.get(&town.rest, &path(&back)).await);
    // That used the state up, for its own browser too.
    over(ada.get(&town.rest, &path(&back)).await);

    // Once, then never again.
    let url = ada.start(&town.rest, "tenant=acme").await;
    let back = ada.at_provider(&town.provider, &url, Some("ada")).await;
    let secret = ada.cookie("-login").unwrap();
    assert_eq!(ada.get(&town.rest, &path(&back)).await.status, 303);
    ada.set_cookie("__Host-edgeformer-login", &secret);
    over(ada.get(&town.rest, &path(&back)).await);

    // The code of one log-in in another: the provider knows it, PKCE and nonce do not fit.
    let first = ada.start(&town.rest, "tenant=acme").await;
    let first = ada.at_provider(&town.provider, &first, Some("ada")).await;
    let second = eve.start(&town.rest, "tenant=acme").await;
    let state = second.split("state=").nth(1).unwrap().split('&').next().unwrap();
    let code = first.split("code=").nth(1).unwrap().split('&').next().unwrap();
    let iss = first.split("iss=").nth(1).unwrap().split('&').next().unwrap();
    let mixed = format!("{}?code={code}&state={state}&iss={iss}", town.callback());
    eve.get(&town.rest, &mixed).await.is_problem(401, "unauthenticated");
    let why = town.records("session:create").await[0]["reason"].as_str().unwrap().to_owned();
    assert!(why.contains("does not take the code") && why.contains("invalid_grant"), "{why}");

    // Too late.
    let url = ada.start(&town.rest, "tenant=acme").await;
    let back = ada.at_provider(&town.provider, &url, Some("ada")).await;
    town.rest.advance(std::time::Duration::from_secs(601));
    over(ada.get(&town.rest, &path(&back)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answer_must_be_of_the_provider_that_was_asked() {
    let town = Town::new().await;
    let browser = Browser::default();
    let again = async || {
        let url = browser.start(&town.rest, "tenant=acme").await;
        path(&browser.at_provider(&town.provider, &url, Some("ada")).await)
    };
    let why = async || town.records("session:create").await[0]["reason"].to_string();
    // Without the issuer's name, and with another (RFC 9207).
    let back = again().await;
    let (without, _) = back.split_once("&iss=").unwrap();
    browser.get(&town.rest, without).await.is_problem(401, "unauthenticated");
    assert!(why().await.contains("does not say its issuer"));
    let back = again().await;
    let (start, _) = back.split_once("&iss=").unwrap();
    let other = format!("{start}&iss=https%3A%2F%2Fevil.example");
    browser.get(&town.rest, &other).await.is_problem(401, "unauthenticated");
    assert!(why().await.contains("another issuer (iss)"));

    // At the way back of another provider of the same tenant, or of another tenant's.
    let (tenant, owner) = town.rest.tenant("other").await;
    let theirs = add(&town.rest, &owner, &town.provider, json!({})).await;
    let second = add(&town.rest, &town.owner, &town.provider, json!({"name": "second"})).await;
    for (tenant, id) in [(&tenant, &theirs), (&town.tenant, &second), (&tenant, &town.id)] {
        let url = browser.start(&town.rest, "tenant=acme&provider=corp").await;
        let back = browser.at_provider(&town.provider, &url, Some("ada")).await;
        let (_, query) = back.split_once('?').unwrap();
        let wrong = format!("/api/v1/login/sso/{tenant}/{id}/callback?{query}");
        browser.get(&town.rest, &wrong).await.is_problem(401, "unauthenticated");
    }
    // Several: the person has to choose.
    let unclear = browser.get(&town.rest, "/api/v1/login/sso?tenant=acme").await;
    unclear.is_problem(422, "invalid");
    let choice = browser.get(&town.rest, "/api/v1/login/providers?tenant=acme").await;
    assert_eq!(choice.body["items"], json!([{"name": "corp"}, {"name": "second"}]));
    let nobody = browser.get(&town.rest, "/api/v1/login/providers?tenant=nobody").await;
    assert_eq!(nobody.body["items"], json!([]));
    let (a, b) = ("tenant=nobody&provider=corp", "tenant=acme&provider=nobody");
    for query in [a, b] {
        let gone = browser.get(&town.rest, &format!("/api/v1/login/sso?{query}")).await;
        gone.is_problem(404, "not_found");
    }
    // Whoever refuses at the provider is told no more than that it did not work.
    let browser = Browser::default();
    let url = browser.start(&town.rest, "tenant=acme&provider=corp").await;
    let back = browser.at_provider(&town.provider, &url, None).await;
    assert!(back.contains("error=access_denied"));
    browser.get(&town.rest, &path(&back)).await.is_problem(401, "unauthenticated");
    assert!(why().await.contains("the provider refused: access_denied"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_decide_and_what_they_no_longer_give_is_gone_at_once() {
    let town = Town::new().await;
    // No group of hers is mapped.
    let refused = town.enter(&Browser::default(), "eve").await;
    refused.is_problem(403, "forbidden");
    assert!(refused.text("detail").contains("none of your groups gives a role"), "{refused:?}");
    let users = town.rest.get(&town.owner, "/api/v1/users").await;
    assert_eq!(users.body["items"], json!([]), "nobody was made");

    let bob = town.entered("bob").await;
    assert_eq!(bob.get(&town.rest, "/api/v1/audit").await.status, 200);
    let changed = town.edit(json!({"role_mapping": {"sec": ["viewer"]}})).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    bob.get(&town.rest, "/api/v1/audit").await.is_problem(403, "forbidden");
    assert_eq!(bob.get(&town.rest, "/api/v1/devices").await.status, 200);

    // Roles given here come on top, and alone are enough.
    let users = town.rest.get(&town.owner, "/api/v1/users").await;
    let path = format!("/api/v1/users/{}", users.body["items"][0]["id"].as_str().unwrap());
    let bearer = format!("Bearer {}", town.owner);
    let headers = [("authorization", &*bearer), ("if-match", "\"1\"")];
    let body = json!({"roles": ["auditor"]}).to_string();
    let given = town.rest.send(Method::PATCH, &path, &headers, Some(&body)).await;
    assert_eq!(given.status, 200, "{given:?}");
    assert_eq!(bob.get(&town.rest, "/api/v1/audit").await.status, 200);
    assert_eq!(town.edit(json!({"role_mapping": {}})).await.status, 200);
    let bob = town.entered("bob").await;
    assert_eq!(bob.get(&town.rest, "/api/v1/audit").await.status, 200);

    // A provider that is switched off takes its people along.
    assert_eq!(town.edit(json!({"enabled": false})).await.status, 200);
    bob.get(&town.rest, "/api/v1/devices").await.is_problem(401, "unauthenticated");
    let gone = bob.get(&town.rest, "/api/v1/login/sso?tenant=acme").await;
    gone.is_problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_unknown_is_made_matched_or_refused_as_the_settings_say() {
    let town = Town::new().await;
    let strict = json!({"creates_users": false});
    assert_eq!(town.edit(strict).await.status, 200);
    let refused = town.enter(&Browser::default(), "ada").await;
    assert!(refused.text("detail").contains("no account here"), "{refused:?}");
    let body = json!({"user_name": "lovelace", "email": "Ada@Example.com", "roles": ["viewer"]});
    let made = town.rest.post(&town.owner, "/api/v1/users", body).await;
    assert_eq!(made.status, 201, "{made:?}");
    town.enter(&Browser::default(), "ada").await.is_problem(403, "forbidden");
    assert_eq!(town.edit(json!({"matches_email": true})).await.status, 200);
    let ada = town.entered("ada").await;
    let me = ada.get(&town.rest, "/api/v1/whoami").await;
    assert_eq!(me.text("principal_id"), made.text("id"));
    // The link stays when the address does not.
    assert_eq!(town.edit(json!({"matches_email": false})).await.status, 200);
    town.entered("ada").await;
    // Another person at the provider does not become the same user here.
    town.provider.tamper(json!({"claims": {"sub": "mallory", "email": "ada@example.com"}})).await;
    town.enter(&Browser::default(), "bob").await.is_problem(403, "forbidden");
    assert_eq!(town.edit(json!({"matches_email": true})).await.status, 200);
    town.enter(&Browser::default(), "bob").await.is_problem(403, "forbidden");

    // A name that is taken is not taken over.
    town.provider.tamper(json!({"claims": {"preferred_username": "LoveLace"}})).await;
    assert_eq!(town.edit(json!({"creates_users": true})).await.status, 200);
    let taken = town.enter(&Browser::default(), "bob").await;
    assert!(taken.text("detail").contains("not known to be yours"), "{taken:?}");

    // Domains: only what the provider verified counts.
    assert_eq!(town.edit(json!({"email_domains": ["example.com"]})).await.status, 200);
    for (claims, why) in [
        (json!({"email": "bob@evil.example"}), "not of a domain"),
        (json!({"email": "bob@example.com@evil.example"}), "not of a domain"),
        (json!({"email_verified": false}), "does not say"),
        (json!({"email": null}), "does not say"),
    ] {
        town.provider.tamper(json!({"claims": claims})).await;
        let refused = town.enter(&Browser::default(), "bob").await;
        assert!(refused.text("detail").contains(why), "{claims}: {refused:?}");
    }
    town.provider.tamper(json!({})).await;
    let bob = town.entered("bob").await;
    // Whoever is disabled here does not get in, whatever the provider says.
    let me = bob.get(&town.rest, "/api/v1/whoami").await.text("principal_id");
    let bearer = format!("Bearer {}", town.owner);
    let headers = [("authorization", &*bearer), ("if-match", "\"1\"")];
    let off = Some(r#"{"active": false}"#);
    town.rest.send(Method::PATCH, &format!("/api/v1/users/{me}"), &headers, off).await;
    bob.get(&town.rest, "/api/v1/whoami").await.is_problem(401, "unauthenticated");
    let refused = town.enter(&Browser::default(), "bob").await;
    assert!(refused.text("detail").contains("disabled"), "{refused:?}");
    let record = &town.records("session:create").await[0];
    assert_eq!(
        (&record["resource"]["kind"], &record["outcome"]),
        (&json!("user"), &json!("denied"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_are_checked_shown_without_the_secret_and_changed_by_revision() {
    let town = Town::new().await;
    let list = town.rest.get(&town.owner, "/api/v1/identity-providers").await;
    assert!(!list.body.to_string().contains(super::SECRET));
    assert_eq!(list.body["items"][0]["has_client_secret"], true);
    let admin = town.rest.token(&town.owner, "admin").await;
    let body = json!({"name": "x", "issuer": "https://x.example", "client_id": "x"});
    let path = "/api/v1/identity-providers";
    town.rest.post(&admin, path, body.clone()).await.is_problem(403, "forbidden");
    for (name, value) in [
        ("name", json!("Not a name")),
        ("name", Value::Null),
        ("issuer", json!("ftp://x.example")),
        ("issuer", json!("https://user@x.example")),
        ("issuer", json!("https://x.example?tenant=1")),
        ("issuer", json!("https://x.example#a")),
        ("issuer", json!(" https://x.example")),
        ("issuer", json!("https://x.exa\tmple")),
        ("issuer", json!("https://x.example/\u{1}")),
        ("client_id", json!("")),
        ("client_secret", json!("x".repeat(2000))),
        ("role_mapping", json!({"g": ["installation"]})),
        ("role_mapping", json!({"g": ["emperor"]})),
        ("role_mapping", json!({"g": []})),
        ("algorithms", json!([])),
        ("algorithms", json!(["none"])),
        ("algorithms", json!(["HS256"])),
        ("scopes", json!(["open id"])),
        ("email_domains", json!(["@example.com"])),
        ("wrapped_secret", json!("x")),
    ] {
        let mut wrong = body.clone();
        wrong[name] = value;
        let answer = town.rest.post(&town.owner, path, wrong.clone()).await;
        assert_eq!(answer.status, 422, "{wrong}: {answer:?}");
    }
    let twice = json!({"name": "corp", "issuer": "https://x.example", "client_id": "x"});
    town.rest.post(&town.owner, path, twice).await.is_problem(409, "name_taken");
    // The secret of one issuer is not sent to another.
    town.edit(json!({"issuer": "https://evil.example"})).await.is_problem(422, "invalid");
    let bearer = format!("Bearer {}", town.owner);
    let one = format!("{path}/{}", town.id);
    let stale = [("authorization", &*bearer), ("if-match", "\"7\"")];
    let answer = town.rest.send(Method::PATCH, &one, &stale, Some(r#"{"enabled": true}"#)).await;
    answer.is_problem(412, "stale");
    let tried = town.rest.post(&town.owner, &format!("{one}/check"), json!({})).await;
    assert_eq!(
        (&tried.body["usable"], &tried.body["keys"]),
        (&json!(true), &json!(5)),
        "{tried:?}"
    );
    // An address inside the installation's network is not asked, and the owner hears why.
    let inside = json!({"issuer": "https://10.0.0.1", "client_secret": ""});
    assert_eq!(town.edit(inside).await.status, 200);
    let tried = town.rest.post(&town.owner, &format!("{one}/check"), json!({})).await;
    assert!(tried.text("problem").contains("not a public address"), "{tried:?}");
    let stranger = Browser::default().get(&town.rest, "/api/v1/login/sso?tenant=acme").await;
    stranger.is_problem(409, "provider_unusable");
    assert!(!stranger.text("detail").contains("10.0.0.1"));
    let gone = town.rest.send(Method::DELETE, &one, &stale[..1], None).await;
    assert_eq!(gone.status, 204);
    town.rest.get(&town.owner, &one).await.is_problem(404, "not_found");
}

/// The same id at two providers is two people: neither gets the account that was brought in for one of
/// them until it is said whose it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_was_brought_in_is_one_providers() {
    let town = Town::new().await;
    let body = json!({"name": "idp", "role": "admin", "scopes": ["scim:provision"]});
    let token = town.rest.post(&town.owner, "/api/v1/tokens", body).await.text("token");
    let body = json!({"userName": "lovelace", "externalId": "ada"});
    let made = town.rest.post(&token, "/api/v1/scim/v2/Users", body).await;
    assert_eq!(made.status, 201, "{made:?}");
    let other = json!({"name": "partners", "issuer": "https://partners.example", "client_id": "x"});
    let other = town.rest.post(&town.owner, "/api/v1/identity-providers", other).await;
    assert_eq!(other.status, 201, "{other:?}");
    let enter = async || {
        let browser = Browser::default();
        let url = browser.start(&town.rest, "tenant=acme&provider=corp").await;
        let back = browser.at_provider(&town.provider, &url, Some("ada")).await;
        (browser.get(&town.rest, &path(&back)).await, browser)
    };
    let (refused, _) = enter().await;
    refused.is_problem(403, "forbidden");
    assert!(refused.text("detail").contains("matches_provisioned"), "{refused:?}");

    let bearer = format!("Bearer {}", town.owner);
    let headers = [("authorization", bearer.as_str()), ("if-match", "\"1\"")];
    let at = format!("/api/v1/identity-providers/{}", other.text("id"));
    let off = Some(r#"{"matches_provisioned": false}"#);
    assert_eq!(town.rest.send(Method::PATCH, &at, &headers, off).await.status, 200);
    let (entered, browser) = enter().await;
    assert_eq!(entered.status, 303, "{entered:?}");
    let me = browser.get(&town.rest, "/api/v1/whoami").await;
    assert_eq!(me.text("principal_id"), made.text("id"));
}

/// The class that is asked for must be the one that is confirmed, and what the provider says of the log-in
/// stands in the records of what is done in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_somebody_logged_in_at_the_provider_is_asked_for_checked_and_recorded() {
    let town = Town::new().await;
    assert_eq!(town.edit(json!({"acr_values": ["a b"]})).await.status, 422);
    assert_eq!(town.edit(json!({"acr_values": ["urn:x:mfa", "urn:x:key"]})).await.status, 200);
    let url = Browser::default().start(&town.rest, "tenant=acme").await;
    assert!(url.contains("acr_values=urn%3Ax%3Amfa+urn%3Ax%3Akey"), "{url}");
    for said in [json!({}), json!({"acr": "urn:x:password"}), json!({"acr": ["urn:x:mfa"]})] {
        town.provider.tamper(json!({"claims": said})).await;
        let refused = town.enter(&Browser::default(), "ada").await;
        refused.is_problem(403, "forbidden");
        assert!(refused.text("detail").contains("acr"), "{refused:?}");
    }
    let said = json!({"acr": "urn:x:key", "amr": ["hwk", "pin"]});
    town.provider.tamper(json!({"claims": said})).await;
    let ada = town.entered("ada").await;
    // In force for what is done later too.
    ada.get(&town.rest, "/api/v1/audit").await.is_problem(403, "forbidden");
    for action in ["session:create", "audit:read"] {
        let record = &town.records(action).await[0]["authentication"];
        assert_eq!(record["acr"], "urn:x:key", "{record}");
        assert_eq!(record["amr"], json!(["hwk", "pin"]), "{record}");
    }
    // And policies can ask for it.
    let policy =
        r#"forbid (principal is User, action, resource) unless { context.amr.contains("face") };"#;
    let bearer = format!("Bearer {}", town.owner);
    let headers = [("authorization", bearer.as_str())];
    let body = json!({"text": policy}).to_string();
    let at = "/api/v1/access/policies/face";
    let saved = town.rest.send(Method::PUT, at, &headers, Some(&body)).await;
    assert_eq!(saved.status, 200, "{saved:?}");
    ada.get(&town.rest, "/api/v1/devices").await.is_problem(403, "forbidden");
}
