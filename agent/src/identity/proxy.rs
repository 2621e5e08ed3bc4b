//! HTTP proxies between this device and what it fetches from: HTTPS_PROXY, HTTP_PROXY and NO_PROXY, and
//! CONNECT. TLS goes through the tunnel from end to end, so that a proxy sees the name of the controller or
//! of the store of chunks and nothing else.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest answer to CONNECT; real ones have a few hundred bytes.
const MAX_ANSWER_BYTES: usize = 8 << 10;

/// Where CONNECT is sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    host: String,
    port: u16,
    /// User and password, in base64.
    credentials: Option<String>,
}

/// Without the credentials.
impl std::fmt::Display for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}", authority(&self.host, self.port))
    }
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Proxy({self})")
    }
}

impl Proxy {
    /// The proxy that the environment names for this host, if there is one. This machine is never
    /// reached through one.
    pub fn of(
        environment: impl Fn(&str) -> Option<String>,
        host: &str,
        port: u16,
    ) -> Result<Option<Self>, String> {
        Self::named("HTTPS_PROXY", environment, host, port)
    }

    /// The same for a host that is asked without TLS.
    pub fn of_plain(
        environment: impl Fn(&str) -> Option<String>,
        host: &str,
        port: u16,
    ) -> Result<Option<Self>, String> {
        Self::named("HTTP_PROXY", environment, host, port)
    }

    fn named(
        name: &str,
        environment: impl Fn(&str) -> Option<String>,
        host: &str,
        port: u16,
    ) -> Result<Option<Self>, String> {
        let either = |upper: &str| {
            let set = environment(&upper.to_ascii_lowercase()).or_else(|| environment(upper));
            set.filter(|text| !text.trim().is_empty())
        };
        let Some(text) = either(name) else { return Ok(None) };
        let direct = either("NO_PROXY").unwrap_or_default();
        match is_local(host) || is_direct(&direct, host, port) {
            true => Ok(None),
            false => Self::parse(name, text.trim()).map(Some),
        }
    }

    fn parse(name: &str, text: &str) -> Result<Self, String> {
        let wrong = || format!("{name} is not http://[USER:PASSWORD@]HOST[:PORT]");
        let rest = match text.split_once("://") {
            Some(("http", rest)) => rest,
            Some(_) => return Err(wrong()),
            None => text,
        };
        let (user, place) = match rest.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, rest),
        };
        let uri: http::Uri = format!("http://{place}").parse().map_err(|_| wrong())?;
        let host = uri.host().ok_or_else(wrong)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let credentials = match user {
            Some(user) => Some(STANDARD.encode(decoded(user).ok_or_else(wrong)?)),
            None => None,
        };
        Ok(Self { host, port: uri.port_u16().unwrap_or(80), credentials })
    }

    /// A connection to the proxy itself, for requests without TLS.
    pub async fn connect(&self) -> std::io::Result<TcpStream> {
        TcpStream::connect((self.host.as_str(), self.port)).await
    }

    /// What it is to be told of who asks.
    pub fn authorization(&self) -> Option<String> {
        self.credentials.as_ref().map(|credentials| format!("Basic {credentials}"))
    }

    /// A tunnel to `host`, whose name the proxy resolves. The caller bounds the time.
    pub async fn tunnel(&self, host: &str, port: u16) -> Result<TcpStream, String> {
        let failed = |error: std::io::Error| error.to_string();
        let mut stream = self.connect().await.map_err(failed)?;
        let to = authority(host, port);
        let mut ask = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n");
        if let Some(authorization) = self.authorization() {
            ask.push_str(&format!("Proxy-Authorization: {authorization}\r\n"));
        }
        ask.push_str("\r\n");
        stream.write_all(ask.as_bytes()).await.map_err(failed)?;
        let mut answer = Vec::new();
        // Byte by byte: what follows the answer is not the proxy's.
        while !answer.ends_with(b"\r\n\r\n") {
            if answer.len() == MAX_ANSWER_BYTES {
                return Err("its answer has no end".to_owned());
            }
            answer.push(stream.read_u8().await.map_err(failed)?);
        }
        let first = String::from_utf8_lossy(&answer).lines().next().unwrap_or("").to_owned();
        let status = first.split(' ').nth(1).filter(|_| first.starts_with("HTTP/1."));
        match status {
            Some(code) if code.len() == 3 && code.starts_with('2') => Ok(stream),
            Some("407") => {
                Err("it wants a user and a password: put them into HTTPS_PROXY".to_owned())
            }
            Some(_) => {
                Err(format!("it answered {:?}", first.chars().take(100).collect::<String>()))
            }
            None => Err("it does not speak HTTP".to_owned()),
        }
    }
}

/// Whether a host is this machine by its name or address alone.
pub fn is_local(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// `host:port` as HTTP has it.
pub fn authority(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

/// Percent-decoded bytes that can stand in a header.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut out) = (text.bytes(), Vec::new());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let hex = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&hex).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    Some(out)
}

/// Whether NO_PROXY names the host: `*`, a name with all below it, an address, each with or without port.
fn is_direct(list: &str, host: &str, port: u16) -> bool {
    list.split(',').map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
        let entry = match entry.rsplit_once(':') {
            Some((name, of)) if !name.contains(':') => match of.parse::<u16>() {
                Ok(of) if port == of => name,
                _ => return false,
            },
            _ => entry,
        };
        let name = entry.trim_start_matches('.').to_ascii_lowercase();
        let host = host.to_ascii_lowercase();
        entry == "*" || host == name || host.ends_with(&format!(".{name}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    fn of(https: &str, direct: &str, host: &str) -> Result<Option<String>, String> {
        let environment = |name: &str| match name {
            "HTTPS_PROXY" => Some(https.to_owned()),
            "no_proxy" => Some(direct.to_owned()),
            _ => None,
        };
        Proxy::of(environment, host, 8444).map(|proxy| proxy.map(|proxy| proxy.to_string()))
    }

    #[test]
    fn the_environment_says_which_hosts_are_reached_through_which_proxy() {
        let through = Ok(Some("http://proxy.example:3128".to_owned()));
        let check = |direct: &str, host: &str, expected| {
            assert_eq!(
                of("http://u:p@proxy.example:3128", direct, host),
                expected,
                "{direct} {host}"
            );
        };
        check("", "fleet.example", through.clone());
        check("other.example, ample", "fleet.example", through.clone());
        check("fleet.example:443", "fleet.example", through);
        for direct in ["*", "fleet.example", ".example", "x, Fleet.Example:8444", "example"] {
            check(direct, "fleet.example", Ok(None));
        }
        check("", "localhost", Ok(None));
        check("", "127.0.0.1", Ok(None));
        assert_eq!(of("", "", "fleet.example"), Ok(None));
        let plain = |name: &str| (name == "http_proxy").then(|| "proxy:1".to_owned());
        assert!(Proxy::of_plain(plain, "s3.example", 80).unwrap().is_some());
        assert!(Proxy::of(plain, "s3.example", 443).unwrap().is_none());
        assert_eq!(of("proxy", "", "h"), Ok(Some("http://proxy:80".to_owned())));
        for wrong in ["https://proxy:1", "http://", "socks5://proxy:1", "http://a%zz@proxy"] {
            assert!(of(wrong, "", "h").unwrap_err().contains("HTTPS_PROXY"), "{wrong}");
        }
        let proxy = Proxy::parse("HTTPS_PROXY", "http://us%40er:secret@[::1]:1").unwrap();
        assert_eq!(format!("{proxy:?}"), "Proxy(http://[::1]:1)");
        assert_eq!(proxy.credentials.unwrap(), STANDARD.encode("us@er:secret"));
    }

    /// What a proxy that answers `answer` is asked, and what comes of it: the first bytes of the tunnel.
    async fn asked(answer: &'static str) -> (String, Result<Vec<u8>, String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut ask = Vec::new();
            while !ask.ends_with(b"\r\n\r\n") {
                ask.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(ask).unwrap()
        };
        let credentials = Some(STANDARD.encode("u:p"));
        let proxy = Proxy { host: "127.0.0.1".to_owned(), port, credentials };
        let (ask, tunnel) = tokio::join!(serve, proxy.tunnel("fleet.example", 8444));
        let tunnel = match tunnel {
            Ok(mut stream) => {
                let mut first = Vec::new();
                stream.read_to_end(&mut first).await.unwrap();
                Ok(first)
            }
            Err(why) => Err(why),
        };
        (ask, tunnel)
    }

    #[tokio::test]
    async fn a_proxy_is_asked_for_a_tunnel_and_what_follows_its_answer_is_the_controllers() {
        let (ask, tunnel) =
            asked("HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\nhello").await;
        assert_eq!(tunnel.unwrap(), b"hello");
        let head = "CONNECT fleet.example:8444 HTTP/1.1\r\nHost: fleet.example:8444\r\n";
        assert_eq!(
            ask,
            format!("{head}Proxy-Authorization: Basic {}\r\n\r\n", STANDARD.encode("u:p"))
        );
        let refused = async |answer, part: &str| {
            let why = asked(answer).await.1.unwrap_err();
            assert!(why.contains(part), "{why}");
        };
        refused("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "a user and a password")
            .await;
        refused("HTTP/1.0 403 Forbidden\r\n\r\n", "403 Forbidden").await;
        refused("SSH-2.0-x 200\r\n\r\n", "does not speak HTTP").await;
        refused("HTTP/1.1 200", "end of file").await;
    }
}
