//! The one way out. Each message is taken apart field by field, so that a field that is added to the
//! protocol does not compile until somebody decides here whether it leaves.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use edgeformer_proto::privacy::{Place, find};
use edgeformer_proto::v1;
use edgeformer_proto::v1::agent_message::Kind;

use super::Consent;
use super::consent::FILE_NAME;

/// Lets out what is declared and consented to.
#[derive(Debug)]
pub struct Gate {
    state_dir: PathBuf,
    known: Mutex<Known>,
}

/// The choices as last read, and what the file was then.
#[derive(Debug, Default)]
struct Known {
    consent: Option<Consent>,
    file: Option<(SystemTime, u64)>,
}

impl Gate {
    /// With the choices in this state directory, now and whenever they change.
    pub fn new(state_dir: &Path) -> Self {
        Self { state_dir: state_dir.to_owned(), known: Mutex::default() }
    }

    /// The choices now. What cannot be read allows the least.
    pub fn consent(&self) -> Consent {
        let meta = std::fs::metadata(self.state_dir.join(FILE_NAME)).ok();
        let file = meta.and_then(|meta| Some((meta.modified().ok()?, meta.len())));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(consent) = known.consent.as_ref().filter(|_| known.file == file) {
            return consent.clone();
        }
        let consent = Consent::load(&self.state_dir).unwrap_or_else(|error| {
            tracing::error!(%error, "the consent settings cannot be read; only the least leaves");
            Consent::least()
        });
        *known = Known { consent: Some(consent.clone()), file };
        consent
    }

    /// What is left of a message of the session.
    pub fn message(&self, kind: Kind) -> Kind {
        let pass = Pass { consent: &self.consent() };
        match kind {
            Kind::Hello(hello) => Kind::Hello(pass.hello(hello)),
            Kind::Heartbeat(beat) => Kind::Heartbeat(pass.heartbeat(beat)),
            Kind::SlotStatus(status) => Kind::SlotStatus(pass.slot_status(status)),
            Kind::Accepted(v1::Accepted { generation }) => {
                Kind::Accepted(v1::Accepted { generation: pass.generation(generation) })
            }
            Kind::Rejected(v1::Rejected { offered, held, reason }) => {
                Kind::Rejected(v1::Rejected {
                    offered: pass.generation(offered),
                    held: pass.generation(held),
                    reason: pass.text("Rejected.reason", reason),
                })
            }
            Kind::InstanceKept(v1::InstanceKept { instance }) => {
                Kind::InstanceKept(v1::InstanceKept { instance: pass.instance(instance) })
            }
            Kind::ProbeAnswer(v1::ProbeAnswer { nonce, held }) => {
                Kind::ProbeAnswer(v1::ProbeAnswer {
                    nonce: pass.keep("ProbeAnswer.nonce", nonce),
                    held: pass.instance(held),
                })
            }
            Kind::Erased(v1::Erased { order_id, chunks, versions, bytes, left }) => {
                let word = |word| pass.text("Erased.left", word);
                Kind::Erased(v1::Erased {
                    order_id: pass.text("Erased.order_id", order_id),
                    chunks: pass.keep("Erased.chunks", chunks),
                    versions: pass.keep("Erased.versions", versions),
                    bytes: pass.keep("Erased.bytes", bytes),
                    left: left.into_iter().map(word).collect(),
                })
            }
        }
    }

    /// What is left of what this device is.
    pub fn facts(&self, facts: v1::DeviceFacts) -> v1::DeviceFacts {
        Pass { consent: &self.consent() }.facts(facts)
    }
}

/// Takes messages apart under one consent.
pub(super) struct Pass<'a> {
    pub(super) consent: &'a Consent,
}

impl Pass<'_> {
    /// A number or bytes: as they are, or nothing.
    fn keep<T: Default>(&self, name: &str, value: T) -> T {
        let item = find(Place::Field, name);
        if item.is_some_and(|item| self.consent.allows(item.group)) { value } else { T::default() }
    }

    fn text(&self, name: &str, value: String) -> String {
        match find(Place::Field, name) {
            Some(item) if self.consent.allows(item.group) => item.value(&value).into_owned(),
            _ => String::new(),
        }
    }

    fn generation(&self, generation: Option<v1::Generation>) -> Option<v1::Generation> {
        generation.map(|v1::Generation { epoch, counter }| v1::Generation {
            epoch: self.keep("Generation.epoch", epoch),
            counter: self.keep("Generation.counter", counter),
        })
    }

    fn instance(&self, instance: Option<v1::Instance>) -> Option<v1::Instance> {
        instance.map(|v1::Instance { counter, value }| v1::Instance {
            counter: self.keep("Instance.counter", counter),
            value: self.keep("Instance.value", value),
        })
    }

    fn hello(&self, hello: v1::Hello) -> v1::Hello {
        let v1::Hello { protocol, boot_id, facts, held, slots, instance } = hello;
        v1::Hello {
            protocol: self.keep("Hello.protocol", protocol),
            boot_id: self.text("Hello.boot_id", boot_id),
            facts: facts.map(|facts| self.facts(facts)),
            held: self.generation(held),
            slots: slots.into_iter().map(|slot| self.slot_status(slot)).collect(),
            instance: self.instance(instance),
        }
    }

    fn heartbeat(&self, beat: v1::Heartbeat) -> v1::Heartbeat {
        let v1::Heartbeat { sequence, memory_available_bytes, disk_free_bytes } = beat;
        v1::Heartbeat {
            sequence: self.keep("Heartbeat.sequence", sequence),
            memory_available_bytes: self
                .keep("Heartbeat.memory_available_bytes", memory_available_bytes),
            disk_free_bytes: self.keep("Heartbeat.disk_free_bytes", disk_free_bytes),
        }
    }

    fn slot_status(&self, status: v1::SlotStatus) -> v1::SlotStatus {
        let v1::SlotStatus {
            slot,
            generation,
            phase,
            target_version_id,
            serving_version_id,
            reason,
            message,
            bytes_total,
            bytes_done,
            rollout_id,
            at_unix_us,
        } = status;
        v1::SlotStatus {
            slot: self.text("SlotStatus.slot", slot),
            generation: self.generation(generation),
            phase: self.keep("SlotStatus.phase", phase),
            target_version_id: self.text("SlotStatus.target_version_id", target_version_id),
            serving_version_id: self.text("SlotStatus.serving_version_id", serving_version_id),
            reason: self.text("SlotStatus.reason", reason),
            message: self.text("SlotStatus.message", message),
            bytes_total: self.keep("SlotStatus.bytes_total", bytes_total),
            bytes_done: self.keep("SlotStatus.bytes_done", bytes_done),
            rollout_id: self.text("SlotStatus.rollout_id", rollout_id),
            at_unix_us: self.keep("SlotStatus.at_unix_us", at_unix_us),
        }
    }

    fn facts(&self, facts: v1::DeviceFacts) -> v1::DeviceFacts {
        let v1::DeviceFacts {
            agent_version,
            os,
            arch,
            cpus,
            memory_bytes,
            disk_free_bytes,
            cpu_features,
            hostname,
        } = facts;
        let features = self.keep("DeviceFacts.cpu_features", cpu_features);
        v1::DeviceFacts {
            agent_version: self.text("DeviceFacts.agent_version", agent_version),
            os: self.text("DeviceFacts.os", os),
            arch: self.text("DeviceFacts.arch", arch),
            cpus: self.keep("DeviceFacts.cpus", cpus),
            memory_bytes: self.keep("DeviceFacts.memory_bytes", memory_bytes),
            disk_free_bytes: self.keep("DeviceFacts.disk_free_bytes", disk_free_bytes),
            cpu_features: features
                .into_iter()
                .map(|feature| self.text("DeviceFacts.cpu_features", feature))
                .collect(),
            hostname: self.text("DeviceFacts.hostname", hostname),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(message: &str) -> Kind {
        Kind::SlotStatus(v1::SlotStatus {
            slot: "assistant".to_owned(),
            reason: "memory".to_owned(),
            message: message.to_owned(),
            ..Default::default()
        })
    }

    fn message_of(kind: Kind) -> String {
        match kind {
            Kind::SlotStatus(status) => status.message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_change_of_the_choices_holds_for_the_next_message() {
        let dir = tempfile::tempdir().unwrap();
        let gate = Gate::new(dir.path());
        let said = "ask ada@example.com";
        assert_eq!(message_of(gate.message(status(said))), "ask [mail address]");
        let mut consent = Consent::default();
        consent.set("messages", false).unwrap();
        consent.save(dir.path()).unwrap();
        assert_eq!(message_of(gate.message(status(said))), "");
        std::fs::write(dir.path().join(FILE_NAME), "rubbish").unwrap();
        let facts = v1::DeviceFacts { cpus: 4, hostname: "h".to_owned(), ..Default::default() };
        assert_eq!(gate.facts(facts), v1::DeviceFacts::default(), "damaged: the least");
    }

    #[test]
    fn the_host_name_stays_here_until_somebody_says_otherwise() {
        let dir = tempfile::tempdir().unwrap();
        let gate = Gate::new(dir.path());
        let facts =
            v1::DeviceFacts { cpus: 4, hostname: "ada-pc".to_owned(), ..Default::default() };
        let left = gate.facts(facts.clone());
        assert_eq!((left.cpus, left.hostname.as_str()), (4, ""));
        let mut consent = Consent::default();
        consent.set("hostname", true).unwrap();
        consent.save(dir.path()).unwrap();
        assert_eq!(gate.facts(facts).hostname, "ada-pc");
    }
}
