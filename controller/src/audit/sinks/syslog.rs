//! Syslog over TLS (RFC 5425): octet-counted messages, one session a delivery. Syslog acknowledges
//! nothing, and bytes that were written to a socket may still be lost with it. So a delivery counts when
//! the session was ended in order: everything, then our close_notify, then the receiver's end without an
//! error. A receiver that dies in between gets the same records again.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::SinkError;
use crate::audit::Event;
use crate::audit::export::{Format, Log, syslog};
use crate::outbound::Outbound;

/// For the handshake, and for each page of records.
const STEP_LIMIT: Duration = Duration::from_secs(30);
/// For the receiver's end of the session. One that stays open has everything in its hands by then: an
/// error would have come.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);
/// A receiver that closed just before our records came answers them with a reset within this time.
const RESET_GRACE: Duration = Duration::from_millis(50);
/// Most certificates of a chain or of trusted authorities.
const MAX_CERTIFICATES: usize = 64;

fn settings(what: impl ToString) -> SinkError {
    SinkError::Settings(what.to_string())
}

fn certificates(pem: &str, what: &str) -> Result<Vec<CertificateDer<'static>>, SinkError> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .take(MAX_CERTIFICATES)
        .collect::<Result<_, _>>()
        .map_err(|error| settings(format!("{what} is not PEM: {error}")))?;
    match all.is_empty() {
        true => Err(settings(format!("{what} holds no certificate"))),
        false => Ok(all),
    }
}

/// TLS that trusts `ca_pem` alone and shows the certificate, if there is one. The key is PEM.
pub fn tls(ca_pem: &str, client: Option<(&str, &[u8])>) -> Result<ClientConfig, SinkError> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(ca_pem, "the CA certificate")? {
        roots.add(authority).map_err(settings)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(settings)?
        .with_root_certificates(roots);
    match client {
        None => Ok(builder.with_no_client_auth()),
        Some((chain, key)) => {
            let chain = certificates(chain, "the client certificate")?;
            let key = PrivateKeyDer::from_pem_slice(key)
                .map_err(|_| settings("the client key is not a private key in PEM"))?;
            builder.with_client_auth_cert(chain, key).map_err(settings)
        }
    }
}

/// Whether a sink with these settings could be connected to at all.
pub fn check(host: &str, ca_pem: &str, client: Option<(&str, &[u8])>) -> Result<(), SinkError> {
    tls(ca_pem, client)?;
    server_name(host).map(|_| ())
}

fn server_name(host: &str) -> Result<ServerName<'static>, SinkError> {
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    ServerName::try_from(bare).map_err(|_| settings("the host is neither a name nor an address"))
}

/// A session with a receiver.
pub struct Session {
    stream: TlsStream<TcpStream>,
    host: String,
}

impl Session {
    /// Connects, within the installation's rules for outbound connections.
    pub async fn open(
        outbound: &Outbound,
        host: &str,
        port: u16,
        tls: ClientConfig,
    ) -> Result<Self, SinkError> {
        let name = server_name(host)?;
        let receiver = |what: String| SinkError::Receiver(what);
        let socket = outbound.connect(host, port).await.map_err(|e| receiver(e.to_string()))?;
        let connecting = TlsConnector::from(Arc::new(tls)).connect(name, socket);
        match timeout(STEP_LIMIT, connecting).await {
            Ok(Ok(stream)) => Ok(Self { stream, host: host.to_owned() }),
            Ok(Err(error)) => Err(receiver(format!("{host}: no TLS session: {error}"))),
            Err(_) => Err(receiver(format!("{host}: no TLS session in 30 seconds"))),
        }
    }

    fn broken(&self, error: &io::Error) -> SinkError {
        let host = &self.host;
        SinkError::Receiver(format!("{host} ended the session before it had everything: {error}"))
    }

    /// Writes and flushes a page of records.
    pub async fn send(
        &mut self,
        page: Vec<Event>,
        log: &Log,
        format: Format,
    ) -> Result<(), SinkError> {
        let frames = page.iter().map(|event| syslog::frame(&syslog::carrying(event, log, format)));
        let text: String = frames.collect();
        let written = timeout(STEP_LIMIT, async {
            self.stream.write_all(text.as_bytes()).await?;
            self.stream.flush().await
        });
        match written.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.broken(&error)),
            Err(_) => {
                Err(SinkError::Receiver(format!("{} reads nothing for 30 seconds", self.host)))
            }
        }
    }

    /// Ends the session. Ok when the receiver took everything, as far as can be known.
    pub async fn close(mut self) -> Result<(), SinkError> {
        let mut byte = [0; 64];
        // It left before we did: what we sent may have met nobody.
        if let Ok(read) = timeout(Duration::ZERO, self.stream.read(&mut byte)).await {
            let error = match read {
                Ok(0) => io::Error::from(io::ErrorKind::UnexpectedEof),
                // Syslog has nothing to say; whoever talks is read to its end below.
                Ok(_) => return self.end().await,
                Err(error) => error,
            };
            return Err(self.broken(&error));
        }
        self.end().await
    }

    async fn end(mut self) -> Result<(), SinkError> {
        let ended = timeout(CLOSE_LIMIT, async {
            self.stream.shutdown().await?;
            let mut byte = [0; 1024];
            loop {
                match self.stream.read(&mut byte).await {
                    Ok(0) => return Ok(()),
                    // Many receivers close the socket without the alert.
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                    Ok(_) => {}
                    Err(error) => return Err(error),
                }
            }
        });
        if let Ok(Err(error)) = ended.await {
            return Err(self.broken(&error));
        }
        tokio::time::sleep(RESET_GRACE).await;
        match self.stream.get_ref().0.take_error() {
            Ok(None) => Ok(()),
            Ok(Some(error)) | Err(error) => Err(self.broken(&error)),
        }
    }
}
