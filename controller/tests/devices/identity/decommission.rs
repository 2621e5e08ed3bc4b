use edgeformer_controller::admin::{device_life, devices};
use edgeformer_controller::audit::Outcome;
use edgeformer_proto::v1;
use edgeformer_proto::v1::agent_message::Kind as Say;
use edgeformer_proto::v1::controller_message::Kind as Heard;
use edgeformer_proto::v1::refusal::Code as RefusalCode;
use tonic::Code;

use super::{Machine, records, shown};
use crate::support::device::Device;
use crate::support::{Controller, DAY};

async fn order(controller: &Controller, device: &Device) {
    let (id, wait) = (device.id.parse().unwrap(), device_life::Wait::parse(None).unwrap());
    device_life::decommission(&controller.app, &controller.scope, id, wait).await.unwrap();
}

fn erased(order_id: &str, left: &[&str]) -> Say {
    let left = left.iter().map(|word| (*word).to_owned()).collect();
    let order_id = order_id.to_owned();
    Say::Erased(v1::Erased { order_id, chunks: 7, versions: 2, bytes: 900, left })
}

#[tokio::test]
async fn a_connected_device_is_told_at_once_and_what_it_said_is_on_record() {
    let controller = Controller::start().await;
    let device = Device::enrolled(&controller, "old").await;
    let mut machine = Machine::new(&device, "boot-1");
    let mut talk = machine.connect(&controller).await;
    order(&controller, &device).await;
    let Heard::Erase(told) = machine.go_on(&mut talk).await else { panic!("not told") };
    assert_eq!(shown(&controller, &device).await.state.as_str(), "decommissioning");

    // An answer to an order that nobody gave changes nothing.
    talk.say(erased("another", &[])).await;
    machine.settle(&mut talk).await;
    assert!(records(&controller, "device:erase").await.is_empty());
    // Half an erasure is on record as that, and the device is told again.
    talk.say(erased(&told.order_id, &["chunks"])).await;
    machine.settle(&mut talk).await;
    assert_eq!(shown(&controller, &device).await.state.as_str(), "decommissioning");

    talk.say(erased(&told.order_id, &[])).await;
    let Heard::EraseAck(ack) = machine.go_on(&mut talk).await else { panic!("no answer") };
    assert_eq!(ack.order_id, told.order_id);
    assert_eq!(machine.refused(&mut talk).await.code(), RefusalCode::Erased);
    let found = shown(&controller, &device).await;
    assert_eq!(found.state.as_str(), "erased");
    assert_eq!(found.erased.unwrap()["chunks"], 7);
    let said = records(&controller, "device:erase").await;
    let outcomes: Vec<_> = said.iter().map(|record| record.outcome).collect();
    assert_eq!(outcomes, [Outcome::Success, Outcome::Failure]);
    assert_eq!(said[0].actor.id, device.id, "in the device's own words");
    assert_eq!(records(&controller, "device:decommission").await.len(), 1);
    let status = device.dial(&controller).await.err().expect("it was let in");
    assert!(status.message().contains("decommissioned and erased"), "{status:?}");
    controller.stop().await;
}

#[tokio::test]
async fn a_device_that_was_off_for_long_is_let_in_to_be_told_and_for_nothing_else() {
    let controller = Controller::start_at(-(40 * DAY.as_micros() as i64)).await;
    let mut device = Device::enrolled(&controller, "lost").await;
    order(&controller, &device).await;
    let view = shown(&controller, &device).await;
    assert!(
        view.erase_until.unwrap() > edgeformer_controller::clock::Clock::now(&controller.clock)
    );
    controller.clock.shift(40 * DAY.as_micros() as i64);
    device.renew(&controller).await.expect("its certificate ended; it may renew to be told");
    let channel = controller.connect(Some(device.identity())).await.unwrap();
    let mut artifacts = v1::artifacts_client::ArtifactsClient::new(channel);
    let version_id = uuid::Uuid::now_v7().to_string();
    let status = artifacts.get_version(v1::GetVersionRequest { version_id }).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("only told to erase itself"), "{status:?}");
    let mut machine = Machine::new(&device, "boot-1");
    let mut talk = machine.begin(&controller).await;
    let Heard::Erase(told) = machine.go_on(&mut talk).await else { panic!("not told") };
    talk.say(erased(&told.order_id, &[])).await;
    let Heard::EraseAck(_) = machine.go_on(&mut talk).await else { panic!("no answer") };
    assert_eq!(shown(&controller, &device).await.state.as_str(), "erased");
    controller.stop().await;
}

#[tokio::test]
async fn a_device_that_is_revoked_is_not_waited_for() {
    let controller = Controller::start().await;
    let device = Device::enrolled(&controller, "a").await;
    order(&controller, &device).await;
    order(&controller, &device).await;
    assert_eq!(records(&controller, "device:decommission").await.len(), 1, "twice is once");
    let id = device.id.parse().unwrap();
    devices::revoke(&controller.app, &controller.scope, id).await.unwrap();
    assert_eq!(shown(&controller, &device).await.state.as_str(), "revoked");
    let wait = device_life::Wait::parse(Some(1)).unwrap();
    let error = device_life::decommission(&controller.app, &controller.scope, id, wait).await;
    assert!(error.unwrap_err().to_string().contains("is revoked"));
    assert!(
        device_life::Wait::parse(Some(0)).is_err() && device_life::Wait::parse(Some(367)).is_err()
    );
    controller.stop().await;
}
