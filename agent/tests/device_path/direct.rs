//! Chunks from a store that the controller names: a store that serves them, and stores that do everything
//! else. Whatever a store does, the version is confirmed, with the controller carrying what did not come.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use edgeformer_proto::v1::{self, SlotPhase};
use rcgen::{CertificateParams, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::{Controller, Setup, enrolled, eventually, phase};
use crate::support::publish::Version;

/// What a store does with each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Serves,
    /// Other bytes of the same length.
    Tampers,
    /// As long as it is let, and no length before.
    Endless,
    /// It says that it is longer.
    Longer,
    /// Ends in the middle.
    Cuts,
    /// To a place that would serve it.
    Redirects,
    /// Each URL once, then 403.
    Expires,
    /// 403 to everybody.
    Forbids,
    /// 404.
    Lacks,
    /// Something that is not HTTP.
    Babbles,
    /// Heads without an end.
    HeadsOnly,
}

struct Store {
    url: String,
    requests: Arc<AtomicU32>,
    /// Bytes of chunks that went out.
    bytes: Arc<AtomicU64>,
    connections: Arc<AtomicU32>,
}

impl Store {
    async fn start(controller: &Controller, manner: Manner) -> Self {
        Self::start_with(controller, manner, None).await
    }

    async fn start_with(controller: &Controller, manner: Manner, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let (requests, bytes, connections) = <(Arc<_>, Arc<_>, Arc<_>)>::default();
        let store = Self { url, requests, bytes, connections };
        let one = Connection {
            controller: controller.clone(),
            manner,
            requests: store.requests.clone(),
            bytes: store.bytes.clone(),
        };
        let connections = store.connections.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let (one, tls) = (one.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => one.serve(stream).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                one.serve(stream).await;
                            }
                        }
                    }
                });
            }
        });
        store
    }

    /// The controller names this store from now on, with these authorities.
    fn name(&self, controller: &Controller, ca_der: &[Vec<u8>]) {
        let (url, ca_der) = (self.url.clone(), ca_der.to_vec());
        *controller.inner.locate.lock().unwrap() = Some(Box::new(move |id| v1::ChunkLocation {
            url: format!("{url}/bucket/{}?signed", data_encoding(id)),
            valid_s: 600,
            ca_der: ca_der.iter().map(|one| one.clone().into()).collect(),
        }));
    }
}

fn data_encoding(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Clone)]
struct Connection {
    controller: Controller,
    manner: Manner,
    requests: Arc<AtomicU32>,
    bytes: Arc<AtomicU64>,
}

impl Connection {
    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(self, mut stream: S) {
        loop {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let Ok(byte) = stream.read_u8().await else { return };
                head.push(byte);
            }
            let head = String::from_utf8(head).unwrap();
            let path = head.split(' ').nth(1).unwrap().to_owned();
            let before = self.requests.fetch_add(1, Ordering::SeqCst);
            let id = path.rsplit('/').next().unwrap().split('?').next().unwrap();
            let id: Vec<u8> = (0..id.len() / 2)
                .map(|at| u8::from_str_radix(&id[2 * at..2 * at + 2], 16).unwrap())
                .collect();
            let mut sealed = self.controller.inner.publisher.chunk(&id);
            let length = sealed.len();
            let mut answer = Vec::new();
            match self.manner {
                Manner::Serves => {}
                Manner::Tampers => sealed[length / 2] ^= 1,
                Manner::Expires if before % 2 == 1 => {}
                Manner::Expires | Manner::Forbids => {
                    write!(answer, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").unwrap();
                }
                Manner::Lacks => {
                    write!(answer, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").unwrap();
                }
                Manner::Redirects => {
                    let head = format!("HTTP/1.1 302 Found\r\nLocation: {path}\r\n");
                    write!(answer, "{head}Content-Length: 0\r\n\r\n").unwrap();
                }
                Manner::Longer => {
                    write!(answer, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 1u64 << 40)
                        .unwrap();
                }
                Manner::Cuts => {
                    write!(answer, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").unwrap();
                    answer.extend_from_slice(&sealed[..length / 2]);
                    let _ = stream.write_all(&answer).await;
                    return;
                }
                Manner::Babbles => answer.extend_from_slice(b"220 mail.example ESMTP\r\n"),
                Manner::HeadsOnly => {
                    answer.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
                    answer.extend(b"x-filler: y\r\n".repeat(100_000));
                }
                Manner::Endless => {
                    write!(answer, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                        .unwrap();
                    if stream.write_all(&answer).await.is_err() {
                        return;
                    }
                    let part = [&b"10000\r\n"[..], &vec![7; 0x10000], b"\r\n"].concat();
                    while stream.write_all(&part).await.is_ok() {}
                    return;
                }
            }
            if answer.is_empty() {
                write!(answer, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").unwrap();
                answer.extend_from_slice(&sealed);
                self.bytes.fetch_add(length as u64, Ordering::SeqCst);
            }
            if stream.write_all(&answer).await.is_err() {
                return;
            }
        }
    }
}

fn carried(controller: &Controller) -> usize {
    controller.inner.chunks_sent.load(Ordering::SeqCst) as usize
}

/// Installs one version with a store of this manner beside the controller.
async fn install(manner: Manner) -> (Controller, Store, Version) {
    let (controller, directory) = enrolled().await;
    let store = Store::start(&controller, manner).await;
    store.name(&controller, &[]);
    let version = controller.inner.publisher.publish_random(1, 40, 20_000);
    let agent = Setup::new(&directory.path().join("state")).start();
    controller.assign(1, &version);
    phase(&controller, &version, SlotPhase::Confirmed).await;
    assert_eq!(agent.workers.payload("m").unwrap(), version.payload);
    agent.stop().await;
    (controller, store, version)
}

#[tokio::test]
async fn a_store_carries_every_byte_and_the_controller_none() {
    let (controller, store, version) = install(Manner::Serves).await;
    assert_eq!(carried(&controller), 0);
    assert_eq!(store.bytes.load(Ordering::SeqCst), version.chunk_bytes, "each chunk once");
    let connections = store.connections.load(Ordering::SeqCst);
    assert!(connections <= 6, "{connections} connections for {} chunks", version.chunks);
}

#[tokio::test]
async fn whatever_a_store_does_the_controller_brings_what_it_did_not() {
    use Manner::*;
    for manner in [Tampers, Endless, Longer, Cuts, Redirects, Forbids, Lacks, Babbles, HeadsOnly] {
        let (controller, store, version) = install(manner).await;
        assert_eq!(carried(&controller), version.chunks, "{manner:?}");
        let asked = store.requests.load(Ordering::SeqCst);
        // Those that were on their way when the first failed, and each of them once more where a URL may be
        // too old.
        assert!((1..=12).contains(&asked), "{manner:?}: {asked} requests");
    }
}

#[tokio::test]
async fn a_url_that_is_too_old_is_asked_for_again() {
    let (controller, store, version) = install(Manner::Expires).await;
    let (carried, from_store) = (carried(&controller), store.bytes.load(Ordering::SeqCst));
    assert!(from_store > 0, "{carried} of {} chunks were carried", version.chunks);
}

#[tokio::test]
async fn a_network_that_forbids_the_store_costs_one_attempt() {
    let (controller, directory) = enrolled().await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    *controller.inner.locate.lock().unwrap() = Some(Box::new(move |_| v1::ChunkLocation {
        url: url.clone(),
        valid_s: 600,
        ca_der: Vec::new(),
    }));
    let agent = Setup::new(&directory.path().join("state")).start();
    for number in [1, 2] {
        let version = controller.inner.publisher.publish(number, 40, number as u8);
        controller.assign(number, &version);
        phase(&controller, &version, SlotPhase::Confirmed).await;
    }
    // Of the second version nothing was asked elsewhere.
    let last = {
        let asked = controller.inner.asked.lock().unwrap();
        asked.iter().rev().find(|(name, _)| *name == "FetchChunksRequest").unwrap().1.clone()
    };
    let last: v1::FetchChunksRequest = prost::Message::decode(&last[..]).unwrap();
    assert!(!last.accepts_locations && last.accepts_waiting);
    agent.stop().await;
}

#[tokio::test]
async fn nonsense_in_the_place_of_a_url_is_no_failure_of_the_version() {
    for url in
        ["", "file:///etc/passwd", "http://", "gopher://127.0.0.1/", "https://user@127.0.0.1/"]
    {
        let (controller, directory) = enrolled().await;
        *controller.inner.locate.lock().unwrap() = Some(Box::new(move |_| v1::ChunkLocation {
            url: url.to_owned(),
            valid_s: u32::MAX,
            ca_der: vec![b"no certificate".to_vec().into()],
        }));
        let version = controller.inner.publisher.publish(1, 5, 1);
        let agent = Setup::new(&directory.path().join("state")).start();
        controller.assign(1, &version);
        phase(&controller, &version, SlotPhase::Confirmed).await;
        assert_eq!(carried(&controller), version.chunks);
        agent.stop().await;
    }
}

#[tokio::test]
async fn a_store_is_trusted_under_the_authority_that_the_controller_names() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_der = params.self_signed(&key).unwrap().der().to_vec();
    let issuer = Issuer::new(params, key);
    let server_key = KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned()];
    let leaf = CertificateParams::new(names).unwrap().signed_by(&server_key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let private = PrivateKeyDer::try_from(server_key.serialize_der()).unwrap();
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], private)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    for (authorities, by_controller) in [(vec![ca_der], false), (Vec::new(), true)] {
        let (controller, directory) = enrolled().await;
        let tls = Some(acceptor.clone());
        let store = Store::start_with(&controller, Manner::Serves, tls).await;
        store.name(&controller, &authorities);
        let version = controller.inner.publisher.publish(1, 10, 1);
        let agent = Setup::new(&directory.path().join("state")).start();
        controller.assign(1, &version);
        phase(&controller, &version, SlotPhase::Confirmed).await;
        assert_eq!(carried(&controller), if by_controller { version.chunks } else { 0 });
        agent.stop().await;
    }
}

#[tokio::test]
async fn the_limit_of_a_device_holds_for_what_a_store_sends() {
    let (controller, directory) = enrolled().await;
    let store = Store::start(&controller, Manner::Serves).await;
    store.name(&controller, &[]);
    let version = controller.inner.publisher.publish_random(1, 20, 100_000);
    let rate = 1_000_000;
    let agent = Setup { rate: Some(rate), ..Setup::new(&directory.path().join("state")) }.start();
    let began = tokio::time::Instant::now();
    controller.assign(1, &version);
    phase(&controller, &version, SlotPhase::Confirmed).await;
    // What comes in a second comes at once; a faster download than the rest allows breaks the limit.
    let least = (version.chunk_bytes - rate) as f64 / rate as f64;
    assert!(began.elapsed().as_secs_f64() >= least, "{:?}", began.elapsed());
    assert_eq!(carried(&controller), 0);
    agent.stop().await;
}

#[tokio::test]
async fn a_device_that_waits_for_its_turn_says_so_and_nothing_fails() {
    let (controller, directory) = enrolled().await;
    controller.inner.waits.store(1, Ordering::SeqCst);
    let version = controller.inner.publisher.publish(1, 5, 1);
    let agent = Setup::new(&directory.path().join("state")).start();
    controller.assign(1, &version);
    let status = eventually("it says what it waits for", || {
        controller.status("m").filter(|status| status.reason == "bandwidth")
    })
    .await;
    assert_eq!(status.phase(), SlotPhase::Fetching);
    assert!(
        status.message.contains("1.0 MB per second") || status.message.contains("1 MB per second"),
        "{}",
        status.message
    );
    controller.inner.waits.store(0, Ordering::SeqCst);
    let status = phase(&controller, &version, SlotPhase::Confirmed).await;
    assert_eq!(status.reason, "");
    agent.stop().await;
}
