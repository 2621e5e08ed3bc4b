//! The life of a device's identity, from both databases' point of view where it matters.

mod arrivals;
mod copies;
mod decommission;
mod replacement;
mod revocation;
mod rotation;

use edgeformer_controller::admin::devices;
use edgeformer_controller::audit::record::Record;
use edgeformer_controller::store::audit_log;
use edgeformer_controller::store::devices::Device as Shown;
use edgeformer_proto::instance::Instance;
use edgeformer_proto::v1;
use edgeformer_proto::v1::agent_message::Kind as Say;
use edgeformer_proto::v1::controller_message::Kind as Heard;

use crate::support::Controller;
use crate::support::device::{Device, Talk, hello};

/// The device as operators see it.
async fn shown(controller: &Controller, device: &Device) -> Shown {
    let id = device.id.parse().unwrap();
    devices::get(&controller.app, &controller.scope, id).await.unwrap().device
}

/// Records of this action, newest first.
async fn records(controller: &Controller, action: &str) -> Vec<Record> {
    let mut read = controller.app.store.read(&controller.scope).await.unwrap();
    let all = audit_log::list(&mut read, None, 200).await.unwrap();
    all.into_iter().map(|entry| entry.record).filter(|record| record.action == action).collect()
}

/// A machine with a device's state folder: what an agent keeps, and how it answers.
#[derive(Clone)]
struct Machine<'d> {
    device: &'d Device,
    held: Instance,
    boot: String,
}

impl<'d> Machine<'d> {
    fn new(device: &'d Device, boot: &str) -> Self {
        Self { device, held: Instance::default(), boot: boot.to_owned() }
    }

    /// The same state folder, on another machine or after a restart.
    fn started_again(&self, boot: &str) -> Self {
        Self { boot: boot.to_owned(), ..self.clone() }
    }

    async fn begin(&self, controller: &Controller) -> Talk {
        let talk = self.device.dial(controller).await.unwrap();
        let boot_id = self.boot.clone();
        let instance = Some(self.held.into());
        talk.say(Say::Hello(v1::Hello { boot_id, instance, ..hello(None) })).await;
        talk
    }

    /// Answers as an agent does; what it does not answer is handed back.
    async fn react(&mut self, talk: &Talk, heard: Heard) -> Option<Heard> {
        match heard {
            Heard::Welcome(_) => {}
            Heard::InstanceOffer(offer) => {
                let offer = Instance::try_from(&offer.instance.unwrap()).unwrap();
                if self.held.takes(&offer) {
                    self.held = offer;
                }
                let instance = Some(self.held.into());
                talk.say(Say::InstanceKept(v1::InstanceKept { instance })).await;
            }
            Heard::Probe(probe) => {
                let held = Some(self.held.into());
                talk.say(Say::ProbeAnswer(v1::ProbeAnswer { nonce: probe.nonce, held })).await;
            }
            other => return Some(other),
        }
        None
    }

    /// A session with all that an agent does at its beginning.
    async fn connect(&mut self, controller: &Controller) -> Talk {
        let mut talk = self.begin(controller).await;
        let before = self.held;
        // Welcome, an offer, a question.
        for _ in 0..3 {
            let heard = talk.hear().await;
            assert!(self.react(&talk, heard).await.is_none(), "something else came first");
        }
        assert!(before.takes(&self.held), "nothing newer was offered");
        self.settle(&mut talk).await;
        talk
    }

    /// Until the controller has heard everything that was said so far.
    async fn settle(&mut self, talk: &mut Talk) {
        let beat = v1::Heartbeat { sequence: 99, ..Default::default() };
        talk.say(Say::Heartbeat(beat)).await;
        loop {
            let heard = talk.hear().await;
            match self.react(talk, heard).await {
                Some(Heard::HeartbeatAck(ack)) if ack.sequence == 99 => return,
                Some(Heard::Desired(_)) | Some(Heard::Quarantine(_)) | None => {}
                Some(other) => panic!("heard {other:?}"),
            }
        }
    }

    /// Goes on answering until something comes that is not answered.
    async fn go_on(&mut self, talk: &mut Talk) -> Heard {
        loop {
            let heard = talk.hear().await;
            if let Some(other) = self.react(talk, heard).await {
                return other;
            }
        }
    }

    async fn refused(&mut self, talk: &mut Talk) -> v1::Refusal {
        loop {
            match self.go_on(talk).await {
                Heard::Refusal(refusal) => return refusal,
                Heard::Quarantine(_) => {}
                other => panic!("expected a refusal, heard {other:?}"),
            }
        }
    }
}
