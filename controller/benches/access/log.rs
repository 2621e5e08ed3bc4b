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

pub async fn run(app: &App, scope: &TenantScope) {
    for power in 3..=7_u32 {
        // A tenant of its own for each length: none is measured twice.
        let scope = TenantScope::system(TenantId::new(), "bench");
        let size = 10_u64.pow(power);
        grow(app, &scope, size).await;
        let (append, prove) = measure(app, &scope, size).await;
        println!("{}", json!({ "size": size, "append_us": append, "prove_us": prove }));
    }
    let _ = scope;
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

/// Medians in microseconds: from a waiting record to a leaf that is committed, and of a proof that was
/// checked.
async fn measure(app: &App, scope: &TenantScope, size: u64) -> (f64, f64) {
    let (mut appends, mut proofs) = (Vec::new(), Vec::new());
    for _ in 0..SAMPLES {
        let intent = Intent::new(Action::DeviceRead, Resource::new("device", "d"));
        app.store.record(scope, intent, Outcome::Success, app.now()).await.expect("a record");
        let began = Instant::now();
        let added = sequencer::sequence(&app.store, scope, app.now()).await.expect("a leaf");
        appends.push(began.elapsed().as_secs_f64() * 1e6);
        assert_eq!(added, 1);
    }
    checkpointer::sign_one(app, scope).await.expect("a checkpoint");
    let mut read = app.store.read(scope).await.expect("a transaction");
    let tree = audit_log::head(&mut read).await.expect("a head");
    drop(read);
    assert_eq!(tree.size(), size + SAMPLES);
    for n in 0..SAMPLES {
        let at = n * 7919 * 104_729 % size;
        let began = Instant::now();
        let proof = audit_proofs::inclusion(app, scope, at, None).await.expect("a proof");
        proofs.push(began.elapsed().as_secs_f64() * 1e6);
        let leaf = leaf_hash(&at.to_be_bytes());
        verify_inclusion(&leaf, at, tree.size(), &tree.root(), &proof.hashes).expect("it holds");
    }
    (median(appends), median(proofs))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
