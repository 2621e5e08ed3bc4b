//! The Merkle tree as it is stored: tiles grow with the log, and a proof reads a few of them. Appending
//! and proving cost the logarithm of the log's length.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use edgeformer_proto::audit::merkle::Hash;
use edgeformer_proto::audit::proof::{Node, Plan, fold};
use edgeformer_proto::audit::tile::{HEIGHT, MAX_LEVEL, TileId, WIDTH, of_node, root};

use crate::scope::Scope;
use crate::store::{Conn, StoreError, Write, audit_tree};

/// Leaves put into tiles at a time.
const BATCH: i64 = 4096;

/// Puts the leaves that the log has and the tiles lack into tiles, all of them. A log from before
/// there were tiles catches up here.
pub(crate) async fn extend<S: Scope>(write: &mut Write<S>) -> Result<(), StoreError> {
    loop {
        let have = audit_tree::leaves(write).await?;
        let leaves = audit_tree::leaf_hashes(write, have, BATCH).await?;
        if leaves.is_empty() {
            return Ok(());
        }
        append(write, have, leaves).await?;
    }
}

/// Appends leaves to tiles that hold `have`.
async fn append<S: Scope>(
    write: &mut Write<S>,
    have: u64,
    leaves: Vec<Hash>,
) -> Result<(), StoreError> {
    let mut hashes = leaves;
    for level in 0..=MAX_LEVEL {
        if hashes.is_empty() {
            return Ok(());
        }
        let before = have >> (u32::from(level) * u32::from(HEIGHT));
        let mut id = TileId { level, index: before / WIDTH };
        let mut row = match before % WIDTH {
            0 => Vec::new(),
            _ => audit_tree::tile(write, id).await?.unwrap_or_default(),
        };
        row.truncate((before % WIDTH) as usize);
        let mut full = Vec::new();
        for hash in hashes {
            row.push(hash);
            if row.len() as u64 == WIDTH {
                audit_tree::put_tile(write, id, &row).await?;
                full.extend(root(&row));
                id.index += 1;
                row.clear();
            }
        }
        if !row.is_empty() {
            audit_tree::put_tile(write, id, &row).await?;
        }
        hashes = full;
    }
    Ok(())
}

/// The hash of each list of nodes of a plan.
pub async fn hashes<S: Scope>(conn: &mut Conn<S>, plan: &Plan) -> Result<Vec<Hash>, StoreError> {
    let mut tiles = BTreeMap::new();
    let mut out = Vec::with_capacity(plan.len());
    for list in plan {
        let mut parts = Vec::with_capacity(list.len());
        for &one in list {
            parts.push(node(conn, &mut tiles, one).await?);
        }
        out.push(fold(&parts));
    }
    Ok(out)
}

async fn node<S: Scope>(
    conn: &mut Conn<S>,
    tiles: &mut BTreeMap<TileId, Vec<Hash>>,
    node: Node,
) -> Result<Hash, StoreError> {
    let (id, range) = of_node(node);
    let tile = match tiles.entry(id) {
        Entry::Occupied(place) => place.into_mut(),
        Entry::Vacant(place) => place.insert(audit_tree::tile(conn, id).await?.unwrap_or_default()),
    };
    tile.get(range).and_then(root).ok_or_else(|| StoreError::Damaged {
        table: "audit_tiles",
        id: format!("{}/{}", id.level, id.index),
        what: format!("it lacks the node {}/{}", node.level, node.index),
    })
}
