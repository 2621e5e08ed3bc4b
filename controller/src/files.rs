//! Writing the installation's files so that a crash leaves the old content or the new one, and
//! secrets readable by their owner only.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A file or folder that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {path}: {source}")]
pub struct FileError {
    doing: &'static str,
    path: PathBuf,
    source: io::Error,
}

fn failed<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> FileError + 'a {
    move |source| FileError { doing, path: path.to_owned(), source }
}

/// Mode of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// 0600.
    Owner,
    /// 0644.
    Everyone,
}

/// Makes a folder that only its owner may enter; one that is there must be empty.
pub fn create_private_dir(path: &Path) -> Result<(), FileError> {
    match fs::DirBuilder::new().mode(0o700).recursive(true).create(path) {
        Ok(()) => {}
        Err(source) => return Err(failed("create", path)(source)),
    }
    let mut entries = fs::read_dir(path).map_err(failed("read", path))?;
    if entries.next().is_some() {
        let source = io::Error::new(io::ErrorKind::DirectoryNotEmpty, "it is not empty");
        return Err(failed("use", path)(source));
    }
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(path, mode).map_err(failed("protect", path))
}

/// Writes `content` beside `path` and renames it into place, all of it durable before this returns.
pub fn write(path: &Path, content: &[u8], access: Access) -> Result<(), FileError> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let mode = match access {
        Access::Owner => 0o600,
        Access::Everyone => 0o644,
    };
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&temporary)
        .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, path));
    if let Err(source) = written {
        // The error that counts is the one above.
        let _ = fs::remove_file(&temporary);
        return Err(failed("write", path)(source));
    }
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("sync", dir))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_private_and_replaced_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kek");
        write(&path, b"old", Access::Owner).unwrap();
        write(&path, b"new", Access::Owner).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_with_something_in_it_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let new = dir.path().join("a/b");
        create_private_dir(&new).unwrap();
        assert_eq!(fs::metadata(&new).unwrap().permissions().mode() & 0o777, 0o700);
        create_private_dir(&new).unwrap();
        fs::write(new.join("x"), "").unwrap();
        let error = create_private_dir(&new).unwrap_err().to_string();
        assert!(error.contains("a/b") && error.contains("not empty"), "{error}");
    }
}
