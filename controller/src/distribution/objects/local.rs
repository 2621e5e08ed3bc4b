//! Chunks into a local folder, made durable many at a time.
//!
//! A chunk under its own name is whole and on the disk: it is written into `incoming/`, synced, and only then
//! given its name. The names are durable once [`Batches::finish`] returned; of a publication that is cut
//! off before, chunks may be there or not, and none is half there.

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::fs::Advice;
use tempfile::TempPath;

/// Files that are synced in one go. The first takes the file system's journal with it, the others find
/// theirs done.
const BATCH: usize = 64;

/// A file in `incoming/` of this age belongs to no controller that runs.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

const INCOMING: &str = "incoming";

/// The folder.
#[derive(Debug, Clone)]
pub(super) struct Local {
    root: PathBuf,
}

/// What one publication stores.
#[derive(Debug)]
pub(super) struct Batches {
    local: Local,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Written, and not known to be on the disk.
    pending: Vec<Pending>,
    /// Everything that was pending.
    written: HashSet<PathBuf>,
    /// Folders whose entries this publication relies on.
    folders: BTreeSet<PathBuf>,
}

#[derive(Debug)]
struct Pending {
    file: File,
    path: TempPath,
    name: PathBuf,
}

impl Local {
    /// In a folder that exists. What a controller that is gone left in it is removed.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let local = Self { root: root.to_owned() };
        fs::create_dir_all(local.incoming())?;
        for entry in fs::read_dir(local.incoming())? {
            let entry = entry?;
            let age = SystemTime::now().duration_since(entry.metadata()?.modified()?);
            if age.is_ok_and(|age| age > ABANDONED) {
                remove_if_there(&entry.path())?;
            }
        }
        Ok(local)
    }

    fn incoming(&self) -> PathBuf {
        self.root.join(INCOMING)
    }

    pub(super) fn batches(&self) -> Batches {
        Batches { local: self.clone(), state: Mutex::default() }
    }
}

impl Batches {
    /// Stores these bytes under a name in the folder, unless a file of their length has it. True if none
    /// had it. Waits for the disk.
    pub(super) fn put(&self, name: &str, bytes: &[u8]) -> io::Result<bool> {
        let name = self.local.root.join(name);
        let folder = name.parent().unwrap_or(&self.local.root).to_owned();
        let there = fs::metadata(&name).is_ok_and(|found| found.len() == bytes.len() as u64);
        let first = {
            let mut state = self.state();
            state.folders.insert(folder);
            !there && state.written.insert(name.clone())
        };
        if !first {
            return Ok(false);
        }
        let (mut file, path) = tempfile::Builder::new()
            .prefix("chunk-")
            .tempfile_in(self.local.incoming())?
            .into_parts();
        file.write_all(bytes)?;
        // Begins to write back at once, so that the sync finds it done. Only advice.
        let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
        let batch = {
            let mut state = self.state();
            state.pending.push(Pending { file, path, name });
            match state.pending.len() >= BATCH {
                true => std::mem::take(&mut state.pending),
                false => Vec::new(),
            }
        };
        settle(batch)?;
        Ok(true)
    }

    /// Makes all of it durable. Waits for the disk.
    pub(super) fn finish(&self) -> io::Result<()> {
        let state = std::mem::take(&mut *self.state());
        settle(state.pending)?;
        let mut parents = BTreeSet::new();
        for folder in &state.folders {
            let above =
                folder.ancestors().skip(1).take_while(|it| it.starts_with(&self.local.root));
            parents.extend(above.map(Path::to_owned));
        }
        for folder in state.folders.iter().chain(&parents) {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Syncs them all, then gives them their names: a name stands for bytes that are on the disk.
fn settle(batch: Vec<Pending>) -> io::Result<()> {
    for pending in &batch {
        pending.file.sync_all()?;
    }
    for Pending { path, name, .. } in batch {
        if let Some(folder) = name.parent() {
            fs::create_dir_all(folder)?;
        }
        path.persist(&name).map_err(|error| error.error)?;
    }
    Ok(())
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn what_was_put_has_its_name_when_it_is_durable_and_nothing_is_left_beside() {
        let folder = tempfile::tempdir().unwrap();
        let local = Local::open(folder.path()).unwrap();
        let batches = local.batches();
        for number in 0..BATCH + 3 {
            assert!(batches.put(&format!("a/{}/{number}", number % 5), &[number as u8]).unwrap());
        }
        assert!(!batches.put("a/0/0", &[0]).unwrap(), "it is on its way already");
        assert!(folder.path().join("a/0/0").exists(), "a full batch is settled");
        assert!(!folder.path().join("a/0/65").exists(), "not synced, so it has no name");
        assert_eq!(files(&local.incoming()), 3);
        batches.finish().unwrap();
        for number in 0..BATCH + 3 {
            let name = folder.path().join(format!("a/{}/{number}", number % 5));
            assert_eq!(fs::read(name).unwrap(), [number as u8]);
        }
        assert_eq!(files(&local.incoming()), 0);
        assert!(!local.batches().put("a/0/0", &[0]).unwrap(), "it is there");
        assert!(local.batches().put("a/0/0", &[0, 0]).unwrap(), "it is there with another length");
    }

    #[test]
    fn a_publication_that_is_given_up_leaves_nothing_half_done() {
        let folder = tempfile::tempdir().unwrap();
        let local = Local::open(folder.path()).unwrap();
        let batches = local.batches();
        batches.put("a/b", b"bytes").unwrap();
        drop(batches);
        assert_eq!(files(&local.incoming()), 0);
        assert!(!folder.path().join("a/b").exists());
    }

    #[test]
    fn only_what_was_abandoned_is_removed_at_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let local = Local::open(folder.path()).unwrap();
        for (name, age) in [("chunk-old", ABANDONED * 2), ("chunk-new", Duration::ZERO)] {
            let file = File::create(local.incoming().join(name)).unwrap();
            file.set_modified(SystemTime::now() - age).unwrap();
        }
        let local = Local::open(folder.path()).unwrap();
        assert_eq!(files(&local.incoming()), 1);
        assert!(local.incoming().join("chunk-new").exists());
    }
}
