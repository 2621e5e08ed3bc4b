use std::time::Duration;

use edgeformer_controller::admin::devices;
use edgeformer_controller::audit::Outcome;
use edgeformer_controller::ca::{DeviceLeaf, KeyAndCert, create_root, issue_device};
use edgeformer_controller::clock::Clock;
use edgeformer_controller::scope::TenantScope;
use edgeformer_controller::store::{audit_log, tenants};
use edgeformer_controller::vault::SecretKind;
use edgeformer_proto::ids::{DeviceId, TenantId};
use edgeformer_proto::v1::refusal::Code as RefusalCode;
use edgeformer_proto::v1::session_client::SessionClient;
use tonic::Code;

use crate::support::device::{Device, Keys};
use crate::support::{Controller, tenant};

async fn issuing(controller: &Controller, scope: &TenantScope) -> KeyAndCert {
    let mut read = controller.app.store.read(scope).await.unwrap();
    let row = tenants::own(&mut read).await.unwrap().unwrap();
    let id = row.id.to_string();
    let vault = &controller.app.vault;
    let key_pkcs8 = vault.unwrap(SecretKind::TenantCaKey, &id, &row.wrapped_ca_key).unwrap();
    KeyAndCert { key_pkcs8, cert_der: row.ca_cert_der }
}

/// A certificate by `ca` that says that `keys` are those of `device` of `tenant`.
fn forge(
    controller: &Controller,
    ca: &KeyAndCert,
    keys: Keys,
    tenant: TenantId,
    device: DeviceId,
    trust_domain: &str,
) -> Device {
    let leaf = DeviceLeaf {
        trust_domain,
        tenant,
        device,
        public_key_spki: &keys.spki(),
        lifetime: Duration::from_secs(3600),
    };
    let issued = issue_device(ca, &leaf, controller.clock.now().0).unwrap();
    Device {
        keys,
        id: device.to_string(),
        tenant: tenant.to_string(),
        chain: vec![issued.cert_der, ca.cert_der.clone()],
    }
}

async fn denied(controller: &Controller, device: &Device, words: &str) {
    let status = device.dial(controller).await.err().expect("refused");
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    assert!(status.message().contains(words), "{status:?}");
}

#[tokio::test]
async fn without_a_certificate_only_enrolment_answers() {
    let controller = Controller::start().await;
    let channel = controller.connect(None).await.unwrap();
    let status =
        SessionClient::new(channel).open(tokio_stream::pending()).await.expect_err("refused");
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(status.message().contains("enrol the device first"), "{status:?}");
    controller.stop().await;
}

#[tokio::test]
async fn a_certificate_counts_only_for_the_tenant_device_key_and_domain_it_was_issued_for() {
    let controller = Controller::start().await;
    let device = Device::enrolled(&controller, "a").await;
    let (id, ours) = (device.id.parse().unwrap(), controller.scope.tenant());
    let other = tenant(&controller.app, "other").await;
    let (our_ca, other_ca) =
        (issuing(&controller, &controller.scope).await, issuing(&controller, &other).await);
    let make =
        |ca, tenant, device, domain| forge(&controller, ca, Keys::new(), tenant, device, domain);
    // The other tenant's CA names our device.
    let theirs = make(&other_ca, ours, id, "fleet.test");
    denied(&controller, &theirs, "not issued by the CA of the tenant").await;
    // Our device under the other tenant.
    let moved = make(&other_ca, other.tenant(), id, "fleet.test");
    denied(&controller, &moved, "is not known here").await;
    let stranger = make(&our_ca, ours, DeviceId::new(), "fleet.test");
    denied(&controller, &stranger, "is not known here").await;
    let copied = make(&our_ca, ours, id, "fleet.test");
    denied(&controller, &copied, "not for the key").await;
    let abroad = make(&our_ca, ours, id, "elsewhere.test");
    denied(&controller, &abroad, "trust domain \"elsewhere.test\"").await;
    device.session(&controller).await;
    controller.stop().await;
}

#[tokio::test]
async fn a_certificate_of_another_installation_does_not_pass_the_handshake() {
    let controller = Controller::start().await;
    let now = controller.clock.now().0;
    let root = create_root("fleet.test", now).unwrap();
    let tenant = controller.scope.tenant();
    let ca = edgeformer_controller::ca::create_issuing(&root, tenant, now).unwrap();
    let device = forge(&controller, &ca, Keys::new(), tenant, DeviceId::new(), "fleet.test");
    // With TLS 1.3 the client learns of the refusal with its first request at the latest.
    match controller.connect(Some(device.identity())).await {
        Err(_) => {}
        Ok(channel) => {
            let status = SessionClient::new(channel).open(tokio_stream::pending()).await;
            let status = status.expect_err("refused");
            assert_ne!(status.code(), Code::PermissionDenied, "the guard saw it: {status:?}");
        }
    }
    controller.stop().await;
}

#[tokio::test]
async fn a_revoked_device_is_cut_off_at_once() {
    let controller = Controller::start().await;
    let device = Device::enrolled(&controller, "a").await;
    let mut talk = device.session(&controller).await;
    let id = device.id.parse().unwrap();
    devices::revoke(&controller.app, &controller.scope, id).await.unwrap();
    let refusal = talk.refusal().await;
    assert_eq!(refusal.code(), RefusalCode::Revoked);
    assert!(refusal.message.contains("was revoked"), "{}", refusal.message);
    assert!(talk.next().await.unwrap().is_none(), "the stream ends");
    denied(&controller, &device, "was revoked").await;
    denied(&controller, &device, "was revoked").await;
    // A security event of the device, once in a while.
    let mut read = controller.app.store.read(&controller.scope).await.unwrap();
    let events = audit_log::list(&mut read, None, 50).await.unwrap();
    drop(read);
    let refused: Vec<_> = events.iter().filter(|e| e.record.action == "device:refuse").collect();
    assert_eq!(refused.len(), 1);
    let record = &refused[0].record;
    assert_eq!((record.outcome, &*record.actor.id), (Outcome::Denied, device.id.as_str()));
    assert!(record.reason.contains("was revoked"), "{record:?}");
    controller.stop().await;
}
