//! The accept loop: sockets in, finished TLS connections out, each with what its certificate says.
//!
//! A slow or silent peer may hold one task and one place among the strangers for the handshake
//! timeout, and nothing else: it never delays another device. A connection without a certificate is
//! for enrolment alone and ends after [`STRANGER_LIFETIME`].

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use super::strangers::{STRANGER_LIFETIME, StrangerPlace, Strangers};
use crate::ca::{self, PeerLeaf};

/// Under the usual limit of 20,000 descriptors, with room for the admin listener and the store.
pub const MAX_CONNECTIONS: usize = 16_384;
/// A handshake takes two round trips; ten seconds cover a satellite link with losses.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Finished handshakes waiting for the server task; it takes them at once, so few ever wait.
const READY_QUEUE: usize = 64;
/// After a failed accept, which is nearly always "too many open files".
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What is known of a connection once its handshake is over.
#[derive(Debug)]
pub struct Peer {
    /// Where it comes from.
    pub address: SocketAddr,
    /// What its certificate says, and the certificate (DER); `None` when it presented none.
    pub leaf: Option<(PeerLeaf, Vec<u8>)>,
    /// Cancelled to end the connection with everything on it.
    pub cut: CancellationToken,
}

/// A connection that finished its handshake; holds its place under the cap.
pub struct DeviceConnection {
    tls: TlsStream<TcpStream>,
    peer: Arc<Peer>,
    stranger: Option<Stranger>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    _place: OwnedSemaphorePermit,
}

/// What a connection without a certificate has: a place of its own kind, for a while.
struct Stranger {
    end: Pin<Box<Sleep>>,
    _place: StrangerPlace,
}

/// Accepts until the receiver is dropped.
pub fn accept(
    listener: TcpListener,
    config: Arc<ServerConfig>,
) -> ReceiverStream<io::Result<DeviceConnection>> {
    accept_with(listener, config, STRANGER_LIFETIME)
}

fn accept_with(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    stranger_lifetime: Duration,
) -> ReceiverStream<io::Result<DeviceConnection>> {
    let (ready, incoming) = mpsc::channel(READY_QUEUE);
    tokio::spawn(accept_loop(listener, TlsAcceptor::from(config), ready, stranger_lifetime));
    ReceiverStream::new(incoming)
}

async fn accept_loop(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    ready: mpsc::Sender<io::Result<DeviceConnection>>,
    stranger_lifetime: Duration,
) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let strangers = Strangers::new();
    loop {
        let accepted = tokio::select! {
            () = ready.closed() => return,
            accepted = listener.accept() => accepted,
        };
        let (socket, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a device connection; trying again");
                sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            tracing::warn!(%address, limit = MAX_CONNECTIONS, "device connection limit reached; closing a new connection");
            continue;
        };
        let Some(stranger) = strangers.enter(address.ip()) else {
            tracing::warn!(%address, "too many connections without a certificate; closing a new one");
            continue;
        };
        let (acceptor, ready) = (acceptor.clone(), ready.clone());
        tokio::spawn(async move {
            match timeout(HANDSHAKE_TIMEOUT, handshake(acceptor, socket, address)).await {
                Ok(Ok((tls, peer))) => {
                    // With a certificate it is no stranger: its place among them is free at once.
                    let stranger = peer.leaf.is_none().then(|| Stranger {
                        end: Box::pin(sleep(stranger_lifetime)),
                        _place: stranger,
                    });
                    let cut = Box::pin(peer.cut.clone().cancelled_owned());
                    let peer = Arc::new(peer);
                    let connection = DeviceConnection { tls, peer, stranger, cut, _place: place };
                    // The receiver is gone only at shutdown.
                    let _ = ready.send(Ok(connection)).await;
                }
                Ok(Err(error)) => tracing::debug!(%address, %error, "device handshake failed"),
                Err(_) => tracing::debug!(%address, "device handshake timed out"),
            }
        });
    }
}

async fn handshake(
    acceptor: TlsAcceptor,
    socket: TcpStream,
    address: SocketAddr,
) -> io::Result<(TlsStream<TcpStream>, Peer)> {
    socket.set_nodelay(true)?;
    let tls = acceptor.accept(socket).await?;
    let leaf = match tls.get_ref().1.peer_certificates() {
        Some([leaf, ..]) => {
            let peer = ca::read_peer(leaf).map_err(io::Error::other)?;
            Some((peer, leaf.to_vec()))
        }
        _ => None,
    };
    Ok((tls, Peer { address, leaf, cut: CancellationToken::new() }))
}

impl Connected for DeviceConnection {
    type ConnectInfo = Arc<Peer>;

    fn connect_info(&self) -> Arc<Peer> {
        self.peer.clone()
    }
}

impl AsyncRead for DeviceConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(stranger) = &mut self.stranger
            && stranger.end.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        // The server always waits to read, so this wakes it also while a peer takes nothing.
        if self.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.tls).poll_read(cx, buf)
    }
}

impl AsyncWrite for DeviceConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.peer.cut.is_cancelled() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.tls).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.peer.cut.is_cancelled() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.tls).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.tls.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
    use rustls::server::{ClientHello, ResolvesServerCert};
    use rustls::sign::CertifiedKey;
    use tokio::io::AsyncReadExt;
    use tokio_stream::StreamExt;

    use super::*;
    use crate::clock::{Clock, SystemClock};
    use crate::device_listener::tls;

    #[derive(Debug)]
    struct One(Mutex<Arc<CertifiedKey>>);

    impl ResolvesServerCert for One {
        fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
            Some(Arc::clone(&self.0.lock().unwrap()))
        }
    }

    #[tokio::test]
    async fn a_connection_without_a_certificate_ends_by_itself() {
        let now = SystemClock.now().0;
        let root = ca::create_root("fleet.test", now).unwrap();
        let server = ca::create_server(&root, &["localhost".into()], now).unwrap();
        let key = PrivatePkcs8KeyDer::from(server.key_pkcs8.to_vec()).into();
        let key = rustls::crypto::ring::sign::any_ecdsa_type(&key).unwrap();
        let pair = CertifiedKey::new(vec![CertificateDer::from(server.cert_der)], key);
        let identity = Arc::new(One(Mutex::new(Arc::new(pair))));
        let config = {
            let verifier = tls::DeviceVerifier::new(std::slice::from_ref(&root.cert_der)).unwrap();
            tls::server_config(identity, verifier).unwrap()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut incoming = accept_with(listener, config, Duration::from_millis(1));

        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from(root.cert_der)).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let socket = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connecting = tokio_rustls::TlsConnector::from(Arc::new(client)).connect(name, socket);
        let (silent, accepted) = tokio::join!(connecting, incoming.next());
        let mut accepted = accepted.unwrap().unwrap();
        let ended = accepted.read_u8().await.unwrap_err();
        assert_eq!(ended.kind(), io::ErrorKind::TimedOut);
        drop(silent);
    }
}
