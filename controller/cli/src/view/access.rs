//! Who one is, tenants, tokens.

use super::human::{is_past, labels, relative, relative_or};
use super::{Style, fields, table};
use crate::client::types::{
    ApiToken, EnrolmentToken, EnrolmentTokenCreated, Tenant, TenantCreated, TokenCreated, Whoami,
};

pub fn whoami(me: &Whoami, url: &str) -> String {
    let tenant = match (&me.tenant_name, &me.tenant_id) {
        (Some(name), Some(id)) => format!("{name} ({id})"),
        (None, Some(id)) => id.clone(),
        _ => "none: this is the installation's administrator".to_owned(),
    };
    fields(&[
        ("Name", me.principal_name.clone()),
        ("Role", me.role.clone()),
        ("Tenant", tenant),
        ("Id", me.principal_id.clone()),
        ("Controller", url.to_owned()),
    ])
}

pub fn tenants(tenants: &[Tenant], style: Style) -> String {
    if tenants.is_empty() {
        return "No tenants yet.\nCreate the first with `edgeformer tenant create NAME`.".into();
    }
    let row = |t: &Tenant| [t.name.clone(), t.id.clone(), relative(&t.created_at, style.now)];
    table(style, ["NAME", "ID", "CREATED"], tenants.iter().map(row))
}

pub fn tenant_created(tenant: &TenantCreated, token_file: Option<&str>, url: &str) -> String {
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

pub fn tokens(tokens: &[ApiToken], style: Style) -> String {
    if tokens.is_empty() {
        return "No tokens.\nCreate one with `edgeformer token create NAME --role viewer`.".into();
    }
    let row = |t: &ApiToken| {
        let state = match (&t.revoked_at, &t.expires_at) {
            (Some(at), _) => format!("revoked {}", relative(at, style.now)),
            (None, Some(at)) if is_past(at, style.now) => {
                format!("expired {}", relative(at, style.now))
            }
            (None, Some(at)) => format!("expires {}", relative(at, style.now)),
            (None, None) => "valid, no expiry".to_owned(),
        };
        let used = relative_or(t.last_used_at.as_deref(), style.now, "never");
        [t.name.clone(), t.role.clone(), state, used, t.id.clone()]
    };
    table(style, ["NAME", "ROLE", "STATE", "LAST USED", "ID"], tokens.iter().map(row))
}

pub fn token_created(token: &TokenCreated, style: Style) -> String {
    fields(&[
        ("Token", format!("{}   (shown only now)", token.token)),
        ("Name", token.name.clone()),
        ("Role", token.role.clone()),
        ("Expires", relative_or(token.expires_at.as_deref(), style.now, "never")),
        ("Id", token.id.clone()),
    ])
}

pub fn enrolment_tokens(tokens: &[EnrolmentToken], style: Style) -> String {
    if tokens.is_empty() {
        return "No enrolment tokens.\n\
                Create one with `edgeformer enrolment-token create`, then enrol a device with it."
            .into();
    }
    let row = |t: &EnrolmentToken| {
        let state = match &t.revoked_at {
            Some(at) => format!("revoked {}", relative(at, style.now)),
            None if is_past(&t.expires_at, style.now) => {
                format!("expired {}", relative(&t.expires_at, style.now))
            }
            None if t.uses_left == 0 => "used up".to_owned(),
            None => format!("expires {}", relative(&t.expires_at, style.now)),
        };
        [t.id.clone(), state, t.uses_left.to_string(), labels(&t.labels)]
    };
    table(style, ["ID", "STATE", ">USES LEFT", "LABELS"], tokens.iter().map(row))
}

pub fn enrolment_token_created(token: &EnrolmentTokenCreated, style: Style) -> String {
    let uses = match token.uses_left {
        1 => "1 device".to_owned(),
        n => format!("{n} devices"),
    };
    let head = fields(&[
        ("Token", format!("{}   (shown only now)", token.token)),
        ("For", uses),
        ("Expires", relative(&token.expires_at, style.now)),
        ("Labels", labels(&token.labels)),
        ("Id", token.id.clone()),
    ]);
    format!(
        "{head}\n\nOn the device (PORT is the controller's device listener, usually 8444):\n  \
         edgeformer-agent enroll --controller https://HOST:PORT --ca ca.pem \\\n    \
         --state-dir /var/lib/edgeformer --token {}",
        token.token
    )
}

/// What is lost with a token; `own` is the one that asks.
pub fn token_revocation(token: &ApiToken, own: bool, style: Style) -> String {
    let used = relative_or(token.last_used_at.as_deref(), style.now, "never");
    let own = match own {
        true => {
            "\nTHIS IS THE TOKEN YOU ARE USING: you will be locked out unless you have another."
        }
        false => "",
    };
    format!(
        "Token {:?} (role {}, last used {used}) will be useless at once.\n\
         Programs that use it will be refused.{own}",
        token.name, token.role
    )
}

/// For a token beyond those that were looked through.
pub fn unknown_token_revocation(id: &str) -> String {
    format!("Token {id} will be useless at once. Programs that use it will be refused.")
}
