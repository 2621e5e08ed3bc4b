//! Verifying the log as a stranger would: with the public key and what the API hands out.

use std::path::Path;
use std::process::Command;

use edgeformer_controller::audit::{checkpointer, sequencer};
use edgeformer_controller::clock::Clock;
use edgeformer_proto::audit::bundle::{BundleError, Verified, Verifier};
use edgeformer_proto::audit::checkpoint::Checkpoint;
use edgeformer_proto::audit::merkle::{Hash, leaf_hash};
use edgeformer_proto::audit::note::VerifierKey;
use edgeformer_proto::audit::proof::{verify_consistency, verify_inclusion};
use edgeformer_proto::audit::tile::{TileId, path as tile_path, width_at};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection};

use crate::support::db::PostgresDatabase;
use crate::support::rest::Rest;

pub(super) struct Log {
    pub(super) rest: Rest,
    pub(super) admin: String,
}

impl Log {
    pub(super) async fn on(rest: Rest) -> Self {
        let (_, admin) = rest.tenant("a").await;
        Self { rest, admin }
    }

    /// Adds records by doing something, and has them sequenced and signed.
    pub(super) async fn grow(&self, count: usize) {
        for n in 0..count {
            let body = json!({"name": format!("n{n}"), "role": "viewer"});
            assert_eq!(self.rest.post(&self.admin, "/api/v1/tokens", body).await.status, 201);
        }
        self.settle().await;
    }

    pub(super) async fn settle(&self) {
        sequencer::sequence_all(&self.rest.app.store, self.rest.clock.now()).await.unwrap();
        checkpointer::sign_all(&self.rest.app).await.unwrap();
    }

    pub(super) async fn text(&self, path: &str) -> String {
        self.rest.text(&self.admin, &format!("/api/v1/audit/{path}")).await
    }

    pub(super) async fn key(&self) -> VerifierKey {
        let answer = self.rest.get(&self.admin, "/api/v1/audit/key").await;
        answer.text("key").parse().unwrap()
    }

    async fn checkpoint(&self) -> Checkpoint {
        Checkpoint::open(&self.text("checkpoint").await, &self.key().await).unwrap().0
    }

    pub(super) async fn checkpoint_size(&self) -> u64 {
        self.checkpoint().await.size
    }

    /// As the API prints times.
    pub(super) fn now(&self) -> String {
        self.rest.clock.now().rfc3339()
    }

    async fn proof(&self, query: &str) -> (u64, Vec<Hash>, Value) {
        let answer = self.rest.get(&self.admin, &format!("/api/v1/audit/proofs/{query}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let hashes = answer.body["hashes"].as_array().unwrap().iter().map(hash).collect();
        (answer.body["size"].as_u64().unwrap(), hashes, answer.body)
    }

    /// What an offline verifier makes of a part of the log.
    pub(super) async fn verify(
        &self,
        query: &str,
        older: Vec<Checkpoint>,
    ) -> Result<Verified, BundleError> {
        verify(&self.text(&format!("bundle{query}")).await, &self.key().await, older)
    }
}

fn verify(
    bundle: &str,
    key: &VerifierKey,
    older: Vec<Checkpoint>,
) -> Result<Verified, BundleError> {
    verify_lines(bundle, key, &[], older)
}

/// Demanding that witnesses cosigned it.
pub(super) fn verify_with(
    bundle: &str,
    key: &VerifierKey,
    witnesses: &[VerifierKey],
) -> Result<Verified, BundleError> {
    verify_lines(bundle, key, witnesses, Vec::new())
}

fn verify_lines(
    bundle: &str,
    key: &VerifierKey,
    witnesses: &[VerifierKey],
    older: Vec<Checkpoint>,
) -> Result<Verified, BundleError> {
    let mut lines = bundle.lines();
    let mut verifier = Verifier::new(lines.next().unwrap(), key, witnesses, older)?;
    for line in lines {
        verifier.record(line)?;
    }
    verifier.finish()
}

fn hash(text: &Value) -> Hash {
    let bytes = data_encoding::BASE64.decode(text.as_str().unwrap().as_bytes()).unwrap();
    bytes.try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_record_and_every_older_tree_is_proved() {
    let log = Log::on(Rest::start().await).await;
    log.grow(4).await;
    let old = log.checkpoint().await;
    log.grow(9).await;
    let new = log.checkpoint().await;
    assert!(new.size > old.size && old.size >= 5, "{old:?} {new:?}");
    for sequence in 0..new.size {
        let (size, hashes, body) = log.proof(&format!("inclusion?sequence={sequence}")).await;
        let leaf = hash(&body["leaf"]);
        assert_eq!(verify_inclusion(&leaf, sequence, size, &new.root, &hashes), Ok(()));
        assert_eq!(size, new.size);
    }
    let (_, hashes, _) = log.proof(&format!("consistency?first={}", old.size)).await;
    assert_eq!(verify_consistency(old.size, &old.root, new.size, &new.root, &hashes), Ok(()));
    for query in [
        format!("inclusion?sequence={}", new.size),
        format!("inclusion?sequence=0&size={}", new.size + 1),
        "consistency?first=0".to_owned(),
    ] {
        let answer = log.rest.get(&log.admin, &format!("/api/v1/audit/proofs/{query}")).await;
        answer.is_problem(422, "invalid");
    }
    let path = format!("/api/v1/audit/log/tile/0/000.p/{}", new.size + 1);
    log.rest.get(&log.admin, &path).await.is_problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_verifies_offline_as_a_whole_and_in_parts() {
    let log = Log::on(Rest::start().await).await;
    log.grow(11).await;
    let old = log.checkpoint().await;
    log.grow(6).await;
    let size = log.checkpoint().await.size;
    let whole = log.verify("", vec![old.clone()]).await.unwrap();
    assert_eq!((whole.from, whole.to), (0, size));
    assert!(whole.opened > size, "{whole:?}");
    assert_eq!(whole.withheld, 0);
    let sealed = log.verify("?sealed=true", vec![]).await.unwrap();
    assert_eq!((sealed.opened, sealed.withheld), (0, whole.opened));
    for from in 0..size {
        for to in [from, from + 1, size] {
            let part = log.verify(&format!("?from={from}&to={to}"), vec![]).await.unwrap();
            assert_eq!((part.from, part.to), (from, to));
        }
    }
    // Every line counts, and so does every part of it.
    let (bundle, key) = (log.text("bundle").await, log.key().await);
    let lines: Vec<&str> = bundle.lines().collect();
    let check = |lines: Vec<String>| verify(&lines.join("\n"), &key, vec![]).unwrap_err();
    let all = || lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    let mut cut = all();
    cut.pop();
    assert!(matches!(check(cut), BundleError::Short(_)));
    let mut missing = all();
    missing.remove(4);
    assert!(matches!(check(missing), BundleError::Sequence { expected: 3, found: 4 }));
    let mut swapped = all();
    swapped.swap(3, 4);
    assert!(matches!(check(swapped), BundleError::Sequence { .. }));
    let mut edited = all();
    edited[3] = edited[3].replacen("token:create", "token:revoke", 1);
    assert!(matches!(check(edited), BundleError::Record(2)));
    let mut value = all();
    value[3] = value[3].replacen("viewer", "owner!", 1);
    assert!(matches!(check(value), BundleError::Value { sequence: 2, .. }));
    let other = "x".to_owned() + &key.to_string();
    assert!(other.parse::<VerifierKey>().is_err(), "a key is bound to its name");
}

/// Runs `sql` on the database behind the controller's back.
pub(super) async fn attack(url: &str, sql: &[&str]) {
    sqlx::any::install_default_drivers();
    let mut connection = sqlx::AnyConnection::connect(url).await.unwrap();
    for one in sql {
        sqlx::raw_sql(AssertSqlSafe(*one)).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
}

/// Whoever holds the database can change every row, and the verifier sees it.
async fn edits_are_caught(rest: Rest, url: &str) {
    let log = Log::on(rest).await;
    log.grow(8).await;
    let kept = log.checkpoint().await;
    log.grow(4).await;
    let newest = log.checkpoint().await;
    log.verify("", vec![kept.clone()]).await.unwrap();
    let tenant = "tenant_id <> ''";

    let record = "replace(record, 'token:create', 'token:revoke')";
    let edit = format!("UPDATE audit_log SET record = {record} WHERE {tenant} AND sequence = 3");
    let back = edit.replace("'token:create', 'token:revoke'", "'token:revoke', 'token:create'");
    attack(url, &[&edit]).await;
    assert!(matches!(log.verify("", vec![]).await.unwrap_err(), BundleError::Record(3)));
    attack(url, &[&back]).await;
    log.verify("", vec![]).await.unwrap();

    // A more careful attacker also repairs the hash of the row.
    let rows = log.text("bundle?from=3&to=4").await;
    let line: Value = serde_json::from_str(rows.lines().nth(1).unwrap()).unwrap();
    let forged = line["record"].as_str().unwrap().replace("token:create", "token:revoke");
    let leaf = data_encoding::HEXLOWER.encode(&leaf_hash(forged.as_bytes()));
    let literal = match url.starts_with("sqlite") {
        true => format!("X'{leaf}'"),
        false => format!("'\\x{leaf}'::bytea"),
    };
    let repair =
        format!("UPDATE audit_log SET leaf_sha256 = {literal} WHERE {tenant} AND sequence = 3");
    attack(url, &[&edit, &repair]).await;
    let caught = log.verify("", vec![]).await.unwrap_err();
    assert!(matches!(caught, BundleError::Root { from: 0, .. }), "{caught}");
    let caught = log.verify("?from=4", vec![]).await.unwrap();
    assert_eq!(caught.from, 4, "what was not touched still verifies");
    let original = data_encoding::BASE64.decode(line["leaf"].as_str().unwrap().as_bytes()).unwrap();
    let undo = repair.replace(&leaf, &data_encoding::HEXLOWER.encode(&original));
    attack(url, &[&back, &undo]).await;
    log.verify("", vec![]).await.unwrap();

    // A value beside the log.
    let value = "UPDATE audit_beside SET clear_values = replace(clear_values, 'viewer', 'nobody')";
    attack(url, &[value]).await;
    let caught = log.verify("", vec![]).await.unwrap_err();
    assert!(matches!(caught, BundleError::Value { .. }), "{caught}");
    attack(url, &[&value.replace("'viewer', 'nobody'", "'nobody', 'viewer'")]).await;

    // Records taken away: in the middle, or the newest with everything that tells of them.
    let size = newest.size;
    let cut = [
        format!("DELETE FROM audit_log WHERE {tenant} AND sequence >= {}", kept.size),
        format!("DELETE FROM audit_checkpoints WHERE {tenant} AND size > {}", kept.size),
    ];
    attack(url, &[&cut[0], &cut[1]]).await;
    let caught = log.verify("", vec![newest]).await.unwrap_err();
    assert!(matches!(caught, BundleError::Shrunk { had, has } if had == size && has == kept.size));
    let gone = format!("DELETE FROM audit_log WHERE {tenant} AND sequence = 2");
    attack(url, &[&gone]).await;
    let caught = log.verify("", vec![]).await.unwrap_err();
    assert!(matches!(caught, BundleError::Sequence { expected: 2, found: 3 }), "{caught}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edits_of_a_sqlite_database_are_caught() {
    let rest = Rest::start().await;
    let url = rest.database_url();
    edits_are_caught(rest, &url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edits_of_a_postgres_database_are_caught() {
    let database = PostgresDatabase::create().await;
    let rest = Rest::start_on(Some(database.url.clone())).await;
    let store = rest.app.store.clone();
    edits_are_caught(rest, &database.url).await;
    store.close().await;
    database.drop_it().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_rewritten_and_signed_again_contradicts_its_own_checkpoint() {
    let log = Log::on(Rest::start().await).await;
    log.grow(5).await;
    let kept = log.checkpoint().await;
    // Somebody with the database and the key-encryption key makes the log forget, and signs anew.
    let url = log.rest.database_url();
    attack(
        &url,
        &[
            "UPDATE audit_outbox SET tenant_id = tenant_id",
            "DELETE FROM audit_log WHERE tenant_id <> ''",
            "DELETE FROM audit_heads WHERE tenant_id <> ''",
            "DELETE FROM audit_tiles WHERE tenant_id <> ''",
            "DELETE FROM audit_checkpoints WHERE tenant_id <> ''",
        ],
    )
    .await;
    log.grow(usize::try_from(kept.size).unwrap() + 2).await;
    log.verify("", vec![]).await.unwrap();
    let caught = log.verify("", vec![kept.clone()]).await.unwrap_err();
    assert!(matches!(caught, BundleError::Fork { size } if size == kept.size), "{caught}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn go_verifies_checkpoints_proofs_and_tiles() {
    let log = Log::on(Rest::start().await).await;
    log.grow(300).await;
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    put("older", log.text("checkpoint").await.as_bytes());
    let old = log.checkpoint().await;
    log.grow(20).await;
    put("checkpoint", log.text("log/checkpoint").await.as_bytes());
    put("key", log.key().await.to_string().as_bytes());
    let new = log.checkpoint().await;
    let mut inclusion = Vec::new();
    for sequence in [0, 1, 255, 256, new.size - 1] {
        let rows = log.text(&format!("bundle?from={sequence}&to={}", sequence + 1)).await;
        let line: Value = serde_json::from_str(rows.lines().nth(1).unwrap()).unwrap();
        let (_, _, proof) = log.proof(&format!("inclusion?sequence={sequence}")).await;
        inclusion.push(json!({
            "Sequence": sequence, "Record": line["record"], "Hashes": proof["hashes"],
        }));
    }
    let (_, _, consistency) = log.proof(&format!("consistency?first={}", old.size)).await;
    let proofs = json!({"Inclusion": inclusion, "Consistency": consistency["hashes"]});
    put("proofs.json", proofs.to_string().as_bytes());
    for (level, index) in [(0, 0), (0, 1), (1, 0)] {
        let id = TileId { level, index };
        let path = tile_path(id, width_at(id, new.size));
        put(&path, &log.rest.bytes(&log.admin, &format!("/api/v1/audit/log/{path}")).await);
    }
    assert_eq!(go("verify.go", dir.path()), Ok(format!("ok 5 {}", new.size)));

    // The verifier must be able to say no.
    let lie = |name: &str, from: &str, to: &str| {
        let path = dir.path().join(name);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{name}");
        std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let verdict = go("verify.go", dir.path());
        std::fs::write(&path, text).unwrap();
        verdict.unwrap_err()
    };
    let size = format!("\n{}\n", new.size);
    assert!(lie("checkpoint", &size, &format!("\n{}\n", new.size - 1)).contains("checkpoint"));
    assert!(lie("proofs.json", "token:create", "token:revoke").contains("record 1"));
    let tile = dir.path().join(tile_path(TileId { level: 0, index: 0 }, 256));
    let mut bytes = std::fs::read(&tile).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&tile, bytes).unwrap();
    assert!(go("verify.go", dir.path()).unwrap_err().contains("tiles"));
}

/// Runs a verifier in Go on a folder.
pub(super) fn go(program: &str, dir: &Path) -> Result<String, String> {
    let cache = dir.join("gocache");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/go/");
    let output = Command::new("go")
        .args(["run", &format!("{folder}{program}")])
        .arg(dir)
        .env("GO111MODULE", "off")
        .env("GOPATH", "/usr/share/gocode")
        .env("GOCACHE", cache)
        .env("GOFLAGS", "")
        .output()
        .expect("Go is not installed: run the tests with `cargo xtask test`, which installs it");
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}
