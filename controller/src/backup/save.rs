//! Makes a backup while the controller runs: rows of one moment first, then the files. Sealed
//! objects never change, so those of that moment are all there when they are copied.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::archive::Writer;
use super::{BackupError, DATA, FORMAT, META, Meta, TABLES, io};
use crate::clock::Timestamp;
use crate::config::{DataDir, is_backed_up};
use crate::scope::InstallationScope;
use crate::store::{Store, dump};

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// Where it is.
    pub path: PathBuf,
    /// Its size.
    pub size_bytes: u64,
    /// Tables and rows.
    pub tables: usize,
    /// Rows of all tables.
    pub rows: u64,
    /// Files of the data folder.
    pub files: usize,
}

/// Writes the installation in `dir` and `store` to the new file `out`.
pub async fn save(
    store: &Store,
    dir: &DataDir,
    out: &Path,
    now: Timestamp,
) -> Result<Saved, BackupError> {
    let mut writer = Writer::create(out)?;
    let scratch =
        tempfile::tempdir_in(out.parent().filter(|p| p.is_dir()).unwrap_or(Path::new(".")))
            .map_err(io("create a folder beside", out))?;
    let mut read = store.read_everything(&InstallationScope::system("backup")).await?;
    let mut tables = Vec::new();
    for name in dump::tables(&mut read).await? {
        let path = scratch.path().join(&name);
        let file = std::fs::File::create(&path).map_err(io("create", &path))?;
        let mut file = std::io::BufWriter::new(file);
        tables.push(dump::export(&mut read, &name, &mut file).await?);
        file.flush().map_err(io("write", &path))?;
    }
    drop(read);
    let meta = Meta {
        format: FORMAT,
        created_at: now.rfc3339(),
        program: env!("CARGO_PKG_VERSION").to_owned(),
        schema: store.schema_version().await?,
        tables,
    };
    let data_dir = dir.path().to_owned();
    // Files are read and written on a thread that may block.
    tokio::task::spawn_blocking(move || {
        let json = serde_json::to_vec_pretty(&meta).expect("strings and numbers");
        writer.add_bytes(META, &json)?;
        for table in &meta.tables {
            let path = scratch.path().join(&table.name);
            writer.add_file(&format!("{TABLES}/{}.jsonl", table.name), &path)?;
        }
        let files = add_folder(&mut writer, &data_dir, DATA)?;
        let rows = meta.tables.iter().map(|table| table.rows).sum();
        Ok((files, meta.tables.len(), rows, writer.finish()?))
    })
    .await
    .expect("the writing thread does not panic")
    .map(|(files, tables, rows, size_bytes)| Saved {
        path: out.to_owned(),
        size_bytes,
        tables,
        rows,
        files,
    })
}

fn add_folder(writer: &mut Writer, folder: &Path, name: &str) -> Result<usize, BackupError> {
    let mut entries = std::fs::read_dir(folder)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(io("read", folder))?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    let mut files = 0;
    for entry in entries {
        let Some(part) = entry.file_name().to_str().map(str::to_owned) else { continue };
        if !is_backed_up(&part) {
            continue;
        }
        let (path, name) = (entry.path(), format!("{name}/{part}"));
        let kind = entry.file_type().map_err(io("read", &path))?;
        if kind.is_dir() {
            files += add_folder(writer, &path, &name)?;
        } else if kind.is_file() {
            writer.add_file(&name, &path)?;
            files += 1;
        }
    }
    Ok(files)
}
