//! A witness in a process of its own: asked as the specification says, and added to a controller's log.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use edgeformer_proto::audit::checkpoint::Checkpoint;
use edgeformer_proto::audit::merkle::{Tree, leaf_hash, node_hash};
use edgeformer_proto::audit::note::{KeyKind, SignerKey, VerifierKey};
use edgeformer_proto::audit::witness::{AddCheckpoint, cosignature};

use super::{Controller, START_TIMEOUT};

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edgeformer"));
    command.env_clear().stdin(Stdio::null());
    command
}

struct Witness {
    process: Child,
    address: String,
    key: VerifierKey,
}

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn make(folder: &Path) -> Output {
    program()
        .args(["audit", "witness", "key", "--name", "witness.example/w"])
        .arg(folder)
        .output()
        .unwrap()
}

fn serve(folder: &Path, log: &str) -> Command {
    let mut command = program();
    command.args(["audit", "witness", "serve", "--listen", "127.0.0.1:0", "--log", log]);
    command.arg(folder);
    command
}

impl Witness {
    fn start(folder: &Path, log: &str) -> Self {
        let command = &mut serve(folder, log);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut line = || lines.next().expect("the witness ended").unwrap();
        let key = line().parse().unwrap();
        let address = line().strip_prefix("http://").unwrap().to_owned();
        Self { process, address, key }
    }

    /// Status, content type and body of an answer.
    fn send(&self, method: &str, path: &str, body: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: witness\r\nconnection: close\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        // A body that is too long may not be taken to its end.
        let _ = stream.write_all(body.as_bytes());
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let kind = head.lines().find_map(|line| line.strip_prefix("content-type: "));
        (status, kind.unwrap_or_default().to_owned(), body.to_owned())
    }

    fn ask(&self, request: &AddCheckpoint) -> (u16, String, String) {
        self.send("POST", "/add-checkpoint", &request.render())
    }
}

fn log_key(seed: u8) -> SignerKey {
    SignerKey::from_seed("a/log", KeyKind::Note, &[seed; 32]).unwrap()
}

fn tree(records: &[&str]) -> Checkpoint {
    let mut tree = Tree::default();
    records.iter().for_each(|record| tree.append(leaf_hash(record.as_bytes())));
    Checkpoint { origin: "a/log".to_owned(), size: tree.size(), root: tree.root() }
}

fn request(old: u64, checkpoint: &Checkpoint, key: &SignerKey) -> AddCheckpoint {
    AddCheckpoint { old, proof: Vec::new(), note: checkpoint.sign(key) }
}

#[test]
fn it_answers_as_the_specification_says_and_remembers_through_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("witness");
    assert!(make(&folder).status.success());
    assert!(!make(&folder).status.success(), "a key is made once");
    let key = log_key(1);
    let log = key.verifier().to_string();
    let witness = Witness::start(&folder, &log);

    let first = request(0, &tree(&["a"]), &key);
    let (status, _, answer) = witness.ask(&first);
    assert_eq!(status, 200, "{answer}");
    cosignature(&first.note, &answer, &witness.key).unwrap();
    let second = tree(&["a", "b"]);
    let proof = vec![leaf_hash(b"b")];
    assert_eq!(second.root, node_hash(&leaf_hash(b"a"), &proof[0]));
    let good = AddCheckpoint { proof, ..request(1, &second, &key) };
    assert_eq!(witness.ask(&AddCheckpoint { proof: Vec::new(), ..good.clone() }).0, 422);
    assert_eq!(witness.ask(&good).0, 200);
    assert_eq!(witness.ask(&request(2, &second, &key)).0, 200, "the same again");

    let (status, kind, body) = witness.ask(&good);
    assert_eq!((status, kind.as_str(), body.as_str()), (409, "text/x.tlog.size", "2\n"));
    assert_eq!(witness.ask(&request(2, &tree(&["a", "x"]), &key)).0, 409, "another root");
    assert_eq!(witness.ask(&request(0, &tree(&["x"]), &key)).0, 409);
    assert_eq!(witness.ask(&request(3, &second, &key)).0, 400);
    assert_eq!(witness.ask(&request(2, &second, &log_key(2))).0, 403);
    let unknown = SignerKey::from_seed("b/log", KeyKind::Note, &[1; 32]).unwrap();
    let other = Checkpoint { origin: "b/log".to_owned(), ..second.clone() };
    assert_eq!(witness.ask(&request(0, &other, &unknown)).0, 404);
    assert_eq!(witness.send("POST", "/add-checkpoint", "nonsense").0, 400);
    assert_eq!(witness.send("POST", "/add-checkpoint", &"x".repeat(200_000)).0, 413);
    assert_eq!(witness.send("GET", "/add-checkpoint", "").0, 405);
    assert_eq!(witness.send("POST", "/", "").0, 404);

    let refused = serve(&folder, &log).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "two processes on one state");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("another witness is using"));
    drop(witness);
    let witness = Witness::start(&folder, &log);
    let (status, _, body) = witness.ask(&good);
    assert_eq!((status, body.as_str()), (409, "2\n"));
    let of_witness = serve(&folder, &witness.key.to_string()).output().unwrap();
    assert!(String::from_utf8_lossy(&of_witness.stderr).contains("not of a log"));
}

#[test]
fn it_never_cosigns_two_roots_of_one_size() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("witness");
    assert!(make(&folder).status.success());
    let key = log_key(1);
    let witness = Witness::start(&folder, &key.verifier().to_string());
    for round in 0..5_u64 {
        let size = round + 1;
        let asked: Vec<AddCheckpoint> = (0..8_u8)
            .map(|n| {
                // Every proof of a tree that begins with nothing is empty.
                let origin = "a/log".to_owned();
                let root = leaf_hash(&[n, round as u8]);
                request(0, &Checkpoint { origin, size, root }, &key)
            })
            .collect();
        let cosigned = std::thread::scope(|threads| {
            let all: Vec<_> =
                asked.iter().map(|one| threads.spawn(|| witness.ask(one).0 == 200)).collect();
            all.into_iter().map(|one| one.join().unwrap()).filter(|ok| *ok).count()
        });
        assert_eq!(cosigned, usize::from(round == 0), "of 8 histories at once");
    }
}

#[test]
fn an_operator_adds_a_witness_and_verifies_that_it_signed() {
    let controller = Controller::start_with(&["--outbound-allow", "127.0.0.0/8"]).with_tenant();
    controller.ok(&["token", "create", "Ada", "--role", "viewer"]);
    let began = Instant::now();
    while !controller.run(&["audit", "checkpoint"]).status.success() {
        assert!(began.elapsed() < START_TIMEOUT);
        std::thread::sleep(Duration::from_millis(50));
    }
    let (log, bundle) = (controller.path("audit.key"), controller.path("audit.bundle"));
    std::fs::write(&log, controller.ok(&["audit", "key"])).unwrap();
    let folder = controller.folder.path().join("witness");
    let made = make(&folder);
    let public = controller.path("witness.pub");
    std::fs::write(&public, made.stdout).unwrap();
    let witness = Witness::start(&folder, &log);

    assert!(controller.ok(&["audit", "witness", "list"]).contains("No witness cosigns this log"));
    let address = format!("http://{}", witness.address);
    controller.fails(&["audit", "witness", "add", &address, "--key", &log], 1, "key of a log");
    let added = controller.json(&["audit", "witness", "add", &address, "--key", &public]);
    let id = added["id"].as_str().unwrap();
    while controller.json(&["audit", "witness", "list"])[0]["state"] != "cosigned" {
        assert!(began.elapsed() < START_TIMEOUT);
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(controller.ok(&["audit", "witness", "list"]).contains("witness.example/w"));
    controller.ok(&["audit", "bundle", &bundle, "--cosignatures", "1"]);
    let verify = ["audit", "verify", &bundle, "--key", &log, "--witness"];
    let shown = controller.ok(&[&verify[..], &[&public]].concat());
    assert!(shown.contains("Witness") && shown.contains("witness.example/w"), "{shown}");
    let stranger = SignerKey::from_seed("witness.example/w", KeyKind::Cosignature, &[9; 32]);
    let stranger = stranger.unwrap().verifier().to_string();
    controller.fails(&[&verify[..], &[&stranger]].concat(), 1, "NOT VERIFIED: witness");
    controller.fails(&[&verify[..], &[&log]].concat(), 1, "key of a log");
    let plain = controller.path("plain.bundle");
    controller.fails(&["audit", "bundle", &plain, "--cosignatures", "2"], 3, "2 cosignatures");

    controller.ok(&["audit", "witness", "move", id, "https://witness.example"]);
    controller.fails(&["audit", "witness", "remove", id], 2, "add --yes");
    controller.ok(&["audit", "witness", "remove", id, "--yes"]);
    controller.fails(&["audit", "witness", "remove", id, "--yes"], 3, "no audit witness");
}
