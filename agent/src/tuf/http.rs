//! Files by HTTP/1.1, one connection each: nothing but GET, no redirects, bounded in bytes and time.
//! TLS trusts the certificates that it is given and no others.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::store::{Source, SourceError};

/// Longest that name, TCP, TLS and the head of the answer may take together.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// A body must end after this and [`BYTES_PER_S`]: nobody holds an update back by sending slowly.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// Slowest link that is worth waiting for.
const BYTES_PER_S: u64 = 1024;

/// Folder of a repository.
#[derive(Clone)]
pub(super) struct Base {
    scheme: String,
    host: String,
    port: u16,
    path: String,
    tls: Option<Arc<ClientConfig>>,
}

impl Base {
    /// A URL of a folder; `ca` is a PEM file with the certificates to trust, for https.
    pub(super) fn new(url: &str, ca: Option<&Path>) -> anyhow::Result<Self> {
        let uri: http::Uri = url.parse().with_context(|| format!("{url:?} is not a URL"))?;
        let scheme = uri.scheme_str().unwrap_or_default().to_owned();
        let tls = match (scheme.as_str(), ca) {
            ("http", _) => None,
            ("https", Some(ca)) => Some(tls(ca)?),
            ("https", None) => bail!("{url}: https needs --ca FILE, the certificates to trust"),
            _ => bail!("{url:?} is not an http or https URL"),
        };
        let host = uri.host().with_context(|| format!("{url:?} names no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
        let path = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { scheme, host, port, path, tls })
    }

    /// The body of a file in it, whose name is encoded as a URL wants it. None if there is none.
    pub(super) async fn open(&self, name: &str) -> anyhow::Result<Option<Incoming>> {
        let head = tokio::time::timeout(HEAD_TIMEOUT, self.ask(name)).await;
        let url = || format!("{}://{}:{}{}/{name}", self.scheme, self.host, self.port, self.path);
        let response = head.map_err(|_| anyhow!("{}: no answer", url()))?.with_context(url)?;
        match response.status() {
            http::StatusCode::OK => Ok(Some(response.into_body())),
            http::StatusCode::NOT_FOUND | http::StatusCode::FORBIDDEN => Ok(None),
            status => bail!("{}: the server answered {status}", url()),
        }
    }

    async fn ask(&self, name: &str) -> anyhow::Result<http::Response<Incoming>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        match &self.tls {
            None => self.get(stream, name).await,
            Some(tls) => {
                let host = ServerName::try_from(self.host.clone())?;
                let stream = TlsConnector::from(Arc::clone(tls)).connect(host, stream).await?;
                self.get(stream, name).await
            }
        }
    }

    async fn get<S>(&self, stream: S, name: &str) -> anyhow::Result<http::Response<Incoming>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the body, or when the body is dropped.
        tokio::spawn(connection);
        let host = match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        };
        let request = http::Request::get(format!("{}/{name}", self.path))
            .header(http::header::HOST, host)
            .header(http::header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())?;
        Ok(sender.send_request(request).await?)
    }
}

fn tls(ca: &Path) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(ca);
    for certificate in certificates.with_context(|| ca.display().to_string())? {
        roots.add(certificate.with_context(|| ca.display().to_string())?)?;
    }
    ensure!(!roots.is_empty(), "{}: there is no certificate in it", ca.display());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Hands a body of `length` bytes or so to `take`, part by part, until it ends or `take` refuses.
pub(super) async fn read(
    mut body: Incoming,
    length: u64,
    mut take: impl FnMut(&[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let reading = async {
        while let Some(frame) = body.frame().await {
            if let Some(bytes) = frame?.data_ref() {
                take(bytes)?;
            }
        }
        anyhow::Ok(())
    };
    let time = BODY_TIMEOUT + Duration::from_secs(length / BYTES_PER_S);
    let ended = tokio::time::timeout(time, reading).await;
    ended.map_err(|_| anyhow!("not all of it came within {} seconds", time.as_secs()))?
}

/// A path of a target as a URL has it: each part encoded, the slashes kept.
pub(super) fn encode_path(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            // Writing to a text does not fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}

impl Source for Base {
    async fn fetch(&self, file: &str, max_bytes: usize) -> Result<Option<Vec<u8>>, SourceError> {
        let fetch = async {
            let Some(body) = self.open(file).await? else { return Ok(None) };
            let mut bytes = Vec::new();
            read(body, max_bytes as u64, |part| {
                ensure!(
                    bytes.len() + part.len() <= max_bytes,
                    "it has more than the {max_bytes} bytes that it may have"
                );
                bytes.extend_from_slice(part);
                Ok(())
            })
            .await?;
            anyhow::Ok(Some(bytes))
        };
        fetch.await.map_err(|error| SourceError::Failed(format!("{error:#}")))
    }
}
