//! The database on a disk that is really full: what cannot be recorded is not done, and says why.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use sqlx::Connection as _;
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
async fn on_a_full_disk_nothing_happens_unrecorded() {
    let disk = SmallDisk::mount("24m");
    let rest = Rest::start_below(disk.path()).await;
    let (_, owner) = rest.tenant("a").await;
    rest.token(&owner, "viewer").await;
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
    std::fs::remove_file(ballast).unwrap();
    let mut connection = sqlx::AnyConnection::connect(&rest.database_url()).await.unwrap();
    let mut count = async |sql: &'static str| -> i64 {
        sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
    };
    let tokens = count("SELECT count(*) FROM api_tokens WHERE name IN ('n', 'viewer')").await;
    let records =
        count("SELECT count(*) FROM audit_outbox WHERE record LIKE '%\"token:create\"%'").await;
    assert_eq!((tokens, records), (made, made), "what was done is what is recorded");
    connection.close().await.unwrap();
    rest.app.store.close().await;
}
