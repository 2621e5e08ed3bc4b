use std::time::Duration;

use edgeformer_controller::error::AppError;
use edgeformer_controller::rollout::operate::{self, CountedRollout, NewRollout};
use edgeformer_controller::rollout::types::{DeviceState, RolloutState, Selector, Settings};
use edgeformer_controller::rollout::waiting::Waiting;
use edgeformer_proto::Generation;
use edgeformer_proto::artifact::Digest;
use edgeformer_proto::ids::{RolloutId, VersionId};
use edgeformer_proto::v1::SlotPhase;
use edgeformer_proto::v1::agent_message::Kind as Say;
use edgeformer_proto::v1::controller_message::Kind as Heard;
use edgeformer_proto::{Generation as Gen, v1};

use tokio::time::timeout;

use crate::support::Controller;
use crate::support::device::{Device, PATIENCE};

fn new(version: &str, selector: Selector) -> NewRollout {
    let settings = Settings { context_tokens: Some(512), parallel: None };
    NewRollout::parse("chat".into(), version.into(), None, selector, settings).unwrap()
}

async fn create(controller: &Controller, version: &str) -> CountedRollout {
    let new = new(version, Selector::All(true));
    operate::create(&controller.app, &controller.scope, new).await.unwrap()
}

fn id(rollout: &CountedRollout) -> RolloutId {
    rollout.named.rollout.id
}

/// Reads the rollout until `done` says so.
async fn until(
    controller: &Controller,
    id: RolloutId,
    done: impl Fn(&CountedRollout) -> bool,
) -> CountedRollout {
    let read = async {
        loop {
            let rollout = operate::get(&controller.app, &controller.scope, id).await.unwrap();
            if done(&rollout) {
                return rollout;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, read).await.expect("the rollout did not come there")
}

async fn ended(controller: &Controller, id: RolloutId) -> CountedRollout {
    until(controller, id, |rollout| rollout.named.rollout.ended_at.is_some()).await
}

fn generation(desired: &v1::DesiredState) -> Generation {
    desired.generation.unwrap().into()
}

fn versions(desired: &v1::DesiredState) -> Vec<&str> {
    desired.slots.iter().map(|slot| slot.version_id.as_str()).collect()
}

#[tokio::test]
async fn a_version_reaches_a_device_is_replaced_rolled_back_and_emptied() {
    let controller = Controller::start().await;
    let first: VersionId = controller.version("chat", "1.0.0", 1000).await;
    let second = controller.version("chat", "2.0.0", 1000).await;
    let device = Device::enrolled(&controller, "bergen-2").await;
    let mut talk = device.session(&controller).await;

    let one = create(&controller, "1.0.0").await;
    let desired = talk.desired().await;
    let slot = &desired.slots[0];
    assert_eq!((slot.slot.as_str(), slot.model.as_str()), ("chat", "chat"));
    assert_eq!((slot.version.as_str(), slot.version_id.clone()), ("1.0.0", first.to_string()));
    assert_eq!(
        (&slot.manifest_sha256[..], slot.rollout_id.clone()),
        (&Digest::of(b"1.0.0").as_bytes()[..], id(&one).to_string())
    );
    assert_eq!(slot.settings.unwrap().context_tokens, 512);
    assert_eq!(generation(&desired), Gen { epoch: 1, counter: 1 });
    let waiting = until(&controller, id(&one), |rollout| {
        rollout.counts.get(&DeviceState::Assigned) == Some(&1)
    })
    .await;
    assert_eq!(waiting.named.rollout.state, RolloutState::Running);
    talk.answer(&desired, SlotPhase::Confirmed).await;
    let done = ended(&controller, id(&one)).await;
    assert_eq!(done.named.rollout.state, RolloutState::Succeeded);
    assert_eq!(done.named.rollout.reason, "1 of 1 confirmed");
    assert_eq!(done.counts.get(&DeviceState::Confirmed), Some(&1));

    let two = create(&controller, "2.0.0").await;
    let desired = talk.desired().await;
    assert_eq!(versions(&desired), [second.to_string()]);
    talk.answer(&desired, SlotPhase::Confirmed).await;
    ended(&controller, id(&two)).await;

    let (app, scope) = (&controller.app, &controller.scope);
    let back = operate::roll_back(app, scope, id(&two)).await.unwrap();
    assert_eq!(back.named.rollout.rolls_back, Some(id(&two)));
    assert_eq!(back.named.version, "1.0.0");
    let desired = talk.desired().await;
    assert_eq!((versions(&desired), generation(&desired).counter), (vec![&*first.to_string()], 3));
    assert_eq!(desired.slots[0].settings.unwrap().context_tokens, 512, "with its old settings");
    talk.answer(&desired, SlotPhase::Confirmed).await;
    assert_eq!(ended(&controller, id(&back)).await.named.rollout.state, RolloutState::Succeeded);

    // The slot belongs to the rollback now: what it undid changes nothing any more.
    let error = operate::roll_back(app, scope, id(&two)).await.unwrap_err();
    assert!(matches!(error, AppError::Conflict { code: "nothing_to_roll_back", .. }), "{error}");
    controller.stop().await;
}

#[tokio::test]
async fn rolling_back_the_first_version_empties_the_slot() {
    let controller = Controller::start().await;
    controller.version("chat", "1.0.0", 1000).await;
    let device = Device::enrolled(&controller, "a").await;
    let mut talk = device.session(&controller).await;
    let rollout = create(&controller, "1.0.0").await;
    let desired = talk.desired().await;
    // Still running: rolling back aborts it first.
    let back = operate::roll_back(&controller.app, &controller.scope, id(&rollout)).await.unwrap();
    let aborted = ended(&controller, id(&rollout)).await;
    assert_eq!(aborted.named.rollout.state, RolloutState::Aborted);
    assert!(aborted.named.rollout.reason.contains(&id(&back).to_string()));
    let empty = talk.desired().await;
    assert!(empty.slots.is_empty() && generation(&empty) > generation(&desired));
    talk.answer(&empty, SlotPhase::Removed).await;
    let done = ended(&controller, id(&back)).await;
    assert_eq!(done.named.rollout.state, RolloutState::Succeeded);
    let undone = until(&controller, id(&rollout), |rollout| {
        rollout.counts.get(&DeviceState::Superseded) == Some(&1)
    })
    .await;
    assert_eq!(undone.named.rollout.state, RolloutState::Aborted);
    controller.stop().await;
}

#[tokio::test]
async fn a_device_that_fails_or_refuses_makes_the_rollout_fail_with_its_reason() {
    let controller = Controller::start().await;
    controller.version("chat", "1.0.0", 1000).await;
    let (fails, refuses) =
        (Device::enrolled(&controller, "a").await, Device::enrolled(&controller, "b").await);
    let mut failing = fails.session(&controller).await;
    let mut refusing = refuses.session(&controller).await;
    let rollout = create(&controller, "1.0.0").await;
    let desired = failing.desired().await;
    failing.answer(&desired, SlotPhase::Failed).await;
    let offered = refusing.desired().await.generation;
    let held = Some(v1::Generation { epoch: 9, counter: 9 });
    let rejected = v1::Rejected { offered, held, reason: "older than held".to_owned() };
    refusing.say(Say::Rejected(rejected)).await;
    let done = ended(&controller, id(&rollout)).await;
    assert_eq!(done.named.rollout.state, RolloutState::Failed);
    assert_eq!(done.named.rollout.reason, "2 of 2 did not confirm: a, b");
    let devices = operate::devices(&controller.app, &controller.scope, id(&rollout), None, 9).await;
    let shown: Vec<_> =
        devices.unwrap().into_iter().map(|entry| (entry.reason, entry.message)).collect();
    assert_eq!(shown[0], ("memory".to_owned(), "the model does not fit".to_owned()));
    assert_eq!(shown[1].0, "rejected");
    assert!(shown[1].1.contains("it holds 9.9: older than held"), "{}", shown[1].1);
    controller.stop().await;
}

#[tokio::test]
async fn a_device_never_hears_of_a_state_older_than_what_it_holds() {
    let controller = Controller::start().await;
    controller.version("chat", "1.0.0", 1000).await;
    let device = Device::enrolled(&controller, "a").await;
    let mut talk = device.session_holding(&controller, Some(Gen { epoch: 5, counter: 1 })).await;
    let rollout = create(&controller, "1.0.0").await;
    until(&controller, id(&rollout), |r| r.counts.get(&DeviceState::Assigned) == Some(&1)).await;
    // The nudge has been sent; the heartbeat's answer comes after whatever it set off.
    for sequence in 1..=5 {
        talk.say(Say::Heartbeat(v1::Heartbeat { sequence, ..Default::default() })).await;
        let Heard::HeartbeatAck(_) = talk.hear().await else { panic!("heard something else") };
    }
    drop(talk);
    // The same state is new to a device that holds less.
    let mut talk = device.session_holding(&controller, Some(Gen { epoch: 1, counter: 0 })).await;
    assert_eq!(generation(&talk.desired().await), Gen { epoch: 1, counter: 1 });
    // And is not sent to one that holds it.
    let mut talk = device.session_holding(&controller, Some(Gen { epoch: 1, counter: 1 })).await;
    talk.say(Say::Heartbeat(v1::Heartbeat { sequence: 1, ..Default::default() })).await;
    let Heard::HeartbeatAck(_) = talk.hear().await else { panic!("heard something else") };
    until(&controller, id(&rollout), |r| r.counts.get(&DeviceState::Accepted) == Some(&1)).await;
    controller.stop().await;
}

#[tokio::test]
async fn one_slot_of_a_device_has_one_rollout_at_a_time_and_an_aborted_one_lets_go() {
    let controller = Controller::start().await;
    controller.version("chat", "1.0.0", 2_000_000_000).await;
    let device = Device::enrolled(&controller, "bergen-2").await;
    let (app, scope) = (&controller.app, &controller.scope);
    let rollout = create(&controller, "1.0.0").await;
    let waiting = until(&controller, id(&rollout), |rollout| {
        rollout.counts.get(&DeviceState::Assigned) == Some(&1)
            && rollout.named.rollout.waiting != Waiting::Nothing
    })
    .await;
    let sentence = waiting.named.rollout.waiting.sentence(waiting.named.rollout.created_at);
    assert_eq!(sentence, "waiting for 1 of 1 device: bergen-2 (never connected)");

    let all = || new("1.0.0", Selector::All(true));
    let preview = operate::preview_new(app, scope, &all()).await.unwrap();
    assert_eq!(preview.conflicts.len(), 1);
    assert!(preview.conflicts[0].contains(&id(&rollout).to_string()), "{:?}", preview.conflicts);
    let why_not = preview.devices[0].why_not.as_deref().unwrap();
    assert!(why_not.starts_with("needs 2068 MB of memory"), "{why_not}");
    assert_eq!(preview.bytes_to_move, 2_000_000_000);
    let error = operate::create(app, scope, all()).await.unwrap_err();
    assert!(matches!(error, AppError::Conflict { code: "slot_owned", .. }), "{error}");

    operate::abort(app, scope, id(&rollout)).await.unwrap();
    let error = operate::abort(app, scope, id(&rollout)).await.unwrap_err();
    assert!(error.to_string().contains("is aborted already"), "{error}");
    let next = create(&controller, "1.0.0").await;
    until(&controller, id(&next), |r| r.counts.get(&DeviceState::Assigned) == Some(&1)).await;
    let mut talk = device.session(&controller).await;
    let desired = talk.desired().await;
    talk.answer(&desired, SlotPhase::Confirmed).await;
    ended(&controller, id(&next)).await;
    // What the aborted rollout had assigned ended as well.
    until(&controller, id(&rollout), |r| r.counts.get(&DeviceState::Superseded) == Some(&1)).await;
    controller.stop().await;
}

#[tokio::test]
async fn a_rollout_needs_a_version_devices_and_its_own_tenant() {
    let controller = Controller::start().await;
    let (app, scope) = (&controller.app, &controller.scope);
    let error = operate::create(app, scope, new("9.9.9", Selector::All(true))).await.unwrap_err();
    assert_eq!(error.to_string(), "there is no version \"chat 9.9.9\" here");
    controller.version("chat", "1.0.0", 1000).await;
    let error = operate::create(app, scope, new("1.0.0", Selector::All(true))).await.unwrap_err();
    assert!(matches!(error, AppError::Conflict { code: "no_devices", .. }), "{error}");
    let device = Device::enrolled(&controller, "a").await;
    let gone = Selector::Devices([edgeformer_proto::ids::DeviceId::new()].into());
    let error = operate::create(app, scope, new("1.0.0", gone)).await.unwrap_err();
    assert!(matches!(error, AppError::Invalid(_)), "{error}");
    let mine = Selector::Devices([device.id.parse().unwrap()].into());
    let rollout = operate::create(app, scope, new("1.0.0", mine)).await.unwrap();
    let other = crate::support::tenant(app, "other").await;
    let error = operate::get(app, &other, id(&rollout)).await.unwrap_err();
    assert!(matches!(error, AppError::NotFound { .. }), "{error}");
    let error = operate::create(app, &other, new("1.0.0", Selector::All(true))).await.unwrap_err();
    assert!(matches!(error, AppError::NotFound { .. }), "{error}");
    controller.stop().await;
}
