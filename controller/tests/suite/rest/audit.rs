//! Records as they are shown, exported and erased.

use std::io::Write as _;
use std::process::{Command, Stdio};

use edgeformer_controller::audit::sequencer;
use edgeformer_controller::clock::Clock;
use http::Method;
use serde_json::{Value, json};

use crate::support::rest::Rest;

/// Makes records of several kinds: changes, a refusal, a failure to find.
async fn busy_tenant(rest: &Rest) -> (String, String) {
    let (_, admin) = rest.tenant("a").await;
    let viewer = rest.token(&admin, "viewer").await;
    let token = rest.post(&admin, "/api/v1/enrolment-tokens", json!({})).await.text("id");
    let bearer = format!("Bearer {admin}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("x-edgeformer-justification", "ticket 4711: \"|=]\\"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ];
    let path = format!("/api/v1/enrolment-tokens/{token}");
    assert_eq!(rest.send(Method::DELETE, &path, &headers, None).await.status, 204);
    rest.post(&viewer, "/api/v1/tokens", json!({"name": "x", "role": "admin"}))
        .await
        .is_problem(403, "forbidden");
    sequencer::sequence_all(&rest.app.store, rest.clock.now()).await.unwrap();
    (admin, viewer)
}

async fn lines(rest: &Rest, token: &str, query: &str) -> Vec<String> {
    let text = rest.text(token, &format!("/api/v1/audit/export{query}")).await;
    text.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_says_who_how_why_and_what_changed() {
    let rest = Rest::start().await;
    let (admin, _) = busy_tenant(&rest).await;
    let page = rest.get(&admin, "/api/v1/audit?limit=50").await;
    let all = page.body["items"].as_array().unwrap();
    let of = |action: &str| all.iter().find(|r| r["action"] == action).unwrap();
    let revoked = of("enrolment_token:revoke");
    assert_eq!(revoked["justification"], "ticket 4711: \"|=]\\");
    assert_eq!(revoked["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(revoked["authentication"]["method"], "token");
    assert_eq!(revoked["changes"]["after"]["revoked"], true);
    assert_eq!(revoked["erased"], json!([]));
    assert!(revoked["clock"].is_string() && revoked["sequence"].is_u64(), "{revoked}");
    let refused = all.iter().find(|r| r["outcome"] == "denied").unwrap();
    assert_eq!(refused["action"], "token:create");
    assert!(refused["actor"]["name"].is_string(), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_format_carries_every_record_from_any_place_on() {
    let rest = Rest::start().await;
    let (admin, _) = busy_tenant(&rest).await;
    let all = lines(&rest, &admin, "").await;
    let ids: Vec<String> = all
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned())
        .collect();
    assert!(ids.len() >= 5, "{all:?}");
    for format in ["jsonl", "ocsf", "cef", "rfc5424"] {
        let found = lines(&rest, &admin, &format!("?format={format}&from=1")).await;
        assert_eq!(found.len(), ids.len() - 1, "{format}");
        for (line, id) in found.iter().zip(&ids[1..]) {
            assert!(line.contains(id.as_str()), "{format}: {line}");
        }
    }
    let answer = rest.get(&admin, "/api/v1/audit/export?format=xml").await;
    answer.is_problem(422, "invalid");
    assert!(lines(&rest, &admin, "?from=100000").await.is_empty());
}

/// What the outside validator says of each event.
fn verdicts(events: &[String]) -> Vec<String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ocsf/validate.py");
    let mut child = Command::new(super::python())
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all((events.join("\n") + "\n").as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "the validator failed");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ocsf_events_satisfy_the_published_schema_and_broken_ones_do_not() {
    let rest = Rest::start().await;
    let (admin, viewer) = busy_tenant(&rest).await;
    erase(&rest, &admin, &subject_of(&rest, &viewer).await).await;
    let mut events = lines(&rest, &admin, "?format=ocsf").await;
    let count = events.len();
    // The validator must be able to say no.
    let broken = |change: fn(&mut Value)| {
        let mut event: Value = serde_json::from_str(&events[0]).unwrap();
        change(&mut event);
        event.to_string()
    };
    let broken = [
        broken(|event| event["severity_id"] = json!(77)),
        broken(|event| event["invented"] = json!(1)),
        broken(|event| event["time"] = json!("yesterday")),
        broken(|event| drop(event.as_object_mut().unwrap().remove("actor"))),
        broken(|event| event["class_uid"] = json!(1)),
        broken(|event| event["metadata"]["product"] = json!({})),
    ];
    events.extend(broken);
    let verdicts = verdicts(&events);
    assert_eq!(verdicts.len(), events.len());
    for (verdict, event) in verdicts[..count].iter().zip(&events) {
        assert_eq!(verdict, "ok", "{event}");
    }
    for (verdict, event) in verdicts[count..].iter().zip(&events[count..]) {
        assert_ne!(verdict, "ok", "{event}");
    }
}

/// As audit records name the principal of a token.
async fn subject_of(rest: &Rest, token: &str) -> String {
    format!("token:{}", rest.get(token, "/api/v1/whoami").await.text("principal_id"))
}

async fn erase(rest: &Rest, admin: &str, subject: &str) -> Value {
    let answer = rest.post(admin, "/api/v1/audit/erasures", json!({"subject": subject})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erased_person_is_gone_from_every_record_and_the_tree_stays_what_it_was() {
    let rest = Rest::start().await;
    let (admin, viewer) = busy_tenant(&rest).await;
    let subject = subject_of(&rest, &viewer).await;
    let head = rest.get(&admin, "/api/v1/audit/head").await.body;
    // One more that still waits for the sequencer.
    rest.post(&viewer, "/api/v1/tokens", json!({"name": "x", "role": "admin"})).await;

    let preview = format!("/api/v1/audit/erasures/preview?subject={subject}");
    let before = rest.get(&admin, &preview).await.body;
    assert_eq!(before["records"], 2, "what the token did, and its own making");
    assert_eq!(before["erased_at"], Value::Null);
    assert!(erase(&rest, &admin, &subject).await["erased_at"].is_string());
    assert_eq!(erase(&rest, &admin, &subject).await["records"], 0, "again is no error");

    let all = rest.get(&admin, "/api/v1/audit?limit=50").await.body;
    let id = subject.strip_prefix("token:").unwrap();
    let theirs: Vec<&Value> =
        all["items"].as_array().unwrap().iter().filter(|r| r["actor"]["id"] == id).collect();
    assert_eq!(theirs.len(), 2);
    for record in theirs {
        assert_eq!(record["actor"]["name"], Value::Null, "{record}");
        assert!(record["erased"].as_array().unwrap().contains(&json!("actor.name")), "{record}");
    }
    // What the person does afterwards leaves nothing clear either.
    rest.post(&viewer, "/api/v1/tokens", json!({"name": "x", "role": "admin"})).await;
    let newest = rest.get(&admin, "/api/v1/audit?limit=1").await.body["items"][0].clone();
    assert_eq!((&newest["actor"]["id"], &newest["actor"]["name"]), (&json!(id), &Value::Null));

    let after = rest.get(&admin, "/api/v1/audit/head").await.body;
    assert_eq!(after, head, "erasing changes no leaf");
    let unknown = json!({"subject": "user:0198c0de-0000-7000-8000-000000000001"});
    rest.post(&admin, "/api/v1/audit/erasures", unknown).await.is_problem(404, "not_found");
    let viewer_may_not = rest.post(&viewer, "/api/v1/audit/erasures", json!({"subject": subject}));
    viewer_may_not.await.is_problem(403, "forbidden");
}
