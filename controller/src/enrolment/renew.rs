//! Renew: a new certificate for a device that proves its enrolled key.

use edgeformer_proto::ids::{DeviceId, TenantId};
use edgeformer_proto::v1;
use ring::{digest, signature};

use super::{Enroller, EnrolmentError, chain, present};
use crate::audit::{Intent, Resource};
use crate::ca::{self, IssuedLeaf};
use crate::policy::Action;
use crate::scope::TenantScope;
use crate::store::{enrolments, tenants};

/// What the proof is about, so that no other signature of the device can be taken for one.
const CONTEXT: &[u8] = b"edgeformer renew v1\0";

impl Enroller {
    /// Renews, whether or not the old certificate is still valid.
    pub(super) async fn renew(
        &self,
        tenant: TenantId,
        device: DeviceId,
        message: &v1::RenewRequest,
        source: &str,
    ) -> Result<v1::RenewResponse, EnrolmentError> {
        self.challenger().await?.check(device, &message.nonce, self.app.now())?;
        let spki = ca::verify_csr(&message.csr_der)?;
        let mut read = self.app.store.read(&TenantScope::system(tenant, "enrolment")).await?;
        let standing = enrolments::standing(&mut read, device).await?;
        let standing = standing.ok_or(EnrolmentError::Proof)?;
        let tenant = present(tenants::own(&mut read).await?)?;
        drop(read);

        check_proof(&standing.public_key, &spki, message)?;
        // After the proof: that a device was revoked is for its owner alone.
        if !standing.state.may_connect() {
            return Err(EnrolmentError::Revoked(device.to_string()));
        }
        let now = self.app.now();
        self.app.tenants().of(&self.app.store, tenant.id, now).await?.serves_devices()?;
        let issued = self.issue(&tenant, device, &spki)?;
        let roots = self.roots().await?;
        self.note_certificate(
            tenant.id,
            device,
            &standing.name,
            source,
            &issued,
            "proof of the enrolled key",
        )
        .await?;
        Ok(v1::RenewResponse {
            certificate_chain_der: chain(issued.cert_der, &tenant, &roots),
            root_der: roots.current_der.clone().into(),
            cross_der: roots.crosses().into_iter().map(Into::into).collect(),
            retired_root_sha256: roots.retired().into_iter().map(Into::into).collect(),
            trusted_root: self.trusted_root(tenant.id).await?,
        })
    }

    /// Notes a certificate for a known device, with its audit record. Refused when the device was
    /// revoked meanwhile.
    pub(super) async fn note_certificate(
        &self,
        tenant: TenantId,
        device: DeviceId,
        name: &str,
        source: &str,
        issued: &IssuedLeaf,
        reason: &str,
    ) -> Result<(), EnrolmentError> {
        let now = self.app.now();
        let intent = Intent::new(Action::DeviceRenew, Resource::new("device", device).named(name))
            .because(reason);
        let scope = TenantScope::device(tenant, device, name, source);
        let mut write = self.app.store.write(&scope, intent).await?;
        let (until_us, ca_id) = (issued.expires_at_us, &issued.ca_id);
        if !enrolments::set_certificate(&mut write, device, until_us, ca_id).await? {
            return Err(EnrolmentError::Revoked(device.to_string()));
        }
        write.commit(now).await?;
        self.app.nudges.audit.notify_one();
        Ok(())
    }
}

/// The request must carry the enrolled key, and the proof must be by it.
fn check_proof(
    enrolled_spki: &[u8],
    request_spki: &[u8],
    message: &v1::RenewRequest,
) -> Result<(), EnrolmentError> {
    let point = ca::p256_point(enrolled_spki).ok_or(EnrolmentError::Proof)?;
    let csr = digest::digest(&digest::SHA256, &message.csr_der);
    let signed = [CONTEXT, &message.nonce, csr.as_ref()].concat();
    signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_ASN1, point)
        .verify(&signed, &message.proof)
        .map_err(|_| EnrolmentError::Proof)?;
    if enrolled_spki == request_spki { Ok(()) } else { Err(EnrolmentError::Proof) }
}
