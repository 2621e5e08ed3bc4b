//! One connection to the controller: name, TCP, TLS, HTTP/2. Each step fails with words of its own,
//! because "transport error" tells nobody what to do.

use std::error::Error as StdError;
use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, ClientConfig};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use super::proxy::{self, Proxy};

/// Longest that name, TCP and TLS may take together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// A silent peer is noticed after this and [`PING_TIMEOUT`].
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// Longest wait for the answer to a ping.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the controller's device listener is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControllerUrl {
    host: String,
    port: u16,
}

/// Text that is not the address of a controller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not the address of a controller: use https://HOST:PORT, e.g. https://fleet.example:8444"
)]
pub struct ControllerUrlError(String);

impl FromStr for ControllerUrl {
    type Err = ControllerUrlError;
    fn from_str(text: &str) -> Result<Self, ControllerUrlError> {
        let wrong = || ControllerUrlError(text.chars().take(200).collect());
        let uri: http::Uri = text.parse().map_err(|_| wrong())?;
        let plain = matches!(uri.path(), "" | "/") && uri.query().is_none();
        if uri.scheme_str() != Some("https") || !plain {
            return Err(wrong());
        }
        let host = uri.host().ok_or_else(wrong)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        ServerName::try_from(host.clone()).map_err(|_| wrong())?;
        Ok(Self { host, port: uri.port_u16().unwrap_or(443) })
    }
}

impl ControllerUrl {
    /// Whether the controller is on this machine.
    pub fn is_local(&self) -> bool {
        proxy::is_local(&self.host)
    }
}

impl std::fmt::Display for ControllerUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "https://[{}]:{}", self.host, self.port),
            false => write!(f, "https://{}:{}", self.host, self.port),
        }
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name does not resolve.
    #[error(
        "{url}: the name {host} does not resolve ({source}): check the address and this device's DNS"
    )]
    Resolve {
        /// The controller.
        url: String,
        /// Its host.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// Nothing answers at the address.
    #[error(
        "{url}: not reachable ({source}): check that the controller runs and that no firewall is between"
    )]
    Connect {
        /// The controller.
        url: String,
        /// What the system said.
        source: io::Error,
    },
    /// The proxy that the environment names gives no tunnel.
    #[error("{url}: not reachable through the proxy {proxy}: {reason}")]
    Proxy {
        /// The controller.
        url: String,
        /// The proxy, without user and password; empty if it is none.
        proxy: String,
        /// What is wrong.
        reason: String,
    },
    /// The steps together took too long.
    #[error("{url}: no answer within {} seconds", CONNECT_TIMEOUT.as_secs())]
    Timeout {
        /// The controller.
        url: String,
    },
    /// The controller's certificate does not come from the root that this device trusts.
    #[error(
        "{url}: its certificate does not come from the root this device trusts: wrong CA file, wrong controller, or somebody in between"
    )]
    WrongCa {
        /// The controller.
        url: String,
    },
    /// The certificate names another host.
    #[error(
        "{url}: its certificate is for another name than {host}: use a name given to `init --server-name`"
    )]
    WrongName {
        /// The controller.
        url: String,
        /// The name asked for.
        host: String,
    },
    /// The controller's certificate is not valid at the agent's time.
    #[error("{url}: its certificate is not valid at this device's time: check the clock of both")]
    NotValidNow {
        /// The controller.
        url: String,
    },
    /// TLS failed otherwise.
    #[error("{url}: no TLS connection ({reason})")]
    Tls {
        /// The controller.
        url: String,
        /// What the TLS library said.
        reason: String,
    },
}

/// A channel to `url`. The connection is made now; when it breaks, the channel's calls fail.
pub async fn connect(url: &ControllerUrl, config: Arc<ClientConfig>) -> Result<Channel, DialError> {
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, dial(url, config))
        .await
        .map_err(|_| DialError::Timeout { url: url.to_string() })??;
    // One connection, one channel: who lost it connects anew, with backoff and a fresh certificate.
    let mut once = Some(TokioIo::new(stream));
    let connector = tower::service_fn(move |_: http::Uri| {
        let stream = once.take().ok_or(io::ErrorKind::NotConnected);
        async move { stream.map_err(io::Error::from) }
    });
    let origin: http::Uri = url.to_string().parse().map_err(|_| unusable(url, "bad address"))?;
    // The scheme is http because TLS is already there; the origin sent is the real one.
    Endpoint::from_static("http://controller")
        .origin(origin)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .connect_with_connector(connector)
        .await
        .map_err(|error| unusable(url, &chain(&error)))
}

fn unusable(url: &ControllerUrl, reason: &str) -> DialError {
    DialError::Tls { url: url.to_string(), reason: reason.to_owned() }
}

async fn dial(
    url: &ControllerUrl,
    config: Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, DialError> {
    let text = url.to_string();
    let through = |proxy: String| {
        let url = text.clone();
        |reason| DialError::Proxy { url, proxy, reason }
    };
    let environment = |name: &str| std::env::var(name).ok();
    let proxy = Proxy::of(environment, &url.host, url.port).map_err(through(String::new()))?;
    if let Some(proxy) = proxy {
        let tunnel = proxy.tunnel(&url.host, url.port).await;
        return secure(url, tunnel.map_err(through(proxy.to_string()))?, config).await;
    }
    let addresses =
        tokio::net::lookup_host((url.host.as_str(), url.port)).await.map_err(|source| {
            DialError::Resolve { url: text.clone(), host: url.host.clone(), source }
        })?;
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return secure(url, stream, config).await,
            Err(error) => last = error,
        }
    }
    Err(DialError::Connect { url: text, source: last })
}

async fn secure(
    url: &ControllerUrl,
    stream: TcpStream,
    config: Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, DialError> {
    // A heartbeat waits for nothing; if the option cannot be set, it is only slower.
    let _ = stream.set_nodelay(true);
    let name = ServerName::try_from(url.host.clone())
        .map_err(|_| unusable(url, "the host is not a TLS name"))?;
    // The TLS library waits for the key to sign, and a TPM takes its time: on a thread that may wait.
    let given_up = CancellationToken::new();
    let _when_dropped = given_up.clone().drop_guard();
    let (runtime, text) = (Handle::current(), url.to_string());
    let handshake = tokio::task::spawn_blocking(move || {
        let connected = TlsConnector::from(config).connect(name, stream);
        runtime.block_on(given_up.run_until_cancelled(connected))
    });
    match handshake.await {
        Ok(Some(done)) => done.map_err(|error| explain(url, &error)),
        Ok(None) => Err(DialError::Timeout { url: text }),
        Err(_) => Err(unusable(url, "the agent ends")),
    }
}

fn explain(url: &ControllerUrl, error: &io::Error) -> DialError {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let text = url.to_string();
    match tls {
        Some(rustls::Error::InvalidCertificate(reason)) => match reason {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                DialError::WrongName { url: text, host: url.host.clone() }
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => DialError::NotValidNow { url: text },
            _ => DialError::WrongCa { url: text },
        },
        _ => DialError::Tls { url: text, reason: error.to_string() },
    }
}

/// Whether the other side refused our certificate because its time is over.
pub fn says_certificate_expired(error: &(dyn StdError + 'static)) -> bool {
    any_cause(error, |cause| {
        matches!(
            cause.downcast_ref::<rustls::Error>(),
            Some(rustls::Error::AlertReceived(AlertDescription::CertificateExpired))
        )
    })
}

/// `error` and its causes on one line.
pub fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = inner.source();
    }
    text
}

fn any_cause(
    error: &(dyn StdError + 'static),
    test: impl Fn(&(dyn StdError + 'static)) -> bool,
) -> bool {
    let mut cause = Some(error);
    while let Some(inner) = cause {
        // An io::Error hides the error it carries from `source`.
        let carried = inner.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if test(inner) || carried.is_some_and(|error| test(error)) {
            return true;
        }
        cause = inner.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_https_and_nothing_else() {
        let check = |text: &str, printed: Option<&str>| {
            let parsed = text.parse::<ControllerUrl>().ok().map(|url| url.to_string());
            assert_eq!(parsed.as_deref(), printed, "{text}");
        };
        check("https://fleet.example:8444", Some("https://fleet.example:8444"));
        check("https://fleet.example/", Some("https://fleet.example:443"));
        check("https://[::1]:1", Some("https://[::1]:1"));
        check("http://fleet.example:8444", None);
        check("https://fleet.example/api", None);
        check("fleet.example:8444", None);
        check("", None);
    }

    #[test]
    fn an_expired_certificate_is_recognised_inside_an_io_error() {
        let alert = rustls::Error::AlertReceived(AlertDescription::CertificateExpired);
        let error = io::Error::new(io::ErrorKind::InvalidData, alert);
        assert!(says_certificate_expired(&error));
        assert!(!says_certificate_expired(&io::Error::other("broken pipe")));
    }
}
