//! Two machines with one device's key: what a session does to find out. The decision is pure
//! (`instances`); here it is read and written under the device's lock, and streams are asked.

use std::sync::Arc;
use std::time::Duration;

use edgeformer_proto::instance::{Instance, VALUE_BYTES};
use edgeformer_proto::v1;
use edgeformer_proto::v1::agent_message::Kind as Said;
use edgeformer_proto::v1::controller_message::Kind as Say;
use edgeformer_proto::v1::refusal::Code;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::time::{Instant, timeout};
use tonic::{Status, Streaming};

use super::hub::Hub;
use super::instances::{Instances, Opened, Place};
use super::stream::{End, Outbound, REFUSED_RETRY_S, Session, send};
use super::wire;
use crate::audit::{Intent, Resource};
use crate::clock::Timestamp;
use crate::device_listener::DeviceIdentity;
use crate::policy::Action;
use crate::scope::TenantScope;
use crate::store::StoreError;
use crate::store::devices::{self, DeviceState, announce, instances as device_instances};

/// For an answer to a probe. A live agent answers at once; this covers the worst link.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Messages of a stream that shows an old value, before it must have answered.
const MAX_WORDS_BEFORE_ANSWER: usize = 64;
/// A boot id is a UUID.
const MAX_BOOT_CHARS: usize = 64;

const AT_ONCE: &str = "two machines were connected with this device's key at the same time";
const LEFT_BEHIND: &str = "a machine showed a session that this device has left behind: its state folder \
                           was copied, or restored from an image";

/// Which of a device's sessions this one is.
pub(super) struct Copies {
    session: String,
    /// Whether the agent knows instances and answers probes.
    answers: bool,
    opened: Opened,
    nonce: [u8; VALUE_BYTES],
    asked_in: Place,
    leaves_at: Option<Instant>,
}

/// Randomness that must not be guessed: who can guess it can answer without being there.
fn random() -> Result<[u8; VALUE_BYTES], End> {
    let mut bytes = [0; VALUE_BYTES];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| End::Failed(Status::internal("the controller has no random bytes")))?;
    Ok(bytes)
}

impl Copies {
    /// Takes the device's seat, unless the agent shows what the device has left behind.
    pub(super) async fn open(
        hub: &Arc<Hub>,
        identity: &DeviceIdentity,
        scope: &TenantScope,
        boot: &str,
        shown: Option<v1::Instance>,
    ) -> Result<Self, End> {
        let unreadable = |_| End::Failed(Status::invalid_argument("Hello.instance is none"));
        let shown = shown.as_ref().map(Instance::try_from).transpose().map_err(unreadable)?;
        let (session, fresh) = (uuid::Uuid::new_v4().to_string(), random()?);
        let (now, device) = (hub.app().now(), identity.device_id);
        let boot: String = boot.chars().take(MAX_BOOT_CHARS).collect();
        let mut write = hub.app().store.write_observation(scope).await?;
        let mut instances = device_instances::lock(&mut write, device, now).await?;
        let opened = instances.open(&session, &boot, shown, fresh);
        if opened != Opened::Behind {
            device_instances::save(&mut write, device, &instances, now).await?;
            // A session at another controller has lost its seat.
            announce::device(&mut write, device).await?;
        }
        write.commit(now).await?;
        if let Opened::Ahead(_) = opened {
            tracing::warn!(%device, "the device knows of a newer session than this controller: its database was put back to an older state");
        }
        let (answers, nonce) = (shown.is_some(), random()?);
        Ok(Self { session, answers, opened, nonce, asked_in: Place::Seat, leaves_at: None })
    }

    /// Whether the agent showed what the device has left behind.
    pub(super) fn is_behind(&self) -> bool {
        self.opened == Opened::Behind
    }

    /// What is said after Welcome.
    pub(super) fn first_words(&self) -> Vec<Say> {
        if !self.answers {
            return Vec::new();
        }
        let offer = |instance: Instance| {
            Say::InstanceOffer(v1::InstanceOffer { instance: Some(instance.into()) })
        };
        let probe = Say::Probe(v1::Probe { nonce: self.nonce.to_vec().into() });
        let offered = match self.opened {
            Opened::Seated(one) | Opened::Ahead(one) => one.map(offer),
            Opened::Behind => None,
        };
        offered.into_iter().chain([probe]).collect()
    }

    /// Whether this session is still the newest of the device.
    pub(super) fn has_seat(&self, instances: &Instances) -> bool {
        instances.place(&self.session) == Place::Seat
    }

    /// Whether a newer session took the seat, and this one stays only to be asked.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaves_at.is_some()
    }

    /// When it ends then.
    pub(super) fn leaves_at(&self) -> Instant {
        // Far away while it does not leave; never waited for then.
        self.leaves_at.unwrap_or_else(|| Instant::now() + ANSWER_TIMEOUT)
    }

    fn is_answer(&self, answer: &v1::ProbeAnswer) -> bool {
        self.answers && answer.nonce[..] == self.nonce
    }

    /// Asks whoever showed what the device left behind. If there is an answer it is a second machine,
    /// and the device is quarantined; a message that came late has nobody behind it.
    pub(super) async fn find_out(
        &self,
        hub: &Arc<Hub>,
        identity: &DeviceIdentity,
        scope: &TenantScope,
        inbound: &mut Streaming<v1::AgentMessage>,
        outbound: &Outbound,
    ) -> End {
        let asking = async {
            for message in self.first_words() {
                send(outbound, message).await?;
            }
            for _ in 0..MAX_WORDS_BEFORE_ANSWER {
                let said = inbound.message().await.map_err(End::Failed)?.ok_or(End::Gone)?;
                let Some(Said::ProbeAnswer(answer)) = said.kind else { continue };
                let held = answer.held.as_ref().map(Instance::try_from);
                if let Some(Ok(held)) = held.filter(|_| self.is_answer(&answer)) {
                    return Ok(held);
                }
            }
            Err(End::Gone)
        };
        let held = match timeout(ANSWER_TIMEOUT, asking).await {
            Ok(Ok(held)) => held,
            Ok(Err(end)) => return end,
            Err(_) => return End::Gone,
        };
        match found_copy(hub, identity, scope, held).await {
            Ok(true) => {
                let message = format!(
                    "device {} is quarantined: {LEFT_BEHIND}. Enrol this machine by itself, or have \
                     the device released (edgeformer device release)",
                    identity.device_id
                );
                End::Refused(wire::refusal(Code::Quarantined, message, REFUSED_RETRY_S))
            }
            Ok(false) => End::Refused(wire::refusal(Code::Superseded, "come again".to_owned(), 0)),
            Err(error) => error.into(),
        }
    }
}

async fn found_copy(
    hub: &Arc<Hub>,
    identity: &DeviceIdentity,
    scope: &TenantScope,
    held: Instance,
) -> Result<bool, StoreError> {
    let (now, device) = (hub.app().now(), identity.device_id);
    let mut write = hub.app().store.write(scope, intent(identity, LEFT_BEHIND)).await?;
    let instances = device_instances::lock(&mut write, device, now).await?;
    if !instances.is_copy(held) {
        write.rollback().await?;
        return Ok(false);
    }
    let source = &identity.source;
    write.changes(
        serde_json::json!({"state": DeviceState::Enrolled.as_str()}),
        serde_json::json!({
            "state": DeviceState::Quarantined.as_str(), "shown": held.counter,
            "newest": instances.ratchet.confirmed.counter, "from": source,
        }),
    );
    quarantine(hub, write, identity, LEFT_BEHIND, now).await?;
    Ok(true)
}

fn intent(identity: &DeviceIdentity, reason: &str) -> Intent {
    let resource = Resource::new("device", identity.device_id).named(identity.device_name.clone());
    Intent::new(Action::DeviceQuarantine, resource).because(reason)
}

/// Quarantines an enrolled device, with its record; one that is already leaves none.
async fn quarantine(
    hub: &Arc<Hub>,
    mut write: crate::store::Write<TenantScope>,
    identity: &DeviceIdentity,
    reason: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (app, device) = (hub.app(), identity.device_id);
    let (from, to) = ([DeviceState::Enrolled], DeviceState::Quarantined);
    if !devices::set_state(&mut write, device, &from, to, reason, now).await? {
        return write.rollback().await;
    }
    write.commit(now).await?;
    tracing::error!(%device, name = identity.device_name, reason, "a device is quarantined");
    app.nudges.audit.notify_one();
    app.nudges.device(identity.tenant_id, device);
    app.nudges.rollouts.notify_one();
    Ok(())
}

impl Session {
    /// A newer session has the seat. If it is of another start of the agent, and this agent answers, it
    /// is asked whether it is still there before the stream ends.
    pub(super) async fn leave(&mut self) -> Result<(), End> {
        if self.copies.is_leaving() {
            return Ok(());
        }
        let device = self.identity.device_id;
        let mut read = self.hub.app().store.read(&self.scope).await?;
        let instances = device_instances::get(&mut read, device).await?.unwrap_or_default();
        drop(read);
        let is_rival = instances.place(&self.copies.session) == Place::Rival;
        self.copies.leaves_at = Some(Instant::now());
        if is_rival && self.copies.answers {
            self.copies.leaves_at = Some(Instant::now() + ANSWER_TIMEOUT);
            self.copies.nonce = random()?;
            self.copies.asked_in = Place::Rival;
            let nonce = self.copies.nonce.to_vec().into();
            self.say(Say::Probe(v1::Probe { nonce })).await?;
        }
        Ok(())
    }

    /// The device made what it was offered durable.
    pub(super) async fn hear_kept(
        &mut self,
        kept: &v1::InstanceKept,
        now: Timestamp,
    ) -> Result<(), End> {
        let Some(Ok(kept)) = kept.instance.as_ref().map(Instance::try_from) else { return Ok(()) };
        let device = self.identity.device_id;
        let mut write = self.hub.app().store.write_observation(&self.scope).await?;
        let mut instances = device_instances::lock(&mut write, device, now).await?;
        if instances.ratchet.kept(kept) {
            device_instances::save(&mut write, device, &instances, now).await?;
        }
        Ok(write.commit(now).await?)
    }

    /// Somebody is at the other end now.
    pub(super) async fn hear_answer(
        &mut self,
        answer: &v1::ProbeAnswer,
        now: Timestamp,
    ) -> Result<(), End> {
        if !self.copies.is_answer(answer) {
            return Ok(());
        }
        let (hub, device) = (Arc::clone(&self.hub), self.identity.device_id);
        let mut write = hub.app().store.write_observation(&self.scope).await?;
        let mut instances = device_instances::lock(&mut write, device, now).await?;
        let are_two = instances.answered(&self.copies.session, self.copies.asked_in);
        device_instances::save(&mut write, device, &instances, now).await?;
        write.commit(now).await?;
        if are_two {
            let mut write =
                hub.app().store.write(&self.scope, intent(&self.identity, AT_ONCE)).await?;
            write.changes(
                serde_json::json!({"state": DeviceState::Enrolled.as_str()}),
                serde_json::json!({
                    "state": DeviceState::Quarantined.as_str(), "boots":
                    [instances.seat.boot, instances.rival.boot], "from": self.identity.source,
                }),
            );
            quarantine(&hub, write, &self.identity, AT_ONCE, now).await?;
        }
        if self.copies.is_leaving() {
            self.copies.leaves_at = Some(Instant::now());
        }
        Ok(())
    }
}
