use edgeformer_controller::admin::devices;
use edgeformer_proto::protocol::PROTOCOL;
use edgeformer_proto::v1;
use edgeformer_proto::v1::agent_message::Kind as Say;
use edgeformer_proto::v1::controller_message::Kind as Heard;
use edgeformer_proto::v1::refusal::Code as RefusalCode;
use tonic::Code;

use crate::support::Controller;
use crate::support::device::{Device, hello};

#[tokio::test]
async fn a_device_that_speaks_a_protocol_too_far_away_is_told_whom_to_update() {
    let controller = Controller::start().await;
    let device = Device::enrolled(&controller, "a").await;
    let mut talk = device.dial(&controller).await.unwrap();
    talk.say(Say::Hello(v1::Hello { protocol: PROTOCOL + 2, ..hello(None) })).await;
    let refusal = talk.refusal().await;
    assert_eq!(refusal.code(), RefusalCode::Protocol);
    assert!(refusal.message.contains("update the controller first"), "{}", refusal.message);
    assert!(refusal.retry_after_s > 0);
    controller.stop().await;
}

#[tokio::test]
async fn a_device_one_version_ahead_works_and_what_is_unknown_is_ignored() {
    let controller = Controller::start().await;
    let device = Device::enrolled(&controller, "a").await;
    let mut talk = device.dial(&controller).await.unwrap();
    talk.say(Say::Hello(v1::Hello { protocol: PROTOCOL + 1, ..hello(None) })).await;
    let Heard::Welcome(welcome) = talk.hear().await else { panic!("no welcome") };
    assert_eq!(welcome.protocol, PROTOCOL);
    talk.say_unknown().await;
    talk.say(Say::Heartbeat(v1::Heartbeat { sequence: 7, ..Default::default() })).await;
    let Heard::HeartbeatAck(ack) = talk.hear().await else { panic!("no ack") };
    assert_eq!(ack.sequence, 7);
    controller.stop().await;
}

#[tokio::test]
async fn a_session_begins_with_hello() {
    let controller = Controller::start().await;
    let device = Device::enrolled(&controller, "a").await;
    let mut talk = device.dial(&controller).await.unwrap();
    talk.say(Say::Heartbeat(v1::Heartbeat::default())).await;
    let status = talk.next().await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    controller.stop().await;
}

#[tokio::test]
async fn a_second_session_of_a_device_ends_the_first() {
    let controller = Controller::start().await;
    let device = Device::enrolled(&controller, "a").await;
    let mut first = device.session(&controller).await;
    let second = device.session(&controller).await;
    assert_eq!(first.refusal().await.code(), RefusalCode::Superseded);
    assert_eq!(controller.hub.connected(), 1);
    drop((first, second));
    controller.stop().await;
}

#[tokio::test]
async fn heartbeats_are_answered_and_end_up_in_one_row() {
    let controller = Controller::start().await;
    let device = Device::enrolled(&controller, "a").await;
    let mut talk = device.session(&controller).await;
    for sequence in 1..=20 {
        let beat = v1::Heartbeat { sequence, memory_available_bytes: sequence, disk_free_bytes: 5 };
        talk.say(Say::Heartbeat(beat)).await;
        let Heard::HeartbeatAck(ack) = talk.hear().await else { panic!("no ack") };
        assert_eq!(ack.sequence, sequence);
    }
    let id = device.id.parse().unwrap();
    // Stopping writes what the batch still holds.
    let (app, scope) = (controller.app.clone(), controller.scope.clone());
    loop {
        let shown = devices::get(&app, &scope, id).await.unwrap().device;
        if shown.last_seen_at.is_some() {
            assert_eq!(shown.facts["agent_version"], "0.1.0");
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    controller.stop().await;
}

#[tokio::test]
async fn stopping_ends_sessions_and_frees_their_places() {
    let controller = Controller::start().await;
    let device = Device::enrolled(&controller, "a").await;
    let mut talk = device.session(&controller).await;
    let hub = controller.hub.clone();
    assert_eq!(hub.connected(), 1);
    controller.stop().await;
    assert_eq!(hub.connected(), 0);
    // An end or a broken stream, but no message.
    assert!(!matches!(talk.next().await, Ok(Some(_))));
}

#[tokio::test]
async fn made_up_slots_do_not_pile_up() {
    let controller = Controller::start().await;
    let device = Device::enrolled(&controller, "a").await;
    let id = device.id.parse().unwrap();
    for round in 0..3 {
        let mut talk = device.dial(&controller).await.unwrap();
        let slots = (0..5).map(|n| v1::SlotStatus {
            slot: format!("slot-{round}-{n}"),
            phase: v1::SlotPhase::Confirmed.into(),
            ..Default::default()
        });
        talk.say(Say::Hello(v1::Hello { slots: slots.collect(), ..hello(None) })).await;
        let Heard::Welcome(_) = talk.hear().await else { panic!("no welcome") };
        let shown = devices::get(&controller.app, &controller.scope, id).await.unwrap();
        let names: Vec<_> = shown.slots.iter().map(|slot| slot.slot.clone()).collect();
        assert_eq!(names.len(), 5, "{names:?}");
        assert!(names.iter().all(|name| name.starts_with(&format!("slot-{round}-"))), "{names:?}");
    }
    controller.stop().await;
}
