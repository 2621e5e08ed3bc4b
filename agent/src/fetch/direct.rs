//! Chunks from where a controller says they are, so that it need not carry them. What comes is believed
//! after its hash was checked and not before; what does not come costs a bounded time, and the controller is
//! asked for it instead. After a failure nothing is tried for a while, so that a network that forbids it
//! costs one attempt and not one for each chunk.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use edgeformer_proto::artifact::ChunkId;
use edgeformer_proto::v1;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::Instant;

use super::budget::Budget;
use super::http::{Client, HttpError, Url};
use crate::clock::Clock;

/// First pause after a failure; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(30);

/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(900);

/// Most authorities that a controller may name.
const MAX_AUTHORITIES: usize = 64;

/// Time of a URL that is not used: the request must arrive before its end.
const MARGIN: Duration = Duration::from_secs(5);

/// Where a chunk is.
#[derive(Debug, Clone)]
pub struct Location {
    url: Url,
    until: Instant,
    tls: Arc<ClientConfig>,
}

/// Why a chunk did not come from there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectError {
    /// Nothing is tried now, because of an earlier failure.
    #[error("not tried again yet")]
    Paused,
    /// Its time is over, or the server says so.
    #[error("the URL is not valid any more")]
    Expired,
    /// Anything else.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// What came is not the chunk.
    #[error("{0}: what was served is not what was signed")]
    Wrong(String),
}

/// What is known of the last attempts.
#[derive(Debug, Default)]
struct Standing {
    failures: u32,
    paused_until: Option<Instant>,
}

/// Authorities, and TLS that trusts them.
type KnownTls = Option<(Vec<Bytes>, Arc<ClientConfig>)>;

/// Reads chunks from URLs. Cheap to clone.
#[derive(Clone)]
pub struct Direct {
    client: Client,
    clock: Clock,
    budget: Budget,
    standing: Arc<Mutex<Standing>>,
    tls: Arc<Mutex<KnownTls>>,
}

impl std::fmt::Debug for Direct {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Direct({:?})", self.standing())
    }
}

impl Direct {
    /// `near`: the controller is on this machine.
    pub fn new(clock: Clock, near: bool, budget: Budget) -> Self {
        let (standing, tls) = Default::default();
        Self { client: Client::new(near), clock, budget, standing, tls }
    }

    /// Whether URLs are to be asked for now.
    pub fn is_open(&self) -> bool {
        self.standing().paused_until.is_none_or(|until| until <= Instant::now())
    }

    /// Reads what a controller said; `ca_der` are the authorities that it named in this call.
    pub fn location(
        &self,
        said: &v1::ChunkLocation,
        ca_der: &[Bytes],
    ) -> Result<Location, DirectError> {
        let url = Url::parse(&said.url)?;
        let valid = Duration::from_secs(said.valid_s.into()).saturating_sub(MARGIN);
        let tls = self.tls(ca_der)?;
        Ok(Location { url, until: Instant::now() + valid, tls })
    }

    /// Gets the chunk from there.
    pub async fn get(
        &self,
        location: &Location,
        id: ChunkId,
        sealed_bytes: u32,
    ) -> Result<Bytes, DirectError> {
        if !self.is_open() {
            return Err(DirectError::Paused);
        }
        if location.until <= Instant::now() {
            return Err(DirectError::Expired);
        }
        let Location { url, tls, .. } = location;
        let got = self.client.get(url, sealed_bytes as usize, tls, &self.budget).await;
        match got {
            Ok(sealed) if ChunkId::of(&sealed) == id => {
                self.standing().failures = 0;
                Ok(sealed)
            }
            Ok(_) => Err(DirectError::Wrong(url.host())),
            // Mostly the clock of one of both; a second refusal is none of that.
            Err(HttpError::Refused { .. }) => Err(DirectError::Expired),
            Err(error) => Err(error.into()),
        }
    }

    /// Tries nothing for a while.
    pub fn pause(&self, because: &DirectError) {
        let mut standing = self.standing();
        let now = Instant::now();
        // Those that were on their way fail with the first.
        if *because == DirectError::Paused || standing.paused_until.is_some_and(|until| until > now)
        {
            return;
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << standing.failures.min(10)).min(LONGEST_PAUSE);
        standing.failures = standing.failures.saturating_add(1);
        standing.paused_until = Some(now + pause);
        tracing::warn!(
            error = %because, for_s = pause.as_secs(),
            "the store of chunks is not used for a while: they come through the controller"
        );
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        // Nothing panics while it is held.
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// TLS that trusts these authorities alone, or the system's if there are none.
    fn tls(&self, ca_der: &[Bytes]) -> Result<Arc<ClientConfig>, DirectError> {
        // Nothing panics while it is held.
        let mut known = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some((authorities, tls)) if authorities == ca_der => return Ok(Arc::clone(tls)),
            _ => {}
        }
        let refused = HttpError::Url("the authorities for the store cannot be used");
        if ca_der.len() > MAX_AUTHORITIES {
            return Err(refused.into());
        }
        let mut roots = RootCertStore::empty();
        for one in ca_der {
            let one = CertificateDer::from(one.to_vec());
            roots.add(one).map_err(|_| refused.clone())?;
        }
        if ca_der.is_empty() {
            let system = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(system.certs);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_details(provider, Arc::new(self.clock.clone()))
            .with_safe_default_protocol_versions()
            .map_err(|_| refused)?
            .with_root_certificates(roots)
            // Who this device is, is nothing for a store.
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let config = Arc::new(config);
        *known = Some((ca_der.to_vec(), Arc::clone(&config)));
        Ok(config)
    }
}
