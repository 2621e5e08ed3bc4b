//! The audit log and telemetry.

use edgeformer_proto::audit::bundle::Verified;

use super::human::{NONE, absolute, amount, bytes, or_none, relative, seconds};
use super::{Style, fields, table};
use crate::client::types::{AuditHead, AuditRecord, Erasure, TelemetryPoint, TelemetrySummary};

pub fn audit(records: &[AuditRecord], style: Style) -> String {
    if records.is_empty() {
        return "The audit log is empty: nobody has done anything in this tenant yet.".into();
    }
    let row = |r: &AuditRecord| {
        // Why something was allowed is in the JSON; here it would hide what was not.
        let outcome = match (r.outcome.as_str(), r.reason.as_str()) {
            ("success", _) | (_, "") => r.outcome.clone(),
            (outcome, reason) => format!("{outcome}: {reason}"),
        };
        let resource = match r.resource.name.as_deref().filter(|n| !n.is_empty()) {
            Some(name) => format!("{} {name}", r.resource.kind),
            None => format!("{} {}", r.resource.kind, r.resource.id),
        };
        let actor = match r.actor.name.as_deref() {
            None => format!("{} (erased)", r.actor.id),
            Some("") => or_none(Some(&r.actor.id)).to_owned(),
            Some(name) => name.to_owned(),
        };
        [
            r.sequence.map_or_else(|| NONE.to_owned(), |n| n.to_string()),
            absolute(&r.at),
            format!("{} {actor}", r.actor.kind),
            r.action.clone(),
            resource,
            outcome,
        ]
    };
    table(style, [">NO", "TIME", "ACTOR", "ACTION", "RESOURCE", "OUTCOME"], records.iter().map(row))
}

pub fn erasure(erasure: &Erasure) -> String {
    fields(&[
        ("Subject", erasure.subject.clone()),
        ("Records", amount(erasure.records)),
        ("Rows", rows(erasure)),
        ("Signatures", format!("{} stay as they were signed", amount(erasure.signatures_kept))),
        ("Erased", erasure.erased_at.as_deref().map_or_else(|| "no".to_owned(), absolute)),
    ])
}

/// Rows beside the log, by table.
fn rows(erasure: &Erasure) -> String {
    let one = |(table, count): (&String, &u64)| format!("{} in {table}", amount(*count));
    let rows: Vec<String> = erasure.rows.iter().map(one).collect();
    if rows.is_empty() { NONE.to_owned() } else { rows.join(", ") }
}

/// What an offline verification found.
pub fn verified(found: &Verified, kept: usize) -> String {
    let Verified { checkpoint, from, to, opened, withheld, deleted, times, witnesses } = found;
    let mut lines = vec![
        ("Verified", format!("{} records, {from} up to {to}", to - from)),
        ("Log", checkpoint.origin.clone()),
        ("Signed", format!("{} records, root {}", checkpoint.size, base64(&checkpoint.root))),
    ];
    if let Some((first, last)) = times {
        lines.push(("Time", format!("{} to {}", absolute(first), absolute(last))));
    }
    lines.push(("Values", format!("{opened} match their commitments, {withheld} are not shown")));
    if *deleted > 0 {
        let what = format!("{deleted} records have only their hash left: their texts were deleted");
        lines.push(("Deleted", what));
    }
    if kept > 0 {
        lines.push(("History", format!("agrees with {kept} checkpoints that were kept")));
    }
    for (name, time_s) in witnesses {
        let at = i64::try_from(*time_s).ok();
        let at = at.and_then(|s| time::OffsetDateTime::from_unix_timestamp(s).ok());
        let at = at.map_or_else(|| NONE.to_owned(), |at| at.to_string());
        lines.push(("Witness", format!("{name}, {at}")));
    }
    fields(&lines)
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Asks for consent to an erasure.
pub fn erasure_preview(erasure: &Erasure) -> String {
    format!(
        "Names, addresses and details of {} go from {} for good, and these rows: {}.\n\
         The records themselves and the proofs of the log stay valid; {} signatures stay as signed.",
        erasure.subject,
        match erasure.records {
            1 => "1 audit record".to_owned(),
            n => format!("{} audit records", amount(n)),
        },
        rows(erasure),
        amount(erasure.signatures_kept)
    )
}

pub fn head(head: &AuditHead) -> String {
    fields(&[("Records", head.size.to_string()), ("Root SHA-256", head.root_sha256.clone())])
}

pub fn summary(items: &[TelemetrySummary], style: Style) -> String {
    if items.is_empty() {
        return "No telemetry yet.\n\
                Devices report about every 10 seconds once applications send requests to them."
            .into();
    }
    let row = |t: &TelemetrySummary| {
        [
            t.device_name.clone(),
            format!("{} {}", t.slot, or_none(t.version.as_deref())),
            amount(t.requests),
            amount(t.errors),
            format!("{} / {}", seconds(t.ttft_p50_s), seconds(t.ttft_p95_s)),
            t.tokens_per_second.map_or_else(|| NONE.to_owned(), |rate| format!("{rate:.1}")),
            format!("{} / {}", amount(t.prompt_tokens), amount(t.completion_tokens)),
            t.memory_bytes.map_or_else(|| NONE.to_owned(), bytes),
            relative(&t.last_at, style.now),
        ]
    };
    let head = [
        "DEVICE",
        "MODEL",
        ">REQS",
        ">ERR",
        ">TTFT P50/P95",
        ">TOK/S",
        ">IN/OUT",
        ">MEMORY",
        "LAST",
    ];
    table(style, head, items.iter().map(row))
}

pub fn points(points: &[TelemetryPoint], style: Style) -> String {
    if points.is_empty() {
        return "No data points.\n\
                See what there is with `edgeformer telemetry summary`."
            .into();
    }
    let value = |p: &TelemetryPoint| match p.count {
        0 => NONE.to_owned(),
        1 => format!("{:.4}", p.sum),
        n => format!("{:.4} mean of {n}", p.sum / n as f64),
    };
    let at = |p: &TelemetryPoint| relative(&p.at, style.now);
    let first = &points[0].device_id;
    if points.iter().all(|p| p.device_id == *first) {
        let row = |p: &TelemetryPoint| [at(p), p.metric.clone(), value(p), p.slot.clone()];
        return table(style, ["AT", "METRIC", ">VALUE", "SLOT"], points.iter().map(row));
    }
    let row = |p: &TelemetryPoint| {
        [at(p), p.metric.clone(), value(p), p.slot.clone(), p.device_id.clone()]
    };
    table(style, ["AT", "METRIC", ">VALUE", "SLOT", "DEVICE"], points.iter().map(row))
}
