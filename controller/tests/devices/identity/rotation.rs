//! Certificate authorities are replaced while devices use them, are off, or come to another controller.

use edgeformer_controller::admin::authorities::{self as admin, Authority, State};
use edgeformer_controller::authorities::rotate::{self, RotateError};
use edgeformer_controller::authorities::{self, Roots};
use edgeformer_controller::ca;
use edgeformer_controller::scope::InstallationScope;
use edgeformer_proto::v1;
use edgeformer_proto::v1::enrolment_client::EnrolmentClient;
use tonic::Code;

use super::records;
use crate::support::device::Device;
use crate::support::postgres::on_postgres;
use crate::support::{Controller, DAY};

fn top() -> InstallationScope {
    InstallationScope::system("test")
}

async fn issuing(controller: &Controller) -> Vec<Authority> {
    admin::issuing(&controller.app, &controller.scope).await.unwrap()
}

async fn roots(controller: &Controller) -> Vec<Authority> {
    admin::roots(&controller.app, &top()).await.unwrap()
}

fn states(all: &[Authority]) -> Vec<(State, u64)> {
    all.iter().map(|ca| (ca.state, ca.holders.devices)).collect()
}

async fn told_to_renew(controller: &Controller, device: &Device) {
    let status = device.dial(controller).await.err().expect("refused");
    assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
    assert!(status.message().contains("renew it"), "{status:?}");
}

#[tokio::test]
async fn a_tenants_ca_is_replaced_and_the_old_one_retired_when_nobody_needs_it() {
    let controller = Controller::start().await;
    let mut device = Device::enrolled(&controller, "a").await;
    let other = Device::enrolled(&controller, "b").await;
    let old = issuing(&controller).await.remove(0);
    assert_eq!((old.state, old.holders.devices), (State::Current, 2));
    let mut talk = device.session(&controller).await;

    let after = admin::rotate_issuing(&controller.app, &controller.scope).await.unwrap();
    assert_eq!(states(&after), [(State::Current, 0), (State::Overlap, 2)]);
    assert_eq!(after[1].id, old.id);
    // What the old one signed counts, also for a new connection.
    device.session(&controller).await;
    device.renew(&controller).await.unwrap();
    assert!(ca::issued_by(&device.chain[0], &after[0].cert_der).is_ok());
    talk.refusal().await;
    device.session(&controller).await;

    let retire =
        |force| rotate::retire_tenant(&controller.app, &controller.scope, &old.id, force, "");
    let error = retire(false).await.unwrap_err().to_string();
    assert!(
        error.contains("1 devices hold certificates from it") && error.contains("(b)"),
        "{error}"
    );
    assert_eq!(states(&issuing(&controller).await), [(State::Current, 1), (State::Overlap, 1)]);
    other.session(&controller).await;
    retire(true).await.unwrap();
    assert_eq!(states(&issuing(&controller).await), [(State::Current, 1), (State::Retired, 0)]);
    told_to_renew(&controller, &other).await;
    let mut other = other;
    other.renew(&controller).await.unwrap();
    other.session(&controller).await;
    assert_eq!(records(&controller, "tenant_ca:rotate").await.len(), 1);
    assert_eq!(records(&controller, "tenant_ca:retire").await.len(), 1);
    controller.stop().await;
}

#[tokio::test]
async fn a_running_session_whose_ca_is_retired_by_force_is_told_to_renew() {
    let controller = Controller::start().await;
    let device = Device::enrolled(&controller, "a").await;
    let mut talk = device.session(&controller).await;
    let old = issuing(&controller).await.remove(0);
    rotate::tenant(&controller.app, &controller.scope, "").await.unwrap();
    rotate::retire_tenant(&controller.app, &controller.scope, &old.id, true, "").await.unwrap();
    let status = loop {
        match talk.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the session ended without a word"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
    assert!(status.message().contains("retired"), "{status:?}");
    controller.stop().await;
}

/// Whoever trusts the first root alone finds the present one, through all that were between.
#[tokio::test]
async fn the_root_is_replaced_three_times_and_a_device_that_was_off_for_years_comes_back() {
    let controller = Controller::start_at(-(80 * DAY.as_micros() as i64)).await;
    let mut sleeper = Device::enrolled(&controller, "sleeper").await;
    let first = roots(&controller).await.remove(0);
    for turn in 0..3_u64 {
        rotate::root(&controller.app, &top()).await.unwrap();
        controller.clock.shift(15 * DAY.as_micros() as i64);
        authorities::reconcile(&controller.app).await.unwrap();
        let all = issuing(&controller).await;
        let present = Roots::load(&controller.app, "test").await.unwrap();
        assert!(ca::issued_by(&all[0].cert_der, &present.current_der).is_ok(), "turn {turn}");
    }
    controller.clock.shift(35 * DAY.as_micros() as i64);
    // Nobody needs the old ones: a certificate of the sleeper is over.
    authorities::reconcile(&controller.app).await.unwrap();
    let all = roots(&controller).await;
    let shown: Vec<State> = all.iter().map(|root| root.state).collect();
    assert_eq!(shown, [State::Current, State::Retired, State::Retired, State::Retired]);
    assert_eq!(all[3].id, first.id);

    // `connect` trusts the first root alone, as the sleeper does.
    wait_presented(&controller, &all[0].cert_der).await;
    let status = sleeper.dial(&controller).await.err().expect("refused");
    assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
    sleeper.renew(&controller).await.unwrap();
    assert_eq!(
        sleeper.chain.len(),
        5,
        "leaf, issuing CA, and what leads to each root from the one before"
    );
    sleeper.session(&controller).await;
    let mut before = all[1].cert_der.clone();
    for (cross, root) in sleeper.chain[2..].iter().zip(&all) {
        assert!(ca::issued_by(cross, &before).is_ok());
        assert!(
            ca::issued_by(cross, &root.cert_der).is_err(),
            "a cross is not the root's own word"
        );
        let at = all.iter().position(|one| one.id == root.id).unwrap();
        before = all.get(at + 2).map_or_else(Vec::new, |root| root.cert_der.clone());
    }
    controller.stop().await;
}

/// Waits until the listener's certificate is one that `root_der` signed.
async fn wait_presented(controller: &Controller, root_der: &[u8]) {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    loop {
        let pem = std::fs::read(controller.data_dir().server_cert()).unwrap();
        let leaf = CertificateDer::pem_slice_iter(&pem).next().unwrap().unwrap();
        if ca::issued_by(&leaf, root_der).is_ok() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_a_device_learns_of_roots_leads_from_the_one_that_it_trusts() {
    let controller = Controller::start().await;
    let first = roots(&controller).await.remove(0);
    rotate::root(&controller.app, &top()).await.unwrap();
    let refused = rotate::retire_root(&controller.app, &top(), &first.id, false, "").await;
    let token = controller.token(1).await;
    let keys = crate::support::device::Keys::new();
    let channel = controller.connect(None).await.unwrap();
    let answer = EnrolmentClient::new(channel).enrol(keys.request(&token, "a")).await.unwrap();
    let v1::EnrolResponse { root_der, cross_der, retired_root_sha256, .. } = answer.into_inner();
    let present = Roots::load(&controller.app, "test").await.unwrap();
    assert_eq!(root_der, present.current_der);
    assert_eq!(cross_der.len(), 1);
    ca::issued_by(&cross_der[0], &first.cert_der).unwrap();
    match refused {
        // The background may have been faster.
        Ok(()) => assert_eq!(retired_root_sha256.len(), 1),
        Err(error) => assert!(matches!(error, RotateError::NotReplaced(1)), "{error}"),
    }
    controller.stop().await;
}

#[tokio::test]
async fn several_controllers_take_a_new_root_into_use_and_rotate_once() {
    on_postgres(|url| async move {
        let first = Controller::start_on(&url).await;
        let second = first.beside().await;
        let mut device = Device::enrolled(&first, "a").await;
        let scope = top();
        let (a, b) =
            tokio::join!(rotate::root(&first.app, &scope), rotate::root(&second.app, &scope));
        let rotated = [a, b].into_iter().filter(Result::is_ok).count() as u64;
        assert!(rotated >= 1);
        let (a, b) =
            tokio::join!(authorities::reconcile(&first.app), authorities::reconcile(&second.app));
        a.unwrap();
        b.unwrap();
        let all = roots(&second).await;
        assert_eq!(all.len() as u64, rotated + 1, "a lost race leaves nothing");
        assert_eq!(all[0].tenants, Some(1), "the tenant's CA was replaced after it");
        device.session(&second).await;
        device.renew(&first).await.unwrap();
        // The second may not have heard of the new root yet: the device shows what leads to it.
        device.session(&second).await;
        device.renew(&second).await.unwrap();
        device.session(&first).await;
        second.stop().await;
        first.stop().await;
    })
    .await;
}
