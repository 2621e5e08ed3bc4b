//! Programs: tokens that are narrowed, rotated and stand for service accounts; and groups, which give
//! people roles. Nothing that is made this way is wider than who made it.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::support::rest::{Answer, Rest};

struct Shop {
    rest: Rest,
    owner: String,
}

impl Shop {
    async fn open() -> Self {
        let rest = Rest::start().await;
        let (_, owner) = rest.tenant("a").await;
        Self { rest, owner }
    }

    /// A token made by `by`.
    async fn token(&self, by: &str, body: Value) -> Answer {
        self.rest.post(by, "/api/v1/tokens", body).await
    }

    async fn narrowed(&self, role: &str, scopes: &[&str]) -> String {
        let made =
            self.token(&self.owner, json!({"name": "n", "role": role, "scopes": scopes})).await;
        assert_eq!(made.status, 201, "{made:?}");
        made.text("token")
    }

    async fn account(&self, roles: &[&str]) -> String {
        let body = json!({"name": "builder", "roles": roles});
        self.rest.post(&self.owner, "/api/v1/service-accounts", body).await.text("id")
    }

    async fn patch(&self, by: &str, path: &str, body: Value) -> Answer {
        let tag = self.rest.get(&self.owner, path).await.headers["etag"].clone();
        let bearer = format!("Bearer {by}");
        let headers = [("authorization", bearer.as_str()), ("if-match", tag.to_str().unwrap())];
        self.rest.send(Method::PATCH, path, &headers, Some(&body.to_string())).await
    }

    async fn method(&self, by: &str, method: Method, path: &str) -> Answer {
        let bearer = format!("Bearer {by}");
        self.rest.send(method, path, &[("authorization", &bearer)], None).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_narrowed_token_does_what_it_names_and_no_more() {
    let shop = Shop::open().await;
    let reader = shop.narrowed("owner", &["device:read", "enrolment_token:create"]).await;
    assert_eq!(shop.rest.get(&reader, "/api/v1/devices").await.status, 200);
    assert_eq!(shop.rest.get(&reader, "/api/v1/whoami").await.status, 200);
    let refused = shop.rest.get(&reader, "/api/v1/models").await;
    refused.is_problem(403, "forbidden");
    assert!(refused.text("detail").contains("the token's scopes do not name it"), "{refused:?}");
    let made = shop.rest.post(&reader, "/api/v1/enrolment-tokens", json!({})).await;
    assert_eq!(made.status, 201, "{made:?}");

    // A group of actions opens all of it, and still not more than the role.
    let all = shop.narrowed("viewer", &["read", "write"]).await;
    assert_eq!(shop.rest.get(&all, "/api/v1/models").await.status, 200);
    shop.rest.post(&all, "/api/v1/enrolment-tokens", json!({})).await.is_problem(403, "forbidden");

    for scopes in [json!([]), json!(["device:fly"]), json!(["tenant:create"]), json!(["public"])] {
        let body = json!({"name": "x", "role": "admin", "scopes": scopes});
        shop.token(&shop.owner, body).await.is_problem(422, "invalid");
    }
    let listed = shop.rest.get(&shop.owner, "/api/v1/tokens").await;
    assert_eq!(listed.body["items"][1]["scopes"], json!(["device:read", "enrolment_token:create"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_narrowed_token_makes_nothing_wider() {
    let shop = Shop::open().await;
    let scopes = ["token:create", "token:rotate", "user:create", "user:invite", "read"];
    let maker =
        shop.narrowed("owner", &[&scopes[..], &["group:create", "group:update"]].concat()).await;
    let cannot = [
        json!({"name": "x", "role": "owner"}),
        json!({"name": "x", "role": "admin"}),
        json!({"name": "x", "role": "owner", "scopes": ["read", "write"]}),
        json!({"name": "x", "role": "admin", "scopes": ["token:revoke"]}),
    ];
    for body in cannot {
        shop.token(&maker, body).await.is_problem(403, "forbidden");
    }
    // What it has itself, and a role that opens no more than its scopes.
    for body in [
        json!({"name": "x", "role": "owner", "scopes": ["token:create", "device:read"]}),
        json!({"name": "x", "role": "viewer"}),
    ] {
        let made = shop.token(&maker, body).await;
        assert_eq!(made.status, 201, "{made:?}");
    }
    let rest = &shop.rest;
    let first = rest.get(&shop.owner, "/api/v1/tokens").await.body["items"][0]["id"].clone();
    let path = format!("/api/v1/tokens/{}/rotation", first.as_str().unwrap());
    rest.post(&maker, &path, json!({})).await.is_problem(403, "forbidden");
    let user = json!({"user_name": "eve", "roles": ["admin"]});
    rest.post(&maker, "/api/v1/users", user).await.is_problem(403, "forbidden");
    let user = json!({"user_name": "ada", "roles": ["admin"]});
    let ada = rest.post(&shop.owner, "/api/v1/users", user).await.text("id");
    let path = format!("/api/v1/users/{ada}/invitation");
    rest.post(&maker, &path, json!({})).await.is_problem(403, "forbidden");
    let group = json!({"name": "admins", "roles": ["admin"]});
    rest.post(&maker, "/api/v1/groups", group.clone()).await.is_problem(403, "forbidden");
    let group = rest.post(&shop.owner, "/api/v1/groups", group).await.text("id");
    let viewer = rest.post(&maker, "/api/v1/users", json!({"user_name": "vic"})).await.text("id");
    let path = format!("/api/v1/groups/{group}/members/{viewer}");
    shop.method(&maker, Method::PUT, &path).await.is_problem(403, "forbidden");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotation_overlaps_keeps_the_rights_and_does_not_make_life_longer() {
    let shop = Shop::open().await;
    let body = json!({"name": "ci", "role": "viewer", "scopes": ["device:read"],
        "expires_in_s": 864_000});
    let made = shop.token(&shop.owner, body).await;
    let (old, id) = (made.text("token"), made.text("id"));
    shop.rest.advance(Duration::from_secs(86_400));
    let path = format!("/api/v1/tokens/{id}/rotation");
    let long = shop.rest.post(&shop.owner, &path, json!({"overlap_s": 604_801})).await;
    long.is_problem(422, "invalid");
    let rotated = shop.rest.post(&shop.owner, &path, json!({"overlap_s": 60})).await;
    assert_eq!(rotated.status, 201, "{rotated:?}");
    assert_eq!(rotated.body["token"]["scopes"], json!(["device:read"]));
    let new = rotated.body["token"]["token"].as_str().unwrap().to_owned();
    for token in [&old, &new] {
        assert_eq!(shop.rest.get(token, "/api/v1/devices").await.status, 200);
        shop.rest.get(token, "/api/v1/models").await.is_problem(403, "forbidden");
    }
    let again = shop.rest.post(&shop.owner, &path, json!({})).await;
    again.is_problem(409, "rotated_already");
    shop.rest.advance(Duration::from_secs(61));
    shop.rest.get(&old, "/api/v1/devices").await.is_problem(401, "unauthenticated");
    shop.rest.post(&shop.owner, &path, json!({})).await.is_problem(409, "token_ended");
    // Ten days from its own beginning, not for ever.
    shop.rest.advance(Duration::from_secs(864_000 - 62));
    assert_eq!(shop.rest.get(&new, "/api/v1/devices").await.status, 200);
    shop.rest.advance(Duration::from_secs(2));
    shop.rest.get(&new, "/api/v1/devices").await.is_problem(401, "unauthenticated");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_rotates_itself_also_that_of_the_installation() {
    let shop = Shop::open().await;
    let narrow = shop.narrowed("viewer", &["device:read"]).await;
    for (token, works) in
        [(&narrow, "/api/v1/devices"), (&shop.rest.installation_token, "/api/v1/tenants")]
    {
        let path = "/api/v1/me/token/rotation";
        let rotated = shop.rest.post(token, path, json!({"overlap_s": 0})).await;
        assert_eq!(rotated.status, 201, "{rotated:?}");
        let new = rotated.body["token"]["token"].as_str().unwrap();
        assert_eq!(shop.rest.get(new, works).await.status, 200);
        shop.rest.get(token, works).await.is_problem(401, "unauthenticated");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_accounts_tokens_have_its_roles_and_end_with_it() {
    let shop = Shop::open().await;
    let account = shop.account(&["viewer"]).await;
    let body = json!({"name": "one", "service_account_id": account});
    let token = shop.token(&shop.owner, body.clone()).await.text("token");
    let narrowed = json!({"name": "two", "service_account_id": account, "scopes": ["device:read"]});
    let narrowed = shop.token(&shop.owner, narrowed).await.text("token");
    assert_eq!(shop.rest.get(&token, "/api/v1/models").await.status, 200);
    shop.rest.get(&narrowed, "/api/v1/models").await.is_problem(403, "forbidden");
    shop.rest
        .post(&token, "/api/v1/enrolment-tokens", json!({}))
        .await
        .is_problem(403, "forbidden");

    let path = format!("/api/v1/service-accounts/{account}");
    let operator = json!({"roles": ["operator"]});
    assert_eq!(shop.patch(&shop.owner, &path, operator).await.status, 200);
    let made = shop.rest.post(&token, "/api/v1/enrolment-tokens", json!({})).await;
    assert_eq!(made.status, 201, "{made:?}");
    // The log says who, and by which token.
    let newest = shop.rest.get(&shop.owner, "/api/v1/audit").await.body["items"][0].clone();
    assert_eq!(newest["actor"]["kind"], "service_account");
    assert_eq!(newest["actor"]["id"], json!(account));
    assert!(newest["authentication"]["token"].is_string(), "{newest}");

    let ended = shop.patch(&shop.owner, &path, json!({"active": false})).await;
    assert_eq!(ended.status, 200, "{ended:?}");
    for token in [&token, &narrowed] {
        shop.rest.get(token, "/api/v1/devices").await.is_problem(401, "unauthenticated");
    }
    shop.token(&shop.owner, body).await.is_problem(409, "disabled");
    for body in [
        json!({"name": "x", "role": "viewer", "service_account_id": account}),
        json!({"name": "x"}),
    ] {
        shop.token(&shop.owner, body).await.is_problem(422, "invalid");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn admins_make_no_owners_by_way_of_accounts_or_groups() {
    let shop = Shop::open().await;
    let admin = shop.rest.token(&shop.owner, "admin").await;
    let account = shop.account(&["owner"]).await;
    let body = json!({"name": "x", "service_account_id": account});
    shop.token(&admin, body).await.is_problem(403, "forbidden");
    let path = format!("/api/v1/service-accounts/{account}");
    shop.patch(&admin, &path, json!({"active": true})).await.is_problem(403, "forbidden");
    let body = json!({"name": "owners", "roles": ["owner"]});
    for path in ["/api/v1/groups", "/api/v1/service-accounts"] {
        shop.rest.post(&admin, path, body.clone()).await.is_problem(403, "forbidden");
    }
    let group = shop.rest.post(&shop.owner, "/api/v1/groups", body).await.text("id");
    let ada = shop.rest.post(&admin, "/api/v1/users", json!({"user_name": "ada"})).await.text("id");
    let path = format!("/api/v1/groups/{group}/members/{ada}");
    shop.method(&admin, Method::PUT, &path).await.is_problem(403, "forbidden");
    let path = format!("/api/v1/groups/{group}");
    shop.method(&admin, Method::DELETE, &path).await.is_problem(403, "forbidden");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_gives_its_roles_while_one_is_in_it() {
    let shop = Shop::open().await;
    let rest = &shop.rest;
    let user = rest.post(&shop.owner, "/api/v1/users", json!({"user_name": "ada"})).await;
    let password = json!({"tenant": "a", "invitation": user.text("invitation"),
        "password": "correct horse battery staple"});
    assert_eq!(rest.post("", "/api/v1/login/password", password).await.status, 200);
    let login =
        json!({"tenant": "a", "user_name": "ada", "password": "correct horse battery staple"});
    let ada = rest.post("", "/api/v1/login", login).await.text("access_token");
    rest.get(&ada, "/api/v1/devices").await.is_problem(403, "forbidden");

    let body = json!({"name": "berlin", "roles": ["viewer"]});
    let group = rest.post(&shop.owner, "/api/v1/groups", body.clone()).await.text("id");
    rest.post(&shop.owner, "/api/v1/groups", body).await.is_problem(409, "name_taken");
    let member = format!("/api/v1/groups/{group}/members/{}", user.text("id"));
    for _ in 0..2 {
        assert_eq!(shop.method(&shop.owner, Method::PUT, &member).await.status, 204);
    }
    assert_eq!(rest.get(&ada, "/api/v1/devices").await.status, 200);
    let members = rest.get(&shop.owner, &format!("/api/v1/groups/{group}/members")).await;
    assert_eq!(members.body["items"], json!([{"id": user.text("id"), "user_name": "ada"}]));
    let who = rest.get(&shop.owner, "/api/v1/access/who?action=device:read").await;
    let found = who.body["items"].as_array().unwrap().iter().find(|one| one["name"] == "ada");
    assert_eq!(found.unwrap()["roles"], json!(["viewer"]));

    let path = format!("/api/v1/groups/{group}");
    assert_eq!(shop.patch(&shop.owner, &path, json!({"roles": ["operator"]})).await.status, 200);
    let made = rest.post(&ada, "/api/v1/enrolment-tokens", json!({})).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(shop.method(&shop.owner, Method::DELETE, &path).await.status, 204);
    rest.get(&ada, "/api/v1/devices").await.is_problem(403, "forbidden");
}
