//! The database on a disk that is really full: what cannot be recorded is not done, and says why.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use edgeformer_controller::audit::sequencer;
use serde_json::json;
use tempfile::TempDir;

use crate::support::rest::Rest;

/// A file system of fixed size in memory.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = format!("size={size}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "none"]).arg(folder.path());
        assert!(mount.status().expect("mount runs").success(), "mounting a tmpfs needs root");
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes all that is left. Returns what took it.
    fn fill(&self) -> std::path::PathBuf {
        let path = self.path().join("ballast");
        let mut file = File::create(&path).unwrap();
        while file.write_all(&[7; 4096]).is_ok() {}
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: connections may still be closing.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_disk_nothing_happens_unrecorded_and_it_goes_on_afterwards() {
    let disk = SmallDisk::mount("24m");
    let rest = Rest::start_below(disk.path()).await;
    let (_, owner) = rest.tenant("a").await;
    let viewer = rest.token(&owner, "viewer").await;
    let ballast = disk.fill();
    let body = json!({"name": "n", "role": "viewer"});
    let mut made = 1;
    // What is free inside the database's own files is used up first.
    let full = loop {
        let answer = rest.post(&owner, "/api/v1/tokens", body.clone()).await;
        if answer.status != 201 {
            break answer;
        }
        made += 1;
        assert!(made < 5000, "the disk is not full");
    };
    full.is_problem(507, "storage_full");
    let detail = full.text("detail");
    assert!(
        detail.contains("nothing was changed") && detail.contains("free some space"),
        "{detail}"
    );
    // A refusal that cannot be recorded is no answer either; what changes nothing works.
    rest.get(&viewer, "/api/v1/audit").await.is_problem(507, "storage_full");
    assert_eq!(rest.get(&viewer, "/api/v1/devices").await.status, 200);

    std::fs::remove_file(ballast).unwrap();
    assert_eq!(rest.post(&owner, "/api/v1/tokens", body).await.status, 201);
    made += 1;
    rest.get(&viewer, "/api/v1/audit").await.is_problem(403, "forbidden");
    sequencer::sequence_all(&rest.app.store, rest.app.now()).await.unwrap();
    let (mut recorded, mut refused, mut cursor) = (0, 0, String::new());
    loop {
        let page = rest.get(&owner, &format!("/api/v1/audit?limit=200{cursor}")).await;
        let items = page.body["items"].as_array().unwrap();
        recorded += items.iter().filter(|r| r["action"] == "token:create").count();
        refused += items.iter().filter(|r| r["action"] == "audit:read").count();
        match page.body["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!((recorded, refused), (made, 1), "what was done is what is recorded");
    rest.app.store.close().await;
}
