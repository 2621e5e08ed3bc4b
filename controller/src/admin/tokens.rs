//! API tokens: made once, shown once, revoked at once.

use std::time::Duration;

use edgeformer_proto::ids::TokenId;
use serde_json::json;

use super::validate;
use crate::app::App;
use crate::audit::{Intent, Resource};
use crate::error::AppError;
use crate::policy::{Action, Role};
use crate::scope::{Scope, TenantScope};
use crate::store::api_tokens::{self, ApiToken};
use edgeformer_proto::token::{Kind, Token};

/// Longest life of a token that expires: ten years, so that arithmetic on times cannot overflow.
pub const MAX_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A token that may be made.
#[derive(Debug, Clone)]
pub struct NewToken {
    name: String,
    role: Role,
    life: Option<Duration>,
}

impl NewToken {
    /// From a request.
    pub fn parse(name: &str, role: &str, expires_in_s: Option<u64>) -> Result<Self, AppError> {
        let role = Role::parse(role).filter(|role| *role != Role::Installation);
        let role = role.ok_or_else(|| AppError::invalid("role", Role::choice()))?;
        let life = expires_in_s.map(|seconds| life("expires_in_s", seconds)).transpose()?;
        Ok(Self { name: validate::name("name", name)?, role, life })
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

/// Makes a token. The secret is in the result and nowhere else.
pub async fn create(
    app: &App,
    scope: &TenantScope,
    new: NewToken,
) -> Result<(ApiToken, Token), AppError> {
    if !scope.may_give(new.role) {
        let message = "only an owner can make owners: ask one, or choose another role";
        return Err(AppError::Denied(message.to_owned()));
    }
    let now = app.now();
    let secret = Token::mint(Kind::Api);
    let token = ApiToken {
        id: TokenId::new(),
        name: new.name,
        role: new.role,
        created_at: now,
        expires_at: new.life.map(|life| now.plus(life)),
        last_used_at: None,
        revoked_at: None,
        created_by: scope.context().actor.id.clone(),
    };
    let intent = Intent::new(
        Action::TokenCreate,
        Resource::new("token", token.id).named(token.name.clone()),
    )
    .changes(
        json!(null),
        json!({"role": token.role.as_str(), "expires_at": token.expires_at.map(|at| at.rfc3339())}),
    );
    let mut write = app.store.write(scope, intent).await?;
    api_tokens::insert(&mut write, &token, &secret.sha256()).await?;
    write.commit(now).await?;
    app.nudges.audit.notify_one();
    Ok((token, secret))
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
