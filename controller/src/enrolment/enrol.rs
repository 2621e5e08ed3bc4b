//! Enrol: a token for a certificate.

use bytes::Bytes;
use edgeformer_proto::ids::{DeviceId, TenantId};
use edgeformer_proto::v1;

use super::request::Applicant;
use super::way::Way;
use super::{Enroller, EnrolmentError, chain, present};
use crate::audit::{Intent, Outcome, Resource};
use crate::authorities::Roots;
use crate::ca::IssuedLeaf;
use crate::clock::Timestamp;
use crate::policy::Action;
use crate::scope::{InstallationScope, TenantScope};
use crate::store::devices::{self, Device, replacements};
use crate::store::enrolments::{self, NewDevice};
use crate::store::tenants::{self, Tenant};
use crate::store::{Conn, Write, audit_log, tenant_rows};
use crate::trust;
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
        self.let_in(&Way::Token(token), &applicant, source).await
    }

    /// Lets a device in by `way`, or finds it again.
    pub(super) async fn let_in(
        &self,
        way: &Way,
        applicant: &Applicant,
        source: &str,
    ) -> Result<v1::EnrolResponse, EnrolmentError> {
        match self.admit(way, applicant, source).await {
            // Two requests with one key at once: the one that lost finds the other's device.
            Err(EnrolmentError::Store(error)) if error.is_conflict() => {
                self.app.store.settled().await?;
                self.admit(way, applicant, source).await
            }
            done => done,
        }
    }

    async fn admit(
        &self,
        way: &Way,
        applicant: &Applicant,
        source: &str,
    ) -> Result<v1::EnrolResponse, EnrolmentError> {
        let now = self.app.now();
        let scope = TenantScope::system(way.tenant(), "enrolment");
        let standing = self.app.tenants().of(&self.app.store, way.tenant(), now).await?;
        standing.open()?;
        let mut read = self.app.store.read(&scope).await?;
        let tenant = present(tenants::own(&mut read).await?)?;
        let known = enrolments::device_by_key(&mut read, &applicant.spki).await?;
        if let Some(known) = known {
            drop(read);
            return self.admit_again(&tenant, way, known, applicant, source).await;
        }
        let device = DeviceId::new();
        let replaced = replaced(&mut read, way).await?;
        drop(read);
        let name = match &replaced {
            Some(old) => old.name.clone(),
            None if way.name().is_some() => way.name().unwrap_or_default().to_owned(),
            None => applicant.name.clone().unwrap_or_else(|| format!("device-{device}")),
        };
        let scope = TenantScope::device(way.tenant(), device, &name, source);
        let intent =
            Intent::new(Action::DeviceEnrol, Resource::new("device", device).named(name.clone()));
        if let Err(refused) = way.usable(false, now) {
            return Err(self.denied(&scope, intent, refused, now).await?);
        }
        let issued = self.issue(&tenant, device, &applicant.spki)?;
        let refusal = intent.clone();
        let roots = self.roots().await?;
        let new = new_device(device, name, way, applicant, replaced.as_ref(), &issued);
        let came = way.reason();
        let mut write = self.app.store.write(&scope, intent.because(came)).await?;
        if let Some(old) = &replaced {
            end_replaced(&mut write, old, device, now).await?;
        }
        if standing.limits.devices.is_some() {
            // Two that enrol at once do not both take the last place.
            tenants::lock(&mut write).await?;
        }
        // The key first: a twin of this request that took the last place or use is found by it.
        enrolments::insert_device(&mut write, &new, now).await?;
        if let Some(most) = standing.limits.devices
            && tenant_rows::enrolled_devices(&mut write).await? > most
        {
            write.rollback().await?;
            let refused = EnrolmentError::TooManyDevices(most);
            return Err(self.denied(&scope, refusal, refused, now).await?);
        }
        way.redeem(&mut write, device, now).await?;
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
        self.answer(&tenant, device, issued.cert_der, &roots).await
    }

    /// Records the refusal, and gives it back.
    async fn denied(
        &self,
        scope: &TenantScope,
        intent: Intent,
        refused: EnrolmentError,
        now: Timestamp,
    ) -> Result<EnrolmentError, EnrolmentError> {
        let intent = intent.because(refused.to_string());
        self.app.store.record(scope, intent, Outcome::Denied, now).await?;
        self.app.nudges.audit.notify_one();
        Ok(refused)
    }

    /// A device that is known by its key: its answer was lost, or it comes with another token.
    async fn admit_again(
        &self,
        tenant: &Tenant,
        way: &Way,
        (device, standing, used): (DeviceId, enrolments::Standing, String),
        applicant: &Applicant,
        source: &str,
    ) -> Result<v1::EnrolResponse, EnrolmentError> {
        if !standing.state.may_connect() {
            return Err(EnrolmentError::Revoked(device.to_string()));
        }
        way.usable(used == way.credential(), self.app.now())?;
        self.certify_again(tenant, device, &standing.name, applicant, source).await
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
            &issued,
            "enrolled again with the same key",
        )
        .await?;
        let roots = self.roots().await?;
        self.answer(tenant, device, issued.cert_der, &roots).await
    }

    async fn answer(
        &self,
        tenant: &Tenant,
        device: DeviceId,
        leaf_der: Vec<u8>,
        roots: &Roots,
    ) -> Result<v1::EnrolResponse, EnrolmentError> {
        Ok(v1::EnrolResponse {
            device_id: device.to_string(),
            tenant_id: tenant.id.to_string(),
            certificate_chain_der: chain(leaf_der, tenant, roots),
            root_der: roots.current_der.clone().into(),
            cross_der: roots.crosses().into_iter().map(Into::into).collect(),
            retired_root_sha256: roots.retired().into_iter().map(Into::into).collect(),
            release_public: tenant.release_public.clone().into(),
            trust_domain: self.trust_domain.clone(),
            trusted_root: self.trusted_root(tenant.id).await?,
        })
    }

    /// What a device is to trust from now on, if it trusts nothing yet.
    pub(super) async fn trusted_root(&self, tenant: TenantId) -> Result<Bytes, EnrolmentError> {
        let scope = TenantScope::system(tenant, "enrolment");
        Ok(trust::newest_root(&self.app, &scope).await?.into())
    }
}

/// The device whose place the token gives. Its labels are those of now, not of when the token was made.
async fn replaced(
    read: &mut Conn<TenantScope>,
    way: &Way,
) -> Result<Option<Device>, EnrolmentError> {
    let Some(id) = way.replaces() else { return Ok(None) };
    match devices::get(read, id).await? {
        Some(old) if old.replaced_by.is_none() => Ok(Some(old)),
        _ => Err(EnrolmentError::Replaced(id.to_string())),
    }
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

fn new_device(
    id: DeviceId,
    name: String,
    way: &Way,
    applicant: &Applicant,
    replaced: Option<&Device>,
    issued: &IssuedLeaf,
) -> NewDevice {
    // The operator's word beats the device's own.
    let mut labels = applicant.labels.clone();
    labels.extend(way.labels().clone());
    labels.extend(replaced.map(|old| old.labels.clone()).unwrap_or_default());
    NewDevice {
        id,
        name,
        labels,
        facts: applicant.facts.to_json(),
        public_key: applicant.spki.clone(),
        hpke_public: applicant.hpke_public.clone(),
        credential: way.credential(),
        cert_expires_at_us: issued.expires_at_us,
        ca_id: issued.ca_id.clone(),
    }
}
