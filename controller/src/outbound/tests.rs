//! What may be asked, against listeners on loopback that would answer.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

#[test]
fn special_addresses_are_not_public() {
    let special = [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "127.0.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.0.2.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.51.100.7",
        "203.0.113.9",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "fc00::1",
        "fd12::1",
        "fe80::1",
        "ff02::1",
        "2001:db8::1",
        "2001::1",
        "2002:7f00:1::",
        "3fff::1",
    ];
    let rules = OutboundRules::default();
    for address in special {
        assert!(!rules.allow(address.parse().unwrap(), true), "{address} counts as public");
    }
    for address in ["1.1.1.1", "172.32.0.1", "100.128.0.1", "198.20.0.1", "2606:4700::1111"] {
        assert!(rules.allow(address.parse().unwrap(), true), "{address} counts as special");
        assert!(!rules.allow(address.parse().unwrap(), false), "{address} over plain http");
    }
}

#[test]
fn urls_that_hide_something_are_refused() {
    let bad = [
        "file:///etc/passwd",
        "ftp://host/",
        "https://user@host/",
        "https://:secret@host/",
        "https://host/#part",
        "//host/",
        "host:443",
        "gopher://host",
        "",
    ];
    for url in bad {
        assert!(matches!(parse_url(url), Err(OutboundError::Url(_))), "{url:?} passes");
    }
    assert!(parse_url(&format!("https://host/{}", "a".repeat(MAX_URL_BYTES))).is_err());
    parse_url("https://host:8443/path?query=1").unwrap();
}

/// Answers every connection with `answer` and counts them.
async fn server(answer: &'static str) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(AtomicUsize::new(0));
    let count = seen.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (port, seen)
}

fn client(allow: &[&str]) -> Outbound {
    let allow = allow.iter().map(|net| net.parse().unwrap()).collect();
    Outbound::new(OutboundRules { allow, ca_pem: None }).unwrap()
}

async fn get(outbound: &Outbound, url: &str) -> Result<Answer, OutboundError> {
    outbound.send(Ask::new(Method::GET, url, 64)?).await
}

const SMALL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";

#[tokio::test]
async fn nothing_inside_is_reached_under_any_name() {
    let (port, seen) = server(SMALL).await;
    let outbound = client(&[]);
    let names = [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "0.0.0.0",
        "localhost.",
    ];
    for name in names {
        for scheme in ["http", "https"] {
            let url = format!("{scheme}://{name}:{port}/");
            let error = get(&outbound, &url).await.expect_err(&url);
            // A system without IPv6, or one that knows no "localhost.", may not resolve it at all.
            let refused = matches!(
                error,
                OutboundError::Forbidden { .. } | OutboundError::Unreachable { .. }
            );
            assert!(refused, "{url}: {error}");
        }
    }
    assert!(matches!(
        outbound.connect("localhost", port).await,
        Err(OutboundError::Forbidden { .. })
    ));
    assert!(matches!(
        outbound.connect("127.0.0.1", port).await,
        Err(OutboundError::Forbidden { .. })
    ));
    assert_eq!(seen.load(Ordering::SeqCst), 0, "a connection was made");
}

#[tokio::test]
async fn allowed_networks_are_reached_and_redirects_are_not_followed() {
    let (inside, seen) = server(SMALL).await;
    let outbound = client(&["127.0.0.1/32"]);
    let answer = get(&outbound, &format!("http://127.0.0.1:{inside}/")).await.unwrap();
    assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &b"ok"[..]));
    let redirect = format!(
        "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{inside}/\r\nContent-Length: 0\r\n\r\n"
    );
    let (redirecting, _) = server(redirect.leak()).await;
    let answer = get(&outbound, &format!("http://127.0.0.1:{redirecting}/")).await.unwrap();
    assert_eq!(answer.status, StatusCode::FOUND);
    assert_eq!(seen.load(Ordering::SeqCst), 1, "the redirect was followed");
}

#[tokio::test]
async fn long_answers_are_cut_off() {
    let body = "x".repeat(65);
    let answer = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{body}");
    let (port, _) = server(answer.leak()).await;
    let error = get(&client(&["127.0.0.0/8"]), &format!("http://127.0.0.1:{port}/")).await;
    assert!(matches!(error, Err(OutboundError::TooLong { limit: 64, .. })), "{error:?}");
}
