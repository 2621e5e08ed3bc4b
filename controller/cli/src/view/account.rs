//! People and log-ins.

use super::human::{relative, relative_or};
use super::{Style, fields, table};
use crate::client::types::{LoginSession, RecoveryCodes, TotpSecret, User, UserCreated};

pub fn users(users: &[User], style: Style) -> String {
    if users.is_empty() {
        return "No users.\nMake the first with `edgeformer user create NAME --role admin`.".into();
    }
    let row = |user: &User| {
        let state = match (&user.locked_until, user.active, user.has_password) {
            (_, false, _) => "disabled".to_owned(),
            (Some(until), ..) => format!("locked, ends {}", relative(until, style.now)),
            (None, true, false) if user.source == "local" => "invited".to_owned(),
            _ if user.second_factor => "active, second factor".to_owned(),
            _ => "active".to_owned(),
        };
        let last = relative_or(user.last_login_at.as_deref(), style.now, "never");
        let (name, shown) = (user.user_name.clone(), user.display_name.clone());
        [name, shown, user.roles.join(","), state, last, user.id.clone()]
    };
    table(style, ["USER", "NAME", "ROLES", "STATE", "LAST LOG-IN", "ID"], users.iter().map(row))
}

pub fn created(user: &UserCreated, url: &str) -> String {
    let head = fields(&[
        ("User", user.user_name.clone()),
        ("Invitation", format!("{}   (shown only now)", user.invitation)),
        ("Id", user.id.clone()),
    ]);
    format!(
        "{head}\n\nThe user sets a password within three days:\n  edgeformer account set-password --url {url} --ca ca.pem --tenant TENANT"
    )
}

pub fn log_ins(all: &[LoginSession], style: Style) -> String {
    let row = |one: &LoginSession| {
        let current = if one.current { "this one" } else { "" }.to_owned();
        let at = |time: &str| relative(time, style.now);
        let (method, source) = (one.method.clone(), one.source.clone());
        let (since, used) = (at(&one.signed_in_at), at(&one.refreshed_at));
        [since, used, at(&one.ends_at), method, source, current, one.id.clone()]
    };
    let head = ["SINCE", "USED", "ENDS", "PROVED BY", "FROM", "", "ID"];
    table(style, head, all.iter().map(row))
}

pub fn factor(made: &TotpSecret) -> String {
    format!(
        "Put this into an authenticator app (time-based, six digits, 30 seconds):\n  {}\n\nOr as an \
         address, for those that take one:\n  {}",
        made.secret, made.uri
    )
}

pub fn recovery(codes: &RecoveryCodes) -> String {
    let lines: Vec<_> = codes.recovery_codes.iter().map(|code| format!("  {code}")).collect();
    format!(
        "A code is asked for at every log-in from now on. Without the app, each of these works once \
         in its place (shown only now):\n{}",
        lines.join("\n")
    )
}
