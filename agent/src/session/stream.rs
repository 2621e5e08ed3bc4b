//! One session: hello, then status and heartbeats one way, desired states the other.

use std::sync::Arc;
use std::time::Duration;

use edgeformer_proto::instance::Instance;
use edgeformer_proto::protocol::{PROTOCOL, negotiate};
use edgeformer_proto::v1;
use edgeformer_proto::v1::agent_message::Kind as Say;
use edgeformer_proto::v1::controller_message::Kind as Hear;
use edgeformer_proto::v1::session_client::SessionClient;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;

use super::{Connection, Ended, Session, SessionError};
use crate::facts;
use crate::identity::dial::{chain, says_certificate_expired};
use crate::identity::{erase, renew};
use crate::privacy::Gate;
use crate::reconcile::desired::Rejection;
use crate::reconcile::report::Board;

/// Longest wait for Welcome or Refusal.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(20);

/// Messages that wait for the network. Status is sent from the newest reports, so a full queue only
/// delays it.
const OUTBOX: usize = 64;

/// Shortest and longest heartbeat that a controller can ask for.
const HEARTBEAT_S: std::ops::RangeInclusive<u32> = 1..=300;

/// Heartbeats without an answer before the session counts as lost.
const MAX_UNANSWERED: u64 = 3;

/// Longest desired state: 64 slots of at most 2 KiB, with room.
const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// A session lasts at least this long before a renewal ends it: a controller whose certificates are
/// over at once must not be asked for new ones in a loop.
const SHORTEST_RENEWAL: Duration = Duration::from_secs(5);

/// A renewal that failed is tried again after this, while the session goes on.
const RENEWAL_RETRY: Duration = Duration::from_secs(60);

struct Stream {
    /// What may leave.
    gate: Arc<Gate>,
    outbox: mpsc::Sender<v1::AgentMessage>,
    inbox: Streaming<v1::ControllerMessage>,
    /// What the controller was told last.
    told: Board,
    board: watch::Receiver<Board>,
    sequence: u64,
    answered: u64,
}

impl Session {
    /// Runs a session on an open channel.
    pub(super) async fn serve(
        &mut self,
        channel: Channel,
        stop: &CancellationToken,
    ) -> Result<Ended, SessionError> {
        let (mut stream, welcome) = tokio::select! {
            () = stop.cancelled() => return Ok(Ended::Stopped),
            opened = tokio::time::timeout(WELCOME_TIMEOUT, self.open(channel.clone())) => {
                opened.map_err(|_| failed("no answer to hello"))??
            }
        };
        self.note_welcome(&welcome, channel)?;
        let period = welcome.heartbeat_interval_s.clamp(*HEARTBEAT_S.start(), *HEARTBEAT_S.end());
        let mut heartbeat = tokio::time::interval(Duration::from_secs(period.into()));
        heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut renewal = Box::pin(tokio::time::sleep(self.until_renewal().max(SHORTEST_RENEWAL)));
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(Ended::Stopped),
                heard = stream.inbox.message() => {
                    let message = heard.map_err(explain)?
                        .ok_or_else(|| failed("the controller ended the stream"))?;
                    self.hear(&mut stream, message).await?;
                }
                _ = heartbeat.tick() => self.beat(&mut stream).await?,
                changed = stream.board.changed() => {
                    changed.map_err(|_| failed("the agent is stopping"))?;
                    stream.tell_changes().await?;
                }
                () = &mut renewal => {
                    let before = self.identity().certificate;
                    self.renew_if_due().await?;
                    if self.identity().certificate != before {
                        return Ok(Ended::Renewed);
                    }
                    renewal.set(tokio::time::sleep(self.until_renewal().max(RENEWAL_RETRY)));
                }
            }
        }
    }

    async fn open(&self, channel: Channel) -> Result<(Stream, v1::Welcome), SessionError> {
        let (outbox, queued) = mpsc::channel(OUTBOX);
        let mut board = self.parts.reconcile.board();
        let told = board.borrow_and_update().clone();
        let hello = v1::Hello {
            protocol: PROTOCOL,
            boot_id: self.parts.boot_id.clone(),
            facts: Some(facts::gather(&self.parts.state_dir)),
            held: self.parts.reconcile.held().map(Into::into),
            slots: told.iter().map(|(slot, report)| report.to_wire(slot)).collect(),
            instance: Some(self.parts.instance.held().into()),
        };
        // Queued before the call: a controller may answer only after it read the hello.
        let gate = Arc::new(Gate::new(&self.parts.state_dir));
        say(&gate, &outbox, Say::Hello(hello)).await?;
        let mut client = SessionClient::new(channel)
            .accept_compressed(CompressionEncoding::Zstd)
            .max_decoding_message_size(MAX_MESSAGE_BYTES);
        let answer = client.open(ReceiverStream::new(queued)).await.map_err(explain)?;
        let mut inbox = answer.into_inner();
        let first = inbox.message().await.map_err(explain)?.and_then(|message| message.kind);
        let welcome = match first {
            Some(Hear::Welcome(welcome)) => welcome,
            Some(Hear::Refusal(refusal)) => return Err(refused(refusal)),
            _ => return Err(failed("the controller did not begin with a welcome")),
        };
        negotiate(PROTOCOL, welcome.protocol, "agent", "controller")
            .map_err(|error| failed(&error.to_string()))?;
        Ok((Stream { gate, outbox, inbox, told, board, sequence: 0, answered: 0 }, welcome))
    }

    fn note_welcome(
        &mut self,
        welcome: &v1::Welcome,
        channel: Channel,
    ) -> Result<(), SessionError> {
        self.learn_time(welcome.now_unix_us);
        self.failures = 0;
        let version: String = welcome.controller_version.chars().take(64).collect();
        let url = self.identity().controller.to_string();
        tracing::info!(controller = url, version, "connected to the controller");
        self.parts.links.connection.send_replace(Connection::Connected {
            since_unix_us: self.parts.clock.now_us(),
            controller_version: version,
            quarantined: None,
        });
        self.parts.links.channel.send_replace(Some(channel));
        self.parts.links.sessions.send_modify(|count| *count += 1);
        Ok(())
    }

    async fn hear(
        &mut self,
        stream: &mut Stream,
        message: v1::ControllerMessage,
    ) -> Result<(), SessionError> {
        match message.kind {
            Some(Hear::Desired(desired)) => self.take(stream, desired).await,
            Some(Hear::HeartbeatAck(ack)) => {
                stream.answered = stream.answered.max(ack.sequence.min(stream.sequence));
                self.learn_time(ack.now_unix_us);
                Ok(())
            }
            Some(Hear::Refusal(refusal)) => Err(refused(refusal)),
            Some(Hear::InstanceOffer(offer)) => self.keep_instance(stream, &offer).await,
            Some(Hear::Probe(probe)) => {
                let held = Some(self.parts.instance.held().into());
                let answer = v1::ProbeAnswer { nonce: probe.nonce, held };
                say(&stream.gate, &stream.outbox, Say::ProbeAnswer(answer)).await
            }
            Some(Hear::Quarantine(quarantine)) => {
                self.note_quarantine(&quarantine.reason);
                Ok(())
            }
            Some(Hear::Erase(order)) => {
                tracing::warn!(
                    order = order.order_id,
                    "the controller decommissions this device: it erases its models and keys"
                );
                erase::begin(&self.parts.state_dir, &order.order_id)?;
                self.parts.retire.cancel();
                Ok(())
            }
            // Only in the sessions of a device that is being erased.
            Some(Hear::EraseAck(_)) => Ok(()),
            // A second welcome says nothing new; what a newer controller adds is not for us.
            Some(Hear::Welcome(_)) | None => Ok(()),
        }
    }

    /// Keeps what the controller offers before saying so.
    async fn keep_instance(
        &self,
        stream: &Stream,
        offer: &v1::InstanceOffer,
    ) -> Result<(), SessionError> {
        let Some(Ok(offer)) = offer.instance.as_ref().map(Instance::try_from) else {
            return Ok(());
        };
        // In this task: nothing is shown or answered until it is on disk. It is one small file.
        let kept = self.parts.instance.take(offer)?;
        let kept = v1::InstanceKept { instance: Some(kept.into()) };
        say(&stream.gate, &stream.outbox, Say::InstanceKept(kept)).await
    }

    fn note_quarantine(&self, reason: &str) {
        let reason: String = reason.chars().take(1000).collect();
        match reason.is_empty() {
            true => tracing::info!("this device was released from quarantine"),
            false => tracing::error!(
                reason,
                "this device is quarantined: it gets no keys and nothing new until an operator releases it"
            ),
        }
        self.parts.links.connection.send_modify(|connection| {
            if let Connection::Connected { quarantined, .. } = connection {
                *quarantined = (!reason.is_empty()).then_some(reason);
            }
        });
    }

    async fn take(&self, stream: &Stream, desired: v1::DesiredState) -> Result<(), SessionError> {
        let offered = desired.generation;
        let reconcile = self.parts.reconcile.clone();
        let outcome = tokio::task::spawn_blocking(move || reconcile.offer(desired))
            .await
            .unwrap_or_else(|error| Err(Rejection::Storage(error.to_string())));
        let answer = match outcome {
            Ok(generation) => Say::Accepted(v1::Accepted { generation: Some(generation.into()) }),
            Err(rejection) => {
                tracing::error!(reason = %rejection, "refused a desired state");
                Say::Rejected(v1::Rejected {
                    offered,
                    held: self.parts.reconcile.held().map(Into::into),
                    reason: rejection.to_string(),
                })
            }
        };
        say(&stream.gate, &stream.outbox, answer).await
    }

    async fn beat(&self, stream: &mut Stream) -> Result<(), SessionError> {
        if stream.sequence.saturating_sub(stream.answered) >= MAX_UNANSWERED {
            return Err(failed(&format!("{MAX_UNANSWERED} heartbeats without an answer")));
        }
        stream.sequence += 1;
        let heartbeat = v1::Heartbeat {
            sequence: stream.sequence,
            memory_available_bytes: facts::memory().available_bytes,
            disk_free_bytes: facts::disk_free_bytes(&self.parts.state_dir).unwrap_or(0),
        };
        say(&stream.gate, &stream.outbox, Say::Heartbeat(heartbeat)).await
    }

    fn learn_time(&self, controller_us: i64) {
        if let Err(error) = self.parts.clock.learn(controller_us) {
            tracing::warn!(%error, "the controller's time could not be stored");
        }
    }

    fn until_renewal(&self) -> Duration {
        let due_us = renew::due_at_us(&self.identity().certificate);
        let wait_us = due_us.saturating_sub(self.parts.clock.now_us());
        Duration::from_micros(u64::try_from(wait_us).unwrap_or(0))
    }
}

impl Stream {
    /// Sends the reports that changed since the controller was told.
    async fn tell_changes(&mut self) -> Result<(), SessionError> {
        let now = self.board.borrow_and_update().clone();
        for (slot, report) in &now {
            if self.told.get(slot) != Some(report) {
                say(&self.gate, &self.outbox, Say::SlotStatus(report.to_wire(slot))).await?;
            }
        }
        self.told = now;
        Ok(())
    }
}

/// The only way into the stream.
pub(super) async fn say(
    gate: &Gate,
    outbox: &mpsc::Sender<v1::AgentMessage>,
    kind: Say,
) -> Result<(), SessionError> {
    let message = v1::AgentMessage { kind: Some(gate.message(kind)) };
    match tokio::time::timeout(WELCOME_TIMEOUT, outbox.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(failed("the stream is closed")),
        Err(_) => Err(failed("the controller takes no messages")),
    }
}

pub(super) fn refused(refusal: v1::Refusal) -> SessionError {
    SessionError::Refused {
        code: refusal.code(),
        message: refusal.message.chars().take(1000).collect(),
        retry_after: Duration::from_secs(refusal.retry_after_s.into()),
    }
}

pub(super) fn failed(text: &str) -> SessionError {
    SessionError::Stream { text: text.to_owned(), certificate_expired: false }
}

pub(super) fn explain(status: tonic::Status) -> SessionError {
    let text = format!("{:?}: {}", status.code(), chain(&status));
    // A controller lets an expired certificate through TLS, to say so in words.
    let certificate_expired =
        status.code() == tonic::Code::Unauthenticated || says_certificate_expired(&status);
    SessionError::Stream { text, certificate_expired }
}
