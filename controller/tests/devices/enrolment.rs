use std::collections::BTreeSet;

use edgeformer_controller::admin::{devices, tenant_lifecycle as lifecycle};
use edgeformer_controller::scope::InstallationScope;
use edgeformer_controller::store::audit_log;
use edgeformer_controller::tenancy::Limits;
use edgeformer_proto::protocol::PROTOCOL;
use futures::future::join_all;
use tonic::Code;

use crate::support::device::{Device, Keys, enrol};
use crate::support::{Controller, DAY};

async fn refused(controller: &Controller, token: &str) -> (Code, String) {
    let keys = Keys::new();
    let status = enrol(controller, keys.request(token, "x")).await.unwrap_err();
    (status.code(), status.message().to_owned())
}

#[tokio::test]
async fn a_token_lets_as_many_devices_in_as_it_says_and_a_lost_answer_costs_none() {
    let controller = Controller::start().await;
    let labels = [("site", "bergen")];
    let token = controller.token_of(&controller.scope, 2, &labels).await;
    let keys = Keys::new();
    let mut request = keys.request(&token, "bergen-1");
    request.labels = [("site", "own"), ("line", "2")].map(|(k, v)| (k.into(), v.into())).into();
    let first = enrol(&controller, request.clone()).await.unwrap();
    let again = enrol(&controller, request).await.unwrap();
    assert_eq!(first.device_id, again.device_id);
    Device::with_token(&controller, &token, "bergen-2").await;
    // The token is used up, and the device that used it still finds its way back.
    let third = enrol(&controller, keys.request(&token, "bergen-1")).await.unwrap();
    assert_eq!(third.device_id, first.device_id);
    let (code, message) = refused(&controller, &token).await;
    assert_eq!(code, Code::FailedPrecondition);
    assert!(message.contains("used up"), "{message}");

    let id = first.device_id.parse().unwrap();
    let device = devices::get(&controller.app, &controller.scope, id).await.unwrap().device;
    let labels: Vec<_> = device.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(labels, ["line=2", "site=bergen"], "the operator's label beats the device's");
    assert_eq!(device.name, "bergen-1");
    let mut read = controller.app.store.read(&controller.scope).await.unwrap();
    let records = audit_log::list(&mut read, None, 100).await.unwrap();
    let count = |action| records.iter().filter(|entry| entry.record.action == action).count();
    drop(read);
    // Two joined and one was refused; the same key twice more is a renewal.
    assert_eq!((count("device:enrol"), count("device:renew")), (3, 2));
    controller.stop().await;
}

#[tokio::test]
async fn each_token_that_does_not_work_says_why() {
    let controller = Controller::start().await;
    let check = |found: (Code, String), code, words: &str| {
        assert!(found.0 == code && found.1.contains(words), "{found:?}");
    };
    let token = controller.token(1).await;
    let at = token.len() - 1;
    let typo = format!("{}{}", &token[..at], if token.ends_with('0') { '1' } else { '0' });
    check(refused(&controller, &typo).await, Code::InvalidArgument, "checksum does not match");
    check(refused(&controller, "efp_x").await, Code::InvalidArgument, "not an enrolment token");
    let other = Controller::start().await;
    let foreign = other.token(1).await;
    check(refused(&controller, &foreign).await, Code::Unauthenticated, "not known to this");
    controller.clock.shift(2 * DAY.as_micros() as i64);
    check(refused(&controller, &token).await, Code::FailedPrecondition, "expired at");
    let mut far = Keys::new().request(&token, "x");
    far.protocol = PROTOCOL + 2;
    let status = enrol(&controller, far).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("update the controller first"), "{status:?}");
    other.stop().await;
    controller.stop().await;
}

#[tokio::test]
async fn two_requests_with_one_key_at_once_make_one_device() {
    let controller = Controller::start().await;
    let limits = Limits { devices: Some(5), ..Limits::default() };
    let top = InstallationScope::system("test");
    lifecycle::set_limits(&controller.app, &top, controller.scope.tenant(), limits).await.unwrap();
    let token = controller.token(5).await;
    // The last time it is the last use, and the last place that the tenant has.
    for _ in 0..5 {
        let keys = Keys::new();
        let requests: Vec<_> = (0..8).map(|_| keys.request(&token, "twin")).collect();
        let answers = join_all(requests.into_iter().map(|request| enrol(&controller, request)));
        let ids = answers.await.into_iter().map(|answer| answer.unwrap().device_id);
        assert_eq!(ids.collect::<BTreeSet<_>>().len(), 1);
    }
    controller.stop().await;
}

#[tokio::test]
async fn a_device_renews_after_its_certificate_expired() {
    let controller = Controller::start_at(-(40 * DAY.as_micros() as i64)).await;
    let mut device = Device::enrolled(&controller, "sleeper").await;
    device.session(&controller).await;
    controller.clock.shift(40 * DAY.as_micros() as i64);
    let status = device.dial(&controller).await.err().expect("refused");
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(status.message().contains("expired at"), "{status:?}");
    assert!(status.message().contains("renew it"), "{status:?}");
    device.renew(&controller).await.unwrap();
    device.session(&controller).await;
    controller.stop().await;
}

#[tokio::test]
async fn renewal_needs_the_enrolled_key_and_a_device_that_was_not_revoked() {
    let controller = Controller::start().await;
    let mut device = Device::enrolled(&controller, "a").await;
    device.renew(&controller).await.unwrap();
    // A request that was overheard, with somebody else's proof; and the other way round.
    let stranger = Keys::new();
    let ours = device.keys.csr();
    for (csr, prover) in [(ours, &stranger), (stranger.csr(), &device.keys)] {
        let status = device.renew_with(&controller, csr, prover).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
    }
    let keys = std::mem::replace(&mut device.keys, Keys::new());
    let status = device.renew(&controller).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    let revoked = device.id.parse().unwrap();
    devices::revoke(&controller.app, &controller.scope, revoked).await.unwrap();
    let status = device.renew(&controller).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "a stranger does not learn of the revocation");
    device.keys = keys;
    let status = device.renew(&controller).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("was revoked"), "{status:?}");
    let token = controller.token(1).await;
    let status = enrol(&controller, device.keys.request(&token, "a")).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "the revoked key stays out");
    controller.stop().await;
}
