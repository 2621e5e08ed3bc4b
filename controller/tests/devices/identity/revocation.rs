use std::time::Instant;

use edgeformer_controller::admin::devices;
use edgeformer_controller::store::devices::announce::News;
use edgeformer_proto::v1;
use edgeformer_proto::v1::agent_message::Kind as Say;
use edgeformer_proto::v1::refusal::Code as RefusalCode;
use tonic::Code;

use crate::support::device::Device;
use crate::support::postgres::on_postgres;
use crate::support::{Controller, DAY};

/// The session is told why and ends; so does every other connection, and no new one is let in.
async fn is_cut_off(device: &Device, revoked_at: &Controller, connected_to: &Controller) {
    let mut older = device.session(connected_to).await;
    let mut talk = device.session(connected_to).await;
    assert_eq!(older.refusal().await.code(), RefusalCode::Superseded);
    let id = device.id.parse().unwrap();
    let began = Instant::now();
    devices::revoke(&revoked_at.app, &revoked_at.scope, id).await.unwrap();
    let refusal = talk.refusal().await;
    println!("told after {} ms", began.elapsed().as_millis());
    assert_eq!(refusal.code(), RefusalCode::Revoked);
    assert!(refusal.message.contains("was revoked"), "{}", refusal.message);
    // The stream that was superseded held its connection open: that ends as well.
    let key = (connected_to.scope.tenant(), id);
    while connected_to.app.connections().has(&key) {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    println!("cut after {} ms", began.elapsed().as_millis());
    for controller in [revoked_at, connected_to] {
        let status = device.dial(controller).await.err().expect("a new session was let in");
        assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
        assert!(status.message().contains("was revoked"), "{status:?}");
    }
    drop((older, talk));
}

#[tokio::test]
async fn a_revoked_device_is_told_and_all_its_connections_end() {
    let controller = Controller::start().await;
    let device = Device::enrolled(&controller, "stolen").await;
    is_cut_off(&device, &controller, &controller).await;
    controller.stop().await;
}

#[tokio::test]
async fn a_revocation_reaches_the_sessions_of_other_controllers() {
    on_postgres(|url| async move {
        let first = Controller::start_on(&url).await;
        let second = first.beside().await;
        let device = Device::enrolled(&first, "stolen").await;
        is_cut_off(&device, &first, &second).await;
        second.stop().await;
        first.stop().await;
    })
    .await;
}

#[tokio::test]
async fn controllers_tell_each_other_with_the_commit_and_not_before() {
    on_postgres(|url| async move {
        let first = Controller::start_on(&url).await;
        let second = first.beside().await;
        let device = Device::enrolled(&first, "a").await;
        let id = device.id.parse().unwrap();
        let mut news = second.app.store.listen().await.unwrap().expect("PostgreSQL tells");
        devices::revoke(&first.app, &first.scope, id).await.unwrap();
        let expected = News::Device(first.scope.tenant(), id);
        // Between them are the pings with which controllers try whether news arrive.
        loop {
            match news.next().await.unwrap() {
                News::Ping(_) => {}
                heard => break assert_eq!(heard, expected),
            }
        }
        let state = devices::get(&second.app, &second.scope, id).await.unwrap().device.state;
        assert_eq!(state.as_str(), "revoked");
        second.stop().await;
        first.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_session_does_not_outlive_its_certificate() {
    let controller = Controller::start().await;
    let device = Device::enrolled(&controller, "a").await;
    let mut talk = device.session(&controller).await;
    controller.clock.shift(31 * DAY.as_micros() as i64);
    talk.say(Say::Heartbeat(v1::Heartbeat::default())).await;
    let status = talk.next().await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(status.message().contains("expired at"), "{status:?}");
    controller.stop().await;
}
