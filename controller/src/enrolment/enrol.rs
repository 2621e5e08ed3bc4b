//! Enrol: a token for a certificate.

use edgeformer_proto::ids::DeviceId;
use edgeformer_proto::v1;

use super::request::Applicant;
use super::{Enroller, EnrolmentError, present};
use crate::audit::{Intent, Outcome, Resource};
use crate::clock::Timestamp;
use crate::policy::Action;
use crate::scope::{InstallationScope, TenantScope};
use crate::store::devices::{self, Device, replacements};
use crate::store::enrolments::{self, NewDevice, PresentedToken};
use crate::store::tenants::{self, Tenant};
use crate::store::{Write, audit_log, tenant_rows};
use edgeformer_proto::token::Token;

impl Enroller {
    /// Lets a device in, or finds it again: the same key never burns a second use.
    pub(super) async fn enrol(
        &self,
        token: &Token,
        applicant: Applicant,
        source: &str,
    ) -> Result<v1::EnrolResponse, EnrolmentError> {
        let (scope, sha256) = (InstallationScope::system("enrolment"), token.sha256());
        let mut read = self.app.store.read_presented(&scope, &sha256).await?;
        let found = enrolments::find_token(&mut read, &sha256).await?;
        drop(read);
        let token = found.ok_or(EnrolmentError::TokenUnknown)?;
        match self.admit(&token, &applicant, source).await {
            // Two requests with one key at once: the one that lost finds the other's device.
            Err(EnrolmentError::Store(error)) if error.is_conflict() => {
                self.admit(&token, &applicant, source).await
            }
            done => done,
        }
    }

    async fn admit(
        &self,
        token: &PresentedToken,
        applicant: &Applicant,
        source: &str,
    ) -> Result<v1::EnrolResponse, EnrolmentError> {
        let now = self.app.now();
        let scope = TenantScope::system(token.tenant, "enrolment");
        let standing = self.app.tenants().of(&self.app.store, token.tenant, now).await?;
        standing.open()?;
        let mut read = self.app.store.read(&scope).await?;
        let tenant = present(tenants::own(&mut read).await?)?;
        let known = enrolments::device_by_key(&mut read, &applicant.spki).await?;
        drop(read);
        if let Some(known) = known {
            return self.admit_again(&tenant, token, known, applicant, source).await;
        }
        let device = DeviceId::new();
        let replaced = self.replaced(&scope, token).await?;
        let name = match &replaced {
            Some(old) => old.name.clone(),
            None => applicant.name.clone().unwrap_or_else(|| format!("device-{device}")),
        };
        let scope = TenantScope::device(token.tenant, device, &name, source);
        let intent =
            Intent::new(Action::DeviceEnrol, Resource::new("device", device).named(name.clone()));
        if let Err(refused) = usable(token, false, now) {
            let intent = intent.because(refused.to_string());
            self.app.store.record(&scope, intent, Outcome::Denied, now).await?;
            self.app.nudges.audit.notify_one();
            return Err(refused);
        }
        let issued = self.issue(&tenant, device, &applicant.spki)?;
        let refusal = intent.clone();
        let new =
            new_device(device, name, token, applicant, replaced.as_ref(), issued.expires_at_us);
        let came = came_by(token);
        let mut write = self.app.store.write(&scope, intent.because(came)).await?;
        if let Some(old) = &replaced {
            end_replaced(&mut write, old, device, now).await?;
        }
        if let Some(most) = standing.limits.devices
            && !has_room(&mut write, most).await?
        {
            write.rollback().await?;
            let refused = EnrolmentError::TooManyDevices(most);
            let intent = refusal.because(refused.to_string());
            self.app.store.record(&scope, intent, Outcome::Denied, now).await?;
            self.app.nudges.audit.notify_one();
            return Err(refused);
        }
        if !enrolments::redeem(&mut write, token.id, now).await? {
            return Err(EnrolmentError::TokenUsedUp);
        }
        enrolments::insert_device(&mut write, &new, now).await?;
        let mut joined = serde_json::json!({"name": new.name, "labels": new.labels});
        if let Some(old) = &replaced {
            replacements::take_over(&mut write, old.id, device, now).await?;
            joined["replaces"] = old.id.to_string().into();
        }
        write.changes(serde_json::Value::Null, joined);
        write.commit(now).await?;
        self.app.nudges.audit.notify_one();
        if let Some(old) = &replaced {
            self.app.nudges.device(tenant.id, old.id);
            self.app.nudges.rollouts.notify_one();
        }
        tracing::info!(%device, name = new.name, tenant = tenant.name, "device enrolled");
        Ok(self.answer(&tenant, device, issued.cert_der))
    }

    /// A device that is known by its key: its answer was lost, or it comes with another token.
    async fn admit_again(
        &self,
        tenant: &Tenant,
        token: &PresentedToken,
        (device, standing, used_token): (DeviceId, enrolments::Standing, String),
        applicant: &Applicant,
        source: &str,
    ) -> Result<v1::EnrolResponse, EnrolmentError> {
        if !standing.state.may_connect() {
            return Err(EnrolmentError::Revoked(device.to_string()));
        }
        usable(token, used_token == token.id.to_string(), self.app.now())?;
        self.certify_again(tenant, device, &standing.name, applicant, source).await
    }

    /// The device whose place the token gives. Its labels are those of now, not of when the token was made.
    async fn replaced(
        &self,
        scope: &TenantScope,
        token: &PresentedToken,
    ) -> Result<Option<Device>, EnrolmentError> {
        let Some(id) = token.replaces else { return Ok(None) };
        let mut read = self.app.store.read(scope).await?;
        match devices::get(&mut read, id).await? {
            Some(old) if old.replaced_by.is_none() => Ok(Some(old)),
            _ => Err(EnrolmentError::Replaced(id.to_string())),
        }
    }

    async fn certify_again(
        &self,
        tenant: &Tenant,
        device: DeviceId,
        name: &str,
        applicant: &Applicant,
        source: &str,
    ) -> Result<v1::EnrolResponse, EnrolmentError> {
        let issued = self.issue(tenant, device, &applicant.spki)?;
        self.note_certificate(
            tenant.id,
            device,
            name,
            source,
            issued.expires_at_us,
            "enrolled again with the same key",
        )
        .await?;
        Ok(self.answer(tenant, device, issued.cert_der))
    }

    fn answer(&self, tenant: &Tenant, device: DeviceId, leaf_der: Vec<u8>) -> v1::EnrolResponse {
        v1::EnrolResponse {
            device_id: device.to_string(),
            tenant_id: tenant.id.to_string(),
            certificate_chain_der: vec![leaf_der.into(), tenant.ca_cert_der.clone().into()],
            root_der: self.root_der.clone().into(),
            release_public: tenant.release_public.clone().into(),
            trust_domain: self.trust_domain.clone(),
        }
    }
}

/// For the audit log.
fn came_by(token: &PresentedToken) -> String {
    match token.replaces {
        Some(old) => format!("enrolment token {}, in the place of device {old}", token.id),
        None => format!("enrolment token {}", token.id),
    }
}

/// Whether the tenant may have one more device.
async fn has_room(write: &mut Write<TenantScope>, most: u64) -> Result<bool, EnrolmentError> {
    // Locked first: two that enrol at once do not both take the last place.
    tenants::lock(write).await?;
    Ok(tenant_rows::enrolled_devices(write).await? < most)
}

/// Cuts off the device whose place `new` takes, on the record.
async fn end_replaced(
    write: &mut Write<TenantScope>,
    old: &Device,
    new: DeviceId,
    now: Timestamp,
) -> Result<(), EnrolmentError> {
    let reason = format!("replaced by device {new}");
    if devices::revoke(write, old.id, &reason, now).await? {
        let resource = Resource::new("device", old.id).named(old.name.clone());
        let intent = Intent::new(Action::DeviceRevoke, resource).because(reason).changes(
            serde_json::json!({"state": old.state.as_str()}),
            serde_json::json!({"state": "revoked", "replaced_by": new.to_string()}),
        );
        audit_log::enqueue(write, intent, Outcome::Success, now).await?;
    }
    Ok(())
}

/// Whether a token lets a device in; `again`: the device used this very token before.
fn usable(token: &PresentedToken, again: bool, now: Timestamp) -> Result<(), EnrolmentError> {
    if let Some(at) = token.revoked_at {
        return Err(EnrolmentError::TokenRevoked(at.rfc3339()));
    }
    if token.expires_at <= now {
        return Err(EnrolmentError::TokenExpired(token.expires_at.rfc3339()));
    }
    if token.uses_left == 0 && !again {
        return Err(EnrolmentError::TokenUsedUp);
    }
    Ok(())
}

fn new_device(
    id: DeviceId,
    name: String,
    token: &PresentedToken,
    applicant: &Applicant,
    replaced: Option<&Device>,
    cert_expires_at_us: i64,
) -> NewDevice {
    // The operator's word beats the device's own.
    let mut labels = applicant.labels.clone();
    labels.extend(token.labels.clone());
    labels.extend(replaced.map(|old| old.labels.clone()).unwrap_or_default());
    NewDevice {
        id,
        name,
        labels,
        facts: applicant.facts.to_json(),
        public_key: applicant.spki.clone(),
        hpke_public: applicant.hpke_public.clone(),
        token: token.id,
        cert_expires_at_us,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgeformer_proto::ids::{TenantId, TokenId};

    #[test]
    fn each_way_a_token_fails_is_said_apart() {
        let good = PresentedToken {
            tenant: TenantId::new(),
            id: TokenId::new(),
            labels: Default::default(),
            uses_left: 1,
            expires_at: Timestamp(100),
            revoked_at: None,
            replaces: None,
        };
        let check = |token: PresentedToken, again, now, expected: &str| {
            let found = usable(&token, again, Timestamp(now));
            let found = found.err().map(|e| e.to_string()).unwrap_or_default();
            assert!(found.contains(expected) && found.is_empty() == expected.is_empty(), "{found}");
        };
        let used = PresentedToken { uses_left: 0, ..good.clone() };
        let revoked = PresentedToken { revoked_at: Some(Timestamp(5)), ..good.clone() };
        check(good.clone(), false, 99, "");
        check(good, false, 100, "expired at 1970-01-01T00:00:00.0001Z");
        check(used.clone(), false, 1, "used up");
        check(used.clone(), true, 1, "");
        check(used, true, 100, "expired");
        check(revoked, true, 1, "was revoked at 1970-01-01T00:00:00.000005Z");
    }
}
