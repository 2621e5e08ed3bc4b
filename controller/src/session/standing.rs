//! What a session tells a device of its own standing: that it is quarantined, released, revoked, or to
//! erase itself; and what it hears of that.

use edgeformer_proto::v1;
use edgeformer_proto::v1::controller_message::Kind as Say;
use edgeformer_proto::v1::refusal::Code;
use serde_json::json;

use super::facts::clip;
use super::stream::{End, REFUSED_RETRY_S, Session};
use super::wire;
use crate::audit::{Intent, Outcome, Resource};
use crate::clock::Timestamp;
use crate::policy::Action;
use crate::store::devices::{self, DeviceState};
use crate::store::sessions::Desired;

/// Words that a device may say it could not erase; there are five.
const MAX_LEFT: usize = 8;
/// Of one such word.
const MAX_WORD_CHARS: usize = 32;

impl Session {
    /// The end of a session of a device that is cut off.
    pub(super) fn revoked(&self) -> End {
        let id = self.identity.device_id;
        let message = format!(
            "device {id} was revoked: it must be enrolled again with a new key to come back"
        );
        End::Refused(wire::refusal(Code::Revoked, message, REFUSED_RETRY_S))
    }

    /// Tells the device how it stands, if that is new to it.
    pub(super) async fn tell_standing(&mut self, desired: &Desired) -> Result<(), End> {
        let reason = match desired.state {
            DeviceState::Quarantined => desired.state_reason.clone(),
            _ => String::new(),
        };
        if reason != self.told_quarantine {
            self.told_quarantine.clone_from(&reason);
            self.say(Say::Quarantine(v1::Quarantine { reason })).await?;
        }
        let order = match desired.state {
            DeviceState::Decommissioning => desired.erase_order.clone(),
            _ => String::new(),
        };
        if !order.is_empty() && order != self.told_erase {
            self.told_erase.clone_from(&order);
            self.say(Say::Erase(v1::Erase { order_id: order })).await?;
        }
        Ok(())
    }

    /// The device says that it erased itself: that goes on record, and it is cut off.
    pub(super) async fn hear_erased(
        &mut self,
        erased: v1::Erased,
        now: Timestamp,
    ) -> Result<(), End> {
        let (app, device) = (self.hub.app().clone(), self.identity.device_id);
        let name = self.identity.device_name.clone();
        let left: Vec<String> =
            erased.left.iter().take(MAX_LEFT).map(|word| clip(word, MAX_WORD_CHARS)).collect();
        let said = json!({
            "chunks": erased.chunks, "versions": erased.versions, "bytes": erased.bytes,
            "left": left,
        });
        let (outcome, reason) = match left.is_empty() {
            true => (Outcome::Success, "the device said that it erased its models and keys".into()),
            false => (Outcome::Failure, format!("the device could not erase: {}", left.join(", "))),
        };
        let intent = Intent::new(Action::DeviceErase, Resource::new("device", device).named(name))
            .because(reason.clone())
            .changes(json!({"order": erased.order_id}), said.clone());
        if outcome != Outcome::Success {
            // It stays as it is, and is told again when it comes back.
            app.store.record(&self.scope, intent, outcome, now).await?;
            app.nudges.audit.notify_one();
            return Ok(());
        }
        let mut write = app.store.write(&self.scope, intent).await?;
        let known = devices::set_erased(&mut write, device, &erased.order_id, &said, now).await?;
        if !known {
            write.rollback().await?;
            tracing::warn!(%device, order = clip(&erased.order_id, 64), "the device answers an order to erase itself that was not given");
            return Ok(());
        }
        write.commit(now).await?;
        app.nudges.audit.notify_one();
        app.nudges.rollouts.notify_one();
        tracing::info!(%device, name = self.identity.device_name, %said, "the device erased itself");
        self.say(Say::EraseAck(v1::EraseAck { order_id: erased.order_id })).await?;
        let message =
            format!("device {device} erased itself and is no device of this fleet any more");
        Err(End::Refused(wire::refusal(Code::Erased, message, REFUSED_RETRY_S)))
    }
}
