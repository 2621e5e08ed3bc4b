//! The files of a compliance bundle: a folder, or the same in one .tar file. Reading knows its files
//! by name and takes nothing else out of an archive.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use edgeformer_proto::compliance::offline::{AUDIT_FILE, ENVELOPES_FOLDER, REPORT_FILE};
use edgeformer_proto::compliance::{Report, canonical};
use tempfile::TempDir;

use super::compliance::Told;
use crate::failure::Failure;

/// The report for people.
const HTML_FILE: &str = "report.html";
/// What the folder is.
const README_FILE: &str = "README.txt";
const README: &str = "\
This folder says which version ran on which device and when, and proves it.

  report.html   for people
  report.json   the same for programs; canonical JSON
  audit.jsonl   the part of the audit log that it is derived from, with a signed checkpoint
  versions/     the signed envelope of each version that ran

Verify it on any machine, without a network:

  edgeformer compliance verify THIS-FOLDER --key audit.key --release-key release.key

Take both keys from somewhere else than from whoever gave you this folder.
";
/// A report of a million lines.
const MAX_REPORT_BYTES: u64 = 1 << 30;
/// A log of some hundred million records.
const MAX_LOG_BYTES: u64 = 1 << 37;
/// As the agent takes them; a manifest is about a kilobyte.
const MAX_ENVELOPE_BYTES: u64 = 64 << 10;
/// Versions of one report.
const MAX_ENVELOPES: usize = 100_000;

/// A bundle that was read.
pub struct Opened {
    pub told: Told,
    /// The part of the log.
    pub log: PathBuf,
    /// Where an archive was taken apart; gone with the value.
    pub folder: Option<TempDir>,
}

fn failed(path: &Path, doing: &str, error: impl std::fmt::Display) -> Failure {
    Failure::usage(format!("{} cannot be {doing}: {error}", path.display()))
}

/// Nothing that is there is overwritten, and that is said before anything is asked.
pub fn must_be_new(path: &Path) -> Result<(), Failure> {
    match path.exists() {
        false => Ok(()),
        true => Err(Failure::usage(format!("{} is there already", path.display()))
            .next("nothing was done; choose a new name")),
    }
}

/// A new file that is whole or an error.
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let made = OpenOptions::new().write(true).create_new(true).open(path);
    let written = made.and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(|error| failed(path, "written", error))
}

/// Writes a bundle. A name that ends in .tar is an archive.
pub fn write(path: &Path, told: &Told, log: &Path, html: &str) -> Result<(), Failure> {
    if path.extension().is_none_or(|extension| extension != "tar") {
        return write_folder(path, told, log, html);
    }
    let folder = tempfile::tempdir().map_err(|error| failed(path, "written", error))?;
    let inside = folder.path().join("bundle");
    write_folder(&inside, told, log, html)?;
    let made = OpenOptions::new().write(true).create_new(true).open(path);
    let packed = made.and_then(|file| {
        let mut archive = tar::Builder::new(file);
        archive.mode(tar::HeaderMode::Deterministic);
        archive.append_dir_all(".", &inside)?;
        archive.into_inner()?.sync_all()
    });
    packed.map_err(|error| failed(path, "written", error))
}

fn write_folder(path: &Path, told: &Told, log: &Path, html: &str) -> Result<(), Failure> {
    let versions = path.join(ENVELOPES_FOLDER);
    fs::create_dir(path)
        .and_then(|()| fs::create_dir(&versions))
        .map_err(|error| failed(path, "made", error))?;
    fs::copy(log, path.join(AUDIT_FILE)).map_err(|error| failed(path, "written", error))?;
    for (version, envelope) in &told.envelopes {
        write_new(&versions.join(format!("{}.json", id(version)?)), envelope)?;
    }
    write_new(&path.join(HTML_FILE), html.as_bytes())?;
    write_new(&path.join(README_FILE), README.as_bytes())?;
    // Last: a folder with a report is whole.
    write_new(&path.join(REPORT_FILE), canonical(&told.report).as_bytes())
}

/// What came from a controller or an archive names a file only if it is an id.
fn id(text: &str) -> Result<uuid::Uuid, Failure> {
    uuid::Uuid::try_parse(text).map_err(|_| Failure::usage(format!("{text:?} is no version's id")))
}

/// Reads a bundle, taking an archive apart first.
pub fn open(path: &Path) -> Result<Opened, Failure> {
    if path.is_dir() {
        return read_folder(path, None);
    }
    let folder = tempfile::tempdir().map_err(|error| failed(path, "opened", error))?;
    unpack(path, folder.path())?;
    let inside = folder.path().to_owned();
    read_folder(&inside, Some(folder))
}

fn read_folder(path: &Path, folder: Option<TempDir>) -> Result<Opened, Failure> {
    let file = path.join(REPORT_FILE);
    let bytes = read_limited(&file, MAX_REPORT_BYTES)?;
    let report: Report =
        serde_json::from_slice(&bytes).map_err(|error| failed(&file, "understood", error))?;
    let mut envelopes = BTreeMap::new();
    for version in report.cited.versions.iter().take(MAX_ENVELOPES) {
        let name = format!("{}.json", id(&version.version_id)?);
        let file = path.join(ENVELOPES_FOLDER).join(name);
        // One that is missing is a finding, not a failure.
        if file.exists() {
            envelopes.insert(version.version_id.clone(), read_limited(&file, MAX_ENVELOPE_BYTES)?);
        }
    }
    Ok(Opened { told: Told { report, envelopes }, log: path.join(AUDIT_FILE), folder })
}

fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(|error| failed(path, "read", error))?;
    match bytes.len() as u64 > limit {
        true => Err(failed(path, "read", format!("it is longer than {limit} bytes"))),
        false => Ok(bytes),
    }
}

/// Takes the known files out of an archive, each once and within its cap.
fn unpack(path: &Path, into: &Path) -> Result<(), Failure> {
    let cannot = |error: std::io::Error| failed(path, "read", error);
    let mut archive = tar::Archive::new(File::open(path).map_err(cannot)?);
    fs::create_dir(into.join(ENVELOPES_FOLDER)).map_err(cannot)?;
    let mut taken = 0;
    for entry in archive.entries().map_err(cannot)? {
        let mut entry = entry.map_err(cannot)?;
        let name = entry.path().map_err(cannot)?.to_path_buf();
        let name = name.strip_prefix(".").unwrap_or(&name).to_path_buf();
        let Some(limit) = limit_of(&name).filter(|_| entry.header().entry_type().is_file()) else {
            continue;
        };
        taken += 1;
        if taken > MAX_ENVELOPES {
            return Err(failed(path, "read", "it holds too many files"));
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(into.join(&name))
            .map_err(cannot)?;
        let copied = std::io::copy(&mut (&mut entry).take(limit + 1), &mut file).map_err(cannot)?;
        if copied > limit {
            return Err(failed(path, "read", format!("{} is too long", name.display())));
        }
    }
    Ok(())
}

/// How long a known file may be; none for what a bundle does not have.
fn limit_of(name: &Path) -> Option<u64> {
    match name.to_str()? {
        REPORT_FILE => Some(MAX_REPORT_BYTES),
        AUDIT_FILE => Some(MAX_LOG_BYTES),
        other => {
            let version = other.strip_prefix(ENVELOPES_FOLDER)?.strip_prefix('/')?;
            uuid::Uuid::try_parse(version.strip_suffix(".json")?).ok()?;
            Some(MAX_ENVELOPE_BYTES)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_files_of_a_bundle_are_taken_out_of_an_archive() {
        let check = |name: &str, known: bool| {
            assert_eq!(limit_of(Path::new(name)).is_some(), known, "{name}");
        };
        check("report.json", true);
        check("audit.jsonl", true);
        check("versions/0192d3a4-7b1c-7c3e-9f00-3a52c0de0001.json", true);
        check("report.html", false);
        check("../report.json", false);
        check("versions/../../x.json", false);
        check("versions/x.json", false);
        check("other/report.json", false);
    }
}
