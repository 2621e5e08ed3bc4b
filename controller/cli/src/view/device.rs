//! Devices and their slots.

use super::human::{NONE, bytes, labels, or_none, relative, relative_or};
use super::{Style, fields, table};
use crate::client::types::{Device, ReplacementCreated, SlotView};

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
    if let Some(ordered) = device.decommission.as_ref().filter(|_| device.state != "revoked") {
        return match ordered.state.as_str() {
            "waiting" => "waiting to erase",
            other => other,
        };
    }
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
    let mut rows = vec![
        ("Name", device.name.clone()),
        ("Id", device.id.clone()),
        ("State", format!("{}, last seen {last_seen}", state(device))),
    ];
    rows.extend(standing(device, style));
    rows.extend([
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
    let head = fields(&rows);
    format!("{head}\n\n{}", slots(&device.slots, style))
}

/// What there is to say about a device that is not simply enrolled.
fn standing(device: &Device, style: Style) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    if let Some(since) = &device.state_since {
        rows.push(("Since", relative(since, style.now)));
    }
    if !device.state_reason.is_empty() {
        rows.push(("Why", device.state_reason.clone()));
    }
    if let Some(ordered) = &device.decommission {
        let said = match &ordered.erased {
            Some(said) => {
                let number = |name: &str| said[name].as_u64().unwrap_or(0);
                format!(
                    "{} chunks, {} versions and the keys that open them: {}",
                    number("chunks"),
                    number("versions"),
                    bytes(number("bytes"))
                )
            }
            None => format!("waited for until {}", ordered.waited_for_until),
        };
        rows.push(("Erased", said));
    }
    let others = [("Replaces", &device.replaces), ("Replaced by", &device.replaced_by)];
    rows.extend(others.into_iter().filter_map(|(name, id)| Some((name, id.clone()?))));
    rows
}

/// Which device it is about, before something is done.
fn subject(device: &Device, style: Style) -> String {
    let last_seen = relative_or(device.last_seen_at.as_deref(), style.now, "never");
    let models: Vec<String> = device.slots.iter().map(slot_summary).collect();
    let models = match models.is_empty() {
        true => "no models".to_owned(),
        false => models.join(", "),
    };
    let mut rows = vec![
        ("Device", format!("{} ({})", device.name, device.id)),
        ("State", format!("{}, last seen {last_seen}", state(device))),
    ];
    rows.extend(standing(device, style));
    rows.push(("Runs", models));
    fields(&rows)
}

/// What decommissioning does, before it is done.
pub fn decommission(device: &Device, style: Style) -> String {
    let when = match device.online {
        true => "It is connected and will be told at once",
        false => "It is not connected: it will be told when it comes back",
    };
    format!(
        "{}\n\n\
         {when}. It stops its models, erases them, the keys that\n\
         open them and its identity, says so, and is cut off. It gets no model keys from now on.\n\
         This cannot be undone: to come back it must enrol again with a new token.",
        subject(device, style)
    )
}

pub fn decommissioned(device: &Device) -> String {
    let what = match device.online {
        true => "is told now to erase itself",
        false => "will be told to erase itself when it comes back",
    };
    format!(
        "Device {} ({}) {what}.\nSee how far it is with `edgeformer device show {}`.",
        device.name, device.id, device.id
    )
}

/// What a release does, before it is done.
pub fn release(device: &Device, style: Style) -> String {
    format!(
        "{}\n\n\
         The machine that connects first after this is the device; it gets keys and new versions\n\
         again. Switch every other machine with its state folder off before.",
        subject(device, style)
    )
}

pub fn replacement(made: &ReplacementCreated, style: Style) -> String {
    format!(
        "{}\n\n\
         On the new hardware:\n  \
         edgeformer-agent enroll --controller URL --ca ca.pem --state-dir DIR --token {}\n\
         It becomes {}; the old device is cut off at that moment. The token is shown once.",
        fields(&[
            ("Token", made.token.clone()),
            ("Id", made.id.clone()),
            ("Gives the place of", format!("{} ({})", made.name, made.replaces)),
            ("Expires", relative(&made.expires_at, style.now)),
        ]),
        made.token,
        made.name,
    )
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
    format!(
        "{}\n\n\
         It will be cut off at once and gets no model keys any more. This cannot be undone: to come\n\
         back it must enrol again with a new token.",
        subject(device, style)
    )
}
