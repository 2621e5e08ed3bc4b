use edgeformer_controller::admin::{device_life, devices};
use edgeformer_controller::rollout::operate::{self, NewRollout};
use edgeformer_controller::rollout::types::{Selector, Settings};
use edgeformer_proto::v1;
use edgeformer_proto::v1::agent_message::Kind as Say;
use tonic::Code;

use super::{Machine, records, shown};
use crate::support::Controller;
use crate::support::device::{Device, Keys, enrol};

async fn token(controller: &Controller, device: &Device) -> String {
    let id = device.id.parse().unwrap();
    let made = device_life::replace(&controller.app, &controller.scope, id, None).await;
    made.unwrap().1.reveal().to_owned()
}

#[tokio::test]
async fn other_hardware_takes_the_place_with_name_labels_and_slots() {
    let controller = Controller::start().await;
    let (app, scope) = (&controller.app, &controller.scope);
    let first = controller.token_of(scope, 1, &[("site", "bergen")]).await;
    let old = Device::with_token(&controller, &first, "press-7").await;
    controller.version("chat", "1.0.0", 10).await;
    let (selector, settings) = (Selector::All(true), Settings::default());
    let new = NewRollout::parse("chat".into(), "1.0.0".into(), None, selector, settings);
    operate::create(app, scope, new.unwrap()).await.unwrap();
    let mut talk = old.session(&controller).await;
    let desired = talk.desired().await;
    talk.answer(&desired, v1::SlotPhase::Confirmed).await;

    let token = token(&controller, &old).await;
    assert_eq!(shown(&controller, &old).await.state.as_str(), "enrolled", "until it happens");
    let keys = Keys::new();
    let mut request = keys.request(&token, "some-name");
    request.labels = [("site".to_owned(), "oslo".to_owned())].into();
    let answer = enrol(&controller, request.clone()).await.unwrap();
    let again = enrol(&controller, request).await.unwrap();
    assert_eq!(answer.device_id, again.device_id, "a lost answer costs nothing");
    let chain = answer.certificate_chain_der.iter().map(|der| der.to_vec()).collect();
    let new = Device { keys, id: answer.device_id, tenant: answer.tenant_id, chain };

    let (before, after) = (shown(&controller, &old).await, shown(&controller, &new).await);
    assert_eq!((after.name.as_str(), after.labels["site"].as_str()), ("press-7", "bergen"));
    assert_eq!((before.state.as_str(), after.state.as_str()), ("revoked", "enrolled"));
    assert_eq!((before.replaced_by, after.replaces), (Some(after.id), Some(before.id)));
    assert_eq!(talk.refusal().await.code(), v1::refusal::Code::Revoked);

    let mut machine = Machine::new(&new, "boot-1");
    let mut talk = machine.begin(&controller).await;
    let super::Heard::Desired(taken) = machine.go_on(&mut talk).await else { panic!("not told") };
    assert_eq!(taken.slots[0].version_id, desired.slots[0].version_id);
    talk.answer(&taken, v1::SlotPhase::Confirmed).await;
    talk.say(Say::Heartbeat(v1::Heartbeat::default())).await;

    let enrolled = records(&controller, "device:enrol").await;
    let revoked = records(&controller, "device:revoke").await;
    assert!(enrolled[0].reason.contains(&format!("in the place of device {}", old.id)));
    assert_eq!(revoked[0].reason, format!("replaced by device {}", new.id));
    assert_eq!(revoked[0].resource.id, old.id);
    assert_eq!(records(&controller, "device:replace").await.len(), 1);
    controller.stop().await;
}

#[tokio::test]
async fn a_place_is_given_away_once() {
    let controller = Controller::start().await;
    let old = Device::enrolled(&controller, "a").await;
    let (one, two) = (token(&controller, &old).await, token(&controller, &old).await);
    // A broken device is often revoked before its replacement is there.
    let id = old.id.parse().unwrap();
    devices::revoke(&controller.app, &controller.scope, id).await.unwrap();
    let new = Device::with_token(&controller, &one, "b").await;
    assert_eq!(shown(&controller, &new).await.name, "a");
    let status = enrol(&controller, Keys::new().request(&two, "c")).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("given to other hardware already"), "{status:?}");
    let status = enrol(&controller, Keys::new().request(&one, "c")).await.unwrap_err();
    assert!(status.message().contains("used up") || status.message().contains("already"));
    let again = device_life::replace(&controller.app, &controller.scope, id, None).await;
    assert!(again.unwrap_err().to_string().contains("was replaced by"));
    controller.stop().await;
}
