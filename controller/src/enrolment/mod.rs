//! How a device becomes known and keeps its certificate: the Enrolment service.
//!
//! Nothing here trusts the connection. Enrol is authenticated by a token, Renew by a proof of the
//! enrolled key; neither ever needs a client certificate.

mod apply;
pub mod challenge;
mod claim;
mod enrol;
mod error;
mod renew;
mod request;
mod way;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use edgeformer_proto::ids::{DeviceId, TenantId};
use edgeformer_proto::v1;
use edgeformer_proto::v1::enrolment_server::{Enrolment, EnrolmentServer};
use ring::hmac;
use tonic::codec::CompressionEncoding;
use tonic::{Request, Response, Status};

use crate::app::App;
use crate::authorities::Roots;
use crate::ca::{self, DeviceLeaf, IssuedLeaf, KeyAndCert};
use crate::device_listener::accept::Peer;
use crate::store::StoreError;
use crate::store::tenants::Tenant;
use crate::vault::SecretKind;
use challenge::Challenger;
pub use error::EnrolmentError;

const COMPONENT: &str = "enrolment";
/// A request carries a CSR, a key, labels and facts: a few KiB. Nobody needs more before they are
/// authenticated.
const MAX_MESSAGE_BYTES: usize = 32 * 1024;

/// What the service needs to know of the installation.
pub struct Enroller {
    pub(crate) app: App,
    trust_domain: String,
    lifetime: Duration,
}

impl Enroller {
    /// For this installation; certificates are valid for `lifetime`.
    pub async fn open(app: App, lifetime: Duration) -> Result<Self, EnrolmentError> {
        let roots = Roots::load(&app, COMPONENT).await?;
        // It opens, or nobody could be let in.
        roots.signing(&app.vault)?;
        Ok(Self { app, trust_domain: roots.trust_domain, lifetime })
    }

    /// The roots, as they are now: they change while this runs.
    async fn roots(&self) -> Result<Roots, EnrolmentError> {
        Ok(Roots::load(&self.app, COMPONENT).await?)
    }

    /// Derived from the root's key, so that a nonce of one controller is good at every other. A nonce
    /// from before a rotation of the root is refused, and asked for again.
    async fn challenger(&self) -> Result<Challenger, EnrolmentError> {
        let root = self.roots().await?.signing(&self.app.vault)?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &root.key_pkcs8);
        Ok(Challenger::new(hmac::sign(&key, b"edgeformer renewal challenge v1").as_ref()))
    }

    /// The installation's SPIFFE trust domain.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// The tonic service.
    pub fn into_service(self) -> EnrolmentServer<EnrolmentService> {
        EnrolmentServer::new(EnrolmentService(Arc::new(self)))
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .accept_compressed(CompressionEncoding::Zstd)
    }

    fn issue(
        &self,
        tenant: &Tenant,
        device: DeviceId,
        spki: &[u8],
    ) -> Result<IssuedLeaf, EnrolmentError> {
        let id = tenant.id.to_string();
        let key_pkcs8 =
            self.app.vault.unwrap(SecretKind::TenantCaKey, &id, &tenant.wrapped_ca_key)?;
        let issuing = KeyAndCert { key_pkcs8, cert_der: tenant.ca_cert_der.clone() };
        let leaf = DeviceLeaf {
            trust_domain: &self.trust_domain,
            tenant: tenant.id,
            device,
            public_key_spki: spki,
            lifetime: self.lifetime,
        };
        Ok(ca::issue_device(&issuing, &leaf, self.app.now().0)?)
    }
}

/// The service on the wire.
pub struct EnrolmentService(Arc<Enroller>);

#[tonic::async_trait]
impl Enrolment for EnrolmentService {
    async fn enrol(
        &self,
        request: Request<v1::EnrolRequest>,
    ) -> Result<Response<v1::EnrolResponse>, Status> {
        let source = source(&request);
        let (token, applicant) = request::parse_enrol(request.into_inner())?;
        Ok(Response::new(self.0.enrol(&token, applicant, &source).await?))
    }

    async fn apply(
        &self,
        request: Request<v1::ApplyRequest>,
    ) -> Result<Response<v1::ApplyResponse>, Status> {
        let (source, address) = (source(&request), address(&request));
        let mut message = request.into_inner();
        let id = std::mem::take(&mut message.enrolment_id);
        let applicant = request::parse_apply(message)?;
        Ok(Response::new(self.0.apply(&id, applicant, &source, address).await?))
    }

    async fn claim(
        &self,
        request: Request<v1::ClaimRequest>,
    ) -> Result<Response<v1::EnrolResponse>, Status> {
        let source = source(&request);
        let mut message = request.into_inner();
        let applicant = request::parse_claim(&mut message)?;
        Ok(Response::new(self.0.claim(&message, applicant, &source).await?))
    }

    async fn challenge(
        &self,
        request: Request<v1::ChallengeRequest>,
    ) -> Result<Response<v1::ChallengeResponse>, Status> {
        // Answered for any id: whether a device exists is nobody's business here.
        let device: DeviceId = request::parse_id(&request.get_ref().device_id)?;
        let nonce = self.0.challenger().await?.issue(device, self.0.app.now()).into();
        Ok(Response::new(v1::ChallengeResponse { nonce }))
    }

    async fn renew(
        &self,
        request: Request<v1::RenewRequest>,
    ) -> Result<Response<v1::RenewResponse>, Status> {
        let source = source(&request);
        let message = request.into_inner();
        request::check_protocol(message.protocol)?;
        let tenant: TenantId = request::parse_id(&message.tenant_id)?;
        let device: DeviceId = request::parse_id(&message.device_id)?;
        Ok(Response::new(self.0.renew(tenant, device, &message, &source).await?))
    }
}

fn address<T>(request: &Request<T>) -> Option<IpAddr> {
    request.extensions().get::<Arc<Peer>>().map(|peer| peer.address.ip())
}

fn source<T>(request: &Request<T>) -> String {
    let address: Option<SocketAddr> =
        request.extensions().get::<Arc<Peer>>().map(|peer| peer.address);
    address.map(|address| address.to_string()).unwrap_or_default()
}

/// What a device shows: its certificate, its tenant's CA, and what leads to a root from older ones, for
/// controllers that have not heard of the newest.
fn chain(leaf_der: Vec<u8>, tenant: &Tenant, roots: &Roots) -> Vec<Bytes> {
    let mut chain = vec![leaf_der, tenant.ca_cert_der.clone()];
    chain.extend(roots.crosses());
    chain.into_iter().map(Into::into).collect()
}

/// Turns "no such row" of a tenant that must exist into an error.
fn present(tenant: Option<Tenant>) -> Result<Tenant, EnrolmentError> {
    tenant.ok_or_else(|| {
        EnrolmentError::Store(StoreError::Damaged {
            table: "tenants",
            id: String::new(),
            what: "the tenant of a token or device is missing".to_owned(),
        })
    })
}
