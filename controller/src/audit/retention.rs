//! Deletes the texts of records that are older than their log keeps them. Leaves, tiles and checkpoints
//! stay, so every proof and every bundle stays valid and says what is gone. A legal hold stops it. Each
//! deletion is a record itself.

use std::time::Duration;

use serde_json::json;

use super::{Intent, Resource};
use crate::app::App;
use crate::clock::Timestamp;
use crate::error::AppError;
use crate::policy::Action;
use crate::scope::{InstallationScope, Scope, TenantScope};
use crate::store::audit_retention::{self, Hold};
use crate::store::{StoreError, Write, tenants};

/// Records deleted in one transaction, so that other writers are not held up.
const BATCH: i64 = 2_000;
/// Batches per run and log: two million records in an hour is more than tenants make.
const BATCHES_PER_RUN: usize = 200;
/// Tenants read at a time.
const TENANTS_PER_PAGE: i64 = 200;
const DAY: Duration = Duration::from_secs(86_400);
const COMPONENT: &str = "audit-retention";

/// Everything before this is old.
pub fn cut(keep_days: u32, now: Timestamp) -> Timestamp {
    now.minus(DAY * keep_days)
}

/// Refuses a deletion from a log that is under hold. A hold that is set meanwhile waits for the end of
/// `write`: once it is said to hold, nothing goes any more.
pub async fn refuse_under_hold<S: Scope>(write: &mut Write<S>) -> Result<(), AppError> {
    match audit_retention::locked(write).await?.hold {
        None => Ok(()),
        Some(Hold { reason, by, at }) => {
            let since = at.rfc3339();
            Err(AppError::conflict(
                "legal_hold",
                format!(
                    "the audit log is under a legal hold since {since}, set by {by} ({reason}): nothing \
                     of it is deleted until an owner lifts the hold"
                ),
            ))
        }
    }
}

/// Deletes what is due, of every log. Returns how many records lost their text.
pub async fn run_due(app: &App) -> Result<u64, StoreError> {
    let top = InstallationScope::system(COMPONENT);
    let mut deleted = run(app, &top).await?;
    let mut after = None;
    loop {
        let mut read = app.store.read(&top).await?;
        let page = tenants::list(&mut read, after, TENANTS_PER_PAGE).await?;
        drop(read);
        let Some(last) = page.last() else { return Ok(deleted) };
        after = Some(last.id);
        for tenant in page.iter().filter(|tenant| !tenant.standing.lifecycle.is_purging()) {
            deleted += run(app, &TenantScope::system(tenant.id, COMPONENT)).await?;
        }
    }
}

/// Deletes what is due of one log.
async fn run<S: Scope>(app: &App, scope: &S) -> Result<u64, StoreError> {
    let mut deleted = 0;
    for _ in 0..BATCHES_PER_RUN {
        let now = app.now();
        let mut read = app.store.read(scope).await?;
        let retention = audit_retention::get(&mut read).await?;
        let (Some(days), None) = (retention.keep_days, &retention.hold) else { break };
        let from = retention.deleted_to;
        let to = audit_retention::end_of_old(&mut read, from, cut(days, now), BATCH).await?;
        drop(read);
        if to == from {
            break;
        }
        let intent = Intent::new(Action::AuditTextsDelete, Resource::new("audit_log", scope.key()))
            .because(format!("older than the {days} days that records are kept"))
            .changes(json!({"first": from, "last": to - 1}), json!(null));
        let mut write = app.store.write(scope, intent).await?;
        if !audit_retention::delete(&mut write, from, to).await? {
            write.rollback().await?;
            break;
        }
        write.commit(now).await?;
        app.nudges.audit.notify_one();
        deleted += to - from;
    }
    Ok(deleted)
}
