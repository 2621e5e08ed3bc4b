//! Tenants.

use super::human::{amount, bytes, relative};
use super::{Style, fields, table};
use crate::client::types::{DeletionPreview, Tenant, TenantCreated, TenantDetails};

pub fn tenants(tenants: &[Tenant], style: Style) -> String {
    if tenants.is_empty() {
        return "No tenants yet.\nCreate the first with `edgeformer tenant create NAME`.".into();
    }
    let row = |t: &Tenant| {
        let (name, id, made) = (t.name.clone(), t.id.clone(), relative(&t.created_at, style.now));
        [name, t.state.clone(), made, id]
    };
    table(style, ["NAME", "STATE", "CREATED", "ID"], tenants.iter().map(row))
}

pub fn created(tenant: &TenantCreated, token_file: Option<&str>, url: &str) -> String {
    let token = match token_file {
        Some(file) => format!("saved to {file}"),
        None => format!("{}   (shown only now)", tenant.admin_token),
    };
    let head = fields(&[
        ("Tenant", tenant.name.clone()),
        ("Id", tenant.id.clone()),
        ("Owner's token", token),
    ]);
    let file = token_file.unwrap_or("FILE");
    format!("{head}\n\nLog in as its owner:\n  edgeformer login --url {url} --token-file {file}")
}

/// `12 of 500`
fn used(count: String, limit: Option<String>) -> String {
    match limit {
        Some(limit) => format!("{count} of {limit}"),
        None => format!("{count}, no limit"),
    }
}

pub fn details(shown: &TenantDetails, style: Style) -> String {
    let TenantDetails { tenant, usage } = shown;
    let state = match (&tenant.suspended_reason, &tenant.purge_at) {
        (_, Some(at)) => format!("{}, gone for good {}", tenant.state, relative(at, style.now)),
        (Some(why), None) => format!("{}: {why}", tenant.state),
        (None, None) => tenant.state.clone(),
    };
    let quota = &tenant.quota;
    let requests = quota.requests_per_second.map(|n| format!("{n} per second"));
    fields(&[
        ("Tenant", tenant.name.clone()),
        ("State", state),
        ("Devices", used(amount(usage.devices), quota.devices.map(amount))),
        ("Stored", used(bytes(usage.stored_bytes), quota.stored_bytes.map(bytes))),
        ("Requests", requests.unwrap_or_else(|| "no limit".to_owned())),
        ("Created", relative(&tenant.created_at, style.now)),
        ("Id", tenant.id.clone()),
    ])
}

/// What deleting a tenant takes.
pub fn loss(loss: &DeletionPreview, days: u32) -> String {
    let rows: u64 = loss.rows.values().sum();
    let several = if days == 1 { "day" } else { "days" };
    format!(
        "Tenant {:?} with {} devices and {} of models ({} rows) will be kept out at once.\n\
         For {days} {several} `edgeformer tenant restore` brings it back.\n\
         Then it is gone for good, with its keys and its audit log: export it before.",
        loss.tenant.name,
        amount(loss.usage.devices),
        bytes(loss.usage.stored_bytes),
        amount(rows),
    )
}
