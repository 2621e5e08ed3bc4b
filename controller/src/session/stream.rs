//! One session, from Hello to its end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use edgeformer_proto::Generation;
use edgeformer_proto::v1;
use edgeformer_proto::v1::agent_message::Kind as Said;
use edgeformer_proto::v1::controller_message::Kind as Say;
use edgeformer_proto::v1::refusal::Code;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::{Status, Streaming};

use super::copies::Copies;
use super::evidence::Evidence;
use super::facts::{Facts, clip};
use super::hub::{Hub, Place};
use super::report::{SlotReport, origin};
use super::{HELLO_TIMEOUT, IDLE_TIMEOUT, MAX_SLOTS, SEND_TIMEOUT, wire};
use crate::clock::Timestamp;
use crate::device_listener::guard::Refused;
use crate::device_listener::{DeviceIdentity, unavailable};
use crate::scope::TenantScope;
use crate::store::devices::{DeviceState, instances as device_instances};
use crate::store::presence::Presence;
use crate::store::{StoreError, sessions, tenants};

/// Progress of a download is noted at most this often; a change of phase at once.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// How long a revoked or refused device should stay away.
pub(super) const REFUSED_RETRY_S: u32 = 3600;
/// A sentence.
const MAX_REJECTION_CHARS: usize = 500;

/// How a session ends.
pub(super) enum End {
    /// The peer or the connection went away; nobody is left to be told.
    Gone,
    /// With a last message that says why.
    Refused(v1::Refusal),
    /// With an error.
    Failed(Status),
    /// The controller stops; the agent connects again by itself.
    Shutdown,
}

impl From<StoreError> for End {
    fn from(error: StoreError) -> Self {
        Self::Failed(unavailable(error))
    }
}

pub(super) type Outbound = mpsc::Sender<Result<v1::ControllerMessage, Status>>;

/// Serves one stream to its end.
pub(super) async fn serve(
    hub: Arc<Hub>,
    identity: DeviceIdentity,
    mut inbound: Streaming<v1::AgentMessage>,
    outbound: Outbound,
) {
    let (device, key) = (identity.device_id, (identity.tenant_id, identity.device_id));
    let end = match Session::open(hub.clone(), identity, &mut inbound, outbound.clone()).await {
        Ok(mut session) => {
            tracing::info!(%device, name = session.identity.device_name, "device connected");
            session.run(&mut inbound).await
        }
        Err(end) => end,
    };
    let last = match end {
        End::Gone => return tracing::info!(%device, "device disconnected"),
        End::Shutdown => return,
        End::Refused(refusal) => {
            tracing::info!(%device, reason = refusal.message, "session ended");
            Ok(wire::message(Say::Refusal(refusal)))
        }
        End::Failed(status) => {
            tracing::info!(%device, reason = status.message(), "session ended");
            Err(status)
        }
    };
    let is_revoked = matches!(&last, Ok(message) if wire::is_revocation(message));
    if is_revoked {
        hub.cut_soon(key);
    }
    // Best effort: the peer may be gone already.
    let _ = timeout(SEND_TIMEOUT, outbound.send(last)).await;
}

pub(super) struct Session {
    pub(super) hub: Arc<Hub>,
    pub(super) identity: DeviceIdentity,
    pub(super) scope: TenantScope,
    place: Place,
    outbound: Outbound,
    /// Which of the device's sessions this is.
    pub(super) copies: Copies,
    /// What the device was told of its quarantine: why, or nothing.
    pub(super) told_quarantine: String,
    /// The order to erase itself that it was told.
    pub(super) told_erase: String,
    agent_version: String,
    /// Newest generation that the device holds or was offered on this stream.
    offered: Generation,
    /// Last status noted of each slot.
    noted: BTreeMap<String, SlotReport>,
    /// Progress not noted yet.
    pending: BTreeMap<String, SlotReport>,
    /// What the audit log says of the slots.
    evidence: Evidence,
}

impl Session {
    async fn open(
        hub: Arc<Hub>,
        identity: DeviceIdentity,
        inbound: &mut Streaming<v1::AgentMessage>,
        outbound: Outbound,
    ) -> Result<Self, End> {
        let first = timeout(HELLO_TIMEOUT, inbound.message()).await;
        let Ok(Ok(Some(v1::AgentMessage { kind: Some(Said::Hello(hello)) }))) = first else {
            let status = Status::invalid_argument("the first message of a session must be Hello");
            return Err(End::Failed(status));
        };
        let now = hub.app().now();
        let welcome = wire::welcome(hello.protocol, now).map_err(End::Refused)?;
        let facts = Facts::from_wire(hello.facts.unwrap_or_default());
        let (scope, offered) = (identity.scope(), hello.held.map(Generation::from));
        let copies = Copies::open(&hub, &identity, &scope, &hello.boot_id, hello.instance).await?;
        if copies.is_behind() {
            send(&outbound, Say::Welcome(welcome)).await?;
            return Err(copies.find_out(&hub, &identity, &scope, inbound, &outbound).await);
        }
        let mut session = Self {
            place: hub.enter(identity.tenant_id, identity.device_id),
            scope,
            hub,
            identity,
            outbound,
            copies,
            told_quarantine: String::new(),
            told_erase: String::new(),
            agent_version: facts.agent_version.clone(),
            offered: offered.unwrap_or_else(origin),
            noted: BTreeMap::new(),
            pending: BTreeMap::new(),
            evidence: Evidence::default(),
        };
        session.heard(now, 0, facts.disk_free_bytes);
        session.note_hello(&facts, hello.slots, now).await?;
        session.say(Say::Welcome(welcome)).await?;
        for message in session.copies.first_words() {
            session.say(message).await?;
        }
        session.recheck().await?;
        Ok(session)
    }

    async fn run(&mut self, inbound: &mut Streaming<v1::AgentMessage>) -> End {
        let now = self.hub.app().now();
        let valid_us = self.identity.cert_expires_at_us.saturating_sub(now.0);
        let valid = Duration::from_micros(u64::try_from(valid_us).unwrap_or(0));
        // Beyond what a timer takes, there is nothing to wait for.
        let cert_end = Instant::now() + valid.min(Duration::from_secs(366 * 86_400));
        let mut silent_at = Instant::now() + IDLE_TIMEOUT;
        let mut flush_at = Instant::now() + PROGRESS_INTERVAL;
        let shutdown = self.hub.shutdown().clone();
        let superseded = self.place.superseded.clone();
        let recheck = self.place.recheck.clone();
        loop {
            let step = tokio::select! {
                biased;
                () = shutdown.cancelled() => Err(End::Shutdown),
                () = superseded.cancelled(), if !self.copies.is_leaving() => self.leave().await,
                () = sleep_until(self.copies.leaves_at()), if self.copies.is_leaving() => {
                    Err(superseded_end())
                }
                () = sleep_until(cert_end) => Err(expired_end(self.identity.cert_expires_at_us)),
                () = recheck.notified() => self.recheck().await,
                () = sleep_until(flush_at), if !self.pending.is_empty() => {
                    flush_at = Instant::now() + PROGRESS_INTERVAL;
                    self.flush_progress().await
                }
                said = inbound.message() => match said {
                    Ok(Some(message)) => {
                        silent_at = Instant::now() + IDLE_TIMEOUT;
                        self.hear(message).await
                    }
                    Ok(None) | Err(_) => Err(End::Gone),
                },
                () = sleep_until(silent_at) => Err(End::Failed(Status::deadline_exceeded(
                    "nothing was heard of the device for three heartbeats",
                ))),
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    async fn hear(&mut self, message: v1::AgentMessage) -> Result<(), End> {
        let now = self.hub.app().now();
        // A timer counts while the machine runs; the clock is what decides.
        if self.identity.cert_expires_at_us <= now.0 {
            return Err(expired_end(self.identity.cert_expires_at_us));
        }
        match message.kind {
            Some(Said::Heartbeat(beat)) => {
                self.heard(now, beat.memory_available_bytes, beat.disk_free_bytes);
                let ack = v1::HeartbeatAck { sequence: beat.sequence, now_unix_us: now.0 };
                self.say(Say::HeartbeatAck(ack)).await
            }
            Some(Said::SlotStatus(status)) => self.hear_status(status, now).await,
            Some(Said::Accepted(accepted)) => {
                let held = accepted.generation.map(Generation::from).unwrap_or_else(origin);
                self.note_accepted(held, now).await
            }
            Some(Said::Rejected(rejected)) => self.hear_rejected(rejected, now).await,
            Some(Said::InstanceKept(kept)) => self.hear_kept(&kept, now).await,
            Some(Said::ProbeAnswer(answer)) => self.hear_answer(&answer, now).await,
            Some(Said::Erased(erased)) => self.hear_erased(erased, now).await,
            // A kind of a newer agent, or a second Hello: ignored, as the protocol promises.
            Some(Said::Hello(_)) | None => Ok(()),
        }
    }

    /// Reads again how the device stands, and tells it what is new: a desired state, a quarantine, an
    /// order to erase itself. Ends when it was revoked or is connected elsewhere.
    pub(super) async fn recheck(&mut self) -> Result<(), End> {
        let device = self.identity.device_id;
        let mut read = self.hub.app().store.read(&self.scope).await?;
        let desired = sessions::desired(&mut read, device).await?;
        let instances = device_instances::get(&mut read, device).await?;
        let tenant = tenants::standing(&mut read).await?;
        drop(read);
        if let Some(Err(closed)) = tenant.map(|tenant| tenant.serves_devices()) {
            return Err(End::Failed(Status::unavailable(closed.to_string())));
        }
        let Some(desired) = desired.filter(|desired| desired.state.may_connect()) else {
            return Err(self.revoked());
        };
        if desired.is_ca_retired {
            return Err(End::Failed(Refused::Retired.into()));
        }
        if instances.is_some_and(|instances| !self.copies.has_seat(&instances)) {
            self.leave().await?;
        }
        self.tell_standing(&desired).await?;
        if desired.state != DeviceState::Enrolled || self.copies.is_leaving() {
            return Ok(());
        }
        if desired.generation <= self.offered {
            if desired.generation < self.offered && desired.accepted < self.offered {
                tracing::warn!(device = %self.identity.device_id, held = %self.offered, ours = %desired.generation,
                    "the device holds a newer desired state than this controller: its database is older than the device's, restore backups with `edgeformer-controller restore`, which raises the epoch");
            }
            return Ok(());
        }
        self.say(Say::Desired(wire::desired(&desired))).await?;
        self.offered = desired.generation;
        Ok(())
    }

    async fn note_hello(
        &mut self,
        facts: &Facts,
        slots: Vec<v1::SlotStatus>,
        now: Timestamp,
    ) -> Result<(), End> {
        let device = self.identity.device_id;
        let mut write = self.hub.app().store.write_observation(&self.scope).await?;
        sessions::set_facts(&mut write, device, &facts.to_json()).await?;
        sessions::accept(&mut write, device, self.offered).await?;
        for status in slots.into_iter().take(MAX_SLOTS) {
            match SlotReport::from_wire(status) {
                Ok(report) => {
                    sessions::set_status(&mut write, device, &report, now).await?;
                    self.noted.insert(report.slot.clone(), report);
                }
                Err(error) => tracing::debug!(%device, %error, "a slot's status was not taken"),
            }
        }
        self.evidence = Evidence::new(sessions::evident(&mut write, device).await?);
        write.commit(now).await?;
        self.note_evidence(self.noted.values().cloned().collect(), now).await?;
        self.forget_slots(now).await?;
        self.hub.app().nudges.rollouts.notify_one();
        Ok(())
    }

    /// Drops what is kept of slots that the device does not have any more, on the record.
    async fn forget_slots(&mut self, now: Timestamp) -> Result<(), End> {
        let (app, device) = (self.hub.app(), self.identity.device_id);
        let has: Vec<String> = self.noted.keys().cloned().collect();
        let gone: Vec<String> = self.evidence.unspoken(&has).cloned().collect();
        if gone.is_empty() {
            return Ok(());
        }
        for slot in &gone {
            self.evidence.note_unspoken(app, &self.identity, slot, now).await?;
        }
        let mut write = app.store.write_observation(&self.scope).await?;
        sessions::forget_slots(&mut write, device, &has).await?;
        write.commit(now).await?;
        Ok(())
    }

    /// Records what is new; what has to wait for its turn is looked at again with the progress.
    async fn note_evidence(&mut self, reports: Vec<SlotReport>, now: Timestamp) -> Result<(), End> {
        for report in reports {
            if !self.evidence.note(self.hub.app(), &self.identity, &report, now).await? {
                self.pending.insert(report.slot.clone(), report);
            }
        }
        Ok(())
    }

    async fn hear_status(&mut self, status: v1::SlotStatus, now: Timestamp) -> Result<(), End> {
        let device = self.identity.device_id;
        let report = match SlotReport::from_wire(status) {
            Ok(report) => report,
            // Not worth a warning: a slot that drains has no name on the wire.
            Err(error) => {
                tracing::debug!(%device, %error, "a slot's status was not taken");
                return Ok(());
            }
        };
        let known = self.noted.get(&report.slot);
        if known.is_none() && self.noted.len() >= MAX_SLOTS {
            tracing::warn!(%device, limit = MAX_SLOTS, "too many slots; a status was not taken");
            return Ok(());
        }
        if known.is_some_and(|noted| report.is_progress_on(noted)) {
            self.pending.insert(report.slot.clone(), report);
            return Ok(());
        }
        self.pending.remove(&report.slot);
        self.note_status(vec![report], now).await?;
        self.hub.app().nudges.rollouts.notify_one();
        Ok(())
    }

    async fn flush_progress(&mut self) -> Result<(), End> {
        let reports = std::mem::take(&mut self.pending).into_values().collect();
        self.note_status(reports, self.hub.app().now()).await
    }

    async fn note_status(&mut self, reports: Vec<SlotReport>, now: Timestamp) -> Result<(), End> {
        let mut write = self.hub.app().store.write_observation(&self.scope).await?;
        for report in &reports {
            sessions::set_status(&mut write, self.identity.device_id, report, now).await?;
            self.noted.insert(report.slot.clone(), report.clone());
        }
        write.commit(now).await?;
        self.note_evidence(reports, now).await
    }

    async fn note_accepted(&mut self, held: Generation, now: Timestamp) -> Result<(), End> {
        let mut write = self.hub.app().store.write_observation(&self.scope).await?;
        let news = sessions::accept(&mut write, self.identity.device_id, held).await?;
        write.commit(now).await?;
        if news {
            self.hub.app().nudges.rollouts.notify_one();
        }
        Ok(())
    }

    async fn hear_rejected(&mut self, wire: v1::Rejected, now: Timestamp) -> Result<(), End> {
        let device = self.identity.device_id;
        let offered = wire.offered.map(Generation::from).unwrap_or_else(origin);
        let held = wire.held.map(Generation::from).unwrap_or_else(origin);
        let why = clip(&wire.reason, MAX_REJECTION_CHARS);
        tracing::warn!(%device, %offered, %held, reason = why, "the device refused a desired state");
        let message = format!("the device refused generation {offered}, it holds {held}: {why}");
        let mut write = self.hub.app().store.write_observation(&self.scope).await?;
        sessions::reject(&mut write, device, offered, &message, now).await?;
        write.commit(now).await?;
        self.hub.app().nudges.rollouts.notify_one();
        Ok(())
    }

    fn heard(&self, at: Timestamp, memory_available_bytes: u64, disk_free_bytes: u64) {
        let presence = Presence {
            device: self.identity.device_id,
            at,
            memory_available_bytes,
            disk_free_bytes,
            agent_version: self.agent_version.clone(),
        };
        self.hub.heard(self.identity.tenant_id, presence);
    }

    pub(super) async fn say(&self, kind: Say) -> Result<(), End> {
        send(&self.outbound, kind).await
    }
}

pub(super) async fn send(outbound: &Outbound, kind: Say) -> Result<(), End> {
    match timeout(SEND_TIMEOUT, outbound.send(Ok(wire::message(kind)))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(End::Gone),
    }
}

fn superseded_end() -> End {
    let message = "the same device connected again; this older stream ends";
    End::Refused(wire::refusal(Code::Superseded, message.to_owned(), 0))
}

fn expired_end(at_us: i64) -> End {
    let at = Timestamp(at_us).rfc3339();
    End::Failed(Status::unauthenticated(format!(
        "the client certificate expired at {at}: renew it (Enrolment.Renew) and reconnect"
    )))
}
