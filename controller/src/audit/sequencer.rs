//! Turns committed records into leaves of the log, in order. Idempotent: what one run does not
//! finish, or another controller did meanwhile, the next run finds as it is. It must never change or
//! drop a record.

use std::time::Duration;

use edgeformer_proto::ids::TenantId;

use super::{checkpointer, tree};
use crate::app::App;
use crate::clock::Timestamp;
use crate::scope::{InstallationScope, Scope, TenantScope};
use crate::store::{Store, StoreError, audit_log, tenants};
use edgeformer_proto::audit::merkle::leaf_hash;

/// Leaves per transaction: a few milliseconds of work, so that other writers are not held up.
const BATCH: i64 = 500;
/// Batches per run and log; the rest waits for the next run, so that one busy tenant does not
/// starve the others.
const BATCHES_PER_RUN: usize = 20;
/// Tenants read at a time.
const TENANTS_PER_PAGE: i64 = 200;
/// How often it runs without being nudged.
const INTERVAL: Duration = Duration::from_secs(5);
/// Time between runs, however often it is nudged: under load, records then come many at a time.
const PAUSE: Duration = Duration::from_millis(200);
const COMPONENT: &str = "audit-sequencer";

/// Runs until cancelled.
pub async fn run(app: App) {
    loop {
        if let Err(error) = sequence_all(&app.store, app.now()).await {
            tracing::error!(%error, "audit records are not being sequenced; trying again");
        } else {
            match checkpointer::sign_all(&app).await {
                Ok(0) => {}
                Ok(_) => {
                    app.nudges.witnesses.notify_one();
                    app.nudges.sinks.notify_one();
                }
                Err(error) => {
                    tracing::error!(%error, "the audit log is not being signed; trying again");
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
        tokio::select! {
            () = app.nudges.audit.notified() => {}
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

/// Sequences the logs of the installation and of every tenant. Returns the number of new leaves.
pub async fn sequence_all(store: &Store, now: Timestamp) -> Result<u64, StoreError> {
    let installation = InstallationScope::system(COMPONENT);
    let mut leaves = sequence(store, &installation, now).await?;
    let mut after: Option<TenantId> = None;
    loop {
        let page = {
            let mut read = store.read(&installation).await?;
            tenants::list(&mut read, after, TENANTS_PER_PAGE).await?
        };
        let Some(last) = page.last() else {
            return Ok(leaves);
        };
        after = Some(last.id);
        // What is being removed is not written to.
        for tenant in page.iter().filter(|tenant| !tenant.standing.lifecycle.is_purging()) {
            leaves += sequence(store, &TenantScope::system(tenant.id, COMPONENT), now).await?;
        }
    }
}

/// Sequences one log.
pub async fn sequence<S: Scope>(
    store: &Store,
    scope: &S,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let mut leaves = 0;
    for _ in 0..BATCHES_PER_RUN {
        let added = sequence_batch(store, scope, now).await?;
        leaves += added;
        if added < BATCH.unsigned_abs() {
            break;
        }
    }
    Ok(leaves)
}

async fn sequence_batch<S: Scope>(
    store: &Store,
    scope: &S,
    now: Timestamp,
) -> Result<u64, StoreError> {
    // Most runs find nothing: they must not take the writer.
    if audit_log::waiting(&mut *store.read(scope).await?, 1).await?.is_empty() {
        return Ok(0);
    }
    let mut write = store.write_observation(scope).await?;
    let mut tree = audit_log::head(&mut write).await?;
    let old_size = tree.size();
    let records = audit_log::waiting(&mut write, BATCH).await?;
    let mut leaves = Vec::with_capacity(records.len());
    for waiting in &records {
        let leaf = leaf_hash(waiting.record.as_bytes());
        leaves.push((tree.size(), waiting, leaf));
        tree.append(leaf);
    }
    // The head first: whoever moves it owns the places after it.
    if leaves.is_empty() || !audit_log::advance(&mut write, old_size, &tree, now).await? {
        write.rollback().await?;
        return Ok(0);
    }
    let added = leaves.len() as u64;
    audit_log::append(&mut write, &leaves).await?;
    tree::extend(&mut write).await?;
    write.commit(now).await?;
    Ok(added)
}
