//! Whether there is room for the records to come. A controller that cannot record an action refuses it, so
//! whoever operates it has to know before. Each threshold is reported once: in the program's log, in the
//! installation's audit log, and in what `readyz` and `audit status` show until there is room again.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::{Intent, Outcome, Resource};
use crate::app::App;
use crate::policy::Action;
use crate::scope::{InstallationScope, TenantScope};
use crate::store::{StoreError, audit_log, audit_retention, tenants};

/// A volume does not fill up in less, but for a runaway that nobody could answer anyway.
const INTERVAL: Duration = Duration::from_secs(60);
/// What is reported, in percent used.
pub const THRESHOLDS: [u32; 3] = [80, 90, 95];
/// Tenants read at a time.
const TENANTS_PER_PAGE: i64 = 200;
const COMPONENT: &str = "audit-capacity";

/// How much of the room is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Room {
    /// Of the volume of the data folder, which has the database if it is SQLite.
    pub volume_percent: Option<u32>,
    /// Of the budget of records; none without a budget.
    pub records_percent: Option<u32>,
}

impl Room {
    /// Whether a threshold is reached.
    pub fn is_short(&self) -> bool {
        [self.volume_percent, self.records_percent].into_iter().flatten().any(|p| reached(p) > 0)
    }
}

/// The highest threshold that is reached; 0 for none.
pub fn reached(percent: u32) -> u32 {
    THRESHOLDS.into_iter().filter(|threshold| percent >= *threshold).max().unwrap_or(0)
}

/// So much of so much, rounded down. Nothing of nothing is full: there is no room.
fn percent(used: u64, of: u64) -> u32 {
    let percent = u128::from(used) * 100 / u128::from(of.max(1));
    u32::try_from(percent).unwrap_or(u32::MAX)
}

/// Of the volume that `path` is on, as an ordinary user may fill it.
fn volume(path: &Path) -> Option<u32> {
    let stat = rustix::fs::statvfs(path).ok()?;
    let used = stat.f_blocks.saturating_sub(stat.f_bfree);
    (stat.f_blocks > 0).then(|| percent(used, used.saturating_add(stat.f_bavail)))
}

/// Looks until cancelled.
pub async fn run(app: App, data_dir: std::path::PathBuf) {
    let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
    loop {
        let volume = volume(&data_dir);
        if let Err(error) = look(&app, volume, &node).await {
            tracing::error!(%error, "whether there is room for audit records is not known");
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Looks once: `volume_percent` is of the volume of the controller on `node`.
pub async fn look(app: &App, volume_percent: Option<u32>, node: &str) -> Result<Room, StoreError> {
    let records_percent = match app.audit_limits().record_budget {
        None => None,
        Some(budget) => Some(percent(records(app).await?, budget)),
    };
    let room = Room { volume_percent, records_percent };
    app.set_audit_room(room);
    if let Some(used) = volume_percent {
        report(app, &format!("volume of {node}"), used).await?;
    }
    if let Some(used) = records_percent {
        report(app, "record budget", used).await?;
    }
    Ok(room)
}

/// Records of all logs whose texts are there.
async fn records(app: &App) -> Result<u64, StoreError> {
    let top = InstallationScope::system(COMPONENT);
    let mut read = app.store.read(&top).await?;
    let mut count = kept(&mut read).await?;
    drop(read);
    let mut after = None;
    loop {
        let mut read = app.store.read(&top).await?;
        let page = tenants::list(&mut read, after, TENANTS_PER_PAGE).await?;
        drop(read);
        let Some(last) = page.last() else { return Ok(count) };
        after = Some(last.id);
        for tenant in &page {
            let scope = TenantScope::system(tenant.id, COMPONENT);
            count += kept(&mut *app.store.read(&scope).await?).await?;
        }
    }
}

async fn kept<S: crate::scope::Scope>(conn: &mut crate::store::Conn<S>) -> Result<u64, StoreError> {
    let size = audit_log::head(conn).await?.size();
    Ok(size.saturating_sub(audit_retention::get(conn).await?.deleted_to))
}

/// Reports a threshold that was not reported yet, and that there is room again.
async fn report(app: &App, what: &str, used: u32) -> Result<(), StoreError> {
    let (now, threshold) = (app.now(), reached(used));
    let top = InstallationScope::system(COMPONENT);
    let mut write = app.store.write_observation(&top).await?;
    if !audit_retention::note_capacity(&mut write, what, threshold, now).await? {
        return write.rollback().await;
    }
    write.commit(now).await?;
    if threshold == 0 {
        tracing::info!(what, used, "there is room for audit records");
        return Ok(());
    }
    tracing::warn!(
        what,
        used_percent = used,
        "the room for audit records ends: free some, or set a retention; without room every change \
         is refused"
    );
    let intent = Intent::new(Action::AuditCapacityWarn, Resource::new("audit_capacity", what))
        .because(format!("{what}: {used} percent used, over the threshold of {threshold}"))
        .changes(json!(null), json!({"used_percent": used, "threshold": threshold}));
    app.store.record(&top, intent, Outcome::Failure, now).await?;
    app.nudges.audit.notify_one();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percents_and_thresholds() {
        assert_eq!(
            [percent(0, 10), percent(7, 8), percent(8, 8), percent(9, 3)],
            [0, 87, 100, 300]
        );
        assert_eq!((percent(0, 0), percent(1, 0)), (0, 100));
        assert_eq!(percent(u64::MAX, 1), u32::MAX);
        let all = [0, 79, 80, 89, 90, 95, 100, 300].map(reached);
        assert_eq!(all, [0, 0, 80, 80, 90, 95, 95, 95]);
        let room = |volume_percent, records_percent| Room { volume_percent, records_percent };
        assert!(!room(None, None).is_short() && !room(Some(79), Some(1)).is_short());
        assert!(room(Some(80), None).is_short() && room(None, Some(96)).is_short());
    }

    #[test]
    fn a_volume_is_read() {
        let used = volume(&std::env::temp_dir()).unwrap();
        assert!(used <= 100, "{used}");
        assert_eq!(volume(Path::new("/no/such/place")), None);
    }
}
