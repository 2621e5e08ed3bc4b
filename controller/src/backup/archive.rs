//! Writing and reading the archive with a digest of every entry. Synchronous; knows nothing of what
//! the entries mean.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use ring::digest;

use super::{BackupError, SUMS, io};

/// An archive that is being written beside its final name.
pub(super) struct Writer {
    target: PathBuf,
    partial: PathBuf,
    tar: tar::Builder<File>,
    sums: String,
    finished: bool,
}

impl Writer {
    /// Refuses a target that exists.
    pub(super) fn create(target: &Path) -> Result<Self, BackupError> {
        if target.exists() {
            return Err(BackupError::Exists(target.to_owned()));
        }
        let mut partial = target.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&partial)
            .map_err(io("create", &partial))?;
        Ok(Self {
            target: target.to_owned(),
            partial,
            tar: tar::Builder::new(file),
            sums: String::new(),
            finished: false,
        })
    }

    /// Adds a file under `name`.
    pub(super) fn add_file(&mut self, name: &str, path: &Path) -> Result<(), BackupError> {
        let file = File::open(path).map_err(io("read", path))?;
        let metadata = file.metadata().map_err(io("read", path))?;
        self.add(name, metadata.len(), metadata.permissions().mode() & 0o777, file)
    }

    /// Adds bytes under `name`.
    pub(super) fn add_bytes(&mut self, name: &str, bytes: &[u8]) -> Result<(), BackupError> {
        self.add(name, bytes.len() as u64, 0o600, bytes)
    }

    fn add(
        &mut self,
        name: &str,
        size: u64,
        mode: u32,
        from: impl Read,
    ) -> Result<(), BackupError> {
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(mode);
        header.set_mtime(0);
        let mut digesting = Digesting::new(from.take(size));
        self.tar
            .append_data(&mut header, name, &mut digesting)
            .map_err(io("write", &self.partial))?;
        self.sums.push_str(&format!("{}  {name}\n", digesting.finish()));
        Ok(())
    }

    /// Closes the archive and gives it its name, durably.
    pub(super) fn finish(mut self) -> Result<u64, BackupError> {
        let sums = std::mem::take(&mut self.sums);
        let mut header = tar::Header::new_gnu();
        header.set_size(sums.len() as u64);
        header.set_mode(0o600);
        let written = self
            .tar
            .append_data(&mut header, SUMS, sums.as_bytes())
            .and_then(|()| self.tar.finish())
            .and_then(|()| self.tar.get_ref().sync_all());
        written.map_err(io("write", &self.partial))?;
        // Refuses, rather than replaces, a file that appeared in the meantime.
        std::fs::hard_link(&self.partial, &self.target).map_err(io("create", &self.target))?;
        let size = self.tar.get_ref().metadata().map_err(io("read", &self.partial))?.len();
        let folder = self.target.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        File::open(folder).and_then(|f| f.sync_all()).map_err(io("sync", folder))?;
        self.finished = true;
        Ok(size)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // The finished archive has its own name by now.
        let _ = std::fs::remove_file(&self.partial);
    }
}

/// Unpacks an archive into an empty folder and compares every digest.
pub(super) fn unpack(archive: &Path, into: &Path) -> Result<(), BackupError> {
    let damaged = |why: String| BackupError::Damaged { path: archive.to_owned(), why };
    let file = File::open(archive).map_err(io("read", archive))?;
    let mut tar = tar::Archive::new(std::io::BufReader::new(file));
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    let mut sums: Option<String> = None;
    for entry in tar.entries().map_err(|error| damaged(error.to_string()))? {
        let mut entry = entry.map_err(|error| damaged(error.to_string()))?;
        let path = entry.path().map_err(|error| damaged(error.to_string()))?.into_owned();
        let name = plain_name(&path).ok_or_else(|| damaged(format!("a name is {path:?}")))?;
        if name == SUMS {
            let mut text = String::new();
            entry.read_to_string(&mut text).map_err(|error| damaged(error.to_string()))?;
            sums = Some(text);
            continue;
        }
        let target = into.join(&path);
        if let Some(folder) = target.parent() {
            std::fs::create_dir_all(folder).map_err(io("create", folder))?;
        }
        let mode = entry.header().mode().map_err(|error| damaged(error.to_string()))? & 0o777;
        let mut out = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&target)
            .map_err(io("create", &target))?;
        let mut digesting = Digesting::new(&mut entry);
        copy(&mut digesting, &mut out, &target, damaged)?;
        out.sync_all().map_err(io("write", &target))?;
        found.insert(name, digesting.finish());
    }
    let sums = sums.ok_or_else(|| damaged("it ends too early".to_owned()))?;
    let expected: BTreeMap<String, String> = sums
        .lines()
        .filter_map(|line| line.split_once("  "))
        .map(|(sum, name)| (name.to_owned(), sum.to_owned()))
        .collect();
    for (name, sum) in &expected {
        if found.get(name) != Some(sum) {
            return Err(damaged(format!("{name} is missing or was altered")));
        }
    }
    if found.len() != expected.len() {
        return Err(damaged("it holds files that it does not list".to_owned()));
    }
    Ok(())
}

/// A read error is the archive's, a write error the target's.
fn copy(
    from: &mut impl Read,
    to: &mut File,
    target: &Path,
    damaged: impl Fn(String) -> BackupError,
) -> Result<(), BackupError> {
    let mut buffer = vec![0; 128 << 10];
    loop {
        match from.read(&mut buffer).map_err(|error| damaged(error.to_string()))? {
            0 => return Ok(()),
            count => to.write_all(&buffer[..count]).map_err(io("write", target))?,
        }
    }
}

/// The name of an entry that stays inside the folder it is unpacked into.
fn plain_name(path: &Path) -> Option<String> {
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    path.to_str().filter(|_| plain).map(str::to_owned)
}

struct Digesting<R> {
    inner: R,
    context: digest::Context,
}

impl<R: Read> Digesting<R> {
    fn new(inner: R) -> Self {
        Self { inner, context: digest::Context::new(&digest::SHA256) }
    }

    fn finish(self) -> String {
        data_encoding::HEXLOWER.encode(self.context.finish().as_ref())
    }
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.context.update(&buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(folder: &Path) -> PathBuf {
        let target = folder.join("a.tar");
        let mut writer = Writer::create(&target).unwrap();
        writer.add_bytes("backup.json", b"{}").unwrap();
        writer.add_bytes("data/kek", &[7; 5000]).unwrap();
        let readable = folder.join("ca.pem");
        std::fs::write(&readable, "certificate").unwrap();
        std::fs::set_permissions(&readable, std::fs::Permissions::from_mode(0o644)).unwrap();
        writer.add_file("data/ca.pem", &readable).unwrap();
        std::fs::remove_file(&readable).unwrap();
        writer.finish().unwrap();
        target
    }

    fn check_refused(archive: &Path, part: &str) {
        let into = tempfile::tempdir().unwrap();
        let error = unpack(archive, into.path()).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }

    #[test]
    fn what_goes_in_comes_out_with_its_permissions_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let target = archive(folder.path());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let into = tempfile::tempdir().unwrap();
        unpack(&target, into.path()).unwrap();
        let kek = into.path().join("data/kek");
        assert_eq!(std::fs::read(&kek).unwrap(), [7; 5000]);
        for file in [&target, &kek] {
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        let readable = into.path().join("data/ca.pem").metadata().unwrap().permissions();
        assert_eq!(readable.mode() & 0o777, 0o644);
    }

    #[test]
    fn a_cut_or_altered_archive_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let target = archive(folder.path());
        let whole = std::fs::read(&target).unwrap();
        let broken = folder.path().join("b.tar");
        for cut in [600, 3000, whole.len() - 3 * 1024] {
            std::fs::write(&broken, &whole[..cut]).unwrap();
            check_refused(&broken, "is not a complete backup");
        }
        let mut altered = whole.clone();
        let at = altered.iter().position(|byte| *byte == 7).unwrap();
        altered[at] = 8;
        std::fs::write(&broken, &altered).unwrap();
        check_refused(&broken, "data/kek is missing or was altered");
    }

    #[test]
    fn another_file_is_never_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let target = archive(folder.path());
        let before = std::fs::read(&target).unwrap();
        assert!(matches!(Writer::create(&target), Err(BackupError::Exists(_))));
        assert_eq!(std::fs::read(&target).unwrap(), before);
    }
}
