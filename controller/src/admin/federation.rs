//! Rules by which another system's tokens stand for a service account: made, listed, removed. A rule
//! gives whoever it fits all that the account may, so only who could give the account's roles makes one.

use std::collections::BTreeMap;

use edgeformer_proto::ids::{FederationRuleId, ServiceAccountId};
use serde_json::{Value, json};

use super::identity_providers::check_issuer;
use super::service_accounts;
use super::validate::check_roles;
use crate::app::App;
use crate::audit::{Intent, Resource};
use crate::error::AppError;
use crate::policy::Action;
use crate::scope::{Scope, TenantScope};
use crate::store::Write;
use crate::store::federation_rules::{self as rows, FederationRule};

/// Most rules of an account: branches and environments of some repositories.
pub const MAX_RULES: usize = 50;
/// Most conditions of a rule.
const MAX_CONDITIONS: usize = 20;
/// Longest audience, claim or pattern.
const MAX_TEXT_BYTES: usize = 512;
/// The claim that every rule must look at.
const SUBJECT: &str = "sub";

/// A rule to be made.
#[derive(Debug, Clone)]
pub struct NewRule {
    /// Exactly as the other system names itself.
    pub issuer: String,
    /// For whom the other system must have made the tokens.
    pub audience: String,
    /// Patterns by claim.
    pub conditions: BTreeMap<String, String>,
}

impl NewRule {
    fn check(&self) -> Result<(), AppError> {
        check_issuer(&self.issuer)?;
        let plain = |text: &str| {
            (1..=MAX_TEXT_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
        };
        if !plain(&self.audience) {
            return Err(AppError::invalid("audience", "it has 1 to 512 bytes"));
        }
        let wrong = |message: &str| Err(AppError::invalid("conditions", message));
        if self.conditions.len() > MAX_CONDITIONS {
            return wrong("more than 20 are more than anybody reads");
        }
        if !self.conditions.iter().all(|(claim, pattern)| plain(claim) && plain(pattern)) {
            return wrong("claims and patterns have 1 to 512 bytes");
        }
        // Public systems sign for everybody: without this, everybody would be let in.
        let named = self.conditions.get(SUBJECT);
        match named.is_some_and(|pattern| pattern.bytes().any(|b| b != b'*')) {
            true => Ok(()),
            false => wrong("one must be about sub, and say more than stars"),
        }
    }
}

fn described(rule: &FederationRule) -> Value {
    json!({
        "trust_rule": rule.id, "issuer": rule.issuer, "audience": rule.audience,
        "conditions": rule.conditions,
    })
}

async fn commit(app: &App, write: Write<TenantScope>) -> Result<(), AppError> {
    write.commit(app.now()).await?;
    app.nudges.audit.notify_one();
    Ok(())
}

/// Makes a rule.
pub async fn create(
    app: &App,
    scope: &TenantScope,
    account: ServiceAccountId,
    new: NewRule,
) -> Result<FederationRule, AppError> {
    let resource = Resource::new("service_account", account);
    let intent = Intent::new(Action::FederationRuleCreate, resource);
    let mut write = app.store.write(scope, intent).await?;
    let found = service_accounts::existing(&mut write, account).await?;
    new.check()?;
    check_roles(scope, &found.roles)?;
    if rows::of_account(&mut write, account).await?.len() >= MAX_RULES {
        let message = format!("an account has at most {MAX_RULES} of them");
        return Err(AppError::invalid("trust rules", message));
    }
    let rule = FederationRule {
        id: FederationRuleId::new(),
        account,
        issuer: new.issuer,
        audience: new.audience,
        conditions: new.conditions,
        created_by: scope.context().actor.id.clone(),
        created_at: app.now(),
    };
    rows::insert(&mut write, &rule).await?;
    write.resource(Resource::new("service_account", account).named(found.name));
    write.changes(json!(null), described(&rule));
    commit(app, write).await?;
    Ok(rule)
}

/// The rules of an account.
pub async fn list(
    app: &App,
    scope: &TenantScope,
    account: ServiceAccountId,
) -> Result<Vec<FederationRule>, AppError> {
    let mut read = app.store.read(scope).await?;
    service_accounts::existing(&mut read, account).await?;
    Ok(rows::of_account(&mut read, account).await?)
}

/// Removes a rule. What it let in is out at once.
pub async fn delete(
    app: &App,
    scope: &TenantScope,
    account: ServiceAccountId,
    id: FederationRuleId,
) -> Result<(), AppError> {
    let resource = Resource::new("service_account", account);
    let intent = Intent::new(Action::FederationRuleDelete, resource);
    let mut write = app.store.write(scope, intent).await?;
    let found = service_accounts::existing(&mut write, account).await?;
    check_roles(scope, &found.roles)?;
    let rule = rows::get(&mut write, id).await?.filter(|rule| rule.account == account);
    let rule = rule.ok_or_else(|| AppError::not_found("trust rule", id))?;
    rows::delete(&mut write, id).await?;
    write.resource(Resource::new("service_account", account).named(found.name));
    write.changes(described(&rule), json!(null));
    commit(app, write).await
}
