//! A syslog receiver over TLS (RFC 5425) that keeps what it reads, and can be told to misbehave.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// What a receiver does with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manners {
    /// Reads to the end and ends the session.
    Good,
    /// Reads so many messages and drops the connection.
    CutAfter(usize),
    /// Reads nothing, and drops the connection after the handshake.
    Deaf,
    /// Ends the session in order as soon as it began, without reading.
    Hasty,
    /// Reads to the end, and leaves its own side open.
    Lingering,
}

/// Makes certificates for a test.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate and its key, both PEM.
    pub(crate) fn issue(&self, name: &str) -> (String, String) {
        let (cert, key) = self.certificate(name);
        (cert.pem(), key.serialize_pem())
    }

    fn certificate(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap(), key)
    }
}

/// A receiver; ends with the value.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    manners: Arc<Mutex<Manners>>,
    /// Messages by connection.
    sessions: Arc<Mutex<Vec<Vec<String>>>>,
    task: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    /// `clients` signs the certificates that it asks for, if it asks.
    pub(crate) async fn start(authority: &Authority, clients: Option<&Authority>) -> Self {
        let (cert, key) = authority.certificate("127.0.0.1");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let mut roots = RootCertStore::empty();
                roots.add(clients.0.der().clone()).unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let chain: Vec<CertificateDer<'static>> = vec![cert.der().clone()];
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = builder.with_single_cert(chain, key).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let manners = Arc::new(Mutex::new(Manners::Good));
        let sessions = Arc::new(Mutex::new(Vec::new()));
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (how, kept) = (Arc::clone(&manners), Arc::clone(&sessions));
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let Ok(stream) = acceptor.accept(socket).await else { continue };
                let at = {
                    let mut all = kept.lock().unwrap();
                    all.push(Vec::new());
                    all.len() - 1
                };
                let (how, kept) = (*how.lock().unwrap(), Arc::clone(&kept));
                tokio::spawn(session(stream, how, kept, at));
            }
        });
        Self { address, manners, sessions, task }
    }

    pub(crate) fn behave(&self, manners: Manners) {
        *self.manners.lock().unwrap() = manners;
    }

    /// Messages by connection, in the order they were read.
    pub(crate) fn sessions(&self) -> Vec<Vec<String>> {
        self.sessions.lock().unwrap().clone()
    }

    /// All messages.
    pub(crate) fn messages(&self) -> Vec<String> {
        self.sessions().concat()
    }
}

async fn session(
    mut stream: TlsStream<TcpStream>,
    how: Manners,
    kept: Arc<Mutex<Vec<Vec<String>>>>,
    at: usize,
) {
    match how {
        Manners::Deaf => return,
        Manners::Hasty => {
            let _ = stream.shutdown().await;
            return;
        }
        Manners::Good | Manners::CutAfter(_) | Manners::Lingering => {}
    }
    let mut count = 0;
    while let Some(message) = message(&mut stream).await {
        kept.lock().unwrap()[at].push(message);
        count += 1;
        if how == Manners::CutAfter(count) {
            return;
        }
    }
    if how == Manners::Lingering {
        std::future::pending::<()>().await;
    }
    let _ = stream.shutdown().await;
}

/// `MSG-LEN SP SYSLOG-MSG`; none at the end of the stream.
async fn message(stream: &mut TlsStream<TcpStream>) -> Option<String> {
    let mut length = String::new();
    loop {
        match stream.read_u8().await.ok()? {
            b' ' => break,
            digit => length.push(char::from(digit)),
        }
        assert!(length.len() < 8, "{length}");
    }
    assert!(!length.starts_with('0'), "{length}");
    let mut text = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut text).await.ok()?;
    Some(String::from_utf8(text).unwrap())
}
