//! Carries plans out. Runs on a timer and on a nudge; every run reads the world anew, so the next tick
//! is the retry of whatever failed.

use std::collections::BTreeSet;
use std::time::Duration;

use edgeformer_proto::ids::{DeviceId, TenantId, VersionId};
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::planner::{Action, Entry, Snapshot, plan};
use super::types::{DeviceState, RolloutState};
use super::waiting::Waiting;
use crate::app::App;
use crate::audit::{Intent, Resource};
use crate::clock::Timestamp;
use crate::policy::Action as Act;
use crate::scope::{InstallationScope, TenantScope};
use crate::store::rollout_devices::{self, Step};
use crate::store::rollouts::{self, NamedRollout};
use crate::store::{StoreError, assignments, tenants};
use crate::trust;

/// How late a change that was not nudged is seen, e.g. a report received by another controller.
const INTERVAL: Duration = Duration::from_secs(3);
/// Between two runs, however many nudges come: a thousand devices report within a second.
const MIN_PAUSE: Duration = Duration::from_millis(100);
/// Tenants read at a time.
const TENANTS_PER_PAGE: i64 = 200;

/// Runs until `stop` is cancelled.
pub async fn run(app: App, stop: CancellationToken) {
    let mut tick = interval(INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
            () = app.nudges.rollouts.notified() => {}
        }
        if let Err(error) = reconcile(&app).await {
            tracing::warn!(%error, "rollouts could not be looked at; trying again in a few seconds");
        }
        tokio::time::sleep(MIN_PAUSE).await;
    }
}

/// Looks at every active rollout of every tenant once.
pub async fn reconcile(app: &App) -> Result<(), StoreError> {
    let mut after = None;
    loop {
        let mut read = app.store.read(&InstallationScope::system("rollout planner")).await?;
        let page = tenants::list(&mut read, after, TENANTS_PER_PAGE).await?;
        drop(read);
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.id);
        // A rollout of a suspended tenant waits until it is resumed.
        for tenant in page.iter().filter(|tenant| tenant.standing.lifecycle.is_active()) {
            reconcile_tenant(app, tenant.id).await?;
        }
    }
}

async fn reconcile_tenant(app: &App, tenant: TenantId) -> Result<(), StoreError> {
    let scope = TenantScope::system(tenant, "rollout planner");
    let mut read = app.store.read(&scope).await?;
    let active = rollouts::active(&mut read).await?;
    drop(read);
    for rollout in active {
        // One rollout that cannot be carried on must not hold up the others.
        let id = rollout.rollout.id;
        if let Err(error) = reconcile_one(app, &scope, rollout).await {
            tracing::warn!(rollout = %id, %error, "a rollout cannot be carried on; trying again");
        }
    }
    Ok(())
}

async fn reconcile_one(
    app: &App,
    scope: &TenantScope,
    named: NamedRollout,
) -> Result<(), StoreError> {
    let now = app.now();
    let rollout = &named.rollout;
    let mut read = app.store.read(scope).await?;
    let mut devices = rollout_devices::entries(&mut read, rollout.id, &rollout.slot).await?;
    drop(read);
    note_unsigned(app, scope, &mut devices).await;
    let plan = plan(&Snapshot { id: rollout.id, state: rollout.state, devices }, now);
    note(app, scope, &named, &plan.actions, &plan.waiting, now).await?;
    for action in plan.actions {
        match action {
            Action::Assign(device) => assign(app, scope, &named, device, now).await?,
            Action::Finish { state, reason } => {
                finish(app, scope, &named, state, &reason, now).await?;
            }
            Action::Move { .. } => {}
        }
    }
    Ok(())
}

/// Looks up which versions devices would refuse. When that cannot be told, none of them is assigned.
async fn note_unsigned(app: &App, scope: &TenantScope, devices: &mut [Entry]) {
    let pending = devices.iter_mut().filter(|entry| entry.state == DeviceState::Pending);
    let mut pending: Vec<_> = pending.filter(|entry| entry.version.is_some()).collect();
    let wanted: BTreeSet<VersionId> = pending.iter().filter_map(|entry| entry.version).collect();
    if wanted.is_empty() {
        return;
    }
    let unlisted = match trust::unlisted(app, scope, &wanted).await {
        Ok(unlisted) => unlisted,
        Err(error) => {
            tracing::error!(%error, "whether a version is signed cannot be told; its rollout waits");
            wanted
        }
    };
    for entry in &mut pending {
        entry.unsigned = entry.version.is_some_and(|version| unlisted.contains(&version));
    }
}

/// Writes all moves and the report in one transaction. Observations: nobody decided them.
async fn note(
    app: &App,
    scope: &TenantScope,
    named: &NamedRollout,
    actions: &[Action],
    waiting: &Waiting,
    now: Timestamp,
) -> Result<(), StoreError> {
    let rollout = &named.rollout;
    let moves = actions.iter().filter(|action| matches!(action, Action::Move { .. })).count();
    let news = *waiting != rollout.waiting && rollout.state == RolloutState::Running;
    if moves == 0 && !news {
        return Ok(());
    }
    let mut write = app.store.write_observation(scope).await?;
    for action in actions {
        if let Action::Move { device, from, to, reason, message } = action {
            let step = Step { device: *device, from: *from, to: *to, reason, message };
            rollout_devices::advance(&mut write, rollout.id, &step, now).await?;
        }
    }
    if news {
        rollouts::set_waiting(&mut write, rollout.id, waiting).await?;
    }
    write.commit(now).await
}

async fn assign(
    app: &App,
    scope: &TenantScope,
    named: &NamedRollout,
    device: DeviceId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let rollout = named.rollout.id;
    let intent = Intent::new(Act::DesiredStateAssign, Resource::new("device", device))
        .because(format!("rollout {rollout}"));
    let mut write = app.store.write(scope, intent).await?;
    let entry = rollout_devices::pending(&mut write, rollout, device).await?;
    let current = assignments::current(&mut write, device).await?;
    // Aborted, revoked or assigned by another controller meanwhile: the next run sees it.
    let (Some(entry), Some(current)) = (entry, current) else { return write.rollback().await };
    let target = &entry.target;
    let assigned =
        assignments::assign(&mut write, device, current, &entry.slot, target, rollout).await?;
    let Some(next) = assigned else { return write.rollback().await };
    if !rollout_devices::set_assigned(&mut write, rollout, device, next, now).await? {
        return write.rollback().await;
    }
    write.resource(Resource::new("device", device).named(entry.device_name));
    write.changes(
        json!({"generation": current.to_string()}),
        json!({
            "generation": next.to_string(),
            "slot": entry.slot,
            "version_id": target.version,
            "rollout_id": rollout,
        }),
    );
    write.commit(now).await?;
    app.nudges.device(scope.tenant(), device);
    app.nudges.audit.notify_one();
    Ok(())
}

async fn finish(
    app: &App,
    scope: &TenantScope,
    named: &NamedRollout,
    state: RolloutState,
    reason: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let id = named.rollout.id;
    let intent = Intent::new(Act::RolloutFinish, Resource::new("rollout", id)).because(reason);
    let mut write = app.store.write(scope, intent).await?;
    if !rollouts::end(&mut write, id, state, reason, now).await? {
        return write.rollback().await;
    }
    write.changes(
        json!({"state": RolloutState::Running.as_str()}),
        json!({"state": state.as_str()}),
    );
    write.commit(now).await?;
    app.nudges.audit.notify_one();
    tracing::info!(rollout = %id, slot = named.rollout.slot, state = state.as_str(), reason, "rollout ended");
    Ok(())
}
