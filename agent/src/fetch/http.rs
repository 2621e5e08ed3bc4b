//! One GET of a URL that a controller named: through the proxy of the environment, without redirects, with a
//! length that is known before, in a time that is bounded. Connections are kept and used again.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::budget::Budget;
use crate::identity::proxy::{Proxy, authority};

/// Longest URL: with a session token, signed ones have up to two thousand bytes.
const MAX_URL_BYTES: usize = 8 << 10;

/// Longest for name, TCP, proxy and TLS together: what a network forbids is known after this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest until the head of an answer.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);

/// Longest silence in a body.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(20);

/// All of a body must come in this and [`SLOWEST_BYTES_PER_S`], not counting what this device waited for
/// its own limit: a server cannot hold a download up by sending slowly.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Slowest link on which six chunks at a time are worth waiting for.
const SLOWEST_BYTES_PER_S: u64 = 2 << 10;

/// Idle connections that are kept: as many as are used at a time.
const MAX_IDLE: usize = 6;

/// Why a URL gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// It is not one that may be asked.
    #[error("{0}")]
    Url(&'static str),
    /// Nobody is reached there.
    #[error("{host} cannot be reached: {reason}")]
    Connect {
        /// Host and port.
        host: String,
        /// Why.
        reason: String,
    },
    /// The server refuses, perhaps because the URL's time is over.
    #[error("{host} refuses with {status}")]
    Refused {
        /// Host and port.
        host: String,
        /// What it answered.
        status: u16,
    },
    /// The answer is none.
    #[error("{host} answers {status}")]
    Status {
        /// Host and port.
        host: String,
        /// What it answered.
        status: u16,
    },
    /// The answer is cut, too long, too slow or other bytes.
    #[error("{host}: {reason}")]
    Body {
        /// Host and port.
        host: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Where a connection goes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    encrypted: bool,
    host: String,
    port: u16,
}

/// A URL, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    place: Place,
    /// Path and query.
    path: String,
}

impl Url {
    /// Reads it: http or https, a host, no user.
    pub fn parse(text: &str) -> Result<Self, HttpError> {
        if text.len() > MAX_URL_BYTES {
            return Err(HttpError::Url("the URL is too long"));
        }
        let uri: http::Uri = text.parse().map_err(|_| HttpError::Url("it is not a URL"))?;
        let encrypted = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(HttpError::Url("the URL is neither http nor https")),
        };
        let named = uri.authority().ok_or(HttpError::Url("the URL names no host"))?;
        if named.as_str().contains('@') {
            return Err(HttpError::Url("the URL has a user"));
        }
        let host = named.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = named.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Self { place: Place { encrypted, host, port }, path })
    }

    /// Host and port. Never the rest, which lets whoever has it in.
    pub fn host(&self) -> String {
        authority(&self.place.host, self.place.port)
    }
}

/// A connection that takes requests.
struct Open {
    place: Place,
    sender: SendRequest<Empty<Bytes>>,
    /// If requests go to a proxy, which wants whole URLs: what it is told of who asks.
    through: Option<Option<String>>,
}

/// Asks. Cheap to clone; clones share connections.
#[derive(Clone, Default)]
pub struct Client {
    idle: Arc<Mutex<Vec<Open>>>,
    /// Addresses of this machine and of its link may be asked, too.
    near: bool,
}

impl Client {
    /// `near`: the controller itself is on this machine, so that its store may be, too. Otherwise no
    /// controller makes a device ask what only the device can reach on itself and its link.
    pub fn new(near: bool) -> Self {
        Self { idle: Arc::default(), near }
    }

    /// Gets exactly `length` bytes. What comes is paid for as it comes.
    pub async fn get(
        &self,
        url: &Url,
        length: usize,
        tls: &Arc<ClientConfig>,
        budget: &Budget,
    ) -> Result<Bytes, HttpError> {
        let host = url.host();
        // A server may have closed a kept connection meanwhile: that says nothing about the URL.
        if let Some(mut kept) = self.kept(&url.place)
            && let Ok(answer) = ask(&mut kept, url).await
        {
            return self.read(kept, answer, length, budget).await;
        }
        let failed = |reason: String| HttpError::Connect { host: host.clone(), reason };
        let dialled = timeout(CONNECT_TIMEOUT, self.dial(&url.place, tls)).await;
        let mut open = dialled.map_err(|_| failed("no answer".to_owned()))?.map_err(&failed)?;
        let answer = ask(&mut open, url).await.map_err(failed)?;
        self.read(open, answer, length, budget).await
    }

    async fn read(
        &self,
        open: Open,
        answer: http::Response<Incoming>,
        length: usize,
        budget: &Budget,
    ) -> Result<Bytes, HttpError> {
        let host = authority(&open.place.host, open.place.port);
        match answer.status().as_u16() {
            200 => {}
            status @ (400 | 401 | 403) => return Err(HttpError::Refused { host, status }),
            status => return Err(HttpError::Status { host, status }),
        }
        let body = body(answer.into_body(), length, budget).await;
        let body = body.map_err(|reason| HttpError::Body { host, reason })?;
        let mut idle = self.idle();
        if idle.len() < MAX_IDLE {
            idle.push(open);
        }
        Ok(body)
    }

    fn kept(&self, place: &Place) -> Option<Open> {
        let mut idle = self.idle();
        idle.retain(|open| !open.sender.is_closed());
        let at = idle.iter().position(|open| open.place == *place)?;
        Some(idle.swap_remove(at))
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Open>> {
        // Nothing panics while it is held.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn dial(&self, place: &Place, tls: &Arc<ClientConfig>) -> Result<Open, String> {
        let environment = |name: &str| std::env::var(name).ok();
        let (host, port) = (place.host.as_str(), place.port);
        let place = place.clone();
        if place.encrypted {
            let stream = match Proxy::of(environment, host, port)? {
                Some(proxy) => proxy.tunnel(host, port).await?,
                None => self.connect(host, port).await?,
            };
            let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
            let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await;
            let stream = stream.map_err(|error| error.to_string())?;
            return Ok(Open { sender: handshake(stream).await?, place, through: None });
        }
        match Proxy::of_plain(environment, host, port)? {
            Some(proxy) => {
                let stream = proxy.connect().await.map_err(|error| error.to_string())?;
                let through = Some(proxy.authorization());
                Ok(Open { sender: handshake(stream).await?, place, through })
            }
            None => {
                let stream = self.connect(host, port).await?;
                Ok(Open { sender: handshake(stream).await?, place, through: None })
            }
        }
    }

    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, String> {
        let addresses = tokio::net::lookup_host((host, port)).await.map_err(|e| e.to_string())?;
        let mut last = "its name has no address".to_owned();
        for address in addresses {
            if !self.near && is_near(address.ip()) {
                last = format!("{} is an address of this machine or its link", address.ip());
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error.to_string(),
            }
        }
        Err(last)
    }
}

/// Whether an address means this machine or its link, where a cloud keeps credentials and programs listen
/// that ask nobody who they are.
fn is_near(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_multicast()
                || v4.is_broadcast()
        }
        IpAddr::V6(v6) => {
            v6.is_loopback()
                || v6.is_unicast_link_local()
                || v6.is_unspecified()
                || v6.is_multicast()
        }
    }
}

async fn handshake<S>(stream: S) -> Result<SendRequest<Empty<Bytes>>, String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let shaken = http1::handshake(TokioIo::new(stream)).await;
    let (sender, connection) = shaken.map_err(|error| error.to_string())?;
    // It ends when both its sender and the body are dropped, or the server closes it.
    tokio::spawn(connection);
    Ok(sender)
}

async fn ask(open: &mut Open, url: &Url) -> Result<http::Response<Incoming>, String> {
    let target = match &open.through {
        Some(_) => format!("http://{}{}", url.host(), url.path),
        None => url.path.clone(),
    };
    let mut request = http::Request::get(target).header(header::HOST, url.host());
    if let Some(Some(authorization)) = &open.through {
        request = request.header(header::PROXY_AUTHORIZATION, authorization);
    }
    let request = request.body(Empty::new()).map_err(|error| error.to_string())?;
    let asked = async {
        open.sender.ready().await?;
        open.sender.send_request(request).await
    };
    match timeout(HEAD_TIMEOUT, asked).await {
        Ok(answered) => answered.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer in {} seconds", HEAD_TIMEOUT.as_secs())),
    }
}

/// Reads exactly `length` bytes, of which no more than that are ever in memory.
async fn body(mut body: Incoming, length: usize, budget: &Budget) -> Result<Bytes, String> {
    if body.size_hint().exact().is_some_and(|said| said != length as u64) {
        return Err(format!("it does not have the {length} bytes that it must have"));
    }
    let mut read = BytesMut::with_capacity(length);
    let mut left = BODY_TIMEOUT + Duration::from_secs(length as u64 / SLOWEST_BYTES_PER_S);
    loop {
        let began = Instant::now();
        let frame = timeout(left.min(SILENCE_TIMEOUT), body.frame()).await;
        left = left.saturating_sub(began.elapsed());
        let frame = match frame.map_err(|_| "it sends too slowly".to_owned())? {
            None => break,
            Some(frame) => frame.map_err(|error| error.to_string())?,
        };
        let Some(part) = frame.data_ref() else { continue };
        if read.len() + part.len() > length {
            return Err(format!("it has more than the {length} bytes that it must have"));
        }
        read.extend_from_slice(part);
        budget.pay(part.len()).await;
    }
    match read.len() == length {
        true => Ok(read.freeze()),
        false => Err(format!("{} bytes came of {length}", read.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart_and_what_is_none_is_refused() {
        let url = Url::parse("https://s3.example/b/k?X-Amz-Signature=1").unwrap();
        assert_eq!(
            (url.host().as_str(), url.path.as_str()),
            ("s3.example:443", "/b/k?X-Amz-Signature=1")
        );
        assert_eq!(Url::parse("http://[::1]:9000").unwrap().host(), "[::1]:9000");
        for wrong in
            ["ftp://x/", "/path", "", "https://user:pw@host/", "http://", "https://h/\u{0}"]
        {
            assert!(Url::parse(wrong).is_err(), "{wrong:?}");
        }
        assert!(Url::parse(&format!("https://h/{}", "x".repeat(MAX_URL_BYTES))).is_err());
    }

    #[test]
    fn addresses_of_this_machine_and_its_link_are_near() {
        for near in [
            "127.0.0.1",
            "169.254.169.254",
            "0.0.0.0",
            "::1",
            "fe80::1",
            "::ffff:127.0.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "ff02::1",
        ] {
            assert!(is_near(near.parse().unwrap()), "{near}");
        }
        for far in ["10.0.0.1", "192.168.1.1", "8.8.8.8", "fd00::1", "2001:db8::1"] {
            assert!(!is_near(far.parse().unwrap()), "{far}");
        }
    }
}
