//! Opening: the agent's own way from sealed chunks on its disk to pieces in memory.

use std::sync::Arc;

use edgeformer_agent::fetch::chunks::ChunkStore;
use edgeformer_agent::fetch::payload::SealedPayload;
use edgeformer_proto::artifact::{ChunkIndex, Digest};
use tokio::runtime::Runtime;

use crate::publish::Controller;
use crate::{Settings, measure, print_pair, raw};

/// A device with a published model on its disk.
pub fn download(runtime: &Runtime, controller: &Controller, index: ChunkIndex) -> SealedPayload {
    let chunks = ChunkStore::new(controller.folder().join("device"));
    for entry in index.entries() {
        let chunk = runtime.block_on(controller.objects.chunk(controller.tenant, entry.id));
        let sealed = chunk.expect("an object store").expect("a chunk");
        chunks.put(&entry.id, &sealed).expect("room on the device");
    }
    SealedPayload::new(Arc::new(index), chunks)
}

/// Opens all of it. Returns its length.
pub fn open(payload: &SealedPayload) -> u64 {
    let pieces = payload.pieces().expect("threads");
    pieces.map(|piece| piece.expect("a piece").len() as u64).sum()
}

/// Ours and the reference in turn, both from files that are in the page cache.
pub fn compare(runtime: &Runtime, settings: &Settings) {
    let controller = Controller::new();
    let index = runtime.block_on(controller.publish(&settings.model)).index;
    let payload = download(runtime, &controller, index);
    let bytes = std::fs::metadata(&settings.model).expect("the model").len();
    let sealed = controller.folder().join("reference");
    let hash = Digest::from_ring(raw::seal(&settings.model, Some(&sealed)));
    assert_eq!(open(&payload), bytes);
    for _ in 0..settings.pairs {
        let (opened, ours) = measure(|| open(&payload));
        let (found, reference) = measure(|| raw::open(&sealed));
        assert_eq!((opened, Digest::from_ring(found)), (bytes, hash));
        print_pair("open", bytes, &ours, &reference);
    }
}
