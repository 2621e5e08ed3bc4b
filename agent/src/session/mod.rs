//! The connection to the controller: kept up for as long as the agent runs, with backoff between
//! attempts. Models are served whether it is there or not; nothing here may stop them.

pub mod backoff;
pub mod farewell;
mod stream;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use edgeformer_proto::v1;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::clock::{Clock, UnixMicros, rfc3339};
use crate::fetch::trust::Trust;
use crate::identity::dial::{self, DialError};
use crate::identity::erase::EraseError;
use crate::identity::instance::{InstanceError, InstanceStore};
use crate::identity::renew::{self, RenewError, Renewed};
use crate::identity::tls::{ClientAuth, TlsError, client_config};
use crate::identity::{DeviceKeys, Identity, IdentityError};
use crate::reconcile::Handle;

/// A revoked or superseded device asks again after this at the earliest.
const REFUSED_RETRY: Duration = Duration::from_secs(30);

/// Longest wait that a controller can ask for.
const MAX_ASKED_WAIT: Duration = Duration::from_secs(3600);

/// How the connection is, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Connection {
    /// Not yet, or not any more.
    Away {
        /// Since when.
        since_unix_us: UnixMicros,
        /// Failed attempts since then.
        failures: u32,
        /// Why the last one failed.
        error: String,
        /// When the next one is due.
        next_attempt_unix_us: UnixMicros,
    },
    /// It is up.
    Connected {
        /// Since when.
        since_unix_us: UnixMicros,
        /// What the controller runs.
        controller_version: String,
        /// Why the device gets nothing, if it is quarantined.
        quarantined: Option<String>,
    },
}

/// What others see of the session.
pub struct Links {
    /// The channel while a session is up.
    pub channel: watch::Sender<Option<Channel>>,
    /// Raised when a session begins.
    pub sessions: watch::Sender<u64>,
    /// For people.
    pub connection: watch::Sender<Connection>,
    /// Who this device is; changes with each renewal.
    pub identity: watch::Sender<Identity>,
}

/// What a session works with.
pub struct Parts {
    /// Where the identity is kept.
    pub state_dir: PathBuf,
    /// The device's keys.
    pub keys: Arc<dyn DeviceKeys>,
    /// Time.
    pub clock: Clock,
    /// New at each start of the agent.
    pub boot_id: String,
    /// Which session was the last.
    pub instance: Arc<InstanceStore>,
    /// Cancelled when the controller ordered this device to erase itself, and that is noted.
    pub retire: CancellationToken,
    /// What the tenant's owner released.
    pub trust: Trust,
    /// What is run here.
    pub reconcile: Handle,
    /// What others see.
    pub links: Links,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// No connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No certificate, and none to be had.
    #[error("this device's certificate expired and could not be renewed: {0}")]
    Expired(#[source] RenewError),
    /// Which session this is cannot be kept.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// The order to erase this device cannot be noted.
    #[error(transparent)]
    Erase(#[from] EraseError),
    /// The renewed identity cannot be kept.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The controller refused the session.
    #[error("the controller refuses this device: {message}")]
    Refused {
        /// Its code.
        code: v1::refusal::Code,
        /// Its words.
        message: String,
        /// When to ask again.
        retry_after: Duration,
    },
    /// The stream failed.
    #[error("the session with the controller failed: {text}")]
    Stream {
        /// What happened.
        text: String,
        /// The controller holds our certificate for expired.
        certificate_expired: bool,
    },
}

enum Ended {
    Stopped,
    /// A new certificate is to be used.
    Renewed,
}

/// Keeps a session until `stop`.
pub async fn run(parts: Parts, stop: CancellationToken) {
    let mut session = Session {
        failures: 0,
        away_since_us: parts.clock.now_us(),
        force_renewal: false,
        rng: StdRng::from_rng(&mut rand::rng()),
        parts,
    };
    loop {
        let outcome = session.once(&stop).await;
        session.parts.links.channel.send_replace(None);
        match outcome {
            Ok(Ended::Stopped) => return,
            Ok(Ended::Renewed) => {}
            Err(error) => {
                let wait = session.note_failure(&error);
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(wait) => {}
                }
            }
        }
    }
}

struct Session {
    parts: Parts,
    failures: u32,
    away_since_us: UnixMicros,
    force_renewal: bool,
    rng: StdRng,
}

impl Session {
    fn identity(&self) -> Identity {
        self.parts.links.identity.borrow().clone()
    }

    async fn once(&mut self, stop: &CancellationToken) -> Result<Ended, SessionError> {
        self.renew_if_due().await?;
        let identity = self.identity();
        let auth = ClientAuth::Certificate(
            identity.certificate.chain.clone(),
            Arc::clone(&self.parts.keys),
        );
        let tls = client_config(&identity.roots, auth, &self.parts.clock)?;
        let channel = tokio::select! {
            () = stop.cancelled() => return Ok(Ended::Stopped),
            channel = dial::connect(&identity.controller, tls) => channel?,
        };
        self.serve(channel, stop).await
    }

    /// Renews when two thirds of the certificate's life are over. A certificate that is still valid
    /// is used on, whatever happens.
    async fn renew_if_due(&mut self) -> Result<(), SessionError> {
        let identity = self.identity();
        let now_us = self.parts.clock.now_us();
        if !self.force_renewal && now_us < renew::due_at_us(&identity.certificate) {
            return Ok(());
        }
        match renew::renew(&identity, &self.parts.keys, &self.parts.clock).await {
            Ok(Renewed { identity: renewed, trusted_root }) => {
                renewed.save(&self.parts.state_dir)?;
                self.pin(&trusted_root).await;
                self.force_renewal = false;
                tracing::info!(
                    valid_until = rfc3339(renewed.certificate.not_after_us),
                    "renewed this device's certificate"
                );
                self.parts.links.identity.send_replace(renewed);
                Ok(())
            }
            Err(error) if self.force_renewal || now_us >= identity.certificate.not_after_us => {
                Err(SessionError::Expired(error))
            }
            Err(error) => {
                tracing::warn!(
                    %error, valid_until = rfc3339(identity.certificate.not_after_us),
                    "the certificate was not renewed; trying again"
                );
                Ok(())
            }
        }
    }

    /// For a device that was enrolled before there were roots. Without it, the next new version is
    /// another opportunity.
    async fn pin(&self, root: &[u8]) {
        if root.is_empty() {
            return;
        }
        if let Err(error) = self.parts.trust.pin_first(root).await {
            tracing::warn!(%error, "the tenant's trusted root was not pinned");
        }
    }

    /// Logs since when the controller is away and when the next attempt is. Returns the wait.
    fn note_failure(&mut self, error: &SessionError) -> Duration {
        let now_us = self.parts.clock.now_us();
        if self.failures == 0 {
            self.away_since_us = now_us;
        }
        self.failures = self.failures.saturating_add(1);
        let mut at_least = Duration::ZERO;
        match error {
            SessionError::Stream { certificate_expired: true, .. } => self.force_renewal = true,
            SessionError::Refused { code, retry_after, .. } => {
                at_least = (*retry_after).min(MAX_ASKED_WAIT);
                if *code != v1::refusal::Code::Overloaded {
                    at_least = at_least.max(REFUSED_RETRY);
                }
            }
            _ => {}
        }
        let wait = backoff::wait(self.failures, at_least, &mut self.rng);
        let next_us = now_us.saturating_add(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX));
        tracing::warn!(
            %error, failures = self.failures, away_since = rfc3339(self.away_since_us),
            next_attempt = rfc3339(next_us), "no session with the controller; models serve on"
        );
        self.parts.links.connection.send_replace(Connection::Away {
            since_unix_us: self.away_since_us,
            failures: self.failures,
            error: error.to_string(),
            next_attempt_unix_us: next_us,
        });
        wait
    }
}
