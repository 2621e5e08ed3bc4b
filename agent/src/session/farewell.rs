//! The last sessions of a device that is being erased: it says what it removed, until the controller has
//! that on record or does not know the device any more.

use std::sync::Arc;
use std::time::Duration;

use edgeformer_proto::protocol::PROTOCOL;
use edgeformer_proto::v1;
use edgeformer_proto::v1::agent_message::Kind as Say;
use edgeformer_proto::v1::controller_message::Kind as Hear;
use edgeformer_proto::v1::session_client::SessionClient;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::{SessionError, backoff, stream};
use crate::clock::Clock;
use crate::identity::erase::Removed;
use crate::identity::renew;
use crate::identity::tls::{ClientAuth, client_config};
use crate::identity::{DeviceKeys, Identity, dial};
use crate::privacy::Gate;

/// For each answer of the controller.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Messages before the order or its acknowledgement; a few others may come first.
const MAX_MESSAGES: usize = 64;

/// How a try ended.
enum Told {
    /// It is on record, or nobody is left to be told.
    Done,
    /// Something could not be removed; the controller knows.
    Left,
}

/// Tells the controller until it knows, or until `stop`. `remove` is called before each try. True when
/// the device may forget who it is.
pub async fn tell(
    mut identity: Identity,
    keys: Arc<dyn DeviceKeys>,
    clock: &Clock,
    gate: &Gate,
    mut remove: impl FnMut() -> Removed,
    stop: &CancellationToken,
) -> bool {
    let mut rng = StdRng::from_rng(&mut rand::rng());
    let mut removed = remove();
    for failures in 1_u32.. {
        let at_least = tokio::select! {
            () = stop.cancelled() => return false,
            told = once(&mut identity, &keys, clock, gate, &removed) => match told {
                Ok(Told::Done) => return true,
                Ok(Told::Left) => {
                    removed.left = remove().left;
                    backoff::LONGEST
                }
                Err(error) => {
                    tracing::warn!(%error, "the controller does not know yet that this device was erased; trying again");
                    Duration::ZERO
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => return false,
            () = tokio::time::sleep(backoff::wait(failures, at_least, &mut rng)) => {}
        }
    }
    false
}

async fn once(
    identity: &mut Identity,
    keys: &Arc<dyn DeviceKeys>,
    clock: &Clock,
    gate: &Gate,
    removed: &Removed,
) -> Result<Told, SessionError> {
    if clock.now_us() >= renew::due_at_us(&identity.certificate) {
        match renew::renew(identity, keys, clock).await {
            Ok(renewed) => *identity = renewed.identity,
            Err(renew::RenewError::Refused(text)) => return Ok(unknown(&text)),
            Err(error) => tracing::warn!(%error, "the certificate was not renewed"),
        }
    }
    let auth = ClientAuth::Certificate(identity.certificate.chain.clone(), Arc::clone(keys));
    let tls = client_config(&identity.roots, auth, clock)?;
    let channel = dial::connect(&identity.controller, tls).await?;
    let (outbox, queued) = mpsc::channel(4);
    let hello = v1::Hello { protocol: PROTOCOL, ..v1::Hello::default() };
    stream::say(gate, &outbox, Say::Hello(hello)).await?;
    let mut inbox = match SessionClient::new(channel).open(ReceiverStream::new(queued)).await {
        Ok(answer) => answer.into_inner(),
        // Revoked, erased before, or removed: whoever ordered it does not wait for an answer.
        Err(status) if status.code() == Code::PermissionDenied => {
            return Ok(unknown(status.message()));
        }
        Err(status) => return Err(stream::explain(status)),
    };
    for _ in 0..MAX_MESSAGES {
        let message = tokio::time::timeout(ANSWER_TIMEOUT, inbox.message()).await;
        let message = message.map_err(|_| stream::failed("no order and no acknowledgement"))?;
        let message = message.map_err(stream::explain)?;
        match message.and_then(|message| message.kind) {
            Some(Hear::Erase(order)) => {
                let erased = v1::Erased {
                    order_id: order.order_id,
                    chunks: removed.chunks,
                    versions: removed.versions,
                    bytes: removed.bytes,
                    left: removed.left.clone(),
                };
                stream::say(gate, &outbox, Say::Erased(erased)).await?;
                if !removed.left.is_empty() {
                    return Ok(Told::Left);
                }
            }
            Some(Hear::EraseAck(_)) => return Ok(Told::Done),
            Some(Hear::Refusal(refusal)) => match refusal.code() {
                v1::refusal::Code::Erased | v1::refusal::Code::Revoked => return Ok(Told::Done),
                _ => return Err(stream::refused(refusal)),
            },
            Some(_) => {}
            None => return Err(stream::failed("the controller ended the stream")),
        }
    }
    Err(stream::failed("no order to erase this device came"))
}

fn unknown(text: &str) -> Told {
    tracing::info!(text, "the controller does not wait for this device any more");
    Told::Done
}
