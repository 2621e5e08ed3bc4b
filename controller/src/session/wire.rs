//! What goes down a stream, from our types to the wire's.

use edgeformer_proto::protocol::{self, PROTOCOL};
use edgeformer_proto::v1;
use edgeformer_proto::v1::controller_message::Kind;
use edgeformer_proto::v1::refusal::Code;

use super::HEARTBEAT_INTERVAL;
use crate::clock::Timestamp;
use crate::store::sessions::Desired;

/// A message of this kind.
pub(super) fn message(kind: Kind) -> v1::ControllerMessage {
    v1::ControllerMessage { kind: Some(kind) }
}

/// The answer to a Hello of this protocol: Welcome, or the Refusal to end with.
pub(super) fn welcome(theirs: u32, now: Timestamp) -> Result<v1::Welcome, v1::Refusal> {
    let protocol = protocol::negotiate(PROTOCOL, theirs, "controller", "agent")
        .map_err(|error| refusal(Code::Protocol, error.to_string(), 3600))?;
    Ok(v1::Welcome {
        protocol,
        controller_version: env!("CARGO_PKG_VERSION").to_owned(),
        heartbeat_interval_s: u32::try_from(HEARTBEAT_INTERVAL.as_secs()).unwrap_or(u32::MAX),
        now_unix_us: now.0,
    })
}

/// A last message.
pub(super) fn refusal(code: Code, message: String, retry_after_s: u32) -> v1::Refusal {
    v1::Refusal { code: code.into(), message, retry_after_s }
}

/// Whether it is the last message to a device that is cut off.
pub(super) fn is_revocation(message: &v1::ControllerMessage) -> bool {
    let cut_off = |code| matches!(code, Code::Revoked | Code::Erased);
    matches!(&message.kind, Some(Kind::Refusal(refusal)) if cut_off(refusal.code()))
}

/// A desired state, as devices are told it.
pub(crate) fn desired(desired: &Desired) -> v1::DesiredState {
    let slots = desired.slots.iter().map(|slot| v1::DesiredSlot {
        slot: slot.slot.clone(),
        model: slot.model.clone(),
        version: slot.version.clone(),
        version_id: slot.version_id.to_string(),
        manifest_sha256: slot.manifest_sha256.clone().into(),
        rollout_id: slot.rollout.to_string(),
        settings: Some(v1::SlotSettings {
            context_tokens: slot.settings.context_tokens.unwrap_or(0),
            parallel: slot.settings.parallel.unwrap_or(0),
        }),
    });
    v1::DesiredState { generation: Some(desired.generation.into()), slots: slots.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_too_far_away_is_told_which_side_to_update() {
        let welcome_of_one = welcome(PROTOCOL, Timestamp(5)).unwrap();
        assert_eq!((welcome_of_one.protocol, welcome_of_one.now_unix_us), (PROTOCOL, 5));
        let refusal = welcome(PROTOCOL + 2, Timestamp(0)).unwrap_err();
        assert_eq!(refusal.code(), Code::Protocol);
        assert!(refusal.message.contains("update the controller first"), "{}", refusal.message);
    }
}
