//! Witnesses: real ones, in processes of their own, and a log that is not what it was.

use std::path::Path;
use std::time::Duration;

use edgeformer_controller::audit::witnessing;
use edgeformer_controller::clock::Clock;
use edgeformer_controller::scope::InstallationScope;
use edgeformer_controller::store::audit_log;
use edgeformer_proto::audit::bundle::BundleError;
use edgeformer_proto::audit::note::{KeyKind, Note, SignerKey, VerifierKey};
use http::Method;
use serde_json::{Value, json};

use super::audit_proofs::{Log, attack, go, verify_with};
use crate::support::rest::Rest;
use crate::support::witness::Witness;

/// Longer than the longest pause between two tries.
const A_WHILE: Duration = Duration::from_secs(7200);

impl Log {
    async fn beside_witnesses() -> Self {
        Self::on(Rest::start_beside_servers(None).await).await
    }

    async fn add_witness(&self, witness: &Witness) -> String {
        let body = json!({"url": witness.url, "key": witness.key.to_string()});
        let made = self.rest.post(&self.admin, "/api/v1/audit/witnesses", body).await;
        assert_eq!(made.status, 201, "{made:?}");
        self.settle().await;
        made.text("id")
    }

    async fn witnessed(&self) -> u64 {
        self.rest.advance(A_WHILE);
        witnessing::ask_all(&self.rest.app).await.unwrap()
    }

    /// State and error of each witness, in the order they were added.
    async fn witnesses(&self) -> Vec<(String, String)> {
        let all = self.rest.get(&self.admin, "/api/v1/audit/witnesses").await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let items = all.body["items"].as_array().unwrap().iter();
        items.map(|one| (text(&one["state"]), text(&one["last_error"]))).collect()
    }

    async fn states(&self) -> Vec<String> {
        self.witnesses().await.into_iter().map(|(state, _)| state).collect()
    }

    async fn note(&self, cosignatures: u32) -> Note {
        Note::parse(&self.text(&format!("checkpoint?cosignatures={cosignatures}")).await).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_cosigned_and_no_witness_that_is_away_holds_it_up() {
    let log = Log::beside_witnesses().await;
    let dir = tempfile::tempdir().unwrap();
    log.grow(3).await;
    let keys = [log.key().await];
    let first = Witness::start(&dir.path().join("1"), "witness.example/1", &keys);
    let second = Witness::start(&dir.path().join("2"), "witness.example/2", &keys);
    log.add_witness(&first).await;
    log.add_witness(&second).await;
    assert_eq!(log.states().await, ["waiting", "waiting"]);
    assert_eq!(log.witnessed().await, 2);
    assert_eq!(log.states().await, ["cosigned", "cosigned"]);
    assert_eq!(log.witnessed().await, 0, "what is cosigned is not asked for again");

    // Whoever verifies can demand both, and nobody who did not sign.
    let bundle = log.text("bundle?cosignatures=2").await;
    let both = [first.key.clone(), second.key.clone()];
    let verified = verify_with(&bundle, &keys[0], &both).unwrap();
    let names: Vec<_> = verified.witnesses.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["witness.example/1", "witness.example/2"]);
    assert!(verified.witnesses.iter().all(|(_, time_s)| *time_s > 1_700_000_000));
    let stranger = SignerKey::from_seed("witness.example/1", KeyKind::Cosignature, &[1; 32]);
    let stranger = [stranger.unwrap().verifier().clone()];
    let refused = verify_with(&bundle, &keys[0], &stranger).unwrap_err();
    assert!(matches!(refused, BundleError::Witness(_)), "{refused}");
    let refused = verify_with(&bundle, &keys[0], &keys).unwrap_err();
    assert!(matches!(refused, BundleError::NoWitness(_)), "the log is no witness: {refused}");
    cosigned_according_to_go(&log, dir.path(), &both).await;

    // One is away: the log goes on, with one cosignature and with none.
    let folder = second.kill();
    log.grow(4).await;
    log.note(0).await.verify(&first.key).unwrap_err();
    assert_eq!(log.witnessed().await, 1);
    let witnesses = log.witnesses().await;
    assert_eq!((witnesses[0].0.as_str(), witnesses[1].0.as_str()), ("cosigned", "unreachable"));
    assert!(witnesses[1].1.contains("127.0.0.1 cannot be reached"), "{witnesses:?}");
    let note = log.note(1).await;
    note.verify(&first.key).unwrap();
    note.verify(&second_key(&both)).unwrap_err();
    assert_ne!(log.note(2).await.text(), note.text(), "the older one has both");

    // It comes back, still knowing what it cosigned, at another address.
    let second = Witness::go_on(&folder, &keys, "127.0.0.1:0");
    let all = log.rest.get(&log.admin, "/api/v1/audit/witnesses").await.body;
    let path = format!("/api/v1/audit/witnesses/{}", all["items"][1]["id"].as_str().unwrap());
    let bearer = format!("Bearer {}", log.admin);
    let headers = [("authorization", bearer.as_str())];
    let body = json!({"url": second.url}).to_string();
    let moved = log.rest.send(Method::PATCH, &path, &headers, Some(&body)).await;
    assert_eq!(moved.status, 200, "{moved:?}");
    log.settle().await;
    assert_eq!(log.witnessed().await, 2);
    let note = log.note(2).await;
    assert_eq!(note.text(), log.note(0).await.text());
    for key in &both {
        note.verify(key).unwrap();
    }
}

fn second_key(keys: &[VerifierKey; 2]) -> VerifierKey {
    keys[1].clone()
}

/// Go's `sumdb/note` reads the note and finds both cosignatures valid.
async fn cosigned_according_to_go(log: &Log, dir: &Path, witnesses: &[VerifierKey]) {
    let put = |name: &str, text: &str| std::fs::write(dir.join(name), text).unwrap();
    let keys: Vec<_> = witnesses.iter().map(ToString::to_string).collect();
    put("key", &log.key().await.to_string());
    put("witnesses", &keys.join("\n"));
    let note = log.text("checkpoint?cosignatures=2").await;
    put("checkpoint", &note);
    assert_eq!(go("cosigned.go", dir), Ok("ok 3".to_owned()));
    // The verifier must be able to say no.
    let at = note.rfind("witness.example/2 ").unwrap() + 40;
    let other = if &note[at..=at] == "A" { "B" } else { "A" };
    put("checkpoint", &format!("{}{other}{}", &note[..at], &note[at + 1..]));
    assert!(go("cosigned.go", dir).unwrap_err().contains("invalid signature"));
}

/// The reasons of the contradictions that a log recorded.
async fn contradictions(log: &Log) -> Vec<String> {
    let page = log.rest.get(&log.admin, "/api/v1/audit?limit=100").await.body;
    let all = page["items"].as_array().unwrap().iter();
    let ours = all.filter(|record| record["action"] == "audit_witness:contradict");
    ours.map(|record| {
        assert_eq!(record["outcome"], "failure");
        assert_eq!(record["resource"]["name"], "witness.example/1");
        record["reason"].as_str().unwrap().to_owned()
    })
    .collect()
}

/// Takes the newest `count` records away, with everything that tells of them but the witness.
async fn forget(log: &Log) {
    let tenant = "tenant_id <> ''";
    let tables = ["audit_log", "audit_heads", "audit_tiles", "audit_checkpoints", "audit_outbox"];
    let sql = tables.map(|table| format!("DELETE FROM {table} WHERE {tenant}"));
    let sql: Vec<_> = sql.iter().map(String::as_str).collect();
    attack(&log.rest.database_url(), &sql).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_witness_of_the_log_as_it_was_refuses_a_rewritten_one() {
    let log = Log::beside_witnesses().await;
    let dir = tempfile::tempdir().unwrap();
    log.grow(6).await;
    let keys = [log.key().await];
    let witness = Witness::start(&dir.path().join("1"), "witness.example/1", &keys);
    log.add_witness(&witness).await;
    assert_eq!(log.witnessed().await, 1);
    let kept = log.note(1).await;

    // Shorter than it was.
    forget(&log).await;
    log.grow(2).await;
    assert_eq!(log.witnessed().await, 0);
    assert_eq!(log.states().await, ["contradicted"]);
    let said = contradictions(&log).await;
    assert!(said.len() == 1 && said[0].contains("records were taken away"), "{said:?}");

    // Grown past it, with other records: signed by the log, and still not cosigned.
    log.grow(20).await;
    log.verify("", vec![]).await.unwrap();
    assert_eq!(log.witnessed().await, 0);
    let said = contradictions(&log).await;
    assert!(said.len() == 2 && said[0].contains("the log was rewritten"), "{said:?}");
    // Once, however often it is asked again.
    log.settle().await;
    assert_eq!(log.witnessed().await, 0);
    assert_eq!(contradictions(&log).await.len(), 2);

    // The cosignature of the old history does not stand under the new one.
    let answer = log.rest.get(&log.admin, "/api/v1/audit/checkpoint?cosignatures=1").await;
    if answer.status == 200 {
        assert!(log.note(1).await.verify(&witness.key).is_err());
    }
    kept.verify(&witness.key).unwrap();
    // Whoever operates the installation knows too.
    let top = InstallationScope::system("test");
    let mut read = log.rest.app.store.read(&top).await.unwrap();
    let all = audit_log::list(&mut read, None, 100).await.unwrap();
    let told = all.iter().filter(|event| event.record.action == "audit_witness:contradict");
    assert_eq!(told.count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_witness_is_added_with_its_own_key_and_an_address_that_may_be_asked() {
    let log = Log::on(Rest::start().await).await;
    log.grow(1).await;
    let witness = |n: u8| {
        let name = format!("w/{n}");
        let key = SignerKey::from_seed(&name, KeyKind::Cosignature, &[n; 32]).unwrap();
        key.verifier().to_string()
    };
    let add = |url: &str, key: &str| {
        let body = json!({"url": url, "key": key});
        log.rest.post(&log.admin, "/api/v1/audit/witnesses", body)
    };
    let of_log = log.key().await.to_string();
    for (url, key) in [
        ("https://w.example", "nonsense"),
        ("https://w.example", of_log.as_str()),
        ("w.example", &witness(1)),
        ("ftp://w.example", &witness(1)),
        ("https://user:secret@w.example", &witness(1)),
        ("https://w.example/?a=b", &witness(1)),
        (&format!("https://w.example/{}", "x".repeat(3000)), &witness(1)),
    ] {
        add(url, key).await.is_problem(422, "invalid");
    }
    // An address inside is taken as a text and never asked.
    let inside = add("https://169.254.169.254/latest/", &witness(1)).await;
    assert_eq!(inside.status, 201, "{inside:?}");
    assert_eq!(inside.text("url"), "https://169.254.169.254/latest");
    add("https://w.example", &witness(1)).await.is_problem(409, "name_taken");
    log.settle().await;
    assert_eq!(log.witnessed().await, 0);
    let state = log.witnesses().await.remove(0);
    assert_eq!(state.0, "unreachable");
    assert!(state.1.contains("not a public address"), "{state:?}");
    // A pause follows; nobody is asked in it.
    let next = log.rest.get(&log.admin, "/api/v1/audit/witnesses").await.body;
    let next = next["items"][0]["next_try_at"].as_str().unwrap().to_owned();
    assert!(next > log.rest.clock.now().minus(Duration::from_secs(1)).rfc3339(), "{next}");

    for n in 2..=8 {
        let path = format!("https://10.0.0.{n}");
        assert_eq!(add(&path, &witness(n)).await.status, 201);
    }
    add("https://w.example", &witness(9)).await.is_problem(409, "too_many_witnesses");
    let path = format!("/api/v1/audit/witnesses/{}", inside.text("id"));
    let bearer = format!("Bearer {}", log.admin);
    let headers = [("authorization", bearer.as_str())];
    let gone = log.rest.send(Method::DELETE, &path, &headers, None).await;
    assert_eq!(gone.status, 204, "{gone:?}");
    log.rest.get(&log.admin, &path).await.is_problem(404, "not_found");
    assert_eq!(log.witnesses().await.len(), 7);
    let newest = log.rest.get(&log.admin, "/api/v1/audit?limit=1").await.body;
    assert_eq!(newest["items"][0]["action"], "audit_witness:delete");
    assert_eq!(newest["items"][0]["changes"]["before"]["url"], "https://169.254.169.254/latest");
}
