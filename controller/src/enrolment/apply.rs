//! Enrolment by approval: a device without a token asks, and asks again until an operator decided. Who
//! asks is a stranger, so what waits is bounded per tenant and per address, and is forgotten.

use std::net::IpAddr;
use std::time::Duration;

use edgeformer_proto::fingerprint::fingerprint;
use edgeformer_proto::ids::{EnrolmentRequestId, TenantId};
use edgeformer_proto::v1;
use edgeformer_proto::v1::apply_response::Outcome as Answer;
use ring::digest;

use super::request::Applicant;
use super::way::Way;
use super::{Enroller, EnrolmentError};
use crate::audit::{Intent, Resource};
use crate::ca;
use crate::clock::Timestamp;
use crate::policy::Action;
use crate::scope::{InstallationScope, TenantScope};
use crate::store::enrolments::requests::{
    self as enrolment_requests, EnrolmentRequest, RequestState,
};

/// Requests of one tenant that wait; more than anybody compares fingerprints of in a day.
pub const MAX_WAITING: u64 = 200;
/// From one address; a site behind one address has about so many devices put up in a day.
pub const MAX_WAITING_PER_ADDRESS: u64 = 20;
/// A request that nobody looked at for a day is forgotten; the device asks again.
const LIFE: Duration = Duration::from_secs(24 * 3600);
/// How soon a waiting device may ask again.
const RETRY_S: u32 = 5;
/// Longest enrolment id that is looked up; they have 20 characters.
const MAX_ID_CHARS: usize = 64;

impl Enroller {
    /// The tenant that a device names.
    pub(super) async fn tenant_named(&self, id: &str) -> Result<TenantId, EnrolmentError> {
        let id = id.trim();
        if id.is_empty() || id.len() > MAX_ID_CHARS {
            return Err(EnrolmentError::DoorUnknown);
        }
        let hash = digest::digest(&digest::SHA256, id.as_bytes());
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(hash.as_ref());
        let scope = InstallationScope::system("enrolment");
        let mut read = self.app.store.read_presented(&scope, &sha256).await?;
        enrolment_requests::tenant_of(&mut read, &sha256).await?.ok_or(EnrolmentError::DoorUnknown)
    }

    /// Answers a device that asks: wait, no, or its certificate.
    pub(super) async fn apply(
        &self,
        enrolment_id: &str,
        applicant: Applicant,
        source: &str,
        address: Option<IpAddr>,
    ) -> Result<v1::ApplyResponse, EnrolmentError> {
        let tenant = self.tenant_named(enrolment_id).await?;
        let now = self.app.now();
        self.app.tenants().of(&self.app.store, tenant, now).await?.open()?;
        let scope = TenantScope::system(tenant, "enrolment");
        let mut read = self.app.store.read(&scope).await?;
        let known = enrolment_requests::by_key(&mut read, &applicant.spki).await?;
        drop(read);
        let request = match known.filter(|request| request.expires_at > now) {
            Some(request) => request,
            None => self.ask(&scope, &applicant, source, address, now).await?,
        };
        let outcome = match request.state {
            RequestState::Waiting => Answer::Waiting(v1::Waiting {
                request_id: request.id.to_string(),
                retry_after_s: RETRY_S,
            }),
            RequestState::Rejected => Answer::Rejected(request.reason),
            RequestState::Approved | RequestState::Done => {
                let way = Way::Request(tenant, Box::new(request));
                Answer::Enrolled(self.let_in(&way, &applicant, source).await?)
            }
        };
        Ok(v1::ApplyResponse { outcome: Some(outcome) })
    }

    /// Notes a new request, if there is room for it.
    async fn ask(
        &self,
        scope: &TenantScope,
        applicant: &Applicant,
        source: &str,
        address: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<EnrolmentRequest, EnrolmentError> {
        let point = ca::p256_point(&applicant.spki).unwrap_or(&applicant.spki);
        let request = EnrolmentRequest {
            id: EnrolmentRequestId::new(),
            public_key: applicant.spki.clone(),
            fingerprint: fingerprint(point),
            name: applicant.name.clone().unwrap_or_default(),
            labels: applicant.labels.clone(),
            facts: applicant.facts.to_json(),
            address: address.map(|ip| ip.to_string()).unwrap_or_default(),
            state: RequestState::Waiting,
            given_name: String::new(),
            given_labels: Default::default(),
            reason: String::new(),
            device: None,
            created_at: now,
            expires_at: now.plus(LIFE),
        };
        let named = Resource::new("enrolment_request", request.id).named(request.name.clone());
        let intent = Intent::new(Action::EnrolmentRequestCreate, named)
            .because(format!("key {}", request.fingerprint));
        let acting = TenantScope::stranger(scope.tenant(), &request.fingerprint, source);
        let mut write = self.app.store.write(&acting, intent).await?;
        // Locked first: many that ask at once do not all see the last place.
        crate::store::tenants::lock(&mut write).await?;
        enrolment_requests::forget_expired(&mut write, now).await?;
        let (everyone, same) = enrolment_requests::waiting(&mut write, &request.address).await?;
        if everyone >= MAX_WAITING || same >= MAX_WAITING_PER_ADDRESS {
            write.rollback().await?;
            return Err(EnrolmentError::TooManyRequests);
        }
        enrolment_requests::insert(&mut write, &request).await?;
        write.commit(now).await?;
        self.app.nudges.audit.notify_one();
        tracing::info!(request = %request.id, fingerprint = request.fingerprint, "a device asks to be let in");
        Ok(request)
    }
}
