//! API tokens, service accounts, groups.

use super::account::{names, resolve as resolve_user};
use super::{Context, consent, edit};
use crate::args::program::{Group, ServiceAccount, Token};
use crate::client::endpoints::{
    ADD_MEMBER, CREATE_ACCOUNT, CREATE_GROUP, CREATE_TOKEN, DELETE_GROUP, GET_ACCOUNT, GET_GROUP,
    LIST_ACCOUNTS, LIST_GROUPS, LIST_MEMBERS, LIST_TOKENS, PATCH_ACCOUNT, PATCH_GROUP,
    REMOVE_MEMBER, REVOKE_TOKEN, ROTATE_OWN_TOKEN, ROTATE_TOKEN, WHOAMI,
};
use crate::client::types::{
    self, GroupPatch, NamedRoles, RotationCreate, ServiceAccountPatch, TokenCreate,
};
use crate::failure::{Exit, Failure};
use crate::view;

/// Tokens looked through for the one to be revoked; its name is only for the preview.
const LOOKED_THROUGH: u32 = 1000;
/// Accounts and groups looked through for one by name.
const LOOKED_THROUGH_BY_NAME: u32 = 100_000;

pub async fn token(context: &Context, command: Token) -> Result<Exit, Failure> {
    match command {
        Token::Create { name, role, service_account, scopes, expires_in } => {
            let service_account_id = match service_account {
                Some(account) => Some(resolve_account(context, &account).await?.id),
                None => None,
            };
            let body = TokenCreate {
                name,
                role: role.map(|role| role.as_str().to_owned()),
                service_account_id,
                scopes: (!scopes.is_empty()).then_some(scopes),
                expires_in_s: expires_in.map(|d| d.as_secs()),
            };
            let answer = context.client.call(&CREATE_TOKEN).body(&body).send().await;
            let answer =
                answer.map_err(|e| Failure::from(e).about(&format!("token {:?}", body.name)))?;
            context.screen.one(&answer, |t| view::program::token_created(t, context.style()));
        }
        Token::List(limit) => {
            let tokens = context.client.call(&LIST_TOKENS).all(limit.limit).await?;
            context.screen.list(&tokens, |t| view::program::tokens(t, context.style()));
        }
        Token::Rotate { id, overlap } => {
            let body = RotationCreate { overlap_s: overlap.map(|d| d.as_secs()) };
            let done = match id.as_str() {
                "self" => context.client.call(&ROTATE_OWN_TOKEN).body(&body).send().await,
                id => context.client.call(&ROTATE_TOKEN).path(id).body(&body).send().await,
            };
            let done = done.map_err(|e| Failure::from(e).about(&format!("token {id}")))?;
            context.screen.one(&done, |done| view::program::rotated(done, context.style()));
        }
        Token::Revoke { id, consent } => {
            let tokens = context.client.call(&LIST_TOKENS).all(LOOKED_THROUGH).await?;
            let preview = match tokens.items.iter().find(|t| t.id == id) {
                Some(token) => {
                    let me = context.client.call(&WHOAMI).send().await?.value;
                    let own = me.principal_id == token.id;
                    view::program::token_revocation(token, own, context.style())
                }
                None if tokens.more => view::program::unknown_token_revocation(&id),
                None => return Err(nothing("token", &id)),
            };
            consent::ask(&context.screen, consent, &preview).await?;
            context.client.call(&REVOKE_TOKEN).path(&id).send().await?;
            context.screen.say(&format!("Revoked token {id}."));
        }
    }
    Ok(Exit::Done)
}

/// `command` is the noun as the command line writes it.
fn nothing(command: &str, given: &str) -> Failure {
    let noun = command.replace('-', " ");
    let what = match command {
        "token" => format!("there is no token with the id {given:?}"),
        _ => format!("there is no {noun} {given:?}"),
    };
    Failure::new(Exit::NotFoundOrDenied, what)
        .next(format!("see them with `edgeformer {command} list`"))
}

pub async fn resolve_account(
    context: &Context,
    given: &str,
) -> Result<types::ServiceAccount, Failure> {
    let all = context.client.call(&LIST_ACCOUNTS).all(LOOKED_THROUGH_BY_NAME).await?;
    let found = all.items.into_iter().find(|one| one.name == given || one.id == given);
    found.ok_or_else(|| nothing("service-account", given))
}

async fn resolve_group(context: &Context, given: &str) -> Result<types::Group, Failure> {
    let all = context.client.call(&LIST_GROUPS).all(LOOKED_THROUGH_BY_NAME).await?;
    let found = all.items.into_iter().find(|one| one.name == given || one.id == given);
    found.ok_or_else(|| nothing("group", given))
}

/// The roles of something, in a sentence.
fn has(what: &str, roles: &[String]) -> String {
    match roles {
        [] => format!("{what} has no role from now on."),
        roles => format!("{what} has {} from now on.", roles.join(", ")),
    }
}

pub async fn account(context: &Context, command: ServiceAccount) -> Result<Exit, Failure> {
    let change = async |given: &str, patch: &ServiceAccountPatch| {
        let id = resolve_account(context, given).await?.id;
        let about = format!("service account {given:?}");
        edit::patch(context, (&GET_ACCOUNT, &PATCH_ACCOUNT), &id, patch, &about).await
    };
    match command {
        ServiceAccount::Create { name, roles } => {
            let body = NamedRoles { name, roles: names(&roles) };
            let made = context.client.call(&CREATE_ACCOUNT).body(&body).send().await;
            let about = format!("service account {:?}", body.name);
            let made = made.map_err(|e| Failure::from(e).about(&about))?;
            context.screen.one(&made, view::program::account_created);
        }
        ServiceAccount::List(limit) => {
            let all = context.client.call(&LIST_ACCOUNTS).all(limit.limit).await?;
            context.screen.list(&all, |all| view::program::accounts(all, context.style()));
        }
        ServiceAccount::Roles { account, roles } => {
            let roles = names(&roles);
            let patch = ServiceAccountPatch { roles: Some(roles.clone()), active: None };
            change(&account, &patch).await?;
            context.screen.say(&has(&account, &roles));
        }
        ServiceAccount::Disable { account, consent } => {
            let preview = format!(
                "All tokens of {account} stop working at once; `edgeformer service-account enable` \
                 undoes it."
            );
            consent::ask(&context.screen, consent, &preview).await?;
            change(&account, &ServiceAccountPatch { roles: None, active: Some(false) }).await?;
            context.screen.say(&format!("{account} is disabled."));
        }
        ServiceAccount::Trust(command) => return super::identity::trust(context, command).await,
        ServiceAccount::Enable { account } => {
            change(&account, &ServiceAccountPatch { roles: None, active: Some(true) }).await?;
            context.screen.say(&format!("The tokens of {account} work again."));
        }
    }
    Ok(Exit::Done)
}

pub async fn group(context: &Context, command: Group) -> Result<Exit, Failure> {
    match command {
        Group::Create { name, roles } => {
            let body = NamedRoles { name, roles: names(&roles) };
            let made = context.client.call(&CREATE_GROUP).body(&body).send().await;
            let made =
                made.map_err(|e| Failure::from(e).about(&format!("group {:?}", body.name)))?;
            context.screen.one(&made, view::program::group_created);
        }
        Group::List(limit) => {
            let all = context.client.call(&LIST_GROUPS).all(limit.limit).await?;
            context.screen.list(&all, |all| view::program::groups(all, context.style()));
        }
        Group::Members { group, limit } => {
            let id = resolve_group(context, &group).await?.id;
            let all = context.client.call(&LIST_MEMBERS).path(&id).all(limit.limit).await?;
            context.screen.list(&all, |all| view::program::members(all, context.style()));
        }
        Group::Roles { group, roles } => {
            let (id, roles) = (resolve_group(context, &group).await?.id, names(&roles));
            let (patch, about) = (GroupPatch { roles: roles.clone() }, format!("group {group:?}"));
            edit::patch(context, (&GET_GROUP, &PATCH_GROUP), &id, &patch, &about).await?;
            context.screen.say(&has(&group, &roles));
        }
        Group::Add { group, user } => {
            let id = resolve_group(context, &group).await?.id;
            let who = resolve_user(context, &user).await?;
            context.client.call(&ADD_MEMBER).path(&id).path(&who).send().await?;
            context.screen.say(&format!("{user} is in {group}."));
        }
        Group::Remove { group, user } => {
            let id = resolve_group(context, &group).await?.id;
            let who = resolve_user(context, &user).await?;
            context.client.call(&REMOVE_MEMBER).path(&id).path(&who).send().await?;
            context.screen.say(&format!("{user} is not in {group}."));
        }
        Group::Delete { group, consent } => {
            let found = resolve_group(context, &group).await?;
            let preview =
                format!("The members of {group} lose its roles: {}.", found.roles.join(", "));
            consent::ask(&context.screen, consent, &preview).await?;
            context.client.call(&DELETE_GROUP).path(&found.id).send().await?;
            context.screen.say(&format!("Removed group {group}."));
        }
    }
    Ok(Exit::Done)
}
