//! API tokens, service accounts, groups.

use super::human::{is_past, relative, relative_or};
use super::{Style, fields, table};
use crate::client::types::{ApiToken, Group, GroupMember, Rotated, ServiceAccount, TokenCreated};

/// The role of a token, or the account whose roles it has.
fn rights(role: Option<&str>, account: Option<&str>) -> String {
    match (role, account) {
        (Some(role), _) => role.to_owned(),
        (None, Some(id)) => {
            format!("account …{}", id.get(id.len().saturating_sub(8)..).unwrap_or(id))
        }
        (None, None) => "-".to_owned(),
    }
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
        let narrowed = t.scopes.as_ref().map_or_else(|| "-".to_owned(), |all| all.join(","));
        [
            t.name.clone(),
            rights(t.role.as_deref(), t.service_account_id.as_deref()),
            narrowed,
            state,
            used,
            t.id.clone(),
        ]
    };
    let head = ["NAME", "ROLE", "NARROWED TO", "STATE", "LAST USED", "ID"];
    table(style, head, tokens.iter().map(row))
}

pub fn token_created(token: &TokenCreated, style: Style) -> String {
    fields(&[
        ("Token", format!("{}   (shown only now)", token.token)),
        ("Name", token.name.clone()),
        ("Role", rights(token.role.as_deref(), token.service_account_id.as_deref())),
        ("Narrowed to", token.scopes.as_ref().map_or_else(|| "-".to_owned(), |all| all.join(", "))),
        ("Expires", relative_or(token.expires_at.as_deref(), style.now, "never")),
        ("Id", token.id.clone()),
    ])
}

pub fn rotated(done: &Rotated, style: Style) -> String {
    let until = relative_or(done.replaces_until.as_deref(), style.now, "never");
    format!(
        "{}\n\nThe old secret of {} ends {until}: bring the new one to its users before.",
        token_created(&done.token, style),
        done.replaces
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
        token.name,
        rights(token.role.as_deref(), token.service_account_id.as_deref())
    )
}

/// For a token beyond those that were looked through.
pub fn unknown_token_revocation(id: &str) -> String {
    format!("Token {id} will be useless at once. Programs that use it will be refused.")
}

fn no_roles(roles: &[String]) -> String {
    match roles {
        [] => "-".to_owned(),
        roles => roles.join(","),
    }
}

pub fn accounts(all: &[ServiceAccount], style: Style) -> String {
    if all.is_empty() {
        return "No service accounts.\n\
                Make one with `edgeformer service-account create NAME --role viewer`."
            .into();
    }
    let row = |one: &ServiceAccount| {
        let state = if one.active { "active" } else { "disabled" }.to_owned();
        [one.name.clone(), no_roles(&one.roles), state, one.id.clone()]
    };
    table(style, ["NAME", "ROLES", "STATE", "ID"], all.iter().map(row))
}

pub fn account_created(account: &ServiceAccount) -> String {
    let head = fields(&[
        ("Service account", account.name.clone()),
        ("Roles", no_roles(&account.roles)),
        ("Id", account.id.clone()),
    ]);
    format!(
        "{head}\n\nMake its first token:\n  edgeformer token create NAME --service-account {}",
        account.name
    )
}

pub fn groups(all: &[Group], style: Style) -> String {
    if all.is_empty() {
        return "No groups.\nMake one with `edgeformer group create NAME --role operator`.".into();
    }
    let row =
        |one: &Group| [one.name.clone(), no_roles(&one.roles), one.source.clone(), one.id.clone()];
    table(style, ["NAME", "ROLES", "FROM", "ID"], all.iter().map(row))
}

pub fn group_created(group: &Group) -> String {
    let head = fields(&[
        ("Group", group.name.clone()),
        ("Roles", no_roles(&group.roles)),
        ("Id", group.id.clone()),
    ]);
    format!("{head}\n\nPut people in:\n  edgeformer group add {} USER", group.name)
}

pub fn members(all: &[GroupMember], style: Style) -> String {
    if all.is_empty() {
        return "Nobody is in it.\nPut people in with `edgeformer group add GROUP USER`.".into();
    }
    table(style, ["USER", "ID"], all.iter().map(|one| [one.user_name.clone(), one.id.clone()]))
}
