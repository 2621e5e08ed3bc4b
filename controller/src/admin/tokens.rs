//! API tokens: made once, shown once, rotated with an overlap, revoked at once.

use std::collections::BTreeSet;
use std::time::Duration;

use edgeformer_proto::ids::TokenId;
use serde_json::{Value, json};

use super::{service_accounts, validate};
use crate::app::App;
use crate::audit::{Intent, Resource};
use crate::clock::Timestamp;
use crate::error::AppError;
use crate::policy::{Action, Role, TokenScopes};
use crate::scope::{Scope, TenantScope};
use crate::store::Write;
use crate::store::api_tokens::{self, ApiToken, StandsFor};
use edgeformer_proto::token::{Kind, Token};

/// Longest life of a token that expires: ten years, so that arithmetic on times cannot overflow.
pub const MAX_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// How long the old secret works beside the new one, unless asked otherwise.
pub const OVERLAP: Duration = Duration::from_secs(24 * 3600);
/// Longest overlap: whoever needs longer has not rotated anything.
pub const MAX_OVERLAP: Duration = Duration::from_secs(7 * 24 * 3600);
/// Most names that a token is narrowed to; there are fewer actions.
const MAX_SCOPES: usize = 200;

/// A token that may be made.
#[derive(Debug, Clone)]
pub struct NewToken {
    name: String,
    stands_for: StandsFor,
    scopes: Option<TokenScopes>,
    life: Option<Duration>,
}

impl NewToken {
    /// From a request: with a role of its own, or for a service account.
    pub fn parse(
        name: &str,
        role: Option<&str>,
        account: Option<&str>,
        scopes: Option<BTreeSet<String>>,
        expires_in_s: Option<u64>,
    ) -> Result<Self, AppError> {
        let stands_for = match (role, account) {
            (Some(role), None) => {
                let role = Role::parse(role).filter(|role| *role != Role::Installation);
                let role = role.ok_or_else(|| AppError::invalid("role", Role::choice()))?;
                StandsFor::Itself(role)
            }
            (None, Some(id)) => {
                let not_there = |_| AppError::not_found("service account", id);
                StandsFor::Account(id.parse().map_err(not_there)?)
            }
            _ => {
                let message = "give either role or service_account_id: a token has a role of its \
                    own, or those of an account";
                return Err(AppError::invalid("role", message));
            }
        };
        let life = expires_in_s.map(|seconds| life("expires_in_s", seconds)).transpose()?;
        let scopes = scopes.map(parse_scopes).transpose()?;
        Ok(Self { name: validate::name("name", name)?, stands_for, scopes, life })
    }
}

fn parse_scopes(names: BTreeSet<String>) -> Result<TokenScopes, AppError> {
    if names.is_empty() || names.len() > MAX_SCOPES {
        let message =
            format!("1 to {MAX_SCOPES} names, or leave it out for all that the role allows");
        return Err(AppError::invalid("scopes", message));
    }
    if let Some(name) = names.iter().find(|name| !TokenScopes::is_known(name)) {
        let shown: String = name.chars().take(64).collect();
        let message = format!(
            "{shown:?} is neither an action such as rollout:create nor one of read, audit, write \
             and govern: `edgeformer access roles` lists them"
        );
        return Err(AppError::invalid("scopes", message));
    }
    Ok(TokenScopes::new(names))
}

/// Refuses a token that could do more than who makes it.
async fn check_rights(
    write: &mut Write<TenantScope>,
    stands_for: StandsFor,
    scopes: Option<&TokenScopes>,
) -> Result<(), AppError> {
    let scope = write.scope().clone();
    let roles = match stands_for {
        StandsFor::Itself(role) => BTreeSet::from([role]),
        StandsFor::Account(id) => {
            let account = service_accounts::existing(write, id).await?;
            if !account.active {
                let detail = format!("service account {:?} is disabled", account.name);
                return Err(AppError::conflict("disabled", detail));
            }
            account.roles
        }
    };
    let wider = roles.iter().find(|role| !scope.may_give_narrowed(**role, scopes));
    match (wider, scope.scopes()) {
        (None, _) => Ok(()),
        (Some(_), Some(_)) => Err(AppError::Denied(
            "your token is narrowed: it makes only tokens that are narrowed as much".to_owned(),
        )),
        (Some(_), None) => validate::check_roles(&scope, &roles),
    }
}

/// A life in seconds, bounded.
pub fn life(field: &str, seconds: u64) -> Result<Duration, AppError> {
    let life = Duration::from_secs(seconds);
    if seconds == 0 || life > MAX_LIFE {
        let message = format!("it must be 1 to {} seconds", MAX_LIFE.as_secs());
        return Err(AppError::invalid(field, message));
    }
    Ok(life)
}

/// What of a token stands in the audit log.
fn described(token: &ApiToken) -> Value {
    let (role, account) = match token.stands_for {
        StandsFor::Itself(role) => (Some(role.as_str()), None),
        StandsFor::Account(id) => (None, Some(id.to_string())),
    };
    json!({
        "role": role,
        "service_account": account,
        "scopes": token.scopes.as_ref().map(TokenScopes::names),
        "expires_at": token.expires_at.map(|at| at.rfc3339()),
    })
}

/// Makes a token. The secret is in the result and nowhere else.
pub async fn create(
    app: &App,
    scope: &TenantScope,
    new: NewToken,
) -> Result<(ApiToken, Token), AppError> {
    let now = app.now();
    let secret = Token::mint(Kind::Api);
    let token = ApiToken {
        id: TokenId::new(),
        name: new.name,
        stands_for: new.stands_for,
        scopes: new.scopes,
        rotates: None,
        created_at: now,
        expires_at: new.life.map(|life| now.plus(life)),
        last_used_at: None,
        revoked_at: None,
        created_by: scope.context().actor.id.clone(),
    };
    let resource = Resource::new("token", token.id).named(token.name.clone());
    let intent = Intent::new(Action::TokenCreate, resource).changes(json!(null), described(&token));
    let mut write = app.store.write(scope, intent).await?;
    check_rights(&mut write, token.stands_for, token.scopes.as_ref()).await?;
    api_tokens::insert(&mut write, &token, &secret.sha256()).await?;
    write.commit(now).await?;
    app.nudges.audit.notify_one();
    Ok((token, secret))
}

/// A token in the place of another.
#[derive(Debug)]
pub struct Rotated {
    /// The new one.
    pub token: ApiToken,
    /// Its secret, which is here and nowhere else.
    pub secret: Token,
    /// The old one, with its end.
    pub old: ApiToken,
}

/// Makes a token that takes the place of another, with its name, rights and length of life. The old
/// one works for `overlap` more, so that its users can change over one by one.
pub async fn rotate(
    app: &App,
    scope: &TenantScope,
    id: TokenId,
    overlap: Duration,
) -> Result<Rotated, AppError> {
    let intent = Intent::new(Action::TokenRotate, Resource::new("token", id));
    let mut write = app.store.write(scope, intent).await?;
    let old = working(&mut write, id, app.now()).await?;
    check_rights(&mut write, old.stands_for, old.scopes.as_ref()).await?;
    replace(app, write, old, overlap).await
}

/// The same for the token that asks, which gains nothing by it and so always may.
pub async fn rotate_own<S: Scope>(
    app: &App,
    scope: &S,
    id: TokenId,
    overlap: Duration,
) -> Result<Rotated, AppError> {
    let intent = Intent::new(Action::SelfRotate, Resource::new("token", id));
    let mut write = app.store.write(scope, intent).await?;
    let old = working(&mut write, id, app.now()).await?;
    replace(app, write, old, overlap).await
}

async fn working<S: Scope>(
    write: &mut Write<S>,
    id: TokenId,
    now: Timestamp,
) -> Result<ApiToken, AppError> {
    let token = api_tokens::get(write, id).await?;
    let token = token.ok_or_else(|| AppError::not_found("token", id))?;
    if token.revoked_at.is_some() || token.expires_at.is_some_and(|at| at <= now) {
        let detail = format!("token {:?} does not work any more: make a new one", token.name);
        return Err(AppError::conflict("token_ended", detail));
    }
    if let Some(next) = api_tokens::successor(write, id).await? {
        let detail = format!(
            "token {:?} was rotated already, and {next} takes its place: rotate or revoke that one",
            token.name
        );
        return Err(AppError::conflict("rotated_already", detail));
    }
    Ok(token)
}

async fn replace<S: Scope>(
    app: &App,
    mut write: Write<S>,
    before: ApiToken,
    overlap: Duration,
) -> Result<Rotated, AppError> {
    let (now, secret, id) = (app.now(), Token::mint(Kind::Api), before.id);
    let life = |at: Timestamp| now.plus(at.since(before.created_at));
    let token = ApiToken {
        id: TokenId::new(),
        rotates: Some(id),
        created_at: now,
        expires_at: before.expires_at.map(life),
        last_used_at: None,
        created_by: write.scope().context().actor.id.clone(),
        ..before.clone()
    };
    let end = now.plus(overlap);
    let old = ApiToken {
        expires_at: Some(before.expires_at.map_or(end, |at| at.min(end))),
        ..before.clone()
    };
    api_tokens::insert(&mut write, &token, &secret.sha256()).await?;
    api_tokens::end_at(&mut write, id, end).await?;
    write.resource(Resource::new("token", id).named(before.name.clone()));
    let new = json!({"id": token.id.to_string(), "token": described(&token)});
    write.changes(described(&before), json!({"old": described(&old), "new": new}));
    write.commit(now).await?;
    app.tokens().forget_if(|found| found.token.id == id);
    app.nudges.audit.notify_one();
    Ok(Rotated { token, secret, old })
}

/// An overlap in seconds, bounded; 0 ends the old secret at once.
pub fn overlap(seconds: Option<u64>) -> Result<Duration, AppError> {
    let overlap = seconds.map_or(OVERLAP, Duration::from_secs);
    match overlap <= MAX_OVERLAP {
        true => Ok(overlap),
        false => {
            let message = format!("it must be 0 to {} seconds", MAX_OVERLAP.as_secs());
            Err(AppError::invalid("overlap_s", message))
        }
    }
}

/// The tenant's tokens, in the order they were made.
pub async fn list(
    app: &App,
    scope: &TenantScope,
    after: Option<TokenId>,
    limit: i64,
) -> Result<Vec<ApiToken>, AppError> {
    let mut read = app.store.read(scope).await?;
    Ok(api_tokens::list(&mut read, after, limit).await?)
}

/// Revokes a token. Revoking it again changes nothing and is no error.
pub async fn revoke(app: &App, scope: &TenantScope, id: TokenId) -> Result<(), AppError> {
    let now = app.now();
    let intent = Intent::new(Action::TokenRevoke, Resource::new("token", id));
    let mut write = app.store.write(scope, intent).await?;
    let token = api_tokens::get(&mut write, id).await?;
    let token = token.ok_or_else(|| AppError::not_found("token", id))?;
    write.resource(Resource::new("token", id).named(token.name));
    if api_tokens::revoke(&mut write, id, now).await? {
        write.changes(json!({"revoked": false}), json!({"revoked": true}));
        write.commit(now).await?;
        app.tokens().forget_if(|found| found.token.id == id);
        app.nudges.audit.notify_one();
    }
    Ok(())
}
