//! The syslog protocol (RFC 5424) with structured data, and its framing over TLS (RFC 5425).

use super::{Format, Log, line, loudness, sentence, subjects_erased, who};
use crate::audit::event::Event;

/// "log audit" of RFC 5424 table 1.
const FACILITY: u32 = 13;
/// Severity by loudness: informational, notice, warning.
const SEVERITY: [u32; 3] = [6, 5, 4];
/// Receivers need not take more than this of one message (RFC 5425 section 4.3.1: 8192 should).
const MAX_MESSAGE_BYTES: usize = 8192;
/// Longest text of another format inside a message. What is longer is told in a sentence instead, with
/// the record's id, and never cut in the middle of it.
const MAX_CARRIED_BYTES: usize = 64 << 10;
/// Longest value of a parameter: an awkward name does not push the sentence out.
const MAX_PARAM_CHARS: usize = 256;
/// 32473 is the enterprise number that RFC 5612 keeps for documents; we have none registered.
const SD_ID: &str = "audit@32473";

/// The event as one message.
pub fn message(event: &Event, log: &Log) -> String {
    let head = head(event, log);
    let room = MAX_MESSAGE_BYTES.saturating_sub(head.len());
    head + &cut(&sentence(event).replace(|c: char| c.is_control(), " "), room)
}

/// The event as one message whose text is a line of another format.
pub fn carrying(event: &Event, log: &Log, format: Format) -> String {
    if format == Format::Rfc5424 {
        return message(event, log);
    }
    let text = line(event.clone(), log, format);
    match text.trim_end() {
        long if long.len() > MAX_CARRIED_BYTES => message(event, log),
        text => head(event, log) + text,
    }
}

/// Everything before the text.
fn head(event: &Event, log: &Log) -> String {
    let record = &event.record;
    let mut data: Vec<(&str, String)> = vec![
        ("id", event.id().to_string()),
        ("tenant", log.tenant.clone()),
        ("action", record.action.clone()),
        ("outcome", format!("{:?}", record.outcome).to_lowercase()),
        ("actorKind", super::actor_kind(record.actor.kind).to_owned()),
        ("actorId", record.actor.id.clone()),
        ("actor", who(event).to_owned()),
        ("resource", record.resource.kind.clone()),
        ("resourceId", record.resource.id.clone()),
        ("source", event.source().unwrap_or_default().to_owned()),
        ("request", record.request_id.clone()),
        ("trace", record.trace_id.clone().unwrap_or_default()),
        ("erased", subjects_erased(event).join(",")),
    ];
    if let Some(sequence) = event.sequence {
        data.push(("sequence", sequence.to_string()));
    }
    let data: String = data
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!(" {name}=\"{}\"", param(&value)))
        .collect();
    let priority = FACILITY * 8 + SEVERITY[loudness(event)];
    let host = word(&log.trust_domain, 255);
    let action = word(&record.action, 32);
    let at = event.at().rfc3339();
    // The byte order mark says that the text is UTF-8 (section 6.4).
    format!("<{priority}>1 {at} {host} edgeformer-fleet - {action} [{SD_ID}{data}] \u{feff}")
}

/// Octet counting: the length in front of the message (RFC 5425 section 4.3).
pub fn frame(message: &str) -> String {
    format!("{} {message}", message.len())
}

/// A header field: printable ASCII without spaces, or the nil value.
fn word(text: &str, max: usize) -> String {
    let text: String = text.chars().filter(char::is_ascii_graphic).take(max).collect();
    if text.is_empty() { "-".to_owned() } else { text }
}

/// In a parameter, `"`, `\` and `]` are escaped (section 6.3.3).
fn param(text: &str) -> String {
    text.chars().take(MAX_PARAM_CHARS).fold(String::new(), |mut out, c| {
        match c {
            '"' | '\\' | ']' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
        out
    })
}

/// At most so many bytes, whole characters.
fn cut(text: &str, max: usize) -> String {
    let end = (0..=max.min(text.len())).rev().find(|&at| text.is_char_boundary(at));
    text[..end.unwrap_or(0)].to_owned()
}
