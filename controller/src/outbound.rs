//! Requests that the controller makes because a tenant's settings name a URL: identity providers,
//! witnesses, sinks. Whoever writes such a setting must not reach with it what only the controller
//! can reach. So each address is checked after it was resolved and just before it is connected to,
//! redirects are not followed, no proxy of the environment is asked, bodies are capped, and an error
//! tells the status and nothing of the body.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use http::{HeaderMap, Method, StatusCode};
use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Certificate, Client, Url};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A peer that is there accepts within this time, even across continents.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time for a request with its answer; nothing that is asked here is long work.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest URL that a setting may hold.
pub const MAX_URL_BYTES: usize = 2048;

/// Why a request was not made or not answered.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// The text is not a URL that may be asked.
    #[error("{0}")]
    Url(String),
    /// The address is not one that settings may name.
    #[error(
        "{host} is {address}, which is not a public address: if it is meant, start the controller \
         with --outbound-allow {address}"
    )]
    Forbidden {
        /// As named.
        host: String,
        /// What it resolved to.
        address: IpAddr,
    },
    /// The name does not resolve, nobody listens, TLS fails, or it took too long.
    #[error("{host} cannot be reached: {reason}")]
    Unreachable {
        /// As named.
        host: String,
        /// Why.
        reason: String,
    },
    /// The answer is longer than the caller reads.
    #[error("{host} answers with more than {limit} bytes")]
    TooLong {
        /// As named.
        host: String,
        /// What would have been read.
        limit: usize,
    },
    /// The client cannot be made.
    #[error("the client for outbound requests cannot be set up: {0}")]
    Setup(String),
}

/// What an installation allows beyond public addresses over https.
#[derive(Debug, Clone, Default)]
pub struct OutboundRules {
    /// Networks of its own that settings may name; plain http is possible to these only.
    pub allow: Vec<IpNet>,
    /// PEM of authorities to trust beside the system's.
    pub ca_pem: Option<String>,
}

impl OutboundRules {
    fn allow(&self, address: IpAddr, encrypted: bool) -> bool {
        let address = address.to_canonical();
        self.allow.iter().any(|net| net.contains(&address)) || (encrypted && is_public(address))
    }
}

/// An answer, whole.
#[derive(Debug, Clone)]
pub struct Answer {
    /// As answered; a redirect is an answer like any other.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// At most as long as asked for.
    pub body: Bytes,
}

/// A request to make.
#[derive(Debug, Clone)]
pub struct Ask {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Bytes,
    max_answer_bytes: usize,
}

impl Ask {
    /// Reads the URL; answers longer than `max_answer_bytes` are refused.
    ///
    /// # Errors
    /// [`OutboundError::Url`].
    pub fn new(method: Method, url: &str, max_answer_bytes: usize) -> Result<Self, OutboundError> {
        let url = parse_url(url)?;
        Ok(Self { method, url, headers: HeaderMap::new(), body: Bytes::new(), max_answer_bytes })
    }

    /// With these headers.
    #[must_use]
    pub fn headers(mut self, headers: HeaderMap) -> Self {
        self.headers = headers;
        self
    }

    /// With this body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}

/// A URL that a setting may hold: http or https, a host, no user and no fragment.
///
/// # Errors
/// [`OutboundError::Url`], in words for who wrote it.
pub fn parse_url(text: &str) -> Result<Url, OutboundError> {
    let refuse = |why: &str| OutboundError::Url(why.to_owned());
    if text.len() > MAX_URL_BYTES {
        return Err(refuse("the URL is longer than 2048 bytes"));
    }
    let url: Url = text.parse().map_err(|_| refuse("it is not a URL such as https://host/path"))?;
    if !matches!(url.scheme(), "https" | "http") {
        return Err(refuse("the URL must begin with https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("the URL must not carry a user or a password"));
    }
    if url.fragment().is_some() {
        return Err(refuse("the URL must not carry a fragment (#…)"));
    }
    Ok(url)
}

/// Makes requests within the rules. Cheap to clone.
#[derive(Clone)]
pub struct Outbound {
    rules: Arc<OutboundRules>,
    encrypted: Client,
    plain: Client,
}

impl Outbound {
    /// A client with these rules.
    ///
    /// # Errors
    /// [`OutboundError::Setup`] when the PEM holds no certificate or TLS cannot be set up.
    pub fn new(rules: OutboundRules) -> Result<Self, OutboundError> {
        // The HTTP client panics without one; a provider that is there already stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let roots = match &rules.ca_pem {
            None => Vec::new(),
            Some(pem) => Certificate::from_pem_bundle(pem.as_bytes())
                .ok()
                .filter(|roots| !roots.is_empty())
                .ok_or_else(|| OutboundError::Setup("the CA file holds no certificate".into()))?,
        };
        let rules = Arc::new(rules);
        let client = |encrypted: bool| {
            Client::builder()
                .user_agent(concat!("edgeformer-controller/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(CONNECT_TIMEOUT)
                .timeout(REQUEST_TIMEOUT)
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                .https_only(encrypted)
                .tls_certs_merge(roots.clone())
                .dns_resolver(Guard { rules: rules.clone(), encrypted })
                .build()
                .map_err(|error| OutboundError::Setup(deepest(&error)))
        };
        Ok(Self { encrypted: client(true)?, plain: client(false)?, rules })
    }

    /// Asks, and reads the whole answer.
    ///
    /// # Errors
    /// Any [`OutboundError`] but `Setup`. A status of 400 and above is an answer.
    pub async fn send(&self, ask: Ask) -> Result<Answer, OutboundError> {
        let host = ask.url.host_str().unwrap_or_default().to_owned();
        let encrypted = ask.url.scheme() == "https";
        // A literal address is not resolved, so the resolver does not see it.
        if let Some(address) = literal(&host)
            && !self.rules.allow(address, encrypted)
        {
            return Err(OutboundError::Forbidden { host, address });
        }
        let client = if encrypted { &self.encrypted } else { &self.plain };
        let request =
            client.request(ask.method, ask.url).headers(ask.headers).body(ask.body.clone());
        let response = request.send().await.map_err(|error| explain(&host, &error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = read(response, &host, ask.max_answer_bytes).await?;
        Ok(Answer { status, headers, body })
    }

    /// Connects to a host whose stream the caller encrypts itself.
    ///
    /// # Errors
    /// [`OutboundError::Forbidden`] and [`OutboundError::Unreachable`].
    pub async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, OutboundError> {
        let unreachable =
            |reason: String| OutboundError::Unreachable { host: host.to_owned(), reason };
        let addresses = permitted(&self.rules, host, port, true).await?;
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(&addresses[..])).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(unreachable(error.to_string())),
            Err(_) => Err(unreachable("it does not answer".to_owned())),
        }
    }
}

async fn read(
    mut response: reqwest::Response,
    host: &str,
    limit: usize,
) -> Result<Bytes, OutboundError> {
    let mut body = BytesMut::new();
    while let Some(part) = response.chunk().await.map_err(|error| explain(host, &error))? {
        if body.len() + part.len() > limit {
            return Err(OutboundError::TooLong { host: host.to_owned(), limit });
        }
        body.extend_from_slice(&part);
    }
    Ok(body.freeze())
}

/// Resolves for the HTTP client and lets permitted addresses through only.
struct Guard {
    rules: Arc<OutboundRules>,
    encrypted: bool,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let (rules, encrypted) = (self.rules.clone(), self.encrypted);
        async move {
            let addresses = permitted(&rules, name.as_str(), 0, encrypted).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        }
        .boxed()
    }
}

/// The addresses of a host. One that is forbidden makes the whole name forbidden: a name that points
/// both inside and outside is how such checks are gone around.
async fn permitted(
    rules: &OutboundRules,
    host: &str,
    port: u16,
    encrypted: bool,
) -> Result<Vec<SocketAddr>, OutboundError> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let unreachable = |reason: String| OutboundError::Unreachable { host: host.to_owned(), reason };
    let found = timeout(CONNECT_TIMEOUT, tokio::net::lookup_host((bare, port))).await;
    let found: Vec<SocketAddr> = match found {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(error)) => return Err(unreachable(error.to_string())),
        Err(_) => return Err(unreachable("its name does not resolve in time".to_owned())),
    };
    if let Some(bad) = found.iter().find(|address| !rules.allow(address.ip(), encrypted)) {
        return Err(OutboundError::Forbidden { host: host.to_owned(), address: bad.ip() });
    }
    if found.is_empty() {
        return Err(unreachable("its name has no address".to_owned()));
    }
    Ok(found)
}

fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

fn explain(host: &str, error: &reqwest::Error) -> OutboundError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(error);
    while let Some(inner) = cause {
        if let Some(OutboundError::Forbidden { host, address }) = inner.downcast_ref() {
            return OutboundError::Forbidden { host: host.clone(), address: *address };
        }
        cause = inner.source();
    }
    let reason = if error.is_timeout() { "it took too long".to_owned() } else { deepest(error) };
    OutboundError::Unreachable { host: host.to_owned(), reason }
}

fn deepest(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}

/// Whether an address belongs to the public internet: not in the IANA registries of special-purpose
/// addresses (RFC 6890 and what was added since).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = match a {
        0 | 10 | 127 => true,
        100 => (64..128).contains(&b), // shared by carriers
        169 => b == 254,               // link-local, where clouds keep credentials
        172 => (16..32).contains(&b),
        192 => matches!((b, c), (168, _) | (0, 0) | (0, 2) | (88, 99)),
        198 => matches!((b, c), (18 | 19, _) | (51, 100)),
        203 => (b, c) == (0, 113),
        224.. => true, // multicast, reserved, broadcast
        _ => false,
    };
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    // Global unicast only, and of it not what stands for other things: Teredo and its neighbours,
    // documentation, 6to4 with an IPv4 address inside.
    (0x2000..0x4000).contains(&a)
        && !(a == 0x2001 && b < 0x0200)
        && !(a == 0x2001 && b == 0x0db8)
        && a != 0x2002
        && a != 0x3fff
}

#[cfg(test)]
mod tests;
