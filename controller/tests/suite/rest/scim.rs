//! SCIM: what an identity provider brings in, and what it never reaches.

use std::process::Command;

use http::Method;
use serde_json::{Value, json};

use super::python;
use crate::support::rest::{Answer, Rest};

const USERS: &str = "/api/v1/scim/v2/Users";
const GROUPS: &str = "/api/v1/scim/v2/Groups";

struct Provider {
    rest: Rest,
    owner: String,
    token: String,
}

impl Provider {
    async fn connect() -> Self {
        let rest = Rest::start().await;
        let (_, owner) = rest.tenant("a").await;
        let body = json!({"name": "idp", "role": "admin", "scopes": ["scim:provision"]});
        let token = rest.post(&owner, "/api/v1/tokens", body).await.text("token");
        Self { rest, owner, token }
    }

    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        let headers =
            [("authorization", bearer.as_str()), ("content-type", "application/scim+json")];
        self.rest.send(method, path, &headers, body.map(|body| body.to_string()).as_deref()).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, Some(body)).await
    }

    async fn patch(&self, path: &str, operations: Value) -> Answer {
        self.send(Method::PATCH, path, Some(json!({"Operations": operations}))).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }
}

fn is_error(answer: &Answer, status: u16, kind: Option<&str>) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.headers["content-type"], "application/scim+json", "{answer:?}");
    assert_eq!(answer.body["status"], status.to_string(), "{answer:?}");
    assert_eq!(answer.body["scimType"].as_str(), kind, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_is_brought_in_changed_and_taken_away() {
    let provider = Provider::connect().await;
    let ada = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
        "userName": "Ada@Example.com", "externalId": "00u1", "name": {"givenName": "Ada"},
        "emails": [{"value": "ada@example.com", "type": "work", "primary": true}],
        "password": "never kept", "active": true});
    let made = provider.post(USERS, ada.clone()).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.body["userName"], "Ada@Example.com");
    assert!(made.body.get("password").is_none());
    assert_eq!(made.headers["etag"], made.body["meta"]["version"].as_str().unwrap());
    let path = format!("{USERS}/{}", made.text("id"));
    assert!(made.body["meta"]["location"].as_str().unwrap().ends_with(&path), "{made:?}");
    is_error(&provider.post(USERS, ada).await, 409, Some("uniqueness"));

    let here = provider.rest.get(&provider.owner, "/api/v1/users").await.body["items"][0].clone();
    assert_eq!(here["source"], "scim");
    assert_eq!(here["user_name"], "ada@example.com");
    assert_eq!((&here["roles"], &here["has_password"]), (&json!([]), &json!(false)));

    let off = json!([{"op": "Replace", "path": "active", "value": "False"}]);
    assert_eq!(provider.patch(&path, off).await.body["active"], json!(false));
    let stale = [("if-match", "W/\"1\""), ("content-type", "application/scim+json")];
    let bearer = format!("Bearer {}", provider.token);
    let headers = [&stale[..], &[("authorization", bearer.as_str())]].concat();
    let late = provider.rest.send(Method::PUT, &path, &headers, Some(r#"{"userName":"x"}"#)).await;
    is_error(&late, 412, None);
    assert_eq!(provider.send(Method::DELETE, &path, None).await.status, 204);
    is_error(&provider.get(&path).await, 404, None);
    let log = provider.rest.get(&provider.owner, "/api/v1/audit").await;
    let actions: Vec<_> =
        log.body["items"].as_array().unwrap().iter().map(|r| r["action"].clone()).collect();
    assert_eq!(actions[..3], [json!("user:delete"), json!("user:update"), json!("user:create")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_filtered_cut_and_paged() {
    let provider = Provider::connect().await;
    for name in ["ada", "Bob", "eve"] {
        let active = name != "eve";
        let body = json!({"userName": name, "externalId": format!("X{name}"), "active": active,
            "displayName": format!("{name} A_100%")});
        assert_eq!(provider.post(USERS, body).await.status, 201);
    }
    let names = async |filter: &str| {
        let query: String = filter
            .bytes()
            .map(|b| match b {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => (b as char).to_string(),
                b => format!("%{b:02X}"),
            })
            .collect();
        let found = provider.get(&format!("{USERS}?filter={query}")).await;
        assert_eq!(found.status, 200, "{filter}: {found:?}");
        let all = found.body["Resources"].as_array().unwrap().clone();
        assert_eq!(found.body["totalResults"], json!(all.len()));
        all.iter().map(|one| one["userName"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("userName eq \"ADA\"").await, ["ada"]);
    assert_eq!(names("externalId eq \"Xeve\"").await, ["eve"]);
    assert_eq!(names("externalId eq \"xeve\"").await, Vec::<String>::new());
    assert_eq!(names("active eq false").await, ["eve"]);
    assert_eq!(
        names("displayName co \"a_100%\" and not (userName sw \"a\")").await,
        ["Bob", "eve"]
    );
    assert_eq!(names("userName ew \"B\" or displayName sw \"EVE \"").await, ["Bob", "eve"]);
    assert_eq!(names("displayName co \"\" and emails.value pr").await, Vec::<String>::new());
    assert_eq!(names("userName eq \"x' OR '1'='1\"").await, Vec::<String>::new());
    is_error(
        &provider.get(&format!("{USERS}?filter=password%20pr")).await,
        400,
        Some("invalidFilter"),
    );

    let page = provider.get(&format!("{USERS}?startIndex=2&count=1&attributes=userName")).await;
    assert_eq!((&page.body["totalResults"], &page.body["startIndex"]), (&json!(3), &json!(2)));
    let id = page.body["Resources"][0]["id"].clone();
    assert_eq!(
        page.body["Resources"],
        json!([{"id": id, "userName": "Bob",
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"]}])
    );
    let none = provider.get(&format!("{USERS}?count=0")).await;
    assert_eq!((&none.body["totalResults"], &none.body["Resources"]), (&json!(3), &json!([])));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_gives_what_is_said_here_to_whom_the_provider_says() {
    let provider = Provider::connect().await;
    let ada = provider.post(USERS, json!({"userName": "ada"})).await.text("id");
    let bob = provider.post(USERS, json!({"userName": "bob"})).await.text("id");
    let group = json!({"displayName": "Operators", "members": [{"value": ada}]});
    let made = provider.post(GROUPS, group).await;
    assert_eq!(made.body["members"][0]["value"], json!(ada), "{made:?}");
    let (id, path) = (made.text("id"), format!("{GROUPS}/{}", made.text("id")));
    let members = async || {
        let shown = provider.get(&path).await;
        let members = shown.body["members"].as_array().cloned().unwrap_or_default();
        let name = |one: &Value| if one["value"] == json!(ada) { "ada" } else { "bob" };
        members.iter().map(name).collect::<Vec<_>>()
    };
    let add = json!([{"op": "add", "path": "members", "value": [{"value": bob}, {"value": ada}]}]);
    assert_eq!(provider.patch(&path, add).await.status, 200);
    assert_eq!(members().await, ["ada", "bob"]);
    let one = format!("members[value eq \"{ada}\"]");
    provider.patch(&path, json!([{"op": "remove", "path": one}])).await;
    assert_eq!(members().await, ["bob"]);
    let both = json!([{"op": "replace", "value": {"displayName": "Ops", "members": [ada]}}]);
    assert_eq!(provider.patch(&path, both).await.body["displayName"], "Ops");
    assert_eq!(members().await, ["ada"]);
    let entra = json!([{"op": "Remove", "path": "members", "value": [{"value": ada}]}]);
    provider.patch(&path, entra).await;
    assert!(members().await.is_empty());
    let nobody = json!([{"op": "add", "path": "members", "value": [{"value": id}]}]);
    is_error(&provider.patch(&path, nobody).await, 400, Some("invalidValue"));

    // Its roles are given here, and reach whoever the provider puts in.
    let local = format!("/api/v1/groups/{id}");
    let tag = provider.rest.get(&provider.owner, &local).await.headers["etag"].clone();
    let bearer = format!("Bearer {}", provider.owner);
    let headers = [("authorization", bearer.as_str()), ("if-match", tag.to_str().unwrap())];
    let roles = Some(r#"{"roles": ["operator"]}"#);
    let given = provider.rest.send(Method::PATCH, &local, &headers, roles).await;
    assert_eq!(given.status, 200, "{given:?}");
    let renamed = provider.rest.send(Method::DELETE, &local, &headers[..1], None).await;
    renamed.is_problem(409, "provisioned");
    let add = json!([{"op": "add", "path": "members", "value": [bob]}]);
    provider.patch(&path, add).await;
    let who = provider.rest.get(&provider.owner, "/api/v1/access/who?action=device:update").await;
    let bob =
        who.body["items"].as_array().unwrap().iter().find(|one| one["name"] == "bob").cloned();
    assert_eq!(bob.unwrap()["decision"], "allow");
    assert_eq!(provider.get(&format!("{USERS}/{ada}")).await.body.get("groups"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_does_not_reach_what_was_made_here() {
    let provider = Provider::connect().await;
    let rest = &provider.rest;
    let root = json!({"user_name": "root", "roles": ["owner"]});
    let user = rest.post(&provider.owner, "/api/v1/users", root).await.text("id");
    let owners = json!({"name": "owners", "roles": ["owner"]});
    let group = rest.post(&provider.owner, "/api/v1/groups", owners).await.text("id");
    let everything = provider.get(USERS).await;
    assert_eq!(everything.body["totalResults"], 0, "{everything:?}");
    is_error(&provider.post(USERS, json!({"userName": "ROOT"})).await, 409, Some("uniqueness"));
    let own = provider.post(USERS, json!({"userName": "ada"})).await.text("id");
    for path in [format!("{USERS}/{user}"), format!("{GROUPS}/{group}")] {
        let put = json!({"userName": "mine", "displayName": "mine", "members": [own]});
        is_error(&provider.send(Method::PUT, &path, Some(put)).await, 404, None);
        let add = json!([{"op": "add", "path": "displayName", "value": "mine"}]);
        is_error(&provider.patch(&path, add).await, 404, None);
        is_error(&provider.send(Method::DELETE, &path, None).await, 404, None);
    }
    // Nor does it put somebody from here into a group of its own.
    let body = json!({"displayName": "x", "members": [{"value": user}]});
    is_error(&provider.post(GROUPS, body).await, 400, Some("invalidValue"));
    // What SCIM does not say stays out of its reach.
    let body = json!({"userName": "eve", "roles": [{"value": "owner"}], "source": "local",
        "password": "correct horse battery staple", "id": user, "groups": [{"value": group}]});
    let eve = provider.post(USERS, body).await;
    assert_ne!(eve.text("id"), user);
    let shown = rest.get(&provider.owner, &format!("/api/v1/users/{}", eve.text("id"))).await;
    assert_eq!((&shown.body["roles"], &shown.body["has_password"]), (&json!([]), &json!(false)));
    for path in ["/api/v1/users", "/api/v1/tokens", "/api/v1/devices"] {
        rest.get(&provider.token, path).await.is_problem(403, "forbidden");
    }
    is_error(&rest.get("efp_nothing", USERS).await, 401, None);
    let viewer = rest.token(&provider.owner, "viewer").await;
    is_error(&rest.get(&viewer, USERS).await, 403, None);
}

/// A tester that others wrote finds nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_third_partys_tester_is_content() {
    let provider = Provider::connect().await;
    let url = format!("{}/api/v1/scim/v2", provider.rest.listen().await);
    let mut tester = Command::new(python());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scim/check.py");
    tester.args([script, &url]).env("TOKEN", &provider.token);
    let output = tokio::task::spawn_blocking(move || tester.output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complained}");
    let passed = said.lines().filter(|line| line.starts_with("SUCCESS")).count();
    assert!(passed >= 30, "only {passed} checks ran: {said}");
}

/// A search is a list whose filter stands in no address; what there is not says so as the protocol asks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_is_a_list_and_what_is_not_offered_is_501() {
    let provider = Provider::connect().await;
    for name in ["ada", "bob", "eve"] {
        assert_eq!(provider.post(USERS, json!({"userName": name})).await.status, 201);
    }
    provider.post(GROUPS, json!({"displayName": "crew"})).await;
    let schemas = json!(["urn:ietf:params:scim:api:messages:2.0:SearchRequest"]);
    let asked = json!({"schemas": schemas, "filter": "userName gt \"\" or userName sw \"a\""});
    is_error(&provider.post(&format!("{USERS}/.search"), asked).await, 400, Some("invalidFilter"));
    let asked = json!({"schemas": schemas, "filter": "not (userName eq \"bob\")", "startIndex": 2,
        "count": 5, "attributes": ["userName"]});
    let found = provider.post(&format!("{USERS}/.search"), asked.clone()).await;
    assert_eq!(found.status, 200, "{found:?}");
    assert_eq!((&found.body["totalResults"], &found.body["startIndex"]), (&json!(2), &json!(2)));
    let all = found.body["Resources"].as_array().unwrap();
    assert_eq!((all.len(), &all[0]["userName"]), (1, &json!("eve")));
    assert!(all[0].get("meta").is_none() && all[0].get("active").is_none(), "{all:?}");
    let groups = provider.post(&format!("{GROUPS}/.search"), json!({"schemas": schemas})).await;
    assert_eq!(groups.body["Resources"][0]["displayName"], "crew");
    let unnamed = provider.post(&format!("{USERS}/.search"), json!({"schemas": []})).await;
    is_error(&unnamed, 400, Some("invalidSyntax"));

    let viewer = provider.rest.token(&provider.owner, "viewer").await;
    let refused = provider.rest.post(&viewer, &format!("{USERS}/.search"), asked).await;
    is_error(&refused, 403, None);
    for path in ["Me", "Me/", "Me/emails", "Bulk", ".search"] {
        let path = format!("/api/v1/scim/v2/{path}");
        for method in [Method::GET, Method::POST, Method::PATCH, Method::DELETE] {
            is_error(&provider.send(method, &path, None).await, 501, None);
        }
    }
}
