//! Bytes that no client of ours sends, through TLS to the real listener: it answers with a clear
//! refusal or closes, holds no more than its limits, and never takes a body for a request.

use std::sync::Arc;
use std::time::Duration;

use edgeformer_controller::authorities::Roots;
use edgeformer_controller::clock::{Clock, SystemClock};
use edgeformer_controller::config::DataDir;
use edgeformer_controller::listener;
use edgeformer_controller::server_identity::ServerIdentity;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::support::rest::Rest;

/// Most of an answer that is looked at.
const LOOKED_AT: usize = 64 * 1024;
/// An answer comes within this time, or the test fails; no attack is that slow.
const PATIENCE: Duration = Duration::from_secs(30);

struct Target {
    rest: Rest,
    token: String,
    address: std::net::SocketAddr,
    client: TlsConnector,
    _stop: tokio_util::sync::DropGuard,
}

impl Target {
    async fn start() -> Self {
        let rest = Rest::start().await;
        let (_, token) = rest.tenant("a").await;
        let app = rest.app.clone();
        let roots = Roots::load(&app, "test").await.unwrap();
        let dir = DataDir::new(&rest.data_dir()).unwrap();
        let identity = ServerIdentity::open(&dir, &app.vault, &roots, SystemClock.now()).unwrap();
        let server =
            ServerConfig::builder()
                .with_no_client_auth()
                .with_cert_resolver(Arc::<ServerIdentity>::clone(&identity));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let router = rest.router();
        tokio::spawn(listener::serve(listener, Arc::new(server), router, stop.clone()));
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_file_iter(dir.root_cert()).unwrap() {
            roots.add(root.unwrap()).unwrap();
        }
        let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let client = TlsConnector::from(Arc::new(client));
        Self { rest, token, address, client, _stop: stop.drop_guard() }
    }

    async fn connect(&self) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        self.client.connect(name, stream).await.unwrap()
    }

    /// Everything that comes back until the connection is closed.
    async fn send(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        // The listener may close before all is sent.
        let _ = stream.write_all(bytes).await;
        let _ = stream.flush().await;
        let mut answer = Vec::new();
        let read = async {
            let mut piece = [0; 4096];
            while answer.len() < LOOKED_AT {
                match stream.read(&mut piece).await {
                    Ok(0) | Err(_) => break,
                    Ok(count) => answer.extend_from_slice(&piece[..count]),
                }
            }
        };
        let ended = tokio::time::timeout(PATIENCE, read).await.is_ok();
        let begin = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]);
        assert!(ended, "it neither answers nor closes: {begin:?}");
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn head(&self, line: &str, headers: &str) -> String {
        let token = &self.token;
        format!("{line} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{headers}\r\n")
    }
}

fn answers(text: &str) -> Vec<u16> {
    let status = |part: &str| part.get(..3).and_then(|digits| digits.parse().ok());
    text.split("HTTP/1.1 ").skip(1).filter_map(status).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_is_never_taken_for_a_request() {
    let target = Target::start().await;
    let post = "POST /api/v1/enrolment-tokens";
    let hidden = target.head("DELETE /api/v1/tokens/x", "");
    let cases = [
        // Two lengths.
        ("Content-Type: application/json\r\nContent-Length: 2\r\nContent-Length: 90\r\n", "{}"),
        // A length that is none.
        ("Content-Type: application/json\r\nContent-Length: +2\r\n", "{}"),
        ("Content-Type: application/json\r\nContent-Length: -2\r\n", "{}"),
        ("Content-Type: application/json\r\nContent-Length: 0x2\r\n", "{}"),
        // Codings that are not known, or not last.
        ("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
        // Names and lines that another reader may take otherwise.
        ("Transfer-Encoding : chunked\r\nContent-Length: 2\r\n", "{}"),
        ("X: a\r\n Transfer-Encoding: chunked\r\nContent-Length: 2\r\n", "{}"),
        // A chunk that is longer than any number.
        ("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\n{}\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "-2\r\n{}\r\n0\r\n\r\n"),
    ];
    for (headers, body) in cases {
        let bytes = format!("{}{body}{hidden}", target.head(post, headers));
        let said = target.send(bytes.as_bytes()).await;
        let statuses = answers(&said);
        let refused = statuses.iter().all(|status| (400..500).contains(status));
        assert!(refused && statuses.len() <= 1, "{headers:?}: {said}");
    }
    // Both ways to say the length: one of them counts, and the connection ends.
    let both =
        "Content-Type: application/json\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n";
    let bytes = format!("{}0\r\n\r\n{hidden}", target.head(post, both));
    let said = target.send(bytes.as_bytes()).await;
    assert!(answers(&said).len() <= 1, "{said}");
    let log = target.rest.get(&target.token, "/api/v1/audit").await;
    let done = |action: &str| {
        log.body["items"].as_array().unwrap().iter().any(|record| record["action"] == action)
    };
    assert!(!done("token:revoke") && !done("enrolment_token:create"), "{log:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_and_bodies_are_bounded() {
    let target = Target::start().await;
    let close = "Connection: close\r\n";
    let many: String = (0..200).map(|n| format!("X-{n}: 1\r\n")).collect();
    let said = target.send(target.head("GET /api/v1/whoami", &many).as_bytes()).await;
    assert_eq!(answers(&said), [431], "{said}");
    let long = format!("X: {}\r\n{close}", "a".repeat(1 << 20));
    let said = target.send(target.head("GET /api/v1/whoami", &long).as_bytes()).await;
    assert!(matches!(answers(&said)[..], [] | [431]), "{said}");
    let path = format!("GET /{}", "a".repeat(1 << 20));
    let said = target.send(target.head(&path, close).as_bytes()).await;
    assert!(matches!(answers(&said)[..], [] | [414 | 431]), "{said}");

    let json = "Content-Type: application/json\r\n";
    let huge = format!("{json}{close}Content-Length: 1099511627776\r\n");
    let head = target.head("POST /api/v1/tokens", &huge);
    let said = target.send(head.as_bytes()).await;
    assert_eq!(answers(&said), [413], "{said}");
    let endless =
        target.head("POST /api/v1/tokens", &format!("{json}Transfer-Encoding: chunked\r\n"));
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    let said = target.send(format!("{endless}{}", chunk.repeat(40)).as_bytes()).await;
    assert_eq!(answers(&said).first(), Some(&413), "{said}");
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let head = format!("{json}{close}Content-Length: {}\r\n", deep.len());
    let bytes = format!("{}{deep}", target.head("POST /api/v1/rollouts", &head));
    let said = target.send(bytes.as_bytes()).await;
    assert!(matches!(answers(&said)[..], [400 | 422]), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_http_and_what_stops_half_way_leaves_the_others_alone() {
    let target = Target::start().await;
    for bytes in [
        &b"\x16\x03\x01\x02\x00"[..],
        b"GET\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\0\0\0",
    ] {
        let said = target.send(bytes).await;
        assert!(answers(&said).iter().all(|status| *status == 400), "{said}");
    }
    // Two hundred who begin and do not end: half a head, and half a body.
    let json = "Content-Type: application/json\r\nContent-Length: 100\r\n";
    let half_body = format!("{}{{", target.head("POST /api/v1/tokens", json));
    let mut slow = Vec::new();
    for n in 0..200 {
        let mut stream = target.connect().await;
        let bytes = if n % 2 == 0 { "GET /api/v1/whoami HT" } else { half_body.as_str() };
        stream.write_all(bytes.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    let head = target.head("GET /api/v1/whoami", "Connection: close\r\n");
    let said = target.send(head.as_bytes()).await;
    assert_eq!(answers(&said), [200], "others wait for the slow ones: {said}");
}
