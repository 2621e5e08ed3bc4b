//! Sinks of the audit log.

use super::human::{NONE, amount, relative};
use super::{Style, fields, table};
use crate::client::types::AuditSink;

fn state(sink: &AuditSink) -> String {
    match (sink.enabled, sink.last_error.as_str()) {
        (false, _) => "stopped".to_owned(),
        (true, "") => "streaming".to_owned(),
        (true, error) => format!("failing: {error}"),
    }
}

pub fn list(all: &[AuditSink], style: Style) -> String {
    if all.is_empty() {
        return "The log is streamed nowhere.\n\
                Add a receiver with `edgeformer audit sink add NAME --syslog HOST --receiver-ca FILE`."
            .into();
    }
    let row = |sink: &AuditSink| {
        let last = sink.delivered_at.as_deref();
        let last = last.map_or_else(|| NONE.to_owned(), |at| relative(at, style.now));
        let to = format!("{} {}", sink.kind, sink.address);
        let (name, lag) = (sink.name.clone(), amount(sink.lag_records));
        [name, to, sink.format.clone(), lag, last, state(sink), sink.id.clone()]
    };
    let head = ["SINK", "TO", "FORMAT", ">WAITING", "DELIVERED", "STATE", "ID"];
    table(style, head, all.iter().map(row))
}

pub fn one(sink: &AuditSink) -> String {
    let mut lines = vec![
        ("Sink", sink.name.clone()),
        ("To", format!("{} {}", sink.kind, sink.address)),
        ("Format", sink.format.clone()),
        ("State", state(sink)),
        ("Next record", sink.next_sequence.to_string()),
        ("Waiting", amount(sink.lag_records)),
    ];
    if let Some(key) = &sink.public_key {
        lines.push(("Signed by", format!("{key}   (Ed25519)")));
    }
    lines.push(("Id", sink.id.clone()));
    fields(&lines)
}

/// Asks for consent to its removal.
pub fn removal(sink: &AuditSink) -> String {
    format!(
        "{} gets nothing any longer, and where it was is forgotten: {} records wait for it.",
        sink.name,
        amount(sink.lag_records)
    )
}
