//! How long a log's texts are kept, and legal holds on it.

use serde_json::{Value, json};

use super::validate;
use crate::app::App;
use crate::audit::retention::cut;
use crate::audit::{Intent, Resource};
use crate::error::AppError;
use crate::policy::Action;
use crate::scope::Scope;
use crate::store::audit_retention::{self, Hold, Retention};

/// Longest period that can be set, in days: a hundred years. For ever is no period.
const MAX_DAYS: u32 = 36_500;

/// What a period would delete now.
#[derive(Debug, Clone, Copy)]
pub struct Preview {
    /// Days.
    pub keep_days: u32,
    /// Records that would lose their text.
    pub records: u64,
    /// Records that lost it before.
    pub deleted: u64,
    /// Whether a hold would stop it.
    pub held: bool,
}

fn described(retention: &Retention) -> Value {
    json!({
        "keep_days": retention.keep_days,
        "hold": retention.hold.as_ref().map(|hold| hold.reason.clone()),
    })
}

/// A period that the installation allows.
fn days(app: &App, days: u32) -> Result<u32, AppError> {
    let least = app.audit_limits().min_retention_days;
    match (least..=MAX_DAYS).contains(&days) && days > 0 {
        true => Ok(days),
        false => {
            let message =
                format!("this installation keeps records {least} to {MAX_DAYS} days, or for ever");
            Err(AppError::invalid("keep_days", message))
        }
    }
}

/// What is kept.
pub async fn get<S: Scope>(app: &App, scope: &S) -> Result<Retention, AppError> {
    Ok(audit_retention::get(&mut *app.store.read(scope).await?).await?)
}

/// What a period would delete now; nothing is changed.
pub async fn preview<S: Scope>(app: &App, scope: &S, keep: u32) -> Result<Preview, AppError> {
    let keep_days = days(app, keep)?;
    let mut read = app.store.read(scope).await?;
    let Retention { deleted_to: deleted, hold, .. } = audit_retention::get(&mut read).await?;
    let records = audit_retention::older(&mut read, deleted, cut(keep_days, app.now())).await?;
    Ok(Preview { keep_days, records, deleted, held: hold.is_some() })
}

async fn change<S: Scope>(
    app: &App,
    scope: &S,
    action: Action,
    edit: impl FnOnce(&mut Retention, &S) -> Result<(), AppError>,
) -> Result<Retention, AppError> {
    let now = app.now();
    let intent = Intent::new(action, Resource::new("audit_log", scope.key()));
    let mut write = app.store.write(scope, intent).await?;
    let before = audit_retention::locked(&mut write).await?;
    let mut after = before.clone();
    edit(&mut after, scope)?;
    if after == before {
        return Ok(before);
    }
    write.changes(described(&before), described(&after));
    audit_retention::put(&mut write, &after).await?;
    write.commit(now).await?;
    app.nudges.audit.notify_one();
    Ok(after)
}

/// Sets how long texts are kept; none keeps them for ever. Deletion begins within ten minutes.
pub async fn set_period<S: Scope>(
    app: &App,
    scope: &S,
    keep_days: Option<u32>,
) -> Result<Retention, AppError> {
    let keep_days = keep_days.map(|keep| days(app, keep)).transpose()?;
    change(app, scope, Action::AuditRetentionUpdate, |retention, _| {
        retention.keep_days = keep_days;
        Ok(())
    })
    .await
}

/// Stops every deletion from the log.
pub async fn hold<S: Scope>(app: &App, scope: &S, reason: &str) -> Result<Retention, AppError> {
    let reason = validate::name("reason", reason)?;
    let at = app.now();
    change(app, scope, Action::LegalHoldCreate, |retention, scope| {
        if let Some(hold) = &retention.hold {
            let what = format!("the log is under hold already ({}): lift it first", hold.reason);
            return Err(AppError::conflict("legal_hold", what));
        }
        let actor = &scope.context().actor;
        let kind = serde_json::to_value(actor.kind).ok();
        let kind = kind.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
        retention.hold = Some(Hold { reason, by: format!("{kind}:{}", actor.id), at });
        Ok(())
    })
    .await
}

/// Lets deletions go on.
pub async fn lift<S: Scope>(app: &App, scope: &S) -> Result<Retention, AppError> {
    change(app, scope, Action::LegalHoldLift, |retention, _| {
        retention.hold = None;
        Ok(())
    })
    .await
}
