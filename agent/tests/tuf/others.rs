//! Other implementations: python-tuf writes and reads, tuf-js reads.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use edgeformer_proto::tuf::{KeyKind, Paths, TopLevel};

use crate::repo::Repo;
use crate::server::Server;
use crate::{Device, files, refused, served, works};

/// What `cargo xtask test` installed and named.
fn installed(variable: &str) -> PathBuf {
    let found = std::env::var_os(variable);
    PathBuf::from(found.unwrap_or_else(|| panic!("{variable} is not set: run `cargo xtask test`")))
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tuf").join(name)
}

fn python() -> Command {
    let mut python = Command::new(installed("EDGEFORMER_TEST_PYTHON"));
    // Nothing is left beside the sources.
    python.env("PYTHONDONTWRITEBYTECODE", "1");
    python
}

#[test]
fn repositories_of_python_tuf_are_read() {
    let folder = tempfile::TempDir::new().unwrap();
    works(&python().arg(script("write.py")).arg(folder.path()).output().unwrap());
    let state = |name: &str| files(&folder.path().join(name));
    let (server, device) = (Server::start(), Device::new());
    let first = state("first");
    works(&device.init(&first["metadata/1.root.json"]));
    server.serve(first);
    let all = ["top.txt", "models/a b.gguf", "data/x/1.bin", "anything"];
    works(&device.download(&server, &all));
    assert_eq!(files(&device.targets())["models%2Fa%20b.gguf"], b"model a");
    assert_eq!(files(&device.targets()).len(), 4);
    refused(&device.download(&server, &["models/none"]), "nobody");

    server.serve(state("second"));
    works(&device.download(&server, &all));
    assert_eq!(files(&device.targets())["models%2Fa%20b.gguf"], b"model a, second");
    assert_eq!((device.version("root"), device.version("bins")), (Some(3), Some(2)));
    assert_eq!(
        files(&device.metadata())["targets.json"],
        state("second")["metadata/2.targets.json"]
    );

    server.serve(state("expired"));
    refused(&device.refresh(&server), "timestamp version 3 is refused (step 5.4.4)");
    server.serve(state("wrong-role"));
    refused(&device.download(&server, &["evil"]), "targets version 3 is refused (step 5.6.3)");
    assert_eq!(files(&device.targets()).len(), 4);

    let (plain, device) = (state("plain"), Device::new());
    works(&device.init(&plain["metadata/1.root.json"]));
    server.serve(plain);
    works(&device.download(&server, &["a/b.txt"]));
    assert_eq!(files(&device.targets())["a%2Fb.txt"], b"plain");
}

/// What is served, and what is to be found there by its path.
type State = (BTreeMap<String, Vec<u8>>, BTreeMap<&'static str, &'static [u8]>);

/// A repository of our editor in two states, with all keys replaced in between.
fn ours() -> [State; 2] {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let mut repo = Repo::valid_from(now.as_secs().try_into().unwrap());
    repo.bump_targets();
    repo.delegate("targets", "models", &["models/*"], false);
    let bins = "0123456789abcdef".chars().map(String::from).collect();
    repo.delegate_paths("targets", "bins", Paths::HashPrefixes(bins), true);
    repo.add_target("targets", "top", b"top");
    repo.add_target("models", "models/a.gguf", b"model");
    repo.add_target("bins", "binned", b"bin");
    repo.publish();
    let mut listed: BTreeMap<&str, &[u8]> =
        BTreeMap::from([("top", &b"top"[..]), ("models/a.gguf", b"model"), ("binned", b"bin")]);
    let first = (served(&repo), listed.clone());
    for role in TopLevel::ALL {
        repo.rotate(role);
        repo.add_key(role, KeyKind::EcdsaP256);
        repo.root.set_threshold(role, 2);
    }
    repo.publish_root();
    repo.bump_targets();
    repo.add_target("targets", "new", b"new");
    repo.publish();
    listed.insert("new", b"new");
    [first, (served(&repo), listed)]
}

/// `read` runs a client with folders for metadata and targets, the server's URL and paths.
fn check_reader(read: impl Fn(&Device, &str, &[&str]) -> std::process::Output) {
    let (server, device) = (Server::start(), Device::new());
    for (at, (served, listed)) in ours().into_iter().enumerate() {
        if at == 0 {
            let root = &served["metadata/1.root.json"];
            std::fs::write(device.metadata().join("root.json"), root).unwrap();
        }
        let last = served.clone();
        server.serve(served);
        let mut paths: Vec<&str> = listed.keys().copied().collect();
        paths.push("models/none");
        let said = works(&read(&device, &server.url(), &paths));
        let said: BTreeMap<String, Option<String>> = serde_json::from_str(&said).unwrap();
        assert_eq!(said["models/none"], None);
        for (path, content) in &listed {
            let hash = ring::digest::digest(&ring::digest::SHA256, content);
            let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(said[*path].as_ref(), Some(&hash), "{path}");
        }
        // The reader checks: with one byte of the newest targets changed it refuses.
        let newest = format!("metadata/{}.targets.json", at + 2);
        let mut altered = last;
        let file = altered.get_mut(&newest).unwrap();
        let position = file.iter().rposition(|byte| byte.is_ascii_digit()).unwrap();
        file[position] ^= 1;
        server.serve(altered);
        let stored = device.metadata().join("targets.json");
        let kept = std::fs::read(&stored).unwrap();
        std::fs::remove_file(&stored).unwrap();
        assert!(!read(&device, &server.url(), &paths).status.success());
        std::fs::write(&stored, kept).unwrap();
    }
}

#[test]
fn our_repositories_are_read_by_python_tuf() {
    check_reader(|device, url, paths| {
        let mut python = python();
        python.arg(script("read.py")).arg(device.metadata()).arg(device.targets());
        python.arg(url).args(paths).output().unwrap()
    });
}

#[test]
fn our_repositories_are_read_by_tuf_js() {
    let packages = installed("EDGEFORMER_TEST_TUF_JS");
    check_reader(|device, url, paths| {
        let mut node = Command::new("node");
        node.arg(script("js/read.cjs")).arg(&packages);
        node.arg(device.metadata()).arg(device.targets());
        node.arg(url).args(paths).output().unwrap()
    });
}
