//! Enrolment by a manufacturer's certificate: the device proves that it holds the key which was put into
//! it at the factory, and gets a certificate for a key that it made itself.

use edgeformer_proto::ids::DeviceId;
use edgeformer_proto::v1;
use ring::digest;

use super::request::{Applicant, parse_id};
use super::way::{Claim, Way};
use super::{Enroller, EnrolmentError};
use crate::audit::{Intent, Outcome, Resource};
use crate::ca::factory::{self, FactoryLeaf};
use crate::policy::Action;
use crate::scope::TenantScope;
use crate::store::enrolments::claim_cas::{self, ClaimCa};

/// What the proof is about.
const CONTEXT: &[u8] = b"edgeformer claim v1\0";
/// A leaf and the CAs between it and the one that is registered.
const MAX_CHAIN: usize = 4;

impl Enroller {
    /// Lets a device in that proves a certificate of a registered manufacturer.
    pub(super) async fn claim(
        &self,
        message: &v1::ClaimRequest,
        applicant: Applicant,
        source: &str,
    ) -> Result<v1::EnrolResponse, EnrolmentError> {
        let now = self.app.now();
        let challenged: DeviceId = parse_id(&message.challenge_id)?;
        self.challenger().await?.check(challenged, &message.nonce, now)?;
        if message.factory_chain_der.is_empty() || message.factory_chain_der.len() > MAX_CHAIN {
            let text = format!("a factory chain has 1 to {MAX_CHAIN} certificates");
            return Err(EnrolmentError::Request(text));
        }
        let tenant = self.tenant_named(&message.enrolment_id).await?;
        let scope = TenantScope::system(tenant, "enrolment");
        let mut read = self.app.store.read(&scope).await?;
        let cas = claim_cas::list(&mut read).await?;
        drop(read);
        let chain: Vec<&[u8]> = message.factory_chain_der.iter().map(|der| &der[..]).collect();
        let found = cas.iter().find_map(|ca| {
            factory::verify(&ca.cert_der, &chain, now.0).ok().map(|leaf| (ca, leaf))
        });
        // Which CAs a tenant trusts is for those alone who hold a certificate of one.
        let (ca, leaf) = found.ok_or(EnrolmentError::ClaimUnknown)?;
        let csr = digest::digest(&digest::SHA256, &message.csr_der);
        let signed = [CONTEXT, &message.nonce, csr.as_ref()].concat();
        leaf.verify(message.scheme, &signed, &message.proof).map_err(EnrolmentError::Claim)?;
        if let Err(refused) = admits(ca, &leaf) {
            let resource = Resource::new("claim_ca", ca.id).named(ca.name.clone());
            let intent = Intent::new(Action::DeviceEnrol, resource).because(refused.to_string());
            let acting = TenantScope::stranger(tenant, &leaf.serial, source);
            self.app.store.record(&acting, intent, Outcome::Denied, now).await?;
            self.app.nudges.audit.notify_one();
            return Err(refused);
        }
        let FactoryLeaf { certificate, serial, .. } = leaf;
        let claim = Claim { ca: ca.id, certificate, serial, labels: ca.labels.clone() };
        self.let_in(&Way::Claim(tenant, claim), &applicant, source).await
    }
}

/// Whether the CA lets this certificate in.
fn admits(ca: &ClaimCa, leaf: &FactoryLeaf) -> Result<(), EnrolmentError> {
    if ca.revoked.contains(&leaf.serial) {
        return Err(EnrolmentError::ClaimRevoked(leaf.serial.clone()));
    }
    let fits = |name: &String| ca.names.iter().any(|pattern| factory::matches(pattern, name));
    if !ca.names.is_empty() && !leaf.names.iter().any(fits) {
        let names = leaf.names.join(", ");
        return Err(EnrolmentError::ClaimName(names));
    }
    Ok(())
}
