//! What is kept of the audit log, and how it stands with it.

use super::fields;
use super::human::{NONE, absolute, amount};
use crate::client::types::{AuditRetention, AuditRetentionPreview, AuditStatus};

pub fn one(retention: &AuditRetention) -> String {
    let kept = match retention.keep_days {
        None => "for ever".to_owned(),
        Some(days) => format!("{} days", amount(days.into())),
    };
    let hold = retention.hold.as_ref().map_or_else(
        || "none".to_owned(),
        |hold| format!("{}, since {} by {}", hold.reason, absolute(&hold.at), hold.by),
    );
    fields(&[
        ("Texts are kept", kept),
        ("Shortest allowed", format!("{} days", retention.min_keep_days)),
        ("Deleted so far", format!("{} records", amount(retention.deleted_records))),
        ("Legal hold", hold),
    ])
}

/// Asks for consent to a period.
pub fn preview(preview: &AuditRetentionPreview) -> String {
    let held = match preview.held {
        true => "\nA legal hold stops it until it is lifted.",
        false => "",
    };
    format!(
        "{} records are older than {} days: what they say, and names, addresses and changes beside \
         them, go for good.\nTheir hashes stay, so the log can be verified all the same.{held}",
        amount(preview.records),
        amount(preview.keep_days.into()),
    )
}

/// Asks for consent to lifting a hold.
pub fn lifting(retention: &AuditRetention) -> String {
    match &retention.hold {
        None => "There is no legal hold on this log.".to_owned(),
        Some(hold) => format!("Deletions go on once the hold ({}) is lifted.", hold.reason),
    }
}

pub fn status(status: &AuditStatus) -> String {
    let percent = |used: Option<u32>| used.map_or_else(|| NONE.to_owned(), |n| format!("{n} %"));
    let of = |failing: u64, all: u64, word: &str| match all {
        0 => "none".to_owned(),
        _ => format!("{all}, {failing} {word}"),
    };
    let mut witnesses = of(status.witnesses_failing, status.witnesses, "failing");
    if status.witnesses_contradicting > 0 {
        witnesses = format!(
            "{witnesses}; {} HOLD ANOTHER HISTORY OF THIS LOG",
            status.witnesses_contradicting
        );
    }
    let mut sinks = of(status.sinks_failing, status.sinks, "failing");
    if status.sink_lag_records > 0 {
        sinks = format!("{sinks}; up to {} records wait", amount(status.sink_lag_records));
    }
    let room = &status.capacity;
    fields(&[
        ("Records", amount(status.records)),
        ("Signed", amount(status.signed)),
        ("Waiting", amount(status.waiting)),
        ("Deleted", amount(status.deleted_records)),
        ("Legal hold", if status.held { "yes" } else { "no" }.to_owned()),
        ("Witnesses", witnesses),
        ("Sinks", sinks),
        ("Capacity", room.state.clone()),
        ("Volume used", percent(room.volume_used_percent)),
        ("Budget used", percent(room.records_used_percent)),
    ])
}
