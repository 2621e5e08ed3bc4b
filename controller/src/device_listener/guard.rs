//! Stands before every service but Enrolment: turns a verified certificate into a
//! [`DeviceIdentity`], or the request into a refusal that the agent can act on.
//!
//! It asks the store at every request, so that revocation takes effect at once, also on connections
//! that are open.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use edgeformer_proto::ids::DeviceId;
use futures::future::BoxFuture;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::DeviceIdentity;
use super::accept::Peer;
use crate::app::App;
use crate::audit::{Intent, Outcome, Resource};
use crate::ca;
use crate::clock::Timestamp;
use crate::policy::Action;
use crate::quota::gate::Key;
use crate::scope::TenantScope;
use crate::store::devices::DeviceState;
use crate::store::enrolments::{self, Standing};
use crate::store::{StoreError, past_cas};
use crate::tenancy::{Closed, book};

/// How soon the refusal of a device is recorded again.
const RECORD_AGAIN: Duration = Duration::from_secs(3600);
/// Devices whose refusals are remembered; beyond it they are recorded again earlier.
const MAX_RECORDED: usize = 10_000;
/// A revoked device may read for this long why it is cut off.
pub const CUT_AFTER: Duration = Duration::from_millis(500);
/// Methods of this service authenticate by token or by proof of the enrolled key.
const OPEN_PREFIX: &str = "/edgeformer.fleet.v1.Enrolment/";
/// Over this service a device is told why it gets nothing else.
const SESSION_PREFIX: &str = "/edgeformer.fleet.v1.Session/";

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No certificate was presented.
    #[error(
        "this service needs a client certificate: enrol the device first (edgeformer-agent enroll)"
    )]
    NoCertificate,
    /// It ended.
    #[error("the client certificate expired at {0}: renew it (Enrolment.Renew) and reconnect")]
    Expired(String),
    /// It is from a CA that was replaced and counts no more.
    #[error(
        "the authority that made the client certificate was retired: renew it (Enrolment.Renew) and \
         reconnect"
    )]
    Retired,
    /// Its issuer or trust domain is not that of the tenant it names.
    #[error("{0}")]
    Certificate(String),
    /// There is no such device.
    #[error("device {0} is not known here: enrol it again")]
    Unknown(String),
    /// It may have a session, to be told why, and nothing else.
    #[error("device {0} is quarantined: an operator has to look at it and release it")]
    Quarantined(String),
    /// It may have a session, to be told to erase itself, and nothing else.
    #[error("device {0} is being decommissioned: it is only told to erase itself")]
    Decommissioning(String),
    /// It said that it erased itself.
    #[error("device {0} was decommissioned and erased: enrol it again to bring it back")]
    Erased(String),
    /// It was revoked.
    #[error("device {0} was revoked: it must be enrolled again with a new key to come back")]
    Revoked(String),
    /// Its tenant is deleted. The device keeps what it has until it is known whether it is restored.
    #[error("{0}")]
    Tenant(Closed),
    /// The certificate is for a key that is not the enrolled one.
    #[error("the client certificate is not for the key that device {0} enrolled with")]
    Key(String),
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NoCertificate | Refused::Expired(_) | Refused::Retired => {
                Status::unauthenticated(refused.to_string())
            }
            Refused::Tenant(_) => Status::unavailable(refused.to_string()),
            _ => Status::permission_denied(refused.to_string()),
        }
    }
}

/// Decides from what the connection proved and what the store says. `is_session`: it asks for its
/// session, where it can be told what is wrong.
pub fn authenticate(
    peer: &Peer,
    trust_domain: &str,
    standing: Option<&Standing>,
    is_session: bool,
    now: Timestamp,
) -> Result<DeviceIdentity, Refused> {
    let (leaf, der) = peer.leaf.as_ref().ok_or(Refused::NoCertificate)?;
    let device = leaf.id.device.to_string();
    if leaf.id.trust_domain != trust_domain {
        let detail = format!(
            "the client certificate is of trust domain {:?}, this installation is {trust_domain:?}",
            leaf.id.trust_domain
        );
        return Err(Refused::Certificate(detail));
    }
    let standing = standing.ok_or_else(|| Refused::Unknown(device.clone()))?;
    let is_retired = judge_issuer(der, standing)?;
    match standing.state {
        DeviceState::Revoked => return Err(Refused::Revoked(device)),
        DeviceState::Erased => return Err(Refused::Erased(device)),
        DeviceState::Enrolled | DeviceState::Quarantined | DeviceState::Decommissioning => {}
    }
    if standing.public_key != leaf.public_key_spki {
        return Err(Refused::Key(device));
    }
    if leaf.expires_at_us <= now.0 {
        return Err(Refused::Expired(Timestamp(leaf.expires_at_us).rfc3339()));
    }
    if is_retired {
        return Err(Refused::Retired);
    }
    match standing.state {
        DeviceState::Quarantined if !is_session => return Err(Refused::Quarantined(device)),
        DeviceState::Decommissioning if !is_session => {
            return Err(Refused::Decommissioning(device));
        }
        _ => {}
    }
    Ok(DeviceIdentity {
        tenant_id: leaf.id.tenant,
        device_id: leaf.id.device,
        device_name: standing.name.clone(),
        cert_expires_at_us: leaf.expires_at_us,
        source: peer.address.to_string(),
    })
}

/// Whether the CA of the tenant that made the certificate is a retired one. An error if it was none of
/// them.
fn judge_issuer(leaf_der: &[u8], standing: &Standing) -> Result<bool, Refused> {
    let foreign = match ca::issued_by(leaf_der, &standing.ca_cert_der) {
        Ok(()) => return Ok(false),
        Err(error) => error,
    };
    let past = standing.past_cas.iter();
    let mut issuers = past.filter(|ca| ca::issued_by(leaf_der, &ca.cert_der).is_ok());
    match issuers.next() {
        Some(ca) => Ok(ca.retired_at.is_some()),
        None => Err(Refused::Certificate(foreign.to_string())),
    }
}

/// Puts a [`Guard`] before a service.
#[derive(Clone)]
pub struct GuardLayer {
    app: App,
    trust_domain: Arc<str>,
    recorded: Arc<Mutex<BTreeMap<DeviceId, Timestamp>>>,
}

impl GuardLayer {
    /// For the installation with this trust domain.
    pub fn new(app: App, trust_domain: &str) -> Self {
        Self { app, trust_domain: trust_domain.into(), recorded: Arc::default() }
    }

    /// Records a refusal of a device of a tenant, whose certificate its CA made, in the tenant's log.
    /// What a stranger claims to be is nobody's event.
    async fn record(
        &self,
        peer: &Peer,
        standing: &Standing,
        refused: &Refused,
    ) -> Result<(), Status> {
        let ours = matches!(
            refused,
            Refused::Revoked(_) | Refused::Erased(_) | Refused::Key(_) | Refused::Expired(_)
        );
        let Some((leaf, _)) = peer.leaf.as_ref().filter(|_| ours) else { return Ok(()) };
        let (device, now) = (leaf.id.device, self.app.now());
        if !self.is_due(device, now) {
            return Ok(());
        }
        let source = peer.address.to_string();
        let scope = TenantScope::device(leaf.id.tenant, device, &standing.name, &source);
        let resource = Resource::new("device", device).named(standing.name.clone());
        let intent = Intent::new(Action::DeviceRefuse, resource).because(refused.to_string());
        let recorded = self.app.store.record(&scope, intent, Outcome::Denied, now).await;
        recorded.map_err(super::unavailable)?;
        self.app.nudges.audit.notify_one();
        Ok(())
    }

    /// Agents come back every few seconds: one record of a device in a while says it.
    fn is_due(&self, device: DeviceId, now: Timestamp) -> bool {
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        let is_recent = |at: &Timestamp| at.plus(RECORD_AGAIN) > now;
        if recorded.get(&device).is_some_and(is_recent) {
            return false;
        }
        if recorded.len() >= MAX_RECORDED {
            recorded.retain(|_, at| is_recent(at));
        }
        if recorded.len() >= MAX_RECORDED {
            recorded.clear();
        }
        recorded.insert(device, now);
        true
    }

    async fn identify(
        &self,
        peer: Option<Arc<Peer>>,
        is_session: bool,
    ) -> Result<DeviceIdentity, Status> {
        let peer = peer.ok_or_else(|| Status::internal("the connection has no peer"))?;
        let standing = match &peer.leaf {
            None => None,
            Some((leaf, der)) => {
                // Fair between tenants also when a whole fleet comes back at once.
                let key = Key::Tenant(leaf.id.tenant);
                let place = self.app.quota().devices.enter(key).await;
                let _place = place.map_err(|error| Status::unavailable(error.to_string()))?;
                let scope = TenantScope::system(leaf.id.tenant, "device listener");
                let reading = async {
                    let mut read = self.app.store.read(&scope).await?;
                    let mut standing = enrolments::standing(&mut read, leaf.id.device).await?;
                    if let Some(standing) = &mut standing
                        && ca::issued_by(der, &standing.ca_cert_der).is_err()
                    {
                        standing.past_cas = past_cas::list(&mut read).await?;
                    }
                    Ok(standing)
                };
                let read: Result<_, StoreError> = reading.await;
                read.map_err(super::unavailable)?
            }
        };
        let (standing_now, now) = (standing.as_ref(), self.app.now());
        let identified = authenticate(&peer, &self.trust_domain, standing_now, is_session, now);
        let identified = match identified {
            Ok(identity) => self.admitted(&peer, identity).await?,
            Err(refused) => {
                if let Some(standing) = &standing {
                    self.record(&peer, standing, &refused).await?;
                }
                if matches!(refused, Refused::Revoked(_) | Refused::Erased(_)) {
                    end_soon(&peer);
                }
                Err(refused)
            }
        };
        identified
            .inspect_err(|refused| {
                tracing::info!(address = %peer.address, %refused, "device request refused");
            })
            .map_err(Status::from)
    }

    /// After the device proved who it is: the state of a tenant is for its own devices alone.
    async fn admitted(
        &self,
        peer: &Arc<Peer>,
        identity: DeviceIdentity,
    ) -> Result<Result<DeviceIdentity, Refused>, Status> {
        let app = &self.app;
        app.connections().note((identity.tenant_id, identity.device_id), peer);
        match app.tenants().of(&app.store, identity.tenant_id, app.now()).await {
            Ok(standing) => {
                Ok(standing.serves_devices().map(|()| identity).map_err(Refused::Tenant))
            }
            Err(book::Refused::Closed(closed)) => Ok(Err(Refused::Tenant(closed))),
            Err(book::Refused::Store(error)) => Err(super::unavailable(error)),
        }
    }
}

/// Ends a connection once its peer had the time to read why.
fn end_soon(peer: &Arc<Peer>) {
    let cut = peer.cut.clone();
    tokio::spawn(async move {
        tokio::time::sleep(CUT_AFTER).await;
        cut.cancel();
    });
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard { inner, guard: self.clone() }
    }
}

/// See the module.
#[derive(Clone)]
pub struct Guard<S> {
    inner: S,
    guard: GuardLayer,
}

impl<S> Service<http::Request<Body>> for Guard<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        // The instance that was polled ready is the one to call; its fresh clone stays behind.
        let fresh = self.inner.clone();
        let mut ready = std::mem::replace(&mut self.inner, fresh);
        if request.uri().path().starts_with(OPEN_PREFIX) {
            return Box::pin(ready.call(request));
        }
        let guard = self.guard.clone();
        let is_session = request.uri().path().starts_with(SESSION_PREFIX);
        Box::pin(async move {
            let peer = request.extensions().get::<Arc<Peer>>().cloned();
            match guard.identify(peer, is_session).await {
                Ok(identity) => {
                    request.extensions_mut().insert(identity);
                    ready.call(request).await
                }
                Err(status) => Ok(status.into_http()),
            }
        })
    }
}
