//! Restores a backup into an empty installation. Everything happens beside the target; it appears
//! under its name only when all of it is there.

use std::path::{Path, PathBuf};

use super::archive::unpack;
use super::{BackupError, DATA, FORMAT, META, Meta, TABLES, io};
use crate::audit::{Intent, Resource};
use crate::clock::Timestamp;
use crate::config::DataDir;
use crate::policy::Action;
use crate::scope::InstallationScope;
use crate::store::{Store, dump, installation};

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// When the backup was made, RFC 3339.
    pub made_at: String,
    /// Rows of all tables.
    pub rows: u64,
    /// The installation's new epoch.
    pub epoch: u64,
}

/// Restores `archive` into the new folder `dir`, and into `database_url` or, without one, into the
/// database file of that folder.
pub async fn restore(
    archive: &Path,
    dir: &DataDir,
    database_url: Option<&str>,
    now: Timestamp,
) -> Result<Restored, BackupError> {
    let data_dir = dir.path();
    if std::fs::read_dir(data_dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(BackupError::NotEmpty { what: data_dir.display().to_string() });
    }
    let staging = stage(archive, data_dir).await?;
    let meta = read_meta(archive, staging.path())?;
    let data = staging.path().join(DATA);
    std::fs::create_dir_all(&data).map_err(io("create", &data))?;
    let here = DataDir::new(&data).map_err(io("find", &data))?;
    let store = Store::connect(&here.database_url(database_url, true)).await?;
    let restored = restore_rows(&store, &meta, &staging.path().join(TABLES), now).await;
    store.close().await;
    let restored = restored?;
    if data_dir.exists() {
        std::fs::remove_dir(data_dir).map_err(io("replace", data_dir))?;
    }
    std::fs::rename(&data, data_dir).map_err(io("create", data_dir))?;
    make_private(data_dir)?;
    Ok(restored)
}

/// Unpacks beside the target, so that a rename puts it in place.
async fn stage(archive: &Path, data_dir: &Path) -> Result<tempfile::TempDir, BackupError> {
    let beside = data_dir.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(beside).map_err(io("create", beside))?;
    let staging = tempfile::Builder::new()
        .prefix(".restore-")
        .tempdir_in(beside)
        .map_err(io("create a folder in", beside))?;
    let (archive, into) = (archive.to_owned(), PathBuf::from(staging.path()));
    tokio::task::spawn_blocking(move || unpack(&archive, &into))
        .await
        .expect("the unpacking thread does not panic")?;
    Ok(staging)
}

fn read_meta(archive: &Path, staging: &Path) -> Result<Meta, BackupError> {
    let damaged = |why: String| BackupError::Damaged { path: archive.to_owned(), why };
    let json = std::fs::read(staging.join(META)).map_err(|_| damaged(format!("no {META}")))?;
    let meta: Meta = serde_json::from_slice(&json).map_err(|error| damaged(error.to_string()))?;
    if meta.format > FORMAT {
        return Err(BackupError::Newer { program: meta.program, format: meta.format });
    }
    Ok(meta)
}

async fn restore_rows(
    store: &Store,
    meta: &Meta,
    folder: &Path,
    now: Timestamp,
) -> Result<Restored, BackupError> {
    store.migrate().await?;
    let scope = InstallationScope::system("restore");
    let intent = Intent::new(Action::BackupRestore, Resource::new("installation", "1"))
        .because(format!("restored from a backup of {}", meta.created_at));
    let mut write = store.write_everything(&scope, intent).await?;
    if installation::get(&mut write).await?.is_some() {
        return Err(BackupError::NotEmpty { what: "the database".to_owned() });
    }
    for table in &meta.tables {
        let path = folder.join(format!("{}.jsonl", table.name));
        let file = std::fs::File::open(&path).map_err(io("read", &path))?;
        dump::import(&mut write, table, std::io::BufReader::new(file)).await?;
    }
    let epoch = installation::raise_epoch(&mut write, now).await?;
    write.commit(now).await?;
    let rows = meta.tables.iter().map(|table| table.rows).sum();
    Ok(Restored { made_at: meta.created_at.clone(), rows, epoch })
}

fn make_private(folder: &Path) -> Result<(), BackupError> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))
        .map_err(io("protect", folder))
}
