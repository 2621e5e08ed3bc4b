//! Bundles on a device without a network: what is brought, what is refused, and what is left of an
//! import that was cut off.

#[allow(dead_code)]
#[path = "../support/full_disk.rs"]
mod full_disk;
mod make;
#[allow(dead_code)]
#[path = "../support/publish.rs"]
mod publish;
#[path = "../../../proto/tests/tuf/repo.rs"]
mod repo;
mod tampered;
#[allow(dead_code)]
#[path = "../support/workers.rs"]
mod workers;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use edgeformer_agent::clock::Clock;
use edgeformer_agent::durable::Folder;
use edgeformer_agent::fetch::remote::Remote;
use edgeformer_agent::fetch::trust::Trust;
use edgeformer_agent::fetch::versions::Opening;
use edgeformer_agent::fetch::{Limits, Progress, Store};
use edgeformer_agent::identity::FileKeys;
use edgeformer_agent::import::{ImportError, Imported, Importer};
use edgeformer_agent::reconcile::Handle;
use edgeformer_agent::reconcile::ledger::LedgerStore;
use edgeformer_agent::reconcile::retention::Retention;
use edgeformer_proto::Generation;
use edgeformer_proto::ids::DeviceId;
use full_disk::FullDisk;
use make::{NOW_US, Parts, Tenant, site, unreleased};
use publish::Version;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A device that never has a connection.
struct Device {
    directory: tempfile::TempDir,
    opening: Opening,
    /// How far its clock is ahead.
    ahead_us: i64,
}

impl Device {
    fn new(publisher: &Tenant) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let keys = FileKeys::open_or_create(directory.path().join("keys")).unwrap();
        let opening = Opening {
            tenant_id: publisher.tenant,
            device_id: DeviceId::new(),
            release_public: publisher.key().public(),
            keys: Arc::new(keys),
        };
        Self { directory, opening, ahead_us: 0 }
    }

    /// Another machine with a copy of this one's disk.
    fn copy(&self) -> Self {
        fn copy(from: &Path, to: &Path) {
            for entry in std::fs::read_dir(from).unwrap() {
                let (entry, to) =
                    entry.map(|entry| (entry.path(), to.join(entry.file_name()))).unwrap();
                match entry.is_dir() {
                    true => {
                        std::fs::create_dir(&to).unwrap();
                        copy(&entry, &to);
                    }
                    false => drop(std::fs::copy(&entry, &to).unwrap()),
                }
            }
        }
        let directory = tempfile::tempdir().unwrap();
        copy(self.state(), directory.path());
        Self { directory, opening: self.opening.clone(), ahead_us: self.ahead_us }
    }

    fn state(&self) -> &Path {
        self.directory.path()
    }

    /// What it says when it is started anew on this disk.
    fn start(&self, folder: impl Into<Folder>) -> Started {
        let folder = folder.into();
        let (ledger, _) = LedgerStore::open(&folder).unwrap();
        let now_us = NOW_US + self.ahead_us;
        let clock = Clock::injected(move || now_us);
        let trust = Trust::open(&folder, clock.clone(), "box");
        let reconcile = Handle::new(Arc::new(ledger), clock, Retention::default());
        let nowhere = Arc::new(Remote::new(watch::channel(None).1));
        let limits = Limits { memory_bytes: Some(1 << 30) };
        let store = Store::new(&folder, self.opening.clone(), nowhere, trust, limits);
        let sessions = watch::channel(0).0;
        let importer =
            Importer::new(store.clone(), reconcile.clone(), self.opening.clone(), sessions.clone());
        Started { importer, reconcile, store, sessions }
    }

    fn import_file(&self, bytes: &[u8]) -> File {
        let path = self.state().join("test.bundle");
        std::fs::write(&path, bytes).unwrap();
        File::open(path).unwrap()
    }

    /// Imports on a device that was just started.
    async fn import(&self, bytes: &[u8]) -> (Result<Imported, ImportError>, Started) {
        let started = self.start(self.state());
        let file = self.import_file(bytes);
        (started.importer.import(file, Arc::default()).await, started)
    }

    fn chunk_files(&self) -> usize {
        let Ok(folders) = std::fs::read_dir(self.state().join("chunks")) else { return 0 };
        folders.map(|one| std::fs::read_dir(one.unwrap().path()).unwrap().count()).sum()
    }
}

struct Started {
    importer: Importer,
    reconcile: Handle,
    store: Store,
    sessions: watch::Sender<u64>,
}

fn generation(counter: u64) -> Generation {
    Generation { epoch: 1, counter }
}

/// A tenant, a device of it, and a version of 40 chunks with a bundle for the device.
fn world() -> (Tenant, Device, Version, Parts) {
    let publisher = Tenant::new();
    let device = Device::new(&publisher);
    let version = publisher.publish(1, 40, 1);
    let parts = site(&publisher, &[&device.opening], &version, generation(1));
    (publisher, device, version, parts)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_brings_a_version_that_then_serves() {
    let (publisher, device, version, parts) = world();
    let (imported, started) = device.import(&parts.bytes()).await;
    let imported = imported.unwrap();
    assert_eq!((imported.chunks, imported.new_chunks), (version.chunks, version.chunks));
    assert_eq!((imported.version.as_str(), imported.generation), ("m 1.0.0", generation(1)));
    assert_eq!(started.reconcile.held(), Some(generation(1)));

    let (workers, stop) = (workers::Scripted::new(), CancellationToken::new());
    let (slots, serving, until) = (started.reconcile.clone(), workers.clone(), stop.clone());
    let (store, sessions) = (started.store.clone(), started.sessions.subscribe());
    let running = tokio::spawn(async move { slots.run(serving, store, sessions, until).await });
    let serves = async |payload: &[u8]| {
        while workers.payload("m").as_deref() != Some(payload) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let within = Duration::from_secs(60);
    tokio::time::timeout(within, serves(&version.payload)).await.expect("it never served");

    // The next one, while it runs: its first 40 pieces are those of the first.
    let second = publisher.publish(2, 60, 1);
    let parts = site(&publisher, &[&device.opening], &second, generation(2));
    let file = device.import_file(&parts.bytes());
    let imported = started.importer.import(file, Arc::default()).await.unwrap();
    assert_eq!((imported.chunks, imported.new_chunks), (60, 20));
    tokio::time::timeout(within, serves(&second.payload)).await.expect("it never served");
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn what_is_for_others_or_from_before_is_refused_in_a_sentence() {
    let (publisher, device, version, parts) = world();
    let refuses = async |bytes: &[u8], part: &str| {
        let (imported, started) = device.import(bytes).await;
        let error = imported.unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
        (started.reconcile.held(), device.chunk_files())
    };
    let nothing = (None, 0);
    let other = Device::new(&publisher);
    let theirs = site(&publisher, &[&other.opening], &version, generation(1));
    let said = format!("not for this device ({})", device.opening.device_id);
    assert_eq!(refuses(&theirs.bytes(), &said).await, nothing);

    // Another tenant names this device.
    let stranger = Tenant::new();
    let claimed = Opening { tenant_id: stranger.tenant, ..device.opening.clone() };
    let foreign = stranger.publish(1, 5, 1);
    let theirs = site(&stranger, &[&claimed], &foreign, generation(1));
    assert_eq!(refuses(&theirs.bytes(), "not signed by the tenant of this device").await, nothing);

    device.import(&parts.bytes()).await.0.unwrap();
    let second = publisher.publish(2, 5, 2);
    let newer = site(&publisher, &[&device.opening], &second, generation(3));
    device.import(&newer.bytes()).await.0.unwrap();
    let held = Some(generation(3));
    let before = refuses(&parts.bytes(), "generation 1.1 is older than 1.3").await;
    assert_eq!(before.0, held);
    let same = site(&publisher, &[&device.opening], &version, generation(3));
    assert_eq!(refuses(&same.bytes(), "has other content here").await.0, held);
    // The same again is no harm.
    let again = device.import(&newer.bytes()).await.0.unwrap();
    assert_eq!(again.new_chunks, 0);
}

#[tokio::test]
async fn what_its_owner_did_not_release_or_released_long_ago_is_refused() {
    let (tenant, mut device, _, parts) = world();
    let version = tenant.publish(2, 5, 2);
    let smuggled = unreleased(&tenant, &[&device.opening], &version, generation(2));
    let (imported, started) = device.import(&smuggled.bytes()).await;
    let error = imported.unwrap_err().to_string();
    assert!(error.contains("not among what the tenant's owner released"), "{error}");
    assert_eq!(started.reconcile.held(), None);
    // The repository's metadata is good for 30 days.
    device.ahead_us = 31 * 86_400 * 1_000_000;
    let (imported, started) = device.import(&parts.bytes()).await;
    let error = imported.unwrap_err().to_string();
    assert!(error.contains("expired") && error.contains("export a new bundle"), "{error}");
    assert_eq!((started.reconcile.held(), device.chunk_files()), (None, 0));
    device.ahead_us = 0;
    device.import(&parts.bytes()).await.0.unwrap();
}

#[tokio::test]
async fn a_file_that_was_not_copied_whole_changes_nothing() {
    let (_, device, _, parts) = world();
    let whole = parts.bytes();
    for length in (0..whole.len()).step_by(whole.len() / 60) {
        let (imported, started) = device.import(&whole[..length]).await;
        let error = imported.unwrap_err().to_string();
        assert!(error.contains("not copied whole"), "{length}: {error}");
        assert_eq!((started.reconcile.held(), device.chunk_files()), (None, 0));
    }
    device.import(&whole).await.0.unwrap();
}

#[tokio::test]
async fn a_full_disk_is_said_and_what_was_stored_is_not_read_again() {
    let (_, device, version, parts) = world();
    let (folder, full) = FullDisk::folder(device.state());
    let started = device.start(&folder);
    let file = device.import_file(&parts.bytes());
    let error = started.importer.import(file, Arc::default()).await.unwrap_err().to_string();
    assert!(error.contains("disk is full") && error.contains("import again"), "{error}");
    assert_eq!(started.reconcile.held(), None);
    full.store(false, Ordering::SeqCst);
    let file = device.import_file(&parts.bytes());
    let imported = started.importer.import(file, Arc::default()).await.unwrap();
    assert_eq!(imported.chunks, version.chunks);
    assert_eq!(started.reconcile.held(), Some(generation(1)));
}

#[tokio::test]
async fn an_import_that_was_cut_goes_on_also_after_a_collection() {
    let (publisher, device, version, parts) = world();
    let started = device.start(device.state());
    let progress = Arc::new(Progress::default());
    let importing = started.importer.import(device.import_file(&parts.bytes()), progress.clone());
    let some = async {
        while progress.get().0 == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        _ = importing => panic!("it was not cut"),
        () = some => {}
    }
    // Chunks that were under way are on the disk before anything else happens.
    while device.chunk_files() == 0 {
        tokio::task::yield_now().await;
    }
    let started = device.start(device.state());
    started.reconcile.collector(started.store.clone()).sweep().await;
    let kept = device.chunk_files();
    assert!((1..version.chunks).contains(&kept), "{kept} chunks are there");
    let imported = started.importer.import(device.import_file(&parts.bytes()), Arc::default());
    let imported = imported.await.unwrap();
    assert!((1..=version.chunks - kept).contains(&imported.new_chunks), "{imported:?}");

    // What was begun and never ended goes when something newer is wanted.
    let second = publisher.publish(2, 10, 2);
    let mut cut = site(&publisher, &[&device.opening], &second, generation(2));
    cut.chunks[5].1[3] ^= 1;
    let (refused, _) = device.import(&cut.bytes()).await;
    assert!(refused.unwrap_err().to_string().contains("chunks are not those"));
    let before = device.chunk_files();
    assert!(before > version.chunks, "{before}");
    let third = publisher.publish(3, 3, 3);
    let newer = site(&publisher, &[&device.opening], &third, generation(3));
    let (imported, started) = device.import(&newer.bytes()).await;
    imported.unwrap();
    started.reconcile.collector(started.store.clone()).sweep().await;
    assert_eq!(device.chunk_files(), third.chunks);
}
