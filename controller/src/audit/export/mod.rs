//! The audit log in the formats that other systems read. Every format is a pure function of one
//! [`Event`]; it must carry the record's id and place, so that a line can be found in the log again.

pub mod cef;
pub mod json;
pub mod ocsf;
pub mod syslog;

#[cfg(test)]
mod tests;

use super::event::Event;
use super::{Outcome, seal::Subject};
use crate::policy::Action;
use crate::scope::ActorKind;

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The record as the API shows it, one JSON object a line.
    JsonLines,
    /// Open Cybersecurity Schema Framework 1.5.0, one JSON object a line.
    Ocsf,
    /// ArcSight Common Event Format, version 0.
    Cef,
    /// The syslog protocol with structured data.
    Rfc5424,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 4] = [Self::JsonLines, Self::Ocsf, Self::Cef, Self::Rfc5424];

    /// As requests name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::JsonLines => "jsonl",
            Self::Ocsf => "ocsf",
            Self::Cef => "cef",
            Self::Rfc5424 => "rfc5424",
        }
    }

    /// The format of this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == text)
    }

    /// Of the exported file.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::JsonLines | Self::Ocsf => "application/jsonl",
            Self::Cef | Self::Rfc5424 => "text/plain; charset=utf-8",
        }
    }
}

/// Where a log belongs: what a reader of several logs tells them apart by.
#[derive(Debug, Clone)]
pub struct Log {
    /// The installation's name.
    pub trust_domain: String,
    /// Tenant id; empty for the installation's own log.
    pub tenant: String,
}

/// One record with its end of line.
pub fn line(event: Event, log: &Log, format: Format) -> String {
    let text = match format {
        Format::JsonLines => serde_json::to_string(&json::AuditRecord::from(event))
            .expect("a record has string keys only"),
        Format::Ocsf => ocsf::event(&event, log).to_string(),
        Format::Cef => cef::line(&event, log),
        Format::Rfc5424 => syslog::message(&event, log),
    };
    text + "\n"
}

/// Version of the program in every export.
const PRODUCT_VERSION: &str = env!("CARGO_PKG_VERSION");
/// In every export.
const VENDOR: &str = "EdgeFormer";
/// In every export.
const PRODUCT: &str = "Fleet";

/// How loud a record is, from what happened: 0 informational, 1 notable, 2 needs a look.
fn loudness(event: &Event) -> usize {
    match event.record.outcome {
        // What the controller did in answer to something that is wrong.
        Outcome::Success if event.record.action == Action::DeviceQuarantine.as_str() => 2,
        Outcome::Success => 0,
        Outcome::Failure => 1,
        Outcome::Denied => 2,
    }
}

/// The verb of `kind:verb`.
fn verb(event: &Event) -> &str {
    event.record.action.split_once(':').map_or("", |(_, verb)| verb)
}

/// Who did it, as one word: a name where there is one, an id otherwise.
fn who(event: &Event) -> &str {
    event.actor_name().filter(|name| !name.is_empty()).unwrap_or(&event.record.actor.id)
}

/// One sentence for people.
fn sentence(event: &Event) -> String {
    let record = &event.record;
    let how = match record.outcome {
        Outcome::Success => "",
        Outcome::Denied => " was refused",
        Outcome::Failure => " failed",
    };
    let name = event.resource_name().unwrap_or(&record.resource.id);
    let kind = actor_kind(record.actor.kind);
    let (action, of) = (&record.action, &record.resource.kind);
    format!("{action}{how} on {of} {name} by {kind} {}: {}", who(event), record.reason)
}

/// What an actor is, as records say it.
fn actor_kind(kind: ActorKind) -> &'static str {
    match kind {
        ActorKind::User => "user",
        ActorKind::Token => "token",
        ActorKind::ServiceAccount => "service account",
        ActorKind::Device => "device",
        ActorKind::System => "component",
        ActorKind::Installation => "installation token",
    }
}

/// The host of `host:port`, `[host]:port` or a bare address.
fn host_and_port(source: &str) -> Option<(std::net::IpAddr, Option<u16>)> {
    if let Ok(socket) = source.parse::<std::net::SocketAddr>() {
        return Some((socket.ip(), Some(socket.port())));
    }
    source.parse().ok().map(|ip| (ip, None))
}

/// Whether a record tells of an erased person.
fn subjects_erased(event: &Event) -> Vec<String> {
    let gone = event.erased();
    let mut subjects: Vec<String> = gone
        .iter()
        .filter_map(|name| event.record.sealed.get(name))
        .map(|one| &one.subject)
        .filter(|subject| !Subject::is_nobody(subject))
        .map(|subject| subject.as_str().to_owned())
        .collect();
    subjects.dedup();
    subjects
}
