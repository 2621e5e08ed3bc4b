use edgeformer_controller::admin::device_life;
use edgeformer_proto::v1;
use edgeformer_proto::v1::agent_message::Kind as Say;
use edgeformer_proto::v1::controller_message::Kind as Heard;
use edgeformer_proto::v1::refusal::Code as RefusalCode;
use tonic::Code;

use super::{Machine, records, shown};
use crate::support::Controller;
use crate::support::device::Device;
use crate::support::postgres::on_postgres;

async fn state(controller: &Controller, device: &Device) -> String {
    shown(controller, device).await.state.as_str().to_owned()
}

#[tokio::test]
async fn restarts_and_reconnects_through_any_controller_are_one_device() {
    on_postgres(|url| async move {
        let first = Controller::start_on(&url).await;
        let second = first.beside().await;
        let device = Device::enrolled(&first, "a").await;
        let mut machine = Machine::new(&device, "boot-0");
        let mut old = Vec::new();
        for round in 0..12 {
            let controller = if round % 3 == 0 { &first } else { &second };
            if round % 2 == 0 {
                machine = machine.started_again(&format!("boot-{round}"));
            }
            // What it was connected by is left open and never looked at again, as by a pulled cable.
            old.push(machine.connect(controller).await);
            assert_eq!(state(&first, &device).await, "enrolled", "round {round}");
        }
        // A Hello of long ago arrives, and nobody is behind it.
        let late = Machine { held: Default::default(), ..machine.started_again("boot-0") };
        let late = late.begin(&first).await;
        machine.settle(old.last_mut().unwrap()).await;
        assert_eq!(state(&first, &device).await, "enrolled");
        assert!(records(&first, "device:quarantine").await.is_empty());
        drop((late, old));
        second.stop().await;
        first.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_restart_without_a_goodbye_is_one_device_also_if_its_last_words_come_late() {
    let controller = Controller::start().await;
    let device = Device::enrolled(&controller, "a").await;
    let mut machine = Machine::new(&device, "boot-1");
    let mut before = machine.connect(&controller).await;
    let mut again = machine.started_again("boot-2");
    let mut talk = again.connect(&controller).await;
    // The first stream is asked whether somebody is there. Nobody is: the answer to the question before,
    // which is still on its way, counts for nothing.
    let Heard::Probe(_) = before.hear().await else { panic!("no question") };
    let stale = v1::ProbeAnswer { nonce: vec![7; 16].into(), held: None };
    before.say(Say::ProbeAnswer(stale)).await;
    again.settle(&mut talk).await;
    assert_eq!(state(&controller, &device).await, "enrolled");
    drop((before, talk));
    controller.stop().await;
}

/// Both machines stay connected and answer: the one that is superseded says that it is still there.
async fn two_at_once(first: &Controller, second: &Controller) {
    let device = Device::enrolled(first, "press").await;
    let mut original = Machine::new(&device, "boot-1");
    let mut talk = original.connect(first).await;
    let mut copy = original.started_again("boot-2");
    let mut other = copy.connect(second).await;
    let refusal = original.refused(&mut talk).await;
    assert_eq!(refusal.code(), RefusalCode::Superseded);
    let Heard::Quarantine(quarantine) = copy.go_on(&mut other).await else { panic!("not told") };
    assert!(quarantine.reason.contains("two machines were connected"), "{quarantine:?}");
    let found = shown(first, &device).await;
    assert_eq!(
        (found.state.as_str(), found.state_reason.as_str()),
        ("quarantined", &*quarantine.reason)
    );
    let found = records(second, "device:quarantine").await;
    assert_eq!(found.len(), 1, "{found:?}");
    drop((talk, other));
}

#[tokio::test]
async fn two_machines_at_the_same_time_are_quarantined() {
    let controller = Controller::start().await;
    two_at_once(&controller, &controller).await;
    controller.stop().await;
}

#[tokio::test]
async fn two_machines_at_two_controllers_are_quarantined() {
    on_postgres(|url| async move {
        let first = Controller::start_on(&url).await;
        let second = first.beside().await;
        two_at_once(&first, &second).await;
        second.stop().await;
        first.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_copy_that_takes_turns_shows_itself_and_gets_nothing_until_somebody_looked() {
    let controller = Controller::start().await;
    let device = Device::enrolled(&controller, "press").await;
    let mut original = Machine::new(&device, "boot-1");
    drop(original.connect(&controller).await);
    // The disk is copied; the original goes on, and the copy comes when it is off.
    let mut copy = original.started_again("boot-2");
    drop(original.connect(&controller).await);
    let mut talk = copy.begin(&controller).await;
    let refusal = copy.refused(&mut talk).await;
    assert_eq!(refusal.code(), RefusalCode::Quarantined);
    assert!(refusal.message.contains("copied, or restored from an image"), "{refusal:?}");
    assert_eq!(state(&controller, &device).await, "quarantined");
    let found = records(&controller, "device:quarantine").await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].resource.name.as_deref(), Some("press"));

    // The session stays to tell why; everything else is closed, whoever asks.
    let mut talk = original.begin(&controller).await;
    let Heard::Quarantine(told) = original.go_on(&mut talk).await else { panic!("not told") };
    assert!(told.reason.contains("left behind"), "{told:?}");
    original.settle(&mut talk).await;
    let channel = controller.connect(Some(device.identity())).await.unwrap();
    let mut keys = v1::keys_client::KeysClient::new(channel);
    let version_id = uuid::Uuid::now_v7().to_string();
    let status = keys.wrap_data_key(v1::WrapDataKeyRequest { version_id }).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("quarantined"), "{status:?}");

    let id = device.id.parse().unwrap();
    let released = device_life::release(&controller.app, &controller.scope, id).await.unwrap();
    assert_eq!(released.device.state.as_str(), "enrolled");
    let Heard::Quarantine(told) = original.go_on(&mut talk).await else { panic!("not told") };
    assert_eq!(told.reason, "");
    drop(original.connect(&controller).await);
    assert_eq!(state(&controller, &device).await, "enrolled");
    // Twice is a mistake, and said to be one.
    let again = device_life::release(&controller.app, &controller.scope, id).await.unwrap_err();
    assert!(again.to_string().contains("only a quarantined device"), "{again}");
    controller.stop().await;
}

#[tokio::test]
async fn a_controller_whose_database_was_put_back_does_not_suspect_its_devices() {
    let controller = Controller::start().await;
    let device = Device::enrolled(&controller, "a").await;
    let mut machine = Machine::new(&device, "boot-1");
    for _ in 0..3 {
        drop(machine.connect(&controller).await);
    }
    // What is known of the sessions is as old as a backup: here, nothing.
    let mut write = controller.app.store.write_observation(&controller.scope).await.unwrap();
    let id = device.id.parse().unwrap();
    edgeformer_controller::store::devices::instances::forget(&mut write, id).await.unwrap();
    write.commit(edgeformer_controller::clock::Clock::now(&controller.clock)).await.unwrap();
    drop(machine.connect(&controller).await);
    assert_eq!(state(&controller, &device).await, "enrolled");
    controller.stop().await;
}

#[tokio::test]
async fn an_agent_that_does_not_know_instances_is_served_as_before() {
    let controller = Controller::start().await;
    let device = Device::enrolled(&controller, "old").await;
    let mut talk = device.session(&controller).await;
    talk.say(Say::Heartbeat(v1::Heartbeat { sequence: 1, ..Default::default() })).await;
    let Heard::HeartbeatAck(_) = talk.hear().await else { panic!("something it does not know") };
    let rubbish = v1::Instance { counter: 3, value: vec![0; 3].into() };
    let other = device.dial(&controller).await.unwrap();
    let hello = v1::Hello { instance: Some(rubbish), ..crate::support::device::hello(None) };
    other.say(Say::Hello(hello)).await;
    let mut other = other;
    assert_eq!(other.next().await.unwrap_err().code(), Code::InvalidArgument);
    drop(talk);
    controller.stop().await;
}
