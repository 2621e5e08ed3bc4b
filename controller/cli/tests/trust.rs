//! Keys that people hold, from the command line: a ceremony with copies of a folder, and what a
//! device makes of its result.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use edgeformer_proto::tuf::client::{Refresh, stored_name};
use edgeformer_proto::tuf::{
    Change, Limits, MetaFile, PrivateKey, Request, Signed, Source, Targets, TufError,
    next_snapshot, next_timestamp,
};
use serde_json::Value;
use tempfile::TempDir;

const MAX_BYTES: usize = 1 << 20;

/// A folder with the keys of some people in it.
struct Office(TempDir);

impl Office {
    fn new(keys: &[&str]) -> Self {
        let office = Self(TempDir::new().unwrap());
        fs::write(office.path("secret"), "correct horse\n").unwrap();
        for (at, name) in keys.iter().enumerate() {
            let kind = ["ed25519", "ecdsa"][at % 2];
            let output = match *name {
                // The controller's: tests sign with it as the controller would.
                "online" => office.run(&["key", name, "--unencrypted"]),
                _ => office.run(&["key", name, "--kind", kind, "--passphrase-file", "secret"]),
            };
            works(&output);
        }
        office
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_edgeformer"));
        command.env_clear().stdin(Stdio::null()).current_dir(self.0.path());
        command.arg("trust").args(args).output().unwrap()
    }

    /// `init` with three root keys, two of which must sign.
    fn init(&self) -> Output {
        self.run(&[
            "init",
            "main",
            "--root-key",
            "anna.pub",
            "--root-key",
            "ben.pub",
            "--root-key",
            "eva.pub",
            "--root-threshold",
            "2",
            "--targets-key",
            "release.pub",
            "--online-key",
            "online.pub",
        ])
    }

    fn sign(&self, folder: &str, keys: &[&str]) -> Output {
        let mut args = vec!["sign", folder, "--yes", "--passphrase-file", "secret"];
        keys.iter().for_each(|key| args.extend(["--key", *key]));
        self.run(&args)
    }

    fn status(&self, folder: &str) -> Value {
        let output = self.run(&["status", folder, "-o", "json"]);
        serde_json::from_str(&works(&output)).unwrap()
    }

    fn id(&self, key: &str) -> String {
        let bytes = fs::read(self.path(&format!("{key}.pub"))).unwrap();
        edgeformer_proto::tuf::Key::from_bytes(&bytes).unwrap().id().to_string()
    }

    /// As one holder gives the folder to another.
    fn copy(&self, from: &str, to: &str) {
        let _ = fs::remove_dir_all(self.path(to));
        copy(&self.path(from), &self.path(to));
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

#[track_caller]
fn works(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[track_caller]
fn refused(output: &Output, code: i32, words: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(words), "{said}");
}

/// A device that trusts version 1 of the root, after a refresh: versions of root and targets. The
/// snapshot and the timestamp are made as the controller makes them.
fn device(office: &Office, folder: &str, online: &str) -> Result<(u64, u64), TufError> {
    let (folder, read) = (office.path(folder), |path: PathBuf| fs::read(path).unwrap());
    let targets = read(folder.join("targets.json"));
    let version = Signed::<Targets>::parse(&targets, MAX_BYTES).unwrap().role().common.version;
    let meta = BTreeMap::from([("targets".to_owned(), MetaFile::of(version, &targets))]);
    let now_s = time::OffsetDateTime::now_utc().unix_timestamp();
    let online = pem(&read(office.path(online)));
    let mut snapshot = Signed::new(next_snapshot(None, meta, now_s + 60).unwrap());
    snapshot.sign(&online).unwrap();
    let mut timestamp = Signed::new(next_timestamp(None, &snapshot, now_s + 60).unwrap());
    timestamp.sign(&online).unwrap();
    let files = |request: &Request| match (request.source, request.file.as_str()) {
        (Source::Stored, _) => None,
        (_, "timestamp.json") => Some(timestamp.to_file()),
        (_, "1.snapshot.json") => Some(snapshot.to_file()),
        (_, name) => fs::read(folder.join(name)).ok(),
    };
    let root = read(folder.join("1.root.json"));
    let refresh = Refresh::begin(&root, now_s, Limits::default())?;
    let mut stored = Vec::new();
    let trusted = refresh.run(
        |request| Ok::<_, TufError>(files(request)),
        |change| {
            if let Change::Store { role, .. } = change {
                stored.push(stored_name(&role));
            }
            Ok(())
        },
    )?;
    assert!(stored.contains(&"targets.json".to_owned()));
    Ok((trusted.root().common.version, trusted.targets().common.version))
}

fn pem(bytes: &[u8]) -> PrivateKey {
    use base64::Engine as _;
    let text = std::str::from_utf8(bytes).unwrap();
    let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    let der = base64::engine::general_purpose::STANDARD.decode(body).unwrap();
    PrivateKey::from_pkcs8(&der).unwrap()
}

#[test]
fn holders_sign_copies_and_devices_follow_what_they_made() {
    let office = Office::new(&["anna", "ben", "eva", "release", "online", "max", "release2"]);
    let said = works(&office.init());
    assert!(said.contains("root: 2 of 3 keys must sign"), "{said}");
    assert!(said.contains("open: "), "{said}");
    // Anna and Ben sign copies, at the same time; nobody is enough alone.
    office.copy("main", "annas");
    office.copy("main", "bens");
    works(&office.sign("annas", &["anna", "release"]));
    works(&office.sign("bens", &["ben"]));
    for folder in ["annas", "bens"] {
        assert_eq!(office.status(folder)["root_version"], Value::Null);
    }
    works(&office.run(&["sign", "main", "--from", "annas", "--from", "bens"]));
    let status = office.status("main");
    assert_eq!((&status["root_version"], &status["targets_version"]), (&1.into(), &1.into()));
    assert_eq!(status["waiting"]["root"], Value::Array(Vec::new()));
    assert_eq!(device(&office, "main", "online").unwrap(), (1, 1));

    // Max comes, and the release key is replaced: targets have to be signed again.
    works(&office.run(&["add-key", "main", "max.pub", "--role", "root"]));
    refused(&office.run(&["rotate", "main"]), 2, "still waits for signatures");
    works(&office.sign("main", &["anna", "eva"]));
    let old = office.id("release");
    let replace = ["rotate", "main", "--role", "targets", "--remove", &old[..8], "--add"];
    works(&office.run(&[&replace[..], &["release2.pub"]].concat()));
    let said = works(&office.sign("main", &["max", "ben"]));
    assert!(said.contains("root version 3 has enough signatures"), "{said}");
    assert_eq!(office.status("main")["targets_version"], 1);
    refused(&office.sign("main", &["release"]), 2, "may sign nothing of what waits");
    works(&office.sign("main", &["release2"]));
    assert_eq!(device(&office, "main", "online").unwrap(), (3, 2));

    // A root that lost its first signers is still reached from the first.
    for leaves in ["anna", "ben"] {
        let id = office.id(leaves);
        works(&office.run(&["rotate", "main", "--role", "root", "--remove", &id]));
        works(&office.sign("main", &["eva", "max"]));
    }
    assert_eq!(device(&office, "main", "online").unwrap(), (5, 2));
    let said = works(&office.run(&["status", "main"]));
    assert!(said.contains("root version 5: valid until"), "{said}");
    assert!(said.contains("Nothing waits"), "{said}");
}

/// Whoever kept a root sees that the folder comes from it, or does not.
#[test]
fn a_folder_that_does_not_come_from_the_root_one_kept_is_not_signed() {
    let people = ["anna", "ben", "eva", "release", "online", "max"];
    let office = Office::new(&people);
    works(&office.init());
    works(&office.sign("main", &["anna", "ben", "release"]));
    fs::copy(office.path("main/root.json"), office.path("kept.json")).unwrap();
    works(&office.run(&["add-key", "main", "max.pub", "--role", "root"]));
    works(&office.sign("main", &["eva", "ben"]));
    works(&office.run(&["rotate", "main"]));
    let sign = |trusted: &str| {
        let secret = ["--passphrase-file", "secret", "--yes"];
        let key = ["sign", "main", "--key", "anna", "--trusted", trusted];
        office.run(&[&key[..], &secret].concat())
    };
    let output = sign("kept.json");
    works(&output);
    let shown = String::from_utf8(output.stderr).unwrap();
    let (max, eva) = (office.id("max"), office.id("eva"));
    assert!(shown.contains(&format!("+ root: ecdsa {max} may sign")), "{shown}");
    assert!(!shown.contains(&eva), "{shown}");
    let shown = String::from_utf8(office.sign("main", &["anna"]).stderr).unwrap();
    assert!(shown.contains(&eva), "without a root of one's own all of it is shown: {shown}");

    let stranger = Office::new(&people[..5]);
    works(&stranger.init());
    works(&stranger.sign("main", &["anna", "ben", "release"]));
    let foreign = stranger.path("main/root.json");
    refused(&sign(foreign.to_str().unwrap()), 1, "does not lead to the root");
    fs::remove_file(office.path("main/2.root.json")).unwrap();
    refused(&sign("kept.json"), 1, "2.root.json is missing");
}

#[test]
fn what_would_lead_nowhere_is_refused() {
    let office = Office::new(&["anna", "ben", "eva", "release", "online", "stranger"]);
    refused(&office.run(&["status", "nothing"]), 2, "holds no repository");
    works(&office.init());
    refused(&office.init(), 2, "is there already");
    refused(&office.sign("main", &["stranger"]), 2, "may sign nothing");
    refused(&office.run(&["sign", "main", "--key", "anna"]), 2, "needs a confirmation");
    fs::write(office.path("other"), "wrong horse").unwrap();
    let wrong = ["sign", "main", "--yes", "--key", "anna", "--passphrase-file", "other"];
    refused(&office.run(&wrong), 2, "the passphrase does not open it");
    refused(&office.run(&["key", "anna", "--unencrypted"]), 2, "is there already");
    refused(&office.run(&["key", "new"]), 2, "the passphrase is empty");

    // One key twice is one signature.
    works(&office.sign("main", &["anna", "anna", "release"]));
    assert_eq!(office.status("main")["waiting"]["root"][0]["have"], 1);
    works(&office.sign("main", &["ben"]));
    let too_many = ["rotate", "main", "--role", "root", "--threshold", "4"];
    refused(&office.run(&too_many), 2, "root has 3 keys, but 4 must sign");
    let unknown = ["rotate", "main", "--role", "root", "--remove", "zz"];
    refused(&office.run(&unknown), 2, "no key of root");

    // Another change than the one that waits here.
    office.copy("main", "fork");
    works(&office.run(&["add-key", "fork", "stranger.pub", "--role", "root"]));
    works(&office.sign("fork", &["anna"]));
    works(&office.run(&["rotate", "main"]));
    refused(&office.run(&["sign", "main", "--from", "fork"]), 1, "it has other content");

    // Somebody changed what waits after it was signed.
    works(&office.sign("main", &["eva"]));
    let path = office.path("main/staged/root.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("\"threshold\": 2", "\"threshold\": 1", 1)).unwrap();
    assert_eq!(office.status("main")["waiting"]["root"][0]["have"], 0);
    fs::write(office.path("main/root.json"), "{}").unwrap();
    refused(&office.run(&["status", "main"]), 1, "root is refused");
}

#[test]
fn private_keys_are_private_and_others_read_them() {
    let office = Office::new(&["anna", "ben", "online"]);
    for name in ["anna", "ben", "online"] {
        let mode = office.path(name).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{name}");
    }
    let text = fs::read_to_string(office.path("anna")).unwrap();
    assert!(text.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
    fs::set_permissions(office.path("online"), fs::Permissions::from_mode(0o644)).unwrap();
    let init = ["init", "f", "--root-key", "online.pub", "--targets-key", "online.pub"];
    works(&office.run(&[&init[..], &["--online-key", "online.pub"]].concat()));
    refused(&office.sign("f", &["online"]), 2, "run chmod 600");

    // Another library opens them with the passphrase, and finds the public half that we wrote.
    let script = "
import json, sys
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import SSlibKey
for name in sys.argv[1:]:
    private = load_pem_private_key(open(name, 'rb').read(), b'correct horse')
    ours = json.load(open(name + '.pub'))
    key = SSlibKey.from_crypto(private.public_key())
    assert key.keyval == ours['keyval'], (key.keyval, ours)
    print(key.keyid)
";
    let python = std::env::var_os("EDGEFORMER_TEST_PYTHON");
    let python = python.expect("EDGEFORMER_TEST_PYTHON is not set: run `cargo xtask test`");
    let mut python = Command::new(python);
    python.args(["-c", script, "anna", "ben"]).current_dir(office.0.path());
    let ids = works(&python.output().unwrap());
    assert_eq!(ids.lines().collect::<Vec<_>>(), [office.id("anna"), office.id("ben")]);
}
