//! Enrolment tokens: what a device shows once to become part of a tenant.

use std::collections::BTreeMap;
use std::time::Duration;

use edgeformer_proto::ids::TokenId;
use serde_json::json;

use super::{tokens, validate};
use crate::app::App;
use crate::audit::{Intent, Resource};
use crate::error::AppError;
use crate::policy::{Action, Facts};
use crate::scope::TenantScope;
use crate::store::enrolment_tokens::{self, EnrolmentToken};
use edgeformer_proto::token::{Kind, Token};

/// Most devices for one token: a token that leaks is worth no more.
pub const MAX_USES: u32 = 100_000;
const DEFAULT_LIFE: Duration = Duration::from_secs(24 * 3600);

/// A token that may be made.
#[derive(Debug, Clone)]
pub struct NewEnrolmentToken {
    uses: u32,
    life: Duration,
    labels: BTreeMap<String, String>,
}

impl NewEnrolmentToken {
    /// From a request: one use and a day unless given.
    pub fn parse(
        uses: Option<u32>,
        expires_in_s: Option<u64>,
        labels: BTreeMap<String, String>,
    ) -> Result<Self, AppError> {
        let uses = uses.unwrap_or(1);
        if uses == 0 || uses > MAX_USES {
            return Err(AppError::invalid("uses", format!("it must be 1 to {MAX_USES}")));
        }
        let life = match expires_in_s {
            Some(seconds) => tokens::life("expires_in_s", seconds)?,
            None => DEFAULT_LIFE,
        };
        Ok(Self { uses, life, labels: validate::labels("labels", labels)? })
    }
}

/// Makes a token. The secret is in the result and nowhere else.
pub async fn create(
    app: &App,
    scope: &TenantScope,
    new: NewEnrolmentToken,
) -> Result<(EnrolmentToken, Token), AppError> {
    let now = app.now();
    let secret = Token::mint(Kind::Enrolment);
    let token = EnrolmentToken {
        id: TokenId::new(),
        uses_left: new.uses,
        labels: new.labels,
        created_at: now,
        expires_at: now.plus(new.life),
        revoked_at: None,
        replaces: None,
    };
    let intent =
        Intent::new(Action::EnrolmentTokenCreate, Resource::new("enrolment_token", token.id))
            .changes(
                json!(null),
                json!({
                    "uses": token.uses_left,
                    "expires_at": token.expires_at.rfc3339(),
                    "labels": token.labels,
                }),
            );
    let mut write = app.store.write(scope, intent).await?;
    write.decide(&Facts::enrolment_token(token.id, token.uses_left, &token.labels))?;
    enrolment_tokens::insert(&mut write, &token, &secret.sha256()).await?;
    write.commit(now).await?;
    app.nudges.audit.notify_one();
    Ok((token, secret))
}

/// The tenant's enrolment tokens, in the order they were made.
pub async fn list(
    app: &App,
    scope: &TenantScope,
    after: Option<TokenId>,
    limit: i64,
) -> Result<Vec<EnrolmentToken>, AppError> {
    let mut read = app.store.read(scope).await?;
    Ok(enrolment_tokens::list(&mut read, after, limit).await?)
}

/// Revokes a token. Revoking it again changes nothing and is no error.
pub async fn revoke(app: &App, scope: &TenantScope, id: TokenId) -> Result<(), AppError> {
    let now = app.now();
    let intent = Intent::new(Action::EnrolmentTokenRevoke, Resource::new("enrolment_token", id));
    let mut write = app.store.write(scope, intent).await?;
    let token = enrolment_tokens::get(&mut write, id).await?;
    let token = token.ok_or_else(|| AppError::not_found("enrolment_token", id))?;
    if enrolment_tokens::revoke(&mut write, id, now).await? {
        write.changes(json!({"uses_left": token.uses_left}), json!({"revoked": true}));
        write.commit(now).await?;
        app.nudges.audit.notify_one();
    }
    Ok(())
}
