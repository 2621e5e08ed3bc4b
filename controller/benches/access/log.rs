//! What an append and an inclusion proof cost on logs of 10³ to 10⁷ records.
//!
//! A log of ten million records is not written one by one here: its tiles and its head are made as
//! appending would make them, and the texts of the records, which neither an append nor a proof reads,
//! are left out. What is measured after that is the sequencer and the proof as they serve.

use std::time::Instant;

use edgeformer_controller::admin::audit_proofs;
use edgeformer_controller::app::App;
use edgeformer_controller::audit::{Intent, Outcome, Resource, checkpointer, sequencer};
use edgeformer_controller::policy::Action;
use edgeformer_controller::scope::TenantScope;
use edgeformer_controller::store::{Write, audit_log, audit_tree};
use edgeformer_proto::audit::merkle::{Hash, leaf_hash};
use edgeformer_proto::audit::proof::verify_inclusion;
use edgeformer_proto::audit::tile::{TileId, WIDTH, root};
use edgeformer_proto::ids::TenantId;
use serde_json::json;

/// Appends and proofs measured at each length.
const SAMPLES: u64 = 200;

pub async fn run(app: &App) {
    let mut logs = Vec::new();
    for power in 3..=7_u32 {
        // A tenant of its own for each length: none is measured twice.
        let scope = TenantScope::system(TenantId::new(), "bench");
        let size = 10_u64.pow(power);
        grow(app, &scope, size).await;
        logs.push(Log { scope, size, appends: Vec::new(), proofs: Vec::new() });
    }
    // In turn, so that whatever else the machine does meets all lengths alike.
    for _ in 0..SAMPLES {
        for log in &mut logs {
            log.append(app).await;
        }
    }
    for log in &logs {
        checkpointer::sign_one(app, &log.scope).await.expect("a checkpoint");
    }
    for sample in 0..SAMPLES {
        for log in &mut logs {
            log.prove(app, sample).await;
        }
    }
    for Log { size, appends, proofs, .. } in logs {
        let (append, prove) = (median(appends), median(proofs));
        println!("{}", json!({ "size": size, "append_us": append, "prove_us": prove }));
    }
}

/// A log, and what was measured of it, in microseconds.
struct Log {
    scope: TenantScope,
    size: u64,
    appends: Vec<f64>,
    proofs: Vec<f64>,
}

impl Log {
    /// From a waiting record to a leaf that is committed.
    async fn append(&mut self, app: &App) {
        let intent = Intent::new(Action::DeviceRead, Resource::new("device", "d"));
        app.store.record(&self.scope, intent, Outcome::Success, app.now()).await.expect("a record");
        let began = Instant::now();
        let added = sequencer::sequence(&app.store, &self.scope, app.now()).await.expect("a leaf");
        self.appends.push(began.elapsed().as_secs_f64() * 1e6);
        assert_eq!(added, 1);
    }

    /// A proof, which is checked after it was timed.
    async fn prove(&mut self, app: &App, sample: u64) {
        let mut read = app.store.read(&self.scope).await.expect("a transaction");
        let tree = audit_log::head(&mut read).await.expect("a head");
        drop(read);
        assert_eq!(tree.size(), self.size + SAMPLES);
        let at = sample * 7919 * 104_729 % self.size;
        let began = Instant::now();
        let proof = audit_proofs::inclusion(app, &self.scope, at, None).await.expect("a proof");
        self.proofs.push(began.elapsed().as_secs_f64() * 1e6);
        let leaf = leaf_hash(&at.to_be_bytes());
        verify_inclusion(&leaf, at, tree.size(), &tree.root(), &proof.hashes).expect("it holds");
    }
}

/// Makes a log of `size` records, as far as appends and proofs look at it.
async fn grow(app: &App, scope: &TenantScope, size: u64) {
    let mut write = app.store.write_observation(scope).await.expect("a transaction");
    let mut tree = audit_log::head(&mut write).await.expect("a head");
    let mut levels: Vec<(TileId, Vec<Hash>)> = Vec::new();
    for n in 0..size {
        let leaf = leaf_hash(&n.to_be_bytes());
        tree.append(leaf);
        let (mut hash, mut level) = (Some(leaf), 0);
        while let Some(this) = hash {
            if levels.len() == level {
                let level = u8::try_from(level).expect("few levels");
                levels.push((TileId { level, index: 0 }, Vec::new()));
            }
            let (id, row) = &mut levels[level];
            row.push(this);
            hash = None;
            if row.len() as u64 == WIDTH {
                put(&mut write, *id, row).await;
                hash = root(row);
                id.index += 1;
                row.clear();
                level += 1;
            }
        }
    }
    for (id, row) in &levels {
        if !row.is_empty() {
            put(&mut write, *id, row).await;
        }
    }
    assert!(audit_log::advance(&mut write, 0, &tree, app.now()).await.expect("a head"));
    write.commit(app.now()).await.expect("a commit");
}

async fn put(write: &mut Write<TenantScope>, id: TileId, row: &[Hash]) {
    audit_tree::put_tile(write, id, row).await.expect("a tile");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
