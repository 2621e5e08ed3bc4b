//! `edgeformer-agent tuf` from outside: repositories of other writers are read by it, and what our
//! editor writes is read by other readers.
#![forbid(unsafe_code)]

mod command;
mod others;
#[path = "../../../proto/tests/tuf/repo.rs"]
mod repo;
mod server;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use server::Server;
use tempfile::TempDir;

/// A device's folders, and the command.
pub struct Device {
    pub folder: TempDir,
}

impl Device {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        for name in ["metadata", "targets"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        Self { folder }
    }

    pub fn metadata(&self) -> PathBuf {
        self.folder.path().join("metadata")
    }

    pub fn targets(&self) -> PathBuf {
        self.folder.path().join("targets")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_edgeformer-agent"));
        command.arg("tuf").arg("--metadata-dir").arg(self.metadata());
        command
    }

    pub fn init(&self, root: &[u8]) -> Output {
        let file = self.folder.path().join("initial.json");
        std::fs::write(&file, root).unwrap();
        self.command().arg("init").arg(file).output().unwrap()
    }

    pub fn refresh(&self, server: &Server) -> Output {
        let url = format!("{}/metadata", server.url());
        self.command().args(["--metadata-url", &url, "refresh"]).output().unwrap()
    }

    pub fn download(&self, server: &Server, names: &[&str]) -> Output {
        let url = server.url();
        let mut command = self.command();
        command.args(["--metadata-url", &format!("{url}/metadata/")]);
        command.args(names.iter().flat_map(|name| ["--target-name", *name]));
        command.arg("--target-dir").arg(self.targets());
        let base = format!("{url}/targets");
        command.args(["--target-base-url", &base, "download"]).output().unwrap()
    }

    /// Version of what is trusted of a role.
    pub fn version(&self, role: &str) -> Option<u64> {
        let bytes = std::fs::read(self.metadata().join(format!("{role}.json"))).ok()?;
        serde_json::from_slice::<serde_json::Value>(&bytes).unwrap()["signed"]["version"].as_u64()
    }
}

/// Ends with 0, or shows what was said.
#[track_caller]
pub fn works(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{error}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Ends with 1 and says these words.
#[track_caller]
pub fn refused(output: &Output, words: &str) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains(words), "{error}");
}

/// All files below a folder, by their path in it.
pub fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
            found.insert(name, std::fs::read(&path).unwrap());
        }
    }
    found
}

/// What a server has of a repository in memory.
pub fn served(repo: &repo::Repo) -> BTreeMap<String, Vec<u8>> {
    let metadata = repo.files.iter().map(|(name, file)| (decoded(name), file.clone()));
    let targets = repo.contents.iter().map(|(path, content)| {
        let hash = ring::digest::digest(&ring::digest::SHA256, content);
        let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let name = match path.rsplit_once('/') {
            Some((folder, name)) => format!("{folder}/{hash}.{name}"),
            None => format!("{hash}.{path}"),
        };
        (format!("targets/{name}"), content.clone())
    });
    metadata.chain(targets).collect()
}

/// The server takes the names that URLs say, decoded.
fn decoded(name: &str) -> String {
    format!("metadata/{}", name.replace("%2F", "/").replace("%3F", "?").replace("%23", "#"))
}
