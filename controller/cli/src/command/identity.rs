//! Identity providers, and other systems whose tokens stand for a program.

use std::collections::{BTreeMap, BTreeSet};

use super::program::resolve_account;
use super::{Context, consent, edit, login};
use crate::args::identity::{IdentityProvider, Settings, Trust};
use crate::args::value;
use crate::client::endpoints::{
    ADD_TRUST, CHECK_PROVIDER, CREATE_PROVIDER, DELETE_PROVIDER, GET_PROVIDER, LIST_PROVIDERS,
    LIST_TRUST, PATCH_PROVIDER, REMOVE_TRUST,
};
use crate::client::request::List;
use crate::client::types::{self, IdentityProviderEdit, TrustRuleRequest};
use crate::failure::{Exit, Failure};
use crate::view;

fn given<T, C: FromIterator<T>>(all: Vec<T>) -> Option<C> {
    (!all.is_empty()).then(|| all.into_iter().collect())
}

fn edit_of(settings: Settings) -> Result<IdentityProviderEdit, Failure> {
    let client_secret =
        settings.secret_file.map(|file| login::secret(Some(&file), "")).transpose()?;
    let mut mapping: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (group, role) in settings.mappings {
        mapping.entry(group).or_default().insert(role.replace('-', "_"));
    }
    Ok(IdentityProviderEdit {
        client_secret,
        scopes: given(settings.scopes),
        groups_claim: settings.groups_claim,
        role_mapping: (!mapping.is_empty()).then_some(mapping),
        email_domains: given(settings.domains),
        algorithms: given(settings.algorithms),
        creates_users: settings.create_users,
        matches_email: settings.match_email,
        matches_provisioned: settings.match_provisioned,
        acr_values: given(settings.acr_values),
        ..IdentityProviderEdit::default()
    })
}

async fn resolve(context: &Context, given: &str) -> Result<types::IdentityProvider, Failure> {
    let all = context.client.call(&LIST_PROVIDERS).send().await?.value.items;
    let found = all.into_iter().find(|one| one.name == given || one.id == given);
    found.ok_or_else(|| {
        Failure::new(Exit::NotFoundOrDenied, format!("there is no identity provider {given:?}"))
            .next("see them with `edgeformer identity-provider list`")
    })
}

pub async fn provider(context: &Context, command: IdentityProvider) -> Result<Exit, Failure> {
    match command {
        IdentityProvider::Create { name, issuer, client_id, settings } => {
            let (issuer, client_id) = (Some(issuer), Some(client_id));
            let mut body = IdentityProviderEdit { issuer, client_id, ..edit_of(settings)? };
            // What is asked for usually, and what was named beside it.
            if let Some(scopes) = &mut body.scopes {
                scopes.extend(["profile", "email"].map(str::to_owned));
            }
            body.name = Some(name);
            let made = context.client.call(&CREATE_PROVIDER).body(&body).send().await?;
            context.screen.one(&made, view::identity::provider);
        }
        IdentityProvider::List => {
            let all = List::whole(context.client.call(&LIST_PROVIDERS).send().await?)?;
            context.screen.list(&all, |all| view::identity::providers(all, context.style()));
        }
        IdentityProvider::Show { provider } => {
            let id = resolve(context, &provider).await?.id;
            let found = context.client.call(&GET_PROVIDER).path(&id).send().await?;
            context.screen.one(&found, view::identity::provider);
        }
        IdentityProvider::Check { provider } => {
            let id = resolve(context, &provider).await?.id;
            let done = context.client.call(&CHECK_PROVIDER).path(&id).send().await?;
            context.screen.one(&done, view::identity::check);
            return Ok(if done.value.usable { Exit::Done } else { Exit::Failed });
        }
        IdentityProvider::Update { provider, name, issuer, client_id, enabled, settings } => {
            let id = resolve(context, &provider).await?.id;
            let edit = edit_of(*settings)?;
            let body = IdentityProviderEdit { name, issuer, client_id, enabled, ..edit };
            let about = format!("identity provider {provider:?}");
            edit::patch(context, (&GET_PROVIDER, &PATCH_PROVIDER), &id, &body, &about).await?;
            context.screen.say(&format!("{provider} is changed."));
        }
        IdentityProvider::Delete { provider, consent } => {
            let id = resolve(context, &provider).await?.id;
            let preview = format!(
                "Nobody logs in at {provider} any more, and log-ins that came from it end at once. \
                 Accounts stay."
            );
            consent::ask(&context.screen, consent, &preview).await?;
            context.client.call(&DELETE_PROVIDER).path(&id).send().await?;
            context.screen.say(&format!("{provider} is removed."));
        }
    }
    Ok(Exit::Done)
}

pub async fn trust(context: &Context, command: Trust) -> Result<Exit, Failure> {
    match command {
        Trust::Add { account, issuer, audience, claims } => {
            let id = resolve_account(context, &account).await?.id;
            let conditions = value::label_map(&claims).map_err(Failure::usage)?;
            let body = TrustRuleRequest { issuer, audience, conditions };
            let made = context.client.call(&ADD_TRUST).path(&id).body(&body).send().await?;
            context.screen.one(&made, |rule| {
                format!(
                    "Tokens of {} for {:?} stand for {account} now.\n  id  {}",
                    rule.issuer, rule.audience, rule.id
                )
            });
        }
        Trust::List { account } => {
            let id = resolve_account(context, &account).await?.id;
            let all = List::whole(context.client.call(&LIST_TRUST).path(&id).send().await?)?;
            context.screen.list(&all, |all| view::identity::rules(all, context.style()));
        }
        Trust::Remove { account, rule } => {
            let id = resolve_account(context, &account).await?.id;
            let done = context.client.call(&REMOVE_TRUST).path(&id).path(&rule).send().await;
            done.map_err(|e| Failure::from(e).about(&format!("trust rule {rule}")))?;
            context.screen.say("Such tokens are not trusted any more; what they let in is out.");
        }
    }
    Ok(Exit::Done)
}
