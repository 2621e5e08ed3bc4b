//! Certificate authorities.

use super::human::{NONE, relative};
use super::{Style, table};
use crate::client::types::Authority;

pub fn authorities(all: &[Authority], style: Style) -> String {
    let row = |ca: &Authority| {
        let at = |at: &Option<String>| {
            at.as_deref().map_or_else(|| NONE.to_owned(), |at| relative(at, style.now))
        };
        [
            ca.id.chars().take(16).collect(),
            ca.state.clone(),
            ca.tenants.map_or_else(|| NONE.to_owned(), |tenants| tenants.to_string()),
            ca.devices.to_string(),
            at(&ca.needed_until),
            at(&ca.replaced_at),
            relative(&ca.expires_at, style.now),
        ]
    };
    let head = ["ID", "STATE", ">TENANTS", ">DEVICES", "NEEDED UNTIL", "REPLACED", "EXPIRES"];
    table(style, head, all.iter().map(row))
}

/// Whom it meets when an authority is retired by force.
pub fn retirement(ca: &Authority) -> String {
    if ca.devices == 0 {
        return "No device holds a valid certificate from it.".to_owned();
    }
    let names = ca.device_names.join(", ");
    let more = if ca.devices > ca.device_names.len() as u64 { ", …" } else { "" };
    format!(
        "{} devices hold valid certificates from it: {names}{more}.\n\
         They are told to renew before they get anything else, and come back by themselves; one whose \
         renewal fails stays out.",
        ca.devices
    )
}
