use std::time::Duration;

use sqlx::Row;
use sqlx::any::AnyPoolOptions;

use super::*;

/// Inserting it undoes the whole transaction, as SQLite does when a disk is full.
const DISASTER: i64 = 666;

struct Site {
    turns: Turns,
    _folder: tempfile::TempDir,
}

impl Site {
    async fn start() -> Self {
        sqlx::any::install_default_drivers();
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/x.db?mode=rwc", folder.path().display());
        let pool = AnyPoolOptions::new().max_connections(4).connect(&url).await.unwrap();
        let tables = "PRAGMA journal_mode = WAL; CREATE TABLE t (n INTEGER PRIMARY KEY); \
            CREATE TRIGGER disaster BEFORE INSERT ON t WHEN new.n = 666 \
            BEGIN SELECT RAISE(ROLLBACK, 'the disk is full'); END;";
        sqlx::raw_sql(tables).execute(&pool).await.unwrap();
        Self { turns: Turns::new(pool), _folder: folder }
    }

    /// A turn that waits in the queue from now on, and then writes `n`.
    fn turn(&self, n: i64) -> impl Future<Output = Result<Turn, sqlx::Error>> + use<> {
        let turns = self.turns.clone();
        let waiting = tokio::spawn(async move {
            let mut turn = turns.next().await?;
            sqlx::query("INSERT INTO t VALUES ($1)").bind(n).execute(turn.db()).await?;
            Ok(turn)
        });
        async move { waiting.await.unwrap() }
    }

    /// What is on the disk, and that nobody waits for ever and no connection stays out.
    async fn end_with(self, expected: &[i64]) {
        let rows = sqlx::query("SELECT n FROM t ORDER BY n").fetch_all(&self.turns.pool);
        let found: Vec<i64> = rows.await.unwrap().iter().map(|row| row.get("n")).collect();
        assert_eq!(found, expected);
        let paused = self.turns.pause().await;
        tokio::time::timeout(Duration::from_secs(60), self.turns.pool.close()).await.unwrap();
        drop(paused);
        assert!(self.turns.next().await.is_err());
    }
}

#[tokio::test]
async fn those_who_wait_reach_the_disk_together() {
    let site = Site::start().await;
    let first = site.turn(0).await.unwrap();
    let others: Vec<_> = (1..20).map(|n| (n, site.turn(n))).collect();
    tokio::task::yield_now().await;
    let first = tokio::spawn(first.commit());
    let mut commits = Vec::new();
    for (n, turn) in others {
        let turn = turn.await.unwrap();
        assert!(!first.is_finished(), "{n} still waits for its turn in the same transaction");
        // Every third goes away.
        if n % 3 != 0 {
            commits.push(tokio::spawn(turn.commit()));
        }
    }
    for commit in commits {
        commit.await.unwrap().unwrap();
    }
    first.await.unwrap().unwrap();
    site.end_with(&[0, 1, 2, 4, 5, 7, 8, 10, 11, 13, 14, 16, 17, 19]).await;
}

#[tokio::test]
async fn whoever_waits_until_it_is_settled_reads_what_was_written_before() {
    let site = Site::start().await;
    site.turns.settled().await.unwrap();
    let first = site.turn(1).await.unwrap();
    let second = site.turn(2);
    let first = tokio::spawn(first.commit());
    // In the first one's transaction, and refused: what it saw is in no reader's sight.
    let mut second = second.await.unwrap();
    sqlx::query("INSERT INTO t VALUES (1)").execute(second.db()).await.unwrap_err();
    drop(second);
    site.turns.settled().await.unwrap();
    let rows = sqlx::query("SELECT n FROM t").fetch_all(&site.turns.pool).await.unwrap();
    assert_eq!(rows.len(), 1);
    first.await.unwrap().unwrap();
    site.end_with(&[1]).await;
}

#[tokio::test]
async fn a_turn_that_is_left_undoes_itself_alone() {
    let site = Site::start().await;
    drop(site.turn(1).await.unwrap());
    site.turn(2).await.unwrap().commit().await.unwrap();
    assert!(site.turn(2).await.is_err(), "there is a 2");
    site.turn(3).await.unwrap().commit().await.unwrap();
    drop(site.turn(4).await.unwrap());
    site.end_with(&[2, 3]).await;
}

#[tokio::test]
async fn who_gives_up_waiting_leaves_nothing_behind() {
    let site = Site::start().await;
    let first = site.turn(1).await.unwrap();
    for _ in 0..3 {
        let waiting = tokio::spawn({
            let turns = site.turns.clone();
            async move { turns.next().await.map(drop) }
        });
        tokio::task::yield_now().await;
        waiting.abort();
    }
    first.commit().await.unwrap();
    site.end_with(&[1]).await;
}

#[tokio::test]
async fn a_transaction_that_breaks_fails_all_in_it_and_nobody_else() {
    let site = Site::start().await;
    let first = site.turn(1).await.unwrap();
    let breaks = site.turn(DISASTER);
    let after = site.turn(2);
    tokio::task::yield_now().await;
    let first = tokio::spawn(first.commit());
    assert!(breaks.await.is_err());
    after.await.unwrap().commit().await.unwrap();
    let error = first.await.unwrap().unwrap_err();
    assert!(matches!(error, StoreError::Commit(_)), "{error}");
    site.end_with(&[2]).await;
}

#[tokio::test]
async fn a_transaction_that_breaks_in_its_first_turn_is_begun_anew() {
    let site = Site::start().await;
    let breaks = site.turn(DISASTER);
    let after = site.turn(2);
    assert!(breaks.await.is_err());
    after.await.unwrap().commit().await.unwrap();
    site.end_with(&[2]).await;
}
