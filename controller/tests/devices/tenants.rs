use edgeformer_controller::admin::tenant_lifecycle as lifecycle;
use edgeformer_controller::scope::InstallationScope;
use edgeformer_controller::tenancy::Limits;
use tonic::Code;

use crate::support::device::{Device, Keys, enrol};
use crate::support::{Controller, DAY};

async fn refused(controller: &Controller, token: &str, code: Code, words: &str) {
    let status = enrol(controller, Keys::new().request(token, "x")).await.unwrap_err();
    assert!(status.code() == code && status.message().contains(words), "{status:?}");
}

#[tokio::test]
async fn devices_of_a_suspended_tenant_stay_and_none_joins() {
    let controller = Controller::start().await;
    let (app, top, id) =
        (&controller.app, InstallationScope::system("test"), controller.scope.tenant());
    let mut device = Device::enrolled(&controller, "a").await;
    let token = controller.token(1).await;
    lifecycle::suspend(app, &top, id, "unpaid").await.unwrap();
    refused(&controller, &token, Code::Unavailable, "is suspended since").await;
    device.renew(&controller).await.unwrap();
    let talk = device.session(&controller).await;
    lifecycle::resume(app, &top, id).await.unwrap();
    assert_eq!(controller.hub.connected(), 1);
    Device::with_token(&controller, &token, "b").await;
    drop(talk);
    controller.stop().await;
}

#[tokio::test]
async fn devices_of_a_deleted_tenant_are_kept_out_until_it_is_restored() {
    let controller = Controller::start().await;
    let (app, top, id) =
        (&controller.app, InstallationScope::system("test"), controller.scope.tenant());
    let mut device = Device::enrolled(&controller, "a").await;
    let mut talk = device.session(&controller).await;
    let name = lifecycle::show(app, &top, id).await.unwrap().tenant.standing.name;
    lifecycle::delete(app, &top, id, &name, 7 * DAY).await.unwrap();
    // Not told that it was revoked: a device that believed it would give up what it has.
    let end = talk.next().await.unwrap_err();
    assert!(end.code() == Code::Unavailable && end.message().contains("was deleted"), "{end:?}");
    let end = device.dial(&controller).await.err().unwrap();
    assert!(end.code() == Code::Unavailable && end.message().contains("was deleted"), "{end:?}");
    let end = device.renew(&controller).await.unwrap_err();
    assert_eq!(end.code(), Code::Unavailable, "{end:?}");
    lifecycle::restore(app, &top, id).await.unwrap();
    device.session(&controller).await;
    controller.stop().await;
}

#[tokio::test]
async fn a_tenant_gets_no_more_devices_than_it_may_have() {
    let controller = Controller::start().await;
    let (app, top, id) =
        (&controller.app, InstallationScope::system("test"), controller.scope.tenant());
    let token = controller.token(10).await;
    let first = Device::with_token(&controller, &token, "a").await;
    let limits = Limits { devices: Some(2), ..Limits::default() };
    lifecycle::set_limits(app, &top, id, limits).await.unwrap();
    let keys: Vec<_> = (0..4).map(|_| Keys::new()).collect();
    let all = keys.iter().map(|keys| enrol(&controller, keys.request(&token, "b")));
    let joined = futures::future::join_all(all).await;
    assert_eq!(joined.iter().filter(|one| one.is_ok()).count(), 1, "{joined:?}");
    refused(&controller, &token, Code::ResourceExhausted, "may have 2 devices").await;
    edgeformer_controller::admin::devices::revoke(
        app,
        &controller.scope,
        first.id.parse().unwrap(),
    )
    .await
    .unwrap();
    Device::with_token(&controller, &token, "c").await;
    controller.stop().await;
}
