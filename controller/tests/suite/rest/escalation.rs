//! Ways to more than one was given: through what a group gives, through the identity provider's token,
//! through one's own programs. Each ends at a refusal, and each refusal is on record.

use edgeformer_controller::audit::sequencer;
use http::Method;
use serde_json::{Value, json};

use crate::support::rest::{Answer, Rest};

const GROUPS: &str = "/api/v1/scim/v2/Groups";
const USERS: &str = "/api/v1/scim/v2/Users";

struct Town {
    rest: Rest,
    owner: String,
    admin: String,
}

impl Town {
    async fn new() -> Self {
        let rest = Rest::start().await;
        let (_, owner) = rest.tenant("a").await;
        let admin = rest.token(&owner, "admin").await;
        Self { rest, owner, admin }
    }

    async fn made(&self, path: &str, body: Value) -> String {
        let made = self.rest.post(&self.owner, path, body).await;
        assert_eq!(made.status, 201, "{made:?}");
        made.text("id")
    }

    async fn send(&self, token: &str, method: Method, path: &str, body: Value) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("if-match", "\"1\"")];
        self.rest.send(method, path, &headers, Some(&body.to_string())).await
    }

    /// The outcomes of an action on record, oldest first.
    async fn outcomes(&self, action: &str) -> Vec<(String, String)> {
        sequencer::sequence_all(&self.rest.app.store, self.rest.app.now()).await.unwrap();
        let page = self.rest.get(&self.owner, "/api/v1/audit?limit=200").await;
        let all = page.body["items"].as_array().unwrap();
        let of = all.iter().rev().filter(|record| record["action"] == action);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        of.map(|record| (text(&record["outcome"]), text(&record["reason"]))).collect()
    }
}

/// An account that is its owner's by a group is as far from an admin as one that is by itself: an
/// invitation sets its password, an e-mail address makes it somebody else's at the next log-in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_group_gives_protects_an_account_like_its_own_roles() {
    let town = Town::new().await;
    let group = town.made("/api/v1/groups", json!({"name": "bosses", "roles": ["owner"]})).await;
    let ada = town.made("/api/v1/users", json!({"user_name": "ada"})).await;
    let bob = town.made("/api/v1/users", json!({"user_name": "bob"})).await;
    let path = format!("/api/v1/groups/{group}/members/{ada}");
    let inside = town.send(&town.owner, Method::PUT, &path, json!({})).await;
    assert!(inside.status.is_success(), "{inside:?}");

    let user = |id: &str| format!("/api/v1/users/{id}");
    let invitation = |id: &str| format!("{}/invitation", user(id));
    let email = json!({"email": "admin@example.com"});
    let erasure = |id: &str| json!({"subject": format!("user:{id}")});
    let admin = &town.admin;
    let refused = [
        town.rest.post(admin, &invitation(&ada), json!({})).await,
        town.send(admin, Method::PATCH, &user(&ada), email.clone()).await,
        town.send(admin, Method::PATCH, &user(&ada), json!({"active": false})).await,
        town.rest.post(admin, "/api/v1/audit/erasures", erasure(&ada)).await,
    ];
    for answer in refused {
        answer.is_problem(403, "forbidden");
    }
    assert_eq!(town.rest.post(admin, &invitation(&bob), json!({})).await.status, 200);
    assert_eq!(town.send(admin, Method::PATCH, &user(&bob), email).await.status, 200);
    assert_eq!(town.rest.post(&town.owner, &invitation(&ada), json!({})).await.status, 200);
}

/// The provider says who is in a group, with a token of some role: that role bounds what it can make
/// of anybody, or every admin would become an owner by being the provider for a moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provisioning_token_makes_nobody_more_than_its_role_could() {
    let town = Town::new().await;
    let token = async |role: &str| {
        let body = json!({"name": role, "role": role, "scopes": ["scim:provision"]});
        town.rest.post(&town.owner, "/api/v1/tokens", body).await.text("token")
    };
    let (admins, owners) = (token("admin").await, token("owner").await);
    let new = async |path: &str, body: Value| {
        let made = town.rest.post(&admins, path, body).await;
        assert_eq!(made.status, 201, "{made:?}");
        made.text("id")
    };
    let bosses = new(GROUPS, json!({"displayName": "bosses"})).await;
    let crew = new(GROUPS, json!({"displayName": "crew"})).await;
    let ada = new(USERS, json!({"userName": "ada", "externalId": "1"})).await;
    let eve = new(USERS, json!({"userName": "eve", "externalId": "2"})).await;
    for (group, role) in [(&bosses, "owner"), (&crew, "operator")] {
        let path = format!("/api/v1/groups/{group}");
        let done = town.send(&town.owner, Method::PATCH, &path, json!({"roles": [role]})).await;
        assert_eq!(done.status, 200, "{done:?}");
    }
    let patch = async |token: &str, path: String, operation: Value| {
        let bearer = format!("Bearer {token}");
        let body = json!({"Operations": [operation]}).to_string();
        town.rest.send(Method::PATCH, &path, &[("authorization", &bearer)], Some(&body)).await
    };
    let member = |id: &str| json!({"op": "add", "path": "members", "value": [{"value": id}]});
    let (bosses, crew) = (format!("{GROUPS}/{bosses}"), format!("{GROUPS}/{crew}"));
    assert_eq!(patch(&admins, crew, member(&eve)).await.status, 200);
    patch(&admins, bosses.clone(), member(&eve)).await.is_problem(403, "forbidden");
    assert_eq!(patch(&owners, bosses.clone(), member(&ada)).await.status, 200);

    // Who is an owner is not made somebody else either.
    let (ada, eve) = (format!("{USERS}/{ada}"), format!("{USERS}/{eve}"));
    let moved = json!({"op": "replace", "path": "externalId", "value": "666"});
    patch(&admins, ada.clone(), moved.clone()).await.is_problem(403, "forbidden");
    assert_eq!(patch(&admins, eve, moved).await.status, 200);
    let bearer = format!("Bearer {admins}");
    for path in [&ada, &bosses] {
        let headers = [("authorization", bearer.as_str())];
        let gone = town.rest.send(Method::DELETE, path, &headers, None).await;
        gone.is_problem(403, "forbidden");
    }
}

/// What a use-case refuses stands in the log like what policy refuses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_to_give_more_than_one_has_is_on_record() {
    let town = Town::new().await;
    let body = json!({"name": "mine", "role": "owner"});
    town.rest.post(&town.admin, "/api/v1/tokens", body).await.is_problem(403, "forbidden");
    let made = town.outcomes("token:create").await;
    let (outcome, reason) = made.last().unwrap();
    assert_eq!(outcome, "denied", "{made:?}");
    assert!(reason.contains("the role owner"), "{reason}");
}
