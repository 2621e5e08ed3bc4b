//! Keys and metadata that people hold.

use std::path::Path;

use edgeformer_proto::tuf::{Key, Role as _, Signed, TopLevel, format_time};
use serde_json::{Value, json as object};

use super::human::relative;
use super::{Style, fields, table};
use crate::client::types::{TrustPending, TrustRepository, TrustRole, TrustWaiting};
use crate::trust::{Need, State};

pub fn key(key: &Key, private: &Path, public: &Path) -> String {
    fields(&[
        ("Key", key.id().to_string()),
        ("Kind", key.scheme().to_owned()),
        ("Private", format!("{} (never give it away)", private.display())),
        ("Public", format!("{} (for `trust init`, `add-key` and `rotate`)", public.display())),
    ])
}

pub fn key_json(key: &Key, private: &Path, public: &Path) -> String {
    let value = object!({
        "id": key.id().as_str(), "scheme": key.scheme(),
        "private": private.display().to_string(), "public": public.display().to_string(),
    });
    format!("{value:#}")
}

/// Who has yet to sign, a line for each group of keys.
pub fn waiting(state: &State) -> String {
    let line = |need: &Need| {
        let found = &need.signatures;
        let open: Vec<String> = found.open.iter().map(|id| id.short()).collect();
        match found.is_enough() {
            true => format!("  {}: {} of {} signed", need.who, found.have, found.need),
            false => format!(
                "  {}: {} of {} signed; open: {}",
                need.who,
                found.have,
                found.need,
                open.join(", ")
            ),
        }
    };
    let mut lines = Vec::new();
    for (name, needs) in [("root", state.root_needs()), ("targets", state.targets_needs())] {
        if !needs.is_empty() {
            lines.push(format!("{name} waits for signatures:"));
            lines.extend(needs.iter().map(line));
        }
    }
    if lines.is_empty() { "Nothing waits for signatures.".to_owned() } else { lines.join("\n") }
}

pub fn status(state: &State, style: Style) -> String {
    let mut parts = Vec::new();
    if let Some(root) = &state.root {
        let root = root.role();
        let row = |role: TopLevel| {
            let by = root.role(role);
            let ids: Vec<String> = by.key_ids.iter().map(|id| id.short()).collect();
            let keys = format!("{} of {}", by.threshold, ids.len());
            [role.name().to_owned(), keys, ids.join(", ")]
        };
        parts.push(table(style, ["ROLE", "MUST SIGN", "KEYS"], TopLevel::ALL.map(row)));
    }
    let root = state.root.as_ref().map(|r| ("root", r.role().common()));
    let targets = state.targets.as_ref().map(|t| ("targets", t.role().common()));
    for (name, common) in root.into_iter().chain(targets) {
        let end = format_time(common.expires_s);
        let over = match common.is_expired(style.now.unix_timestamp()) {
            true => "EXPIRED",
            false => "valid until",
        };
        parts.push(format!("{name} version {}: {over} {end}", common.version));
    }
    parts.push(waiting(state));
    parts.join("\n")
}

/// The controller's repository.
pub fn repository(found: &TrustRepository, style: Style) -> String {
    if found.roles.is_empty() {
        return "The repository is not made yet: the controller makes it within a minute."
            .to_owned();
    }
    let row = |role: &TrustRole| {
        let short = |id: &String| id.chars().take(12).collect::<String>();
        let ids: Vec<String> = role.key_ids.iter().map(short).collect();
        [
            role.role.clone(),
            role.version.to_string(),
            relative(&role.expires_at, style.now),
            if role.managed { "the controller" } else { "key holders" }.to_owned(),
            format!("{} of {}", role.threshold, role.key_ids.len()),
            ids.join(", "),
        ]
    };
    let head = ["ROLE", ">VERSION", "BELIEVED", "SIGNED BY", "MUST SIGN", "KEYS"];
    let mut text = table(style, head, found.roles.iter().map(row));
    if found.roles.iter().any(|role| role.role == "targets" && role.managed) {
        text.push_str(
            "\nThe controller holds the keys of root and targets: whoever takes it over can release \
             what devices run.",
        );
    }
    text
}

/// What waits for a signature of the targets keys.
pub fn pending(found: &TrustPending, style: Style) -> String {
    if found.items.is_empty() {
        return "Nothing waits to be signed.".to_owned();
    }
    let row = |one: &TrustWaiting| {
        [one.model.clone(), one.version.clone(), one.length.to_string(), one.sha256.clone()]
    };
    let head = ["MODEL", "VERSION", ">BYTES", "SHA-256 OF ITS MANIFEST"];
    let mut text = table(style, head, found.items.iter().map(row));
    text.push_str(match found.managed {
        true => "\nThe controller signs them within a minute.",
        false => {
            "\nDevices refuse them until the holders of the targets keys sign: edgeformer trust download \
             FOLDER, trust sign FOLDER, trust upload FOLDER"
        }
    });
    text
}

pub fn json(state: &State) -> String {
    let ids = |ids: &[edgeformer_proto::tuf::KeyId]| -> Vec<String> {
        ids.iter().map(ToString::to_string).collect()
    };
    let need = |need: &Need| {
        object!({
            "who": need.who, "signed": ids(&need.signatures.signed),
            "open": ids(&need.signatures.open), "have": need.signatures.have,
            "need": need.signatures.need,
        })
    };
    let needs = |needs: Vec<Need>| needs.iter().map(need).collect::<Vec<Value>>();
    let roles = state.root.as_ref().map(Signed::role).map(|root| {
        let role = |role: TopLevel| {
            let by = root.role(role);
            let value = object!({"keys": ids(&by.key_ids), "threshold": by.threshold});
            (role.name().to_owned(), value)
        };
        TopLevel::ALL.map(role).into_iter().collect::<serde_json::Map<_, _>>()
    });
    let value = object!({
        "root_version": state.root.as_ref().map(|r| r.role().common.version),
        "root_expires": state.root.as_ref().map(|r| format_time(r.role().common.expires_s)),
        "targets_version": state.targets.as_ref().map(|t| t.role().common.version),
        "targets_expires": state.targets.as_ref().map(|t| format_time(t.role().common.expires_s)),
        "roles": roles,
        "waiting": {"root": needs(state.root_needs()), "targets": needs(state.targets_needs())},
    });
    format!("{value:#}")
}
