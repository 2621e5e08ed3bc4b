//! Identity providers, and other systems whose tokens stand for a program.

use super::{Style, fields, table};
use crate::client::types::{IdentityProvider, IdentityProviderCheck, TrustRule};

fn mapping(provider: &IdentityProvider) -> String {
    let one = |(group, roles): (&String, &std::collections::BTreeSet<String>)| {
        let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
        format!("{group}={}", roles.join("+"))
    };
    provider.role_mapping.iter().map(one).collect::<Vec<_>>().join(", ")
}

pub fn providers(all: &[IdentityProvider], style: Style) -> String {
    if all.is_empty() {
        return "No identity providers.\nConnect one with `edgeformer identity-provider create`."
            .to_owned();
    }
    let row = |one: &IdentityProvider| {
        let state = if one.enabled { "enabled" } else { "disabled" }.to_owned();
        [one.name.clone(), one.issuer.clone(), state, mapping(one), one.id.clone()]
    };
    table(style, ["PROVIDER", "ISSUER", "STATE", "GROUPS", "ID"], all.iter().map(row))
}

pub fn provider(one: &IdentityProvider) -> String {
    let list = |all: &std::collections::BTreeSet<String>| {
        all.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
    };
    let said = |text: String, without: &str| if text.is_empty() { without.into() } else { text };
    let yes = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let unknown = match (one.creates_users, one.matches_email) {
        (true, true) => "get the account with their address, or a new one",
        (true, false) => "get an account at the first log-in",
        (false, true) => "get the account with their address, or are refused",
        (false, false) => "are refused",
    };
    let head = fields(&[
        ("Provider", one.name.clone()),
        ("Id", one.id.clone()),
        ("Enabled", yes(one.enabled)),
        ("Issuer", one.issuer.clone()),
        ("Client", one.client_id.clone()),
        ("Has a secret", yes(one.has_client_secret)),
        ("Asks for", one.scopes.join(" ")),
        (
            "Groups",
            format!("{} (claim {})", said(mapping(one), "none gives a role"), one.groups_claim),
        ),
        ("E-mail domains", said(list(&one.email_domains), "any")),
        ("Algorithms", list(&one.algorithms)),
        ("The unknown", unknown.to_owned()),
        ("Gets accounts of SCIM", yes(one.matches_provisioned)),
        ("Class of log-in", said(one.acr_values.join(" or "), "any")),
    ]);
    format!(
        "{head}\n\nRegister at the provider:\n  Redirect URI             {}\n  Back-channel logout URI  {}",
        one.redirect_uri, one.back_channel_logout_uri
    )
}

pub fn check(done: &IdentityProviderCheck) -> String {
    match (&done.problem, &done.authorization_endpoint) {
        (Some(problem), _) => format!("It cannot be used: {problem}"),
        (None, endpoint) => format!(
            "It can be used: people are sent to {}; {} signing keys are understood.",
            endpoint.as_deref().unwrap_or("nowhere"),
            done.keys
        ),
    }
}

pub fn rules(all: &[TrustRule], style: Style) -> String {
    if all.is_empty() {
        return "No other system's tokens stand for it.".to_owned();
    }
    let row = |one: &TrustRule| {
        let conditions = one.conditions.iter().map(|(claim, pattern)| format!("{claim}={pattern}"));
        let conditions = conditions.collect::<Vec<_>>().join(", ");
        [one.issuer.clone(), one.audience.clone(), conditions, one.id.clone()]
    };
    table(style, ["ISSUER", "AUDIENCE", "CONDITIONS", "ID"], all.iter().map(row))
}
