//! The end of a deleted tenant, when its retention is over: objects, rows and keys go for good.
//! Idempotent: whatever one run does not get to, or a crash cuts off, the next run does. It must never
//! touch a tenant whose state is not `purging`, and that state has no way back.
//!
//! The tenant's log goes with it. The installation's log keeps what it ended with, so that whoever
//! has an exported bundle can still show that it is whole.

use edgeformer_proto::ids::TenantId;
use serde_json::json;

use crate::app::App;
use crate::audit::{Intent, Resource};
use crate::distribution::objects::ObjectsError;
use crate::policy::Action;
use crate::scope::{InstallationScope, TenantScope};
use crate::store::tenants::{self, TenantSummary};
use crate::store::{StoreError, audit_log, audit_retention, audit_tree, tenant_rows};
use crate::tenancy::lifecycle::Lifecycle;

/// Rows removed in one transaction, so that other writers are not held up.
const BATCH: i64 = 2_000;
/// Tenants read at a time.
const TENANTS_PER_PAGE: i64 = 200;
const COMPONENT: &str = "tenant purge";

/// Why a tenant is still there.
#[derive(Debug, thiserror::Error)]
pub enum PurgeError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its objects.
    #[error(transparent)]
    Objects(#[from] ObjectsError),
}

/// Purges the tenants whose retention is over. Returns how many went.
pub async fn run_due(app: &App) -> Result<u64, PurgeError> {
    let installation = InstallationScope::system(COMPONENT);
    let (mut after, mut purged) = (None, 0);
    loop {
        let page = {
            let mut read = app.store.read(&installation).await?;
            tenants::list(&mut read, after, TENANTS_PER_PAGE).await?
        };
        let Some(last) = page.last() else { return Ok(purged) };
        after = Some(last.id);
        for tenant in &page {
            let Ok(purging) = tenant.standing.lifecycle.clone().purge(app.now()) else { continue };
            if begin(app, &installation, tenant, &purging).await? {
                purge(app, &installation, tenant).await?;
                purged += 1;
            }
        }
    }
}

/// Closes the way back. False if somebody restored the tenant meanwhile.
async fn begin(
    app: &App,
    scope: &InstallationScope,
    tenant: &TenantSummary,
    purging: &Lifecycle,
) -> Result<bool, StoreError> {
    let before = &tenant.standing.lifecycle;
    if before.is_purging() {
        return Ok(true);
    }
    let own = TenantScope::system(tenant.id, COMPONENT);
    let mut read = app.store.read(&own).await?;
    if audit_retention::get(&mut read).await?.hold.is_some() {
        let name = &tenant.standing.name;
        tracing::warn!(
            tenant = name,
            "a deleted tenant is kept: its audit log is under legal hold"
        );
        return Ok(false);
    }
    let head = audit_log::head(&mut read).await?;
    let checkpoint = audit_tree::checkpoint(&mut read).await?;
    drop(read);
    let log = json!({
        "audit_size": head.size(),
        "audit_root_sha256": data_encoding::HEXLOWER.encode(&head.root()),
        "audit_checkpoint": checkpoint.map(|(_, note)| note),
    });
    let intent = Intent::new(Action::TenantPurge, resource(tenant))
        .because("its retention is over; its data is removed from now on")
        .changes(json!({"state": before.as_str()}), log);
    let mut write = app.store.write(scope, intent).await?;
    if !tenants::set_lifecycle(&mut write, tenant.id, before, purging).await? {
        write.rollback().await?;
        return Ok(false);
    }
    write.commit(app.now()).await?;
    app.tenants().forget(tenant.id);
    app.nudges.audit.notify_one();
    Ok(true)
}

fn resource(tenant: &TenantSummary) -> Resource {
    Resource::new("tenant", tenant.id).named(tenant.standing.name.clone())
}

async fn purge(
    app: &App,
    scope: &InstallationScope,
    tenant: &TenantSummary,
) -> Result<(), PurgeError> {
    let objects = app.objects.remove_tenant(tenant.id).await?;
    let rows = remove_rows(app, tenant.id).await?;
    let intent = Intent::new(Action::TenantPurge, resource(tenant))
        .because("its data and keys are removed")
        .changes(json!({"objects": objects, "rows": rows}), json!(null));
    // The last rows and the tenant itself go together: none is left without its tenant.
    let mut write = app.store.write(scope, intent).await?.enter(tenant.id).await?;
    for table in tenant_rows::tables(&mut write).await? {
        tenant_rows::remove(&mut write, &table, i64::MAX).await?;
    }
    let mut write = write.leave(scope).await?;
    if tenants::remove(&mut write, tenant.id).await? {
        write.commit(app.now()).await?;
        tracing::info!(tenant = tenant.standing.name, objects, rows, "a deleted tenant is purged");
    } else {
        // Another controller was faster, and recorded it.
        write.rollback().await?;
    }
    app.tenants().forget(tenant.id);
    app.nudges.audit.notify_one();
    Ok(())
}

async fn remove_rows(app: &App, id: TenantId) -> Result<u64, StoreError> {
    let own = TenantScope::system(id, COMPONENT);
    let tables = tenant_rows::tables(&mut *app.store.read(&own).await?).await?;
    let mut removed = 0;
    for table in tables {
        loop {
            let mut write = app.store.write_observation(&own).await?;
            let gone = tenant_rows::remove(&mut write, &table, BATCH).await?;
            write.commit(app.now()).await?;
            removed += gone;
            if gone < BATCH.unsigned_abs() {
                break;
            }
        }
    }
    Ok(removed)
}
