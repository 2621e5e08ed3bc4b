//! Rollouts: plans, progress, results.

use super::device::explanation;
use super::human::{NONE, bytes, labels, or_none, relative, relative_or};
use super::{Style, fields, table};
use crate::client::types::{
    Counts, Rollout, RolloutDevice, RolloutPreview, RolloutState, Selector,
};

/// Devices that a preview before a destructive act names.
const PREVIEWED: usize = 10;

pub fn state(state: RolloutState) -> &'static str {
    match state {
        RolloutState::Running => "running",
        RolloutState::Succeeded => "succeeded",
        RolloutState::Failed => "failed",
        RolloutState::Aborted => "aborted",
        RolloutState::Unknown => "unknown to this version of the program",
    }
}

/// The model and version that it brings; a rollback may bring several or empty the slot.
pub fn subject(r: &Rollout) -> String {
    match (r.model.as_str(), r.version.as_str()) {
        ("", _) | (_, "") => "what ran before".to_owned(),
        (model, version) => format!("{model} {version}"),
    }
}

pub fn preview(preview: &RolloutPreview, style: Style) -> String {
    let mut parts = Vec::new();
    if preview.devices.is_empty() {
        parts.push(
            "The selector matches no device.\nSee names and labels with `edgeformer device list`."
                .to_owned(),
        );
    } else {
        let rows = preview.devices.iter().map(|d| {
            [
                d.name.clone(),
                or_none(d.from_version.as_deref()).to_owned(),
                d.to_version.clone(),
                if d.online { "online" } else { "offline" }.to_owned(),
                match (d.fits, &d.why_not) {
                    (true, _) => "yes".to_owned(),
                    (false, Some(why)) => format!("no: {why}"),
                    (false, None) => "no".to_owned(),
                },
            ]
        });
        parts.push(table(style, ["DEVICE", "FROM", "TO", "STATE", "FITS"], rows));
        let count = preview.devices.len();
        let fit = preview.devices.iter().filter(|d| d.fits).count();
        let move_bytes = bytes(preview.bytes_to_move);
        parts.push(format!("{count} selected, {fit} fit; {move_bytes} to move."));
    }
    if !preview.conflicts.is_empty() {
        let list: Vec<String> = preview.conflicts.iter().map(|c| format!("  - {c}")).collect();
        parts.push(format!("Conflicts, for which it would be refused:\n{}", list.join("\n")));
    }
    parts.join("\n\n")
}

pub fn rollouts(rollouts: &[Rollout], filtered: bool, style: Style) -> String {
    if rollouts.is_empty() && filtered {
        return "No rollout is in this state.\nSee all with `edgeformer rollout list`.".into();
    }
    if rollouts.is_empty() {
        return "No rollouts yet.\n\
                See what one would do with `edgeformer rollout preview --model M --version V --all`."
            .into();
    }
    let row = |r: &Rollout| {
        [
            r.id.clone(),
            subject(r),
            state(r.state).to_owned(),
            format!("{}/{}", r.counts.confirmed, r.counts.total),
            relative(&r.created_at, style.now),
        ]
    };
    table(style, ["ID", "MODEL", "STATE", ">CONFIRMED", "STARTED"], rollouts.iter().map(row))
}

fn selector(selector: &Selector) -> String {
    match selector {
        Selector { all: Some(true), .. } => "all devices".to_owned(),
        Selector { labels: Some(map), .. } => format!("devices with {}", labels(map)),
        Selector { devices: Some(ids), .. } if ids.len() == 1 => "1 named device".to_owned(),
        Selector { devices: Some(ids), .. } => format!("{} named devices", ids.len()),
        _ => NONE.to_owned(),
    }
}

pub fn rollout(r: &Rollout, style: Style) -> String {
    let mut lines = vec![
        ("Rollout", r.id.clone()),
        ("Model", subject(r)),
        ("Slot", r.slot.clone()),
        ("To", selector(&r.selector)),
    ];
    let tokens = r.settings.context_tokens.map(|n| format!("context {n} tokens"));
    let parallel = r.settings.parallel.map(|n| format!("{n} requests at a time"));
    let settings: Vec<String> = tokens.into_iter().chain(parallel).collect();
    if !settings.is_empty() {
        lines.push(("Settings", settings.join(", ")));
    }
    lines.push(("State", state(r.state).to_owned()));
    if !r.reason.is_empty() {
        lines.push(("Reason", r.reason.clone()));
    }
    if r.state == RolloutState::Running && !r.waiting_for.is_empty() {
        lines.push(("Waits for", r.waiting_for.clone()));
    }
    lines.push(("Devices", counts(&r.counts)));
    if let Some(other) = &r.rolls_back {
        lines.push(("Rolls back", other.clone()));
    }
    lines.push(("Started", relative(&r.created_at, style.now)));
    lines.push(("Ended", relative_or(r.ended_at.as_deref(), style.now, "not yet")));
    let mut text = fields(&lines);
    if r.counts.failed + r.counts.reverted > 0 {
        text.push_str(&format!("\n\nSee why devices failed: edgeformer rollout devices {}", r.id));
    }
    text
}

/// `3 of 5 confirmed, 1 accepted, 1 failed`
pub fn counts(c: &Counts) -> String {
    let mut text = format!("{} of {} confirmed", c.confirmed, c.total);
    let others = [
        (c.pending, "pending"),
        (c.assigned, "assigned"),
        (c.accepted, "accepted"),
        (c.reverted, "reverted"),
        (c.failed, "failed"),
        (c.superseded, "superseded"),
    ];
    for (count, name) in others.into_iter().filter(|(count, _)| *count > 0) {
        text.push_str(&format!(", {count} {name}"));
    }
    text
}

pub fn devices(devices: &[RolloutDevice], style: Style) -> String {
    if devices.is_empty() {
        return "This rollout has no devices.".into();
    }
    let row = |d: &RolloutDevice| {
        [
            d.device_name.clone(),
            d.state.clone(),
            or_none(d.previous_version.as_deref()).to_owned(),
            or_none(d.version.as_deref()).to_owned(),
            relative(&d.updated_at, style.now),
            explanation(&d.reason, &d.message),
        ]
    };
    table(style, ["DEVICE", "STATE", "FROM", "TO", "SINCE", "MESSAGE"], devices.iter().map(row))
}

/// One line of `--wait`, or several when devices failed.
pub fn progress(r: &Rollout, elapsed_s: u64) -> String {
    let waiting = match (r.state, r.waiting_for.as_str()) {
        (RolloutState::Running, "") => String::new(),
        (RolloutState::Running, waiting) => format!("; {waiting}"),
        (ended, _) => format!("; the rollout {}", state(ended)),
    };
    format!("{:>7}  {}{waiting}", super::human::span(elapsed_s), counts(&r.counts))
}

/// `press-7 failed: not enough memory`
pub fn trouble(d: &RolloutDevice) -> String {
    format!("device {} {}: {}", d.device_name, d.state, explanation(&d.reason, &d.message))
}

/// What aborting does, before it is done.
pub fn abortion(r: &Rollout) -> String {
    format!(
        "Rollout  {}\nModel    {}\nState    {}: {}\n\n\
         It will stop: devices that have not begun keep what they run, those that have begun finish.\n\
         The {} confirmed keep the new version; `edgeformer rollout rollback` would bring all back.",
        r.id,
        subject(r),
        state(r.state),
        counts(&r.counts),
        r.counts.confirmed
    )
}

/// What rolling back does, before it is done.
pub fn rollback(r: &Rollout, devices: &[RolloutDevice]) -> String {
    // Devices that it never reached, or that another rollout owns by now, stay as they are.
    let reached = |d: &&RolloutDevice| !matches!(d.state.as_str(), "pending" | "superseded");
    let devices: Vec<&RolloutDevice> = devices.iter().filter(reached).collect();
    let first = match r.state {
        RolloutState::Running => "It is still running and will be aborted first. ",
        _ => "",
    };
    let mut lines = vec![format!(
        "Rollout  {}\nModel    {} in slot {}\nDevices  {}\n\n\
         {first}Devices go back to what they ran before:",
        r.id,
        subject(r),
        r.slot,
        counts(&r.counts)
    )];
    for d in devices.iter().take(PREVIEWED) {
        let now = or_none(d.version.as_deref());
        let before = d.previous_version.as_deref().filter(|v| !v.is_empty()).unwrap_or("empty");
        lines.push(format!("  {}  {now} -> {before}", d.device_name));
    }
    if devices.len() > PREVIEWED {
        lines.push(format!("  … and {} more", devices.len() - PREVIEWED));
    }
    lines.join("\n")
}
