//! Suspends, resumes, deletes and restores tenants, and sets what they may use. Each change is in the
//! installation's log and in the tenant's own, in one transaction with the change.

use std::collections::BTreeMap;
use std::time::Duration;

use edgeformer_proto::ids::TenantId;
use serde_json::{Value, json};

use super::validate;
use crate::app::App;
use crate::audit::{Intent, Outcome, Resource};
use crate::error::AppError;
use crate::policy::Action;
use crate::scope::InstallationScope;
use crate::store::tenants::{self, TenantSummary};
use crate::store::{audit_log, tenant_rows};
use crate::tenancy::Limits;
use crate::tenancy::lifecycle::{Lifecycle, MAX_RETENTION, MIN_RETENTION, Wrong};

/// Longest reason of a suspension, in characters: a few sentences and a telephone number.
const MAX_REASON_CHARS: usize = 500;

/// What a tenant uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Enrolled devices.
    pub devices: u64,
    /// Sealed bytes of its versions.
    pub stored_bytes: u64,
}

/// A tenant with what it uses.
#[derive(Debug, Clone)]
pub struct Shown {
    /// The tenant.
    pub tenant: TenantSummary,
    /// What it uses now.
    pub usage: Usage,
}

/// What would be lost with a tenant.
#[derive(Debug, Clone)]
pub struct Loss {
    /// The tenant and what it uses.
    pub shown: Shown,
    /// Rows by table; tables without any are left out.
    pub rows: BTreeMap<String, u64>,
}

async fn found(
    app: &App,
    scope: &InstallationScope,
    id: TenantId,
) -> Result<TenantSummary, AppError> {
    let mut read = app.store.read(scope).await?;
    tenants::get(&mut read, id).await?.ok_or_else(|| AppError::not_found("tenant", id))
}

/// One tenant.
pub async fn show(app: &App, scope: &InstallationScope, id: TenantId) -> Result<Shown, AppError> {
    let tenant = found(app, scope, id).await?;
    let mut read = app.store.read(&scope.enter(id)).await?;
    let devices = tenant_rows::enrolled_devices(&mut read).await?;
    let stored_bytes = tenant_rows::stored_bytes(&mut read).await?;
    Ok(Shown { tenant, usage: Usage { devices, stored_bytes } })
}

/// What deleting and purging a tenant would take.
pub async fn loss(app: &App, scope: &InstallationScope, id: TenantId) -> Result<Loss, AppError> {
    let shown = show(app, scope, id).await?;
    let mut read = app.store.read(&scope.enter(id)).await?;
    let mut rows = tenant_rows::counts(&mut read).await?;
    rows.retain(|_, count| *count > 0);
    Ok(Loss { shown, rows })
}

/// Keeps a tenant's people and programs out; its devices keep serving.
pub async fn suspend(
    app: &App,
    scope: &InstallationScope,
    id: TenantId,
    reason: &str,
) -> Result<Shown, AppError> {
    let reason = reason.trim();
    let length = reason.chars().count();
    if length == 0 || length > MAX_REASON_CHARS || reason.chars().any(char::is_control) {
        let message = format!(
            "say in one line of at most {MAX_REASON_CHARS} characters why, and whom to ask: the \
             tenant's people get to read it"
        );
        return Err(AppError::invalid("reason", message));
    }
    let now = app.now();
    let step = |state: Lifecycle| state.suspend(reason.to_owned(), now);
    change(app, scope, id, Action::TenantSuspend, step).await
}

/// Lets them in again.
pub async fn resume(app: &App, scope: &InstallationScope, id: TenantId) -> Result<Shown, AppError> {
    change(app, scope, id, Action::TenantResume, Lifecycle::resume).await
}

/// Deletes a tenant: everything is kept for `retention`, then purged. `name` has to be the tenant's.
pub async fn delete(
    app: &App,
    scope: &InstallationScope,
    id: TenantId,
    name: &str,
    retention: Duration,
) -> Result<Shown, AppError> {
    if retention < MIN_RETENTION || retention > MAX_RETENTION {
        let days = |duration: Duration| duration.as_secs() / 86_400;
        let message = format!("it must be {} to {} days", days(MIN_RETENTION), days(MAX_RETENTION));
        return Err(AppError::invalid("retention_days", message));
    }
    if found(app, scope, id).await?.standing.name != validate::name("name", name)? {
        let message = "it is not the name of this tenant: nothing was deleted";
        return Err(AppError::invalid("name", message));
    }
    let now = app.now();
    change(app, scope, id, Action::TenantDelete, |state| state.delete(retention, now)).await
}

/// Takes the deletion back.
pub async fn restore(
    app: &App,
    scope: &InstallationScope,
    id: TenantId,
) -> Result<Shown, AppError> {
    change(app, scope, id, Action::TenantRestore, Lifecycle::restore).await
}

/// For records.
fn described(state: &Lifecycle) -> Value {
    match state {
        Lifecycle::Suspended(suspension) => {
            json!({"state": state.as_str(), "reason": suspension.reason})
        }
        Lifecycle::Deleted { purge_at, .. } | Lifecycle::Purging { purge_at, .. } => {
            json!({"state": state.as_str(), "purge_at": purge_at.rfc3339()})
        }
        Lifecycle::Active => json!({"state": state.as_str()}),
    }
}

async fn change(
    app: &App,
    scope: &InstallationScope,
    id: TenantId,
    action: Action,
    step: impl FnOnce(Lifecycle) -> Result<Lifecycle, Wrong>,
) -> Result<Shown, AppError> {
    let standing = found(app, scope, id).await?.standing;
    let before = standing.lifecycle;
    let after = step(before.clone()).map_err(|wrong| {
        AppError::conflict("wrong_state", format!("tenant {:?}: {wrong}", standing.name))
    })?;
    let intent = Intent::new(action, Resource::new("tenant", id).named(standing.name))
        .changes(described(&before), described(&after));
    let mut write = app.store.write(scope, intent.clone()).await?;
    if !tenants::set_lifecycle(&mut write, id, &before, &after).await? {
        write.rollback().await?;
        let detail = "somebody else changed the tenant meanwhile: look at it again";
        return Err(AppError::conflict("wrong_state", detail));
    }
    finish(app, scope, id, write, intent).await?;
    show(app, scope, id).await
}

/// Records the change in the tenant's log too, and tells those who go by it.
async fn finish(
    app: &App,
    scope: &InstallationScope,
    id: TenantId,
    write: crate::store::Write<InstallationScope>,
    intent: Intent,
) -> Result<(), AppError> {
    let now = app.now();
    let mut write = write.enter(id).await?;
    audit_log::enqueue(&mut write, intent, Outcome::Success, now).await?;
    write.leave(scope).await?.commit(now).await?;
    app.tenants().forget(id);
    app.nudges.audit.notify_one();
    app.nudges.rollouts.notify_one();
    Ok(())
}

/// Sets what a tenant may use. What it has beyond stays; it gets no more.
pub async fn set_limits(
    app: &App,
    scope: &InstallationScope,
    id: TenantId,
    limits: Limits,
) -> Result<Shown, AppError> {
    if limits.requests_per_second == Some(0) {
        let message = "no request would get through: suspend the tenant instead";
        return Err(AppError::invalid("requests_per_second", message));
    }
    let standing = found(app, scope, id).await?.standing;
    let shown = |limits: &Limits| {
        json!({
            "devices": limits.devices, "stored_bytes": limits.stored_bytes,
            "requests_per_second": limits.requests_per_second,
        })
    };
    let intent =
        Intent::new(Action::TenantQuotaUpdate, Resource::new("tenant", id).named(standing.name))
            .changes(shown(&standing.limits), shown(&limits));
    let mut write = app.store.write(scope, intent.clone()).await?;
    if !tenants::set_limits(&mut write, id, limits).await? {
        write.rollback().await?;
        return Err(AppError::not_found("tenant", id));
    }
    finish(app, scope, id, write, intent).await?;
    show(app, scope, id).await
}
