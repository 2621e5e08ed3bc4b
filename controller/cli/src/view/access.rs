//! Who one is, and the tokens that let devices enrol.

use super::human::{is_past, labels, relative};
use super::{Style, fields, table};
use crate::client::types::{EnrolmentToken, EnrolmentTokenCreated, Whoami};

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
