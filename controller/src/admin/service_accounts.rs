//! Programs with an account: several tokens, one identity, one set of roles.

use std::collections::BTreeSet;

use edgeformer_proto::ids::ServiceAccountId;
use serde_json::{Value, json};

use super::validate::{self, check_roles};
use crate::app::App;
use crate::audit::{Intent, Resource};
use crate::error::AppError;
use crate::policy::{Action, Role};
use crate::scope::TenantScope;
use crate::store::api_tokens::StandsFor;
use crate::store::service_accounts::{self as store, ServiceAccount};
use crate::store::{Conn, StoreError, Write};

/// What is changed of an account.
#[derive(Debug, Clone, Default)]
pub struct Edit {
    /// Unique in the tenant.
    pub name: Option<String>,
    /// What it may be.
    pub roles: Option<BTreeSet<Role>>,
    /// Whether its tokens work.
    pub active: Option<bool>,
}

fn described(account: &ServiceAccount) -> Value {
    let roles: Vec<_> = account.roles.iter().map(|role| role.as_str()).collect();
    json!({"name": account.name, "roles": roles, "active": account.active})
}

fn taken(name: &str) -> AppError {
    AppError::conflict("name_taken", format!("a service account is named {name:?} already"))
}

/// Makes an account. It has no tokens yet.
pub async fn create(
    app: &App,
    scope: &TenantScope,
    name: &str,
    roles: BTreeSet<Role>,
) -> Result<ServiceAccount, AppError> {
    check_roles(scope, &roles)?;
    let account = ServiceAccount {
        id: ServiceAccountId::new(),
        name: validate::name("name", name)?,
        roles,
        active: true,
        revision: 1,
        created_at: app.now(),
    };
    let resource = Resource::new("service_account", account.id).named(account.name.clone());
    let intent = Intent::new(Action::ServiceAccountCreate, resource)
        .changes(json!(null), described(&account));
    let mut write = app.store.write(scope, intent).await?;
    match store::insert(&mut write, &account).await {
        Err(error) if error.is_conflict() => return Err(undo(write, error, &account.name).await),
        done => done?,
    }
    commit(app, write).await?;
    Ok(account)
}

async fn undo(write: Write<TenantScope>, error: StoreError, name: &str) -> AppError {
    match write.rollback().await {
        Ok(()) => taken(name),
        Err(_) => error.into(),
    }
}

async fn commit(app: &App, write: Write<TenantScope>) -> Result<(), AppError> {
    write.commit(app.now()).await?;
    app.nudges.audit.notify_one();
    Ok(())
}

/// Accounts in the order they were made.
pub async fn list(
    app: &App,
    scope: &TenantScope,
    after: Option<ServiceAccountId>,
    limit: i64,
) -> Result<Vec<ServiceAccount>, AppError> {
    let mut read = app.store.read(scope).await?;
    Ok(store::list(&mut read, after, limit).await?)
}

/// One account.
pub async fn get(
    app: &App,
    scope: &TenantScope,
    id: ServiceAccountId,
) -> Result<ServiceAccount, AppError> {
    existing(&mut *app.store.read(scope).await?, id).await
}

/// One account, in a transaction that is open.
pub async fn existing(
    conn: &mut Conn<TenantScope>,
    id: ServiceAccountId,
) -> Result<ServiceAccount, AppError> {
    store::get(conn, id).await?.ok_or_else(|| AppError::not_found("service account", id))
}

/// Changes an account that is still at `revision`. Its tokens have the new roles at once; those of an
/// account that is not active do not work.
pub async fn update(
    app: &App,
    scope: &TenantScope,
    id: ServiceAccountId,
    revision: u64,
    edit: Edit,
) -> Result<ServiceAccount, AppError> {
    let intent = Intent::new(Action::ServiceAccountUpdate, Resource::new("service_account", id));
    let mut write = app.store.write(scope, intent).await?;
    let before = existing(&mut write, id).await?;
    let mut account = before.clone();
    if let Some(name) = &edit.name {
        account.name = validate::name("name", name)?;
    }
    account.roles = edit.roles.unwrap_or(account.roles);
    account.active = edit.active.unwrap_or(account.active);
    check_roles(scope, before.roles.union(&account.roles))?;
    match store::update(&mut write, &account, revision).await {
        Err(error) if error.is_conflict() => return Err(undo(write, error, &account.name).await),
        Ok(false) => {
            let (kind, current) = ("service account", before.revision);
            return Err(AppError::Stale { kind, id: id.to_string(), current });
        }
        done => done.map(|_| ())?,
    }
    write.resource(Resource::new("service_account", id).named(account.name.clone()));
    write.changes(described(&before), described(&account));
    commit(app, write).await?;
    app.tokens().forget_if(|found| found.token.stands_for == StandsFor::Account(id));
    get(app, scope, id).await
}
