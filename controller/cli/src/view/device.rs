//! Devices and their slots.

use super::human::{NONE, bytes, labels, or_none, relative, relative_or};
use super::{Style, fields, table};
use crate::client::types::{Device, SlotView};

pub fn devices(devices: &[Device], filtered: bool, style: Style) -> String {
    if devices.is_empty() && filtered {
        return "No device has these labels.\nSee all with `edgeformer device list`.".into();
    }
    if devices.is_empty() {
        return "No devices yet.\n\
                Create a token with `edgeformer enrolment-token create` and enrol a device with it."
            .into();
    }
    let row = |d: &Device| {
        let serving: Vec<String> = d.slots.iter().map(slot_summary).collect();
        [
            d.name.clone(),
            state(d).to_owned(),
            match serving.is_empty() {
                true => NONE.to_owned(),
                false => serving.join(", "),
            },
            labels(&d.labels),
            relative_or(d.last_seen_at.as_deref(), style.now, "never"),
        ]
    };
    table(style, ["NAME", "STATE", "MODELS", "LABELS", "LAST SEEN"], devices.iter().map(row))
}

/// One word for the two facts that matter.
pub fn state(device: &Device) -> &str {
    match (device.state.as_str(), device.online) {
        ("enrolled", true) => "online",
        ("enrolled", false) => "offline",
        (other, _) => other,
    }
}

/// `assistant 1.0.0`, `assistant 1.0.0 -> 1.1.0 (fetching)`
fn slot_summary(slot: &SlotView) -> String {
    let serving = slot.serving_version.as_deref().filter(|v| !v.is_empty());
    let desired = slot.desired_version.as_deref().filter(|v| !v.is_empty());
    match (serving, desired) {
        (Some(now), Some(next)) if now == next => format!("{} {now}", slot.slot),
        (Some(now), None) => format!("{} {now}", slot.slot),
        (now, Some(next)) => {
            format!("{} {} -> {next} ({})", slot.slot, now.unwrap_or(NONE), slot.phase)
        }
        (None, None) => format!("{} ({})", slot.slot, slot.phase),
    }
}

pub fn device(device: &Device, style: Style) -> String {
    let facts = &device.facts;
    let generation = match device.desired_generation == device.accepted_generation {
        true => format!("{} (accepted)", device.desired_generation),
        false => format!(
            "{} desired, {} accepted so far",
            device.desired_generation, device.accepted_generation
        ),
    };
    let last_seen = relative_or(device.last_seen_at.as_deref(), style.now, "never");
    let head = fields(&[
        ("Name", device.name.clone()),
        ("Id", device.id.clone()),
        ("State", format!("{}, last seen {last_seen}", state(device))),
        ("Labels", labels(&device.labels)),
        ("Host", format!("{} ({} {})", facts.hostname, facts.os, facts.arch)),
        (
            "Processor",
            format!("{} cores; {}", facts.cpus, or_none(Some(&facts.cpu_features.join(" ")))),
        ),
        ("Memory", bytes(facts.memory_bytes)),
        ("Disk free", bytes(facts.disk_free_bytes)),
        ("Agent", facts.agent_version.clone()),
        ("Certificate", format!("expires {}", relative(&device.cert_expires_at, style.now))),
        ("Generation", generation),
        ("Enrolled", relative(&device.created_at, style.now)),
    ]);
    format!("{head}\n\n{}", slots(&device.slots, style))
}

fn slots(slots: &[SlotView], style: Style) -> String {
    if slots.is_empty() {
        return "No models assigned.\n\
                Assign one with `edgeformer rollout create --model M --version V --device DEVICE`."
            .into();
    }
    let name = |model: &Option<String>, version: &Option<String>| match (model, version) {
        (Some(model), Some(version)) => format!("{model} {version}"),
        (_, Some(version)) => version.clone(),
        _ => NONE.to_owned(),
    };
    let row = |s: &SlotView| {
        let phase = match s.bytes_total {
            total if total > s.bytes_done => {
                format!("{} {} %", s.phase, s.bytes_done.saturating_mul(100) / total)
            }
            _ => s.phase.clone(),
        };
        [
            s.slot.clone(),
            name(&s.serving_model, &s.serving_version),
            name(&s.desired_model, &s.desired_version),
            phase,
            relative_or(s.updated_at.as_deref(), style.now, NONE),
            explanation(&s.reason, &s.message),
        ]
    };
    table(style, ["SLOT", "SERVING", "DESIRED", "PHASE", "SINCE", "MESSAGE"], slots.iter().map(row))
}

/// The message, or the reason's word where there is none.
pub fn explanation(reason: &str, message: &str) -> String {
    match (reason, message) {
        ("", "") => NONE.to_owned(),
        (reason, "") => reason.to_owned(),
        (_, message) => message.to_owned(),
    }
}

/// What a revocation does, before it is done.
pub fn revocation(device: &Device, style: Style) -> String {
    let last_seen = relative_or(device.last_seen_at.as_deref(), style.now, "never");
    let models: Vec<String> = device.slots.iter().map(slot_summary).collect();
    let models = match models.is_empty() {
        true => "no models".to_owned(),
        false => models.join(", "),
    };
    let facts = fields(&[
        ("Device", format!("{} ({})", device.name, device.id)),
        ("State", format!("{}, last seen {last_seen}", state(device))),
        ("Runs", models),
    ]);
    format!(
        "{facts}\n\n\
         It will be cut off at once and gets no model keys any more. This cannot be undone: to come\n\
         back it must enrol again with a new token."
    )
}
