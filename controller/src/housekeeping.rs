//! Forgets what has had its time. Runs on a timer; each run is complete in itself.

use std::time::Duration;

use crate::app::App;
use crate::clock::Timestamp;
use crate::scope::InstallationScope;
use crate::store::{Store, StoreError, idempotency};

/// Nothing it removes is urgent.
const INTERVAL: Duration = Duration::from_secs(600);

/// Runs until cancelled.
pub async fn run(app: App) {
    loop {
        if let Err(error) = tidy(&app.store, app.now()).await {
            tracing::warn!(%error, "old idempotency keys are kept; trying again later");
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// One run.
pub async fn tidy(store: &Store, now: Timestamp) -> Result<u64, StoreError> {
    let mut write = store.write_observation(&InstallationScope::system("housekeeping")).await?;
    let forgotten = idempotency::sweep(&mut write, now).await?;
    write.commit(now).await?;
    Ok(forgotten)
}
