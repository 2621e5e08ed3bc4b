//! A real installation, backed up and restored.

use std::path::Path;

use super::{BackupError, restore, save};
use crate::audit::{Intent, Resource};
use crate::clock::Timestamp;
use crate::config::DataDir;
use crate::policy::Action;
use crate::scope::InstallationScope;
use crate::store::installation::{self, Installation};
use crate::store::{Store, dump};

const NOW: Timestamp = Timestamp(1_800_000_000_000_000);

fn dir(path: &Path) -> DataDir {
    DataDir::new(path).unwrap()
}

async fn open(data_dir: &Path) -> Store {
    let store = Store::connect(&dir(data_dir).database_url(None, true)).await.unwrap();
    store.migrate().await.unwrap();
    store
}

async fn installation_in(data_dir: &Path) -> Store {
    std::fs::create_dir_all(data_dir.join("objects/tenants/t")).unwrap();
    std::fs::create_dir_all(data_dir.join("staging")).unwrap();
    std::fs::write(data_dir.join("kek"), [1; 32]).unwrap();
    std::fs::write(data_dir.join("objects/tenants/t/chunk"), vec![2; 70_000]).unwrap();
    std::fs::write(data_dir.join("staging/half"), b"not finished").unwrap();
    let store = open(data_dir).await;
    let scope = InstallationScope::system("test");
    let intent = Intent::new(Action::InstallationInit, Resource::new("installation", "1"));
    let mut write = store.write(&scope, intent).await.unwrap();
    let row = Installation {
        trust_domain: "example.test".to_owned(),
        epoch: 1,
        root_cert_der: vec![0, 159, 146, 150],
        wrapped_root_key: vec![9; 64],
        created_at: NOW,
    };
    installation::insert(&mut write, &row).await.unwrap();
    write.commit(NOW).await.unwrap();
    store
}

async fn found(data_dir: &Path) -> Installation {
    let store = open(data_dir).await;
    let mut read = store.read(&InstallationScope::system("test")).await.unwrap();
    installation::get(&mut read).await.unwrap().unwrap()
}

async fn bring_back(archive: &Path, to: &Path, now: Timestamp) -> Result<u64, BackupError> {
    restore(archive, &dir(to), None, now).await.map(|restored| restored.epoch)
}

#[tokio::test]
async fn an_installation_comes_back_in_a_new_epoch_without_what_was_unfinished() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    let store = installation_in(&old).await;
    let archive = folder.path().join("backup.tar");
    let saved = save(&store, &dir(&old), &archive, NOW).await.unwrap();
    assert_eq!(saved.files, 2, "kek and one object");
    assert!(saved.rows >= 2, "the installation and its audit record");

    let epoch = bring_back(&archive, &new, NOW).await.unwrap();
    let row = found(&new).await;
    assert_eq!(row.epoch, epoch);
    assert_eq!((row.trust_domain.as_str(), row.root_cert_der.len()), ("example.test", 4));
    assert_eq!(std::fs::read(new.join("objects/tenants/t/chunk")).unwrap(), vec![2; 70_000]);
    assert!(!new.join("staging").exists());

    let later = NOW.plus(std::time::Duration::from_secs(60));
    let again = bring_back(&archive, &folder.path().join("again"), later).await.unwrap();
    assert!(again > epoch && epoch > 1, "each restore is an epoch of its own");
}

#[tokio::test]
async fn a_restore_never_touches_what_is_there_and_leaves_nothing_when_it_fails() {
    let folder = tempfile::tempdir().unwrap();
    let old = folder.path().join("old");
    let store = installation_in(&old).await;
    let archive = folder.path().join("backup.tar");
    save(&store, &dir(&old), &archive, NOW).await.unwrap();

    let refused = bring_back(&archive, &old, NOW).await.unwrap_err();
    assert!(matches!(refused, BackupError::NotEmpty { .. }), "{refused}");
    assert_eq!(found(&old).await.epoch, 1);

    let occupied = dir(&old).database_url(None, false);
    let new = folder.path().join("new");
    let refused = restore(&archive, &dir(&new), Some(&occupied), NOW).await.unwrap_err();
    assert!(matches!(refused, BackupError::NotEmpty { .. }), "{refused}");

    let bytes = std::fs::read(&archive).unwrap();
    let half = folder.path().join("half.tar");
    std::fs::write(&half, &bytes[..bytes.len() / 2]).unwrap();
    let refused = bring_back(&half, &new, NOW).await.unwrap_err();
    assert!(matches!(refused, BackupError::Damaged { .. }), "{refused}");
    assert!(!new.exists());
    let left: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with('.'))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn every_table_of_the_schema_is_in_a_dump_with_every_column() {
    let folder = tempfile::tempdir().unwrap();
    let store = installation_in(folder.path()).await;
    let mut read = store.read(&InstallationScope::system("test")).await.unwrap();
    let tables = dump::tables(&mut read).await.unwrap();
    let schema = include_str!("../../../migrations/sqlite/0001_foundation.sql");
    for line in schema.lines().filter_map(|line| line.strip_prefix("CREATE TABLE ")) {
        let name = line.trim_end_matches(" (");
        assert!(tables.iter().any(|table| table == name), "{name} is missing");
        let mut nothing = Vec::new();
        dump::export(&mut read, name, &mut nothing).await.unwrap();
    }
}
