//! A database per test.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use edgeformer_controller::clock::{Clock, ManualClock, Timestamp};
use edgeformer_controller::scope::{InstallationScope, TenantScope};
use edgeformer_controller::store::tenants::Tenant;
use edgeformer_controller::store::{Store, connect, tenants};
use edgeformer_proto::ids::TenantId;
use futures::FutureExt;
use sqlx::AssertSqlSafe;
use sqlx::Connection;
use tempfile::TempDir;

/// 2026-11-22T00:00:00Z.
const START: Timestamp = Timestamp(1_795_305_600_000_000);

/// An empty, migrated database with a clock that stands still.
#[derive(Clone)]
pub(crate) struct Db {
    pub(crate) store: Store,
    pub(crate) clock: ManualClock,
    // Gone with the last clone.
    _dir: Arc<TempDir>,
}

impl Db {
    async fn open(url: &str, dir: TempDir) -> Self {
        let store = Store::connect(url).await.expect("the test database opens");
        store.migrate().await.expect("the test database migrates");
        Self { store, clock: ManualClock::at(START), _dir: Arc::new(dir) }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// A tenant with made-up key material.
    pub(crate) async fn tenant(&self, name: &str) -> TenantScope {
        let id = TenantId::new();
        let bytes = |n: u8| vec![n, 0, 255];
        let tenant = Tenant {
            id,
            name: name.to_owned(),
            ca_cert_der: bytes(1),
            wrapped_ca_key: bytes(2),
            release_public: bytes(3),
            wrapped_release_key: bytes(4),
            wrapped_chunk_secret: bytes(5),
            wrapped_kek: bytes(6),
            created_at: self.now(),
        };
        let scope = InstallationScope::system("test");
        let mut write = self.store.write_observation(&scope).await.unwrap();
        tenants::insert(&mut write, &tenant).await.unwrap();
        write.commit(self.now()).await.unwrap();
        TenantScope::system(id, "test")
    }
}

/// On a SQLite file.
pub(crate) async fn on_sqlite<F: Future<Output = ()>>(check: impl FnOnce(Db) -> F) {
    let dir = tempfile::tempdir().unwrap();
    let url = connect::sqlite_url(&dir.path().join("test.db"), true);
    let db = Db::open(&url, dir).await;
    let store = db.store.clone();
    check(db).await;
    store.close().await;
}

/// The superuser's URL of a throw-away cluster.
pub(crate) fn postgres_url() -> String {
    std::env::var("EDGEFORMER_TEST_POSTGRES").expect(
        "EDGEFORMER_TEST_POSTGRES is not set: run the tests with `cargo xtask test`, which starts \
         a throw-away PostgreSQL, or give the superuser's URL of one",
    )
}

/// On a PostgreSQL database made for this test and dropped after it.
pub(crate) async fn on_postgres<F: Future<Output = ()>>(check: impl FnOnce(Db) -> F) {
    on_postgres_at(|db, _| check(db)).await;
}

/// The same, with the superuser's URL of the database.
pub(crate) async fn on_postgres_at<F: Future<Output = ()>>(check: impl FnOnce(Db, String) -> F) {
    let database = PostgresDatabase::create().await;
    let db = Db::open(&database.url, tempfile::tempdir().unwrap()).await;
    let store = db.store.clone();
    let outcome = AssertUnwindSafe(check(db, database.url.clone())).catch_unwind().await;
    store.close().await;
    database.drop_it().await;
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// A database in the throw-away cluster.
pub(crate) struct PostgresDatabase {
    admin_url: String,
    name: String,
    pub(crate) url: String,
}

impl PostgresDatabase {
    pub(crate) async fn create() -> Self {
        let admin_url = postgres_url();
        let name = format!("test_{}", uuid::Uuid::now_v7().simple());
        let (server, _) = admin_url.rsplit_once('/').expect("the URL names a database");
        let url = format!("{server}/{name}");
        let created = Self { admin_url, name, url };
        created.run(&format!("CREATE DATABASE {}", created.name)).await;
        created
    }

    pub(crate) async fn drop_it(self) {
        self.run(&format!("DROP DATABASE {} WITH (FORCE)", self.name)).await;
    }

    /// As the superuser, inside the database.
    pub(crate) async fn run_inside(&self, sql: &str) {
        Self::run_at(&self.url, sql).await;
    }

    async fn run(&self, sql: &str) {
        Self::run_at(&self.admin_url, sql).await;
    }

    async fn run_at(url: &str, sql: &str) {
        sqlx::any::install_default_drivers();
        let mut admin = sqlx::AnyConnection::connect(url)
            .await
            .expect("the PostgreSQL of EDGEFORMER_TEST_POSTGRES answers");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut admin).await.expect("the superuser may");
        admin.close().await.unwrap();
    }
}
