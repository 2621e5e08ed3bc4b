//! Forgets what has had its time. Runs on a timer; each run is complete in itself, and what a run does
//! not get to, the next one does.

use std::time::Duration;

use edgeformer_proto::ids::TenantId;

use crate::app::App;
use crate::audit::retention;
use crate::clock::Timestamp;
use crate::privacy::Settings;
use crate::scope::{InstallationScope, Scope, TenantScope};
use crate::store::{
    Store, StoreError, device_logins, idempotency, login_sessions, privacy, sso_logins, telemetry,
    tenants, user_identities,
};
use crate::tenancy::purge;

/// Nothing it removes is urgent.
const INTERVAL: Duration = Duration::from_secs(600);
/// Points removed in one transaction, so that other writers are not held up.
const TELEMETRY_BATCH: i64 = 2_000;
/// Batches per run and tenant: a million points in ten minutes is more than devices may send.
const BATCHES_PER_RUN: usize = 500;
/// Tenants read at a time.
const TENANTS_PER_PAGE: i64 = 200;
const COMPONENT: &str = "housekeeping";

/// Runs until cancelled.
pub async fn run(app: App) {
    loop {
        if let Err(error) = tidy(&app.store, app.now()).await {
            tracing::warn!(%error, "old rows are kept; trying again later");
        }
        if let Err(error) = retention::run_due(&app).await {
            tracing::warn!(%error, "old audit records are kept; trying again later");
        }
        if let Err(error) = purge::run_due(&app).await {
            tracing::warn!(%error, "a deleted tenant is not purged; trying again later");
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// One run. Returns how many rows went.
pub async fn tidy(store: &Store, now: Timestamp) -> Result<u64, StoreError> {
    let installation = InstallationScope::system(COMPONENT);
    let answers = now.minus(Settings::default().answers());
    let mut forgotten = forget_answers(store, &installation, answers, now).await?;
    let mut after: Option<TenantId> = None;
    loop {
        let page = {
            let mut read = store.read(&installation).await?;
            tenants::list(&mut read, after, TENANTS_PER_PAGE).await?
        };
        let Some(last) = page.last() else {
            return Ok(forgotten);
        };
        after = Some(last.id);
        for tenant in &page {
            if tenant.standing.lifecycle.is_purging() {
                continue;
            }
            let scope = TenantScope::system(tenant.id, COMPONENT);
            let kept = privacy::settings(&mut *store.read(&scope).await?).await?;
            forgotten += forget_answers(store, &scope, now.minus(kept.answers()), now).await?;
            forgotten += forget_log_ins(store, &scope, now.minus(kept.log_ins()), now).await?;
            forgotten += forget_telemetry(store, &scope, now.minus(kept.telemetry()), now).await?;
            forgotten += forget_facts(store, &scope, now.minus(kept.device_facts()), now).await?;
        }
    }
}

async fn forget_answers<S: Scope>(
    store: &Store,
    scope: &S,
    before: Timestamp,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let mut write = store.write_observation(scope).await?;
    let forgotten = idempotency::sweep(&mut write, before).await?;
    write.commit(now).await?;
    Ok(forgotten)
}

async fn forget_log_ins(
    store: &Store,
    scope: &TenantScope,
    before: Timestamp,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let mut write = store.write_observation(scope).await?;
    let mut forgotten = login_sessions::forget(&mut write, before).await?;
    forgotten += sso_logins::forget(&mut write, now).await?;
    forgotten += device_logins::forget(&mut write, now).await?;
    forgotten += user_identities::forget_uses(&mut write, now).await?;
    write.commit(now).await?;
    Ok(forgotten)
}

async fn forget_telemetry(
    store: &Store,
    scope: &TenantScope,
    before: Timestamp,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let mut forgotten = 0;
    for _ in 0..BATCHES_PER_RUN {
        let mut write = store.write_observation(scope).await?;
        let gone = telemetry::forget(&mut write, before, TELEMETRY_BATCH).await?;
        write.commit(now).await?;
        forgotten += gone;
        if gone < TELEMETRY_BATCH.unsigned_abs() {
            break;
        }
    }
    Ok(forgotten)
}

async fn forget_facts(
    store: &Store,
    scope: &TenantScope,
    before: Timestamp,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let mut write = store.write_observation(scope).await?;
    let forgotten = privacy::forget_device_facts(&mut write, before).await?;
    write.commit(now).await?;
    Ok(forgotten)
}
