//! Publishing: the controller's own receiving, cutting, sealing and storing.

use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use edgeformer_controller::distribution::inspect::inspect;
use edgeformer_controller::distribution::objects::Objects;
use edgeformer_controller::distribution::seal::{SealedPayload, seal_payload};
use edgeformer_controller::distribution::staging::{Staged, Staging};
use edgeformer_proto::artifact::{ChunkSecret, DataKey, Digest, Expected};
use edgeformer_proto::ids::{TenantId, VersionId};
use futures::stream;
use object_store::memory::InMemory;
use ring::rand::SystemRandom;
use serde_json::json;
use tokio::runtime::Runtime;

use crate::{Settings, measure, open, print, print_pair, raw};

/// Bytes of an upload that come at a time.
const PART_BYTES: usize = 64 << 10;

/// Everything that publishing needs to have around it.
pub struct Controller {
    pub tenant: TenantId,
    pub objects: Objects,
    staging: Staging,
    secret: ChunkSecret,
    folder: tempfile::TempDir,
}

impl Controller {
    /// On a disk, as a controller is.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let objects = Objects::local(&folder.path().join("objects")).expect("an object store");
        Self::with(objects, folder)
    }

    fn in_memory() -> Self {
        let objects = Objects::new(Arc::new(InMemory::new()));
        Self::with(objects, tempfile::tempdir().expect("a folder"))
    }

    fn with(objects: Objects, folder: tempfile::TempDir) -> Self {
        Self {
            tenant: TenantId::new(),
            objects,
            staging: Staging::open(&folder.path().join("staging"), u64::MAX).expect("a folder"),
            secret: ChunkSecret::from([9; 32]),
            folder,
        }
    }

    /// A folder for whatever is needed beside it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    async fn receive(&self, model: &Path) -> Staged {
        let mut file = std::fs::File::open(model).expect("the model");
        let body = stream::iter(std::iter::from_fn(move || {
            let mut part = vec![0; PART_BYTES];
            let length = file.read(&mut part).expect("the model reads");
            part.truncate(length);
            (length > 0).then(|| Ok::<_, std::io::Error>(Bytes::from(part)))
        }));
        self.staging.receive(body, None).await.expect("an upload")
    }

    async fn seal(&self, staged: &Staged) -> SealedPayload {
        let mut file = BufReader::new(std::fs::File::open(staged.path()).expect("the upload"));
        let cuts = inspect(&mut file, staged.size_bytes()).expect("a model").cuts;
        let sealed = seal_payload(&self.objects, self.tenant, &self.secret, staged, cuts);
        sealed.await.expect("a sealed payload")
    }

    /// From an upload to stored chunks.
    pub async fn publish(&self, model: &Path) -> SealedPayload {
        let staged = self.receive(model).await;
        self.seal(&staged).await
    }
}

/// Ours and the reference in turn: sealing alone, in memory; and all of it, with what is made safe on a
/// disk.
pub fn compare(runtime: &Runtime, settings: &Settings) {
    let model = &settings.model;
    let bytes = std::fs::metadata(model).expect("the model").len();
    let receiver = Controller::in_memory();
    let staged = runtime.block_on(receiver.receive(model));
    // Once for the page cache.
    raw::seal(model, None);
    for _ in 0..settings.pairs {
        let in_memory = Controller::in_memory();
        let (sealed, ours) = measure(|| runtime.block_on(in_memory.seal(&staged)));
        let (hash, reference) = measure(|| raw::seal(model, None));
        assert_eq!(sealed.index.payload_sha256(), Digest::from_ring(hash));
        print_pair("seal", bytes, &ours, &reference);
    }
    for _ in 0..settings.pairs {
        let on_disk = Controller::new();
        let (_, ours) = measure(|| runtime.block_on(on_disk.publish(model)));
        let file = on_disk.folder().join("reference");
        let (_, reference) = measure(|| raw::seal(model, Some(&file)));
        print_pair("publish", bytes, &ours, &reference);
    }
}

/// What a device with the first version downloads for the second, and what making and opening it takes.
pub fn second(runtime: &Runtime, settings: &Settings) {
    let controller = Controller::new();
    runtime.block_on(controller.publish(&settings.model));
    forget_peak();
    let (second, make) = measure(|| runtime.block_on(controller.publish(&settings.second)));
    let make_kib = peak_kib();
    let subject = Expected {
        tenant: controller.tenant,
        model: "bench".parse().expect("a name"),
        version: semver::Version::new(2, 0, 0),
        version_id: VersionId::new(),
    };
    let random = SystemRandom::new();
    let key = DataKey::generate(&random).expect("random bytes");
    let index = second.index.seal(&key, &subject, &random).expect("a sealed index");
    let full_bytes = second.index.chunk_bytes() + index.len() as u64;
    let payload = open::download(runtime, &controller, second.index);
    forget_peak();
    let (_, apply) = measure(|| open::open(&payload));
    print(&json!({
        "second_bytes": second.stored_bytes + index.len() as u64,
        "full_bytes": full_bytes,
        "make_s": make.wall.as_secs_f64(),
        "make_kib": make_kib,
        "apply_s": apply.wall.as_secs_f64(),
        "apply_kib": peak_kib(),
    }));
}

/// The most memory that this process had since [`forget_peak`], in KiB.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

fn forget_peak() {
    std::fs::write("/proc/self/clear_refs", "5").expect("the peak is forgotten");
}
