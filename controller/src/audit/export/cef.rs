//! ArcSight Common Event Format, version 0: one line an event, `CEF:0|…|key=value …`.

use super::{Log, PRODUCT, PRODUCT_VERSION, VENDOR, host_and_port, loudness, sentence, who};
use crate::audit::Outcome;
use crate::audit::event::Event;

/// Severity, 0 to 10, by loudness.
const SEVERITY: [u32; 3] = [1, 4, 6];

/// The event as a line, without its end.
pub fn line(event: &Event, log: &Log) -> String {
    let record = &event.record;
    let mut out = format!(
        "CEF:0|{VENDOR}|{PRODUCT}|{PRODUCT_VERSION}|{}|{}|{}|",
        header(&record.action),
        header(&format!("{} of {}", record.action, record.resource.kind)),
        SEVERITY[loudness(event)],
    );
    let mut pairs: Vec<(&str, String)> = vec![
        ("rt", (event.at().0 / 1000).to_string()),
        ("externalId", event.id().to_string()),
        ("act", record.action.clone()),
        ("outcome", outcome(event).to_owned()),
        ("reason", record.reason.clone()),
        ("suid", record.actor.id.clone()),
        ("suser", who(event).to_owned()),
        ("dvchost", log.trust_domain.clone()),
        ("msg", sentence(event)),
        ("cs1Label", "tenant".into()),
        ("cs1", log.tenant.clone()),
        ("cs2Label", "resource".into()),
        ("cs2", format!("{}/{}", record.resource.kind, record.resource.id)),
        ("cs3Label", "request".into()),
        ("cs3", record.request_id.clone()),
    ];
    if let Some(sequence) = event.sequence {
        pairs.push(("cn1Label", "sequence".into()));
        pairs.push(("cn1", sequence.to_string()));
    }
    if let Some((ip, port)) = event.source().and_then(host_and_port) {
        let key = if ip.is_ipv4() { "src" } else { "c6a2" };
        if ip.is_ipv6() {
            pairs.push(("c6a2Label", "source IPv6 address".into()));
        }
        pairs.push((key, ip.to_string()));
        pairs.extend(port.map(|port| ("spt", port.to_string())));
    }
    let pairs: Vec<String> = pairs
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| format!("{key}={}", extension(&value)))
        .collect();
    out.push_str(&pairs.join(" "));
    out
}

fn outcome(event: &Event) -> &'static str {
    match event.record.outcome {
        Outcome::Success => "success",
        Outcome::Denied => "denied",
        Outcome::Failure => "failure",
    }
}

/// In the header, the bar and the backslash are escaped, and there are no lines.
fn header(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        match c {
            '|' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
        out
    })
}

/// In a value, the equals sign, the backslash and the ends of lines are escaped.
fn extension(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        match c {
            '=' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
        out
    })
}
