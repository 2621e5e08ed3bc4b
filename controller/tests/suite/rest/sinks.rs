//! Sinks: the log streamed to receivers that behave and to those that do not.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use edgeformer_controller::app::{App, Nudges, Parts};
use edgeformer_controller::audit::sinks::{deliver_due, webhook};
use http::Method;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::{Value, json};

use super::audit_proofs::Log;
use crate::support::rest::Rest;
use crate::support::syslog::{Authority, Manners, Receiver};

/// Longer than the longest pause and the longest lease.
const A_WHILE: Duration = Duration::from_secs(1800);

impl Log {
    async fn beside_receivers() -> Self {
        Self::on(Rest::start_beside_servers(None).await).await
    }

    async fn add_sink(&self, body: Value) -> String {
        let made = self.rest.post(&self.admin, "/api/v1/audit/sinks", body).await;
        assert_eq!(made.status, 201, "{made:?}");
        made.text("id")
    }

    async fn add_syslog(&self, receiver: &Receiver, ca_pem: &str, format: &str) -> String {
        let syslog = json!({
            "host": "127.0.0.1", "port": receiver.address.port(), "ca_pem": ca_pem,
        });
        self.add_sink(json!({"name": "siem", "format": format, "from": 0, "syslog": syslog})).await
    }

    async fn sink(&self, id: &str) -> Value {
        self.rest.get(&self.admin, &format!("/api/v1/audit/sinks/{id}")).await.body
    }

    async fn deliver(&self) -> u64 {
        self.rest.advance(A_WHILE);
        deliver_due(&self.rest.app).await.unwrap()
    }

    async fn change_sink(&self, id: &str, body: Value) -> Value {
        let bearer = format!("Bearer {}", self.admin);
        let headers = [("authorization", bearer.as_str())];
        let path = format!("/api/v1/audit/sinks/{id}");
        let body = body.to_string();
        let done = self.rest.send(Method::PATCH, &path, &headers, Some(&body)).await;
        assert_eq!(done.status, 200, "{done:?}");
        done.body
    }

    /// Another controller on the same database.
    fn another(&self) -> App {
        let app = &self.rest.app;
        App::new(Parts {
            store: app.store.clone(),
            vault: Arc::clone(&app.vault),
            objects: app.objects.clone(),
            staging: app.staging.clone(),
            clock: Arc::new(self.rest.clock.clone()),
            nudges: Nudges::default(),
            outbound: app.outbound.clone(),
        })
    }
}

/// The place that a message says it has in the log.
fn sequence(message: &str) -> u64 {
    let (_, rest) = message.split_once(" sequence=\"").unwrap_or_else(|| panic!("{message}"));
    rest.split('"').next().unwrap().parse().unwrap()
}

/// Each record at least once, each session in order, and never a record before the ones before it.
fn nothing_lost_and_in_order(receiver: &Receiver, size: u64) {
    let mut next = 0;
    for session in receiver.sessions() {
        let places: Vec<u64> = session.iter().map(|message| sequence(message)).collect();
        assert!(places.windows(2).all(|pair| pair[1] == pair[0] + 1), "{places:?}");
        for place in places {
            assert!(place <= next, "record {next} was left out before {place}");
            next = next.max(place + 1);
        }
    }
    assert_eq!(next, size);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_streamed_in_order_and_goes_on_where_it_was() {
    let log = Log::beside_receivers().await;
    let authority = Authority::new();
    let receiver = Receiver::start(&authority, None).await;
    log.grow(130).await;
    let id = log.add_syslog(&receiver, &authority.pem(), "rfc5424").await;
    log.settle().await;
    let size = log.checkpoint_size().await;
    assert_eq!(log.sink(&id).await["lag_records"], size);
    assert_eq!(log.deliver().await, size);
    assert_eq!(receiver.messages().len() as u64, size, "each once");
    nothing_lost_and_in_order(&receiver, size);
    let sink = log.sink(&id).await;
    assert_eq!((&sink["lag_records"], &sink["last_error"]), (&json!(0), &json!("")));
    assert!(sink["delivered_at"].is_string(), "{sink}");
    for message in receiver.messages() {
        assert!(message.starts_with("<1") && message.contains(">1 2"), "{message}");
        assert!(message.contains(" test.local edgeformer-fleet - "), "{message}");
    }
    assert_eq!(log.deliver().await, 0);

    // Another controller goes on from there.
    log.grow(3).await;
    assert_eq!(deliver_due(&log.another()).await.unwrap(), 3);
    nothing_lost_and_in_order(&receiver, size + 3);
    // Stopped, and let go on.
    log.change_sink(&id, json!({"enabled": false})).await;
    log.settle().await;
    assert_eq!(log.deliver().await, 0);
    log.change_sink(&id, json!({"enabled": true, "format": "jsonl"})).await;
    log.settle().await;
    assert_eq!(log.deliver().await, 2);
    let messages = receiver.messages();
    let (_, carried) = messages.last().unwrap().split_once('\u{feff}').unwrap();
    let record: Value = serde_json::from_str(carried).unwrap();
    assert_eq!(record["action"], "audit_sink:update");
    assert_eq!(record["changes"]["after"]["format"], "jsonl");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_record_is_lost_whatever_becomes_of_the_connection() {
    let log = Log::beside_receivers().await;
    let authority = Authority::new();
    let receiver = Receiver::start(&authority, None).await;
    log.grow(40).await;
    let id = log.add_syslog(&receiver, &authority.pem(), "rfc5424").await;
    log.settle().await;
    let size = log.checkpoint_size().await;
    for manners in [
        Manners::Deaf,
        Manners::CutAfter(1),
        Manners::Hasty,
        Manners::CutAfter(7),
        Manners::CutAfter(usize::try_from(size).unwrap() - 1),
    ] {
        receiver.behave(manners);
        assert_eq!(log.deliver().await, 0, "{manners:?}");
        let sink = log.sink(&id).await;
        assert_eq!(sink["lag_records"], size, "{manners:?}");
        assert_ne!(sink["last_error"], "", "{manners:?}");
        // Within its pause it is not tried again.
        if sink["next_try_at"].as_str().unwrap() > log.now().as_str() {
            assert_eq!(deliver_due(&log.rest.app).await.unwrap(), 0);
        }
    }
    // A controller that dies in the middle: another one takes over when its lease is over.
    receiver.behave(Manners::Lingering);
    log.rest.advance(A_WHILE);
    let dying = deliver_due(&log.rest.app);
    let sessions = receiver.sessions().len();
    tokio::select! {
        _ = dying => panic!("it was to be cut"),
        () = until(|| receiver.sessions().len() > sessions) => {}
    }
    let heir = log.another();
    receiver.behave(Manners::Good);
    assert_eq!(deliver_due(&heir).await.unwrap(), 0, "the lease is not over");
    log.rest.advance(A_WHILE);
    assert_eq!(deliver_due(&heir).await.unwrap(), size);
    nothing_lost_and_in_order(&receiver, size);
    // One that never closes its side has everything too.
    log.grow(2).await;
    receiver.behave(Manners::Lingering);
    assert_eq!(log.deliver().await, 2);
    nothing_lost_and_in_order(&receiver, size + 2);
}

async fn until(mut done: impl FnMut() -> bool) {
    while !done() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_controllers_deliver_each_record_once() {
    let log = Log::beside_receivers().await;
    let authority = Authority::new();
    let receiver = Receiver::start(&authority, None).await;
    log.add_syslog(&receiver, &authority.pem(), "ocsf").await;
    log.grow(50).await;
    let size = log.checkpoint_size().await;
    let apps: Vec<App> = (0..4).map(|_| log.another()).collect();
    let runs = apps.iter().map(deliver_due);
    let sent: u64 = futures::future::join_all(runs).await.into_iter().map(Result::unwrap).sum();
    assert_eq!((sent, receiver.messages().len() as u64), (size, size));
    nothing_lost_and_in_order(&receiver, size);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_is_who_its_certificate_says_and_so_are_we() {
    let log = Log::beside_receivers().await;
    let (authority, other) = (Authority::new(), Authority::new());
    let receiver = Receiver::start(&authority, Some(&other)).await;
    let (cert, key) = other.issue("controller");
    let syslog = json!({
        "host": "127.0.0.1", "port": receiver.address.port(), "ca_pem": authority.pem(),
        "client_cert_pem": cert, "client_key_pem": key,
    });
    let body = json!({"name": "ours", "format": "cef", "from": 0, "syslog": syslog});
    let id = log.add_sink(body).await;
    log.settle().await;
    assert!(log.deliver().await > 0);
    let key = key.lines().nth(1).unwrap();
    let shown = log.sink(&id).await;
    assert_eq!(shown["client_cert_pem"], cert);
    for place in ["sinks", "export", "bundle"] {
        assert!(!log.text(place).await.contains(key), "{place} shows the private key");
    }
    let before = receiver.messages().len();

    let syslog = |ca: &Authority| json!({"host": "127.0.0.1", "port": receiver.address.port(), "ca_pem": ca.pem()});
    let named =
        |name: &str, syslog: Value| json!({"name": name, "format": "cef", "syslog": syslog});
    let nobody = log.add_sink(named("without a certificate", syslog(&authority))).await;
    let untrusting = log.add_sink(named("other authority", syslog(&other))).await;
    log.settle().await;
    log.deliver().await;
    let error = log.sink(&nobody).await["last_error"].as_str().unwrap().to_owned();
    assert!(error.contains("127.0.0.1"), "{error}");
    let error = log.sink(&untrusting).await["last_error"].as_str().unwrap().to_owned();
    assert!(error.contains("no TLS session"), "{error}");
    assert!(receiver.messages().len() > before, "the one that is right goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_cannot_work_is_refused_and_one_inside_is_not_asked() {
    let log = Log::on(Rest::start().await).await;
    let authority = Authority::new();
    let ca = authority.pem();
    let (cert, key) = authority.issue("c");
    let good = json!({"host": "127.0.0.1", "ca_pem": ca});
    let with = |field: &str, value: Value| {
        let mut syslog = good.clone();
        syslog[field] = value;
        json!({"name": "s", "format": "rfc5424", "syslog": syslog})
    };
    let hook = json!({"url": "https://hook.example/x"});
    for body in [
        json!({"name": "s", "format": "rfc5424"}),
        json!({"name": "s", "format": "jsonl", "syslog": good, "webhook": hook}),
        json!({"name": "", "format": "rfc5424", "syslog": good}),
        json!({"name": "s", "format": "xml", "syslog": good}),
        json!({"name": "s", "format": "cef", "webhook": hook}),
        json!({"name": "s", "format": "jsonl", "webhook": {"url": "file:///etc/passwd"}}),
        json!({"name": "s", "format": "rfc5424", "syslog": good, "from": 100_000}),
        with("host", json!("")),
        with("host", json!("a b")),
        with("port", json!(0)),
        with("ca_pem", json!("nonsense")),
        with("ca_pem", json!("x".repeat(200_000))),
        with("client_cert_pem", json!(cert)),
        with("client_key_pem", json!(key)),
    ] {
        let answer = log.rest.post(&log.admin, "/api/v1/audit/sinks", body.clone()).await;
        answer.is_problem(422, "invalid");
    }
    let id = log.add_sink(json!({"name": "s", "format": "jsonl", "syslog": good})).await;
    let again = json!({"name": "s", "format": "jsonl", "syslog": good});
    let taken = log.rest.post(&log.admin, "/api/v1/audit/sinks", again).await;
    taken.is_problem(409, "name_taken");
    log.settle().await;
    assert_eq!(log.deliver().await, 0);
    let error = log.sink(&id).await["last_error"].as_str().unwrap().to_owned();
    assert!(error.contains("not a public address"), "{error}");
    for n in 0..3 {
        log.add_sink(json!({"name": format!("h{n}"), "format": "jsonl", "webhook": hook})).await;
    }
    let body = json!({"name": "h9", "format": "jsonl", "webhook": hook});
    let full = log.rest.post(&log.admin, "/api/v1/audit/sinks", body).await;
    full.is_problem(409, "too_many_sinks");
    let bearer = format!("Bearer {}", log.admin);
    let path = format!("/api/v1/audit/sinks/{id}");
    let gone = log.rest.send(Method::DELETE, &path, &[("authorization", &*bearer)], None).await;
    assert_eq!(gone.status, 204);
    log.rest.get(&log.admin, &path).await.is_problem(404, "not_found");
}

/// What a webhook was sent, and what it answers next.
#[derive(Default)]
struct Hook {
    got: Vec<(HeaderMap, String)>,
    refuse: usize,
}

async fn hook(
    State(hook): State<Arc<Mutex<Hook>>>,
    headers: HeaderMap,
    body: String,
) -> StatusCode {
    let mut hook = hook.lock().unwrap();
    if hook.refuse > 0 {
        hook.refuse -= 1;
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    hook.got.push((headers, body));
    StatusCode::ACCEPTED
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_gets_signed_batches_until_it_has_taken_each() {
    let log = Log::beside_receivers().await;
    let kept = Arc::new(Mutex::new(Hook::default()));
    let router =
        Router::new().route("/in", axum::routing::post(hook)).with_state(Arc::clone(&kept));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/in", listener.local_addr().unwrap());
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    log.grow(150).await;
    let body = json!({"name": "hook", "format": "jsonl", "from": 0, "webhook": {"url": url}});
    let id = log.add_sink(body).await;
    log.settle().await;
    let size = log.checkpoint_size().await;
    kept.lock().unwrap().refuse = 1;
    assert_eq!(log.deliver().await, 0);
    assert_eq!(log.sink(&id).await["last_error"], "it answers 503");
    assert_eq!(log.deliver().await, size);
    server.abort();

    let public = log.sink(&id).await["public_key"].as_str().unwrap().to_owned();
    let public = data_encoding::BASE64.decode(public.as_bytes()).unwrap();
    let mut next = 0;
    for (headers, body) in &kept.lock().unwrap().got {
        let text = |name: &str| headers[name].to_str().unwrap();
        let number = |name: &str| text(name).parse::<u64>().unwrap();
        let (from, to) = (number("x-edgeformer-from"), number("x-edgeformer-to"));
        assert_eq!((from, to - from), (next, body.lines().count() as u64));
        for (line, place) in body.lines().zip(from..) {
            assert_eq!(serde_json::from_str::<Value>(line).unwrap()["sequence"], place);
        }
        let signature = text("x-edgeformer-signature").strip_prefix("ed25519=").unwrap();
        let signature = data_encoding::BASE64.decode(signature.as_bytes()).unwrap();
        let sink = id.parse().unwrap();
        let key = UnparsedPublicKey::new(&ED25519, &public);
        let holds = |to: u64| {
            let batch = webhook::Batch { sink, from, to };
            key.verify(&webhook::signed(&batch, body.as_bytes()), &signature).is_ok()
        };
        assert!(holds(to) && !holds(to + 1));
        next = to;
    }
    assert_eq!(next, size);
    assert!(kept.lock().unwrap().got.len() > 1, "in several batches");
}
