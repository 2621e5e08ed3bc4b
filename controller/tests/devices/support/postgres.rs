//! A PostgreSQL database per test, dropped after it.

use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use sqlx::{AssertSqlSafe, Connection};

/// Runs `check` with the URL of an empty database.
pub(crate) async fn on_postgres<F: Future<Output = ()>>(check: impl FnOnce(String) -> F) {
    let admin = std::env::var("EDGEFORMER_TEST_POSTGRES").expect(
        "EDGEFORMER_TEST_POSTGRES is not set: run the tests with `cargo xtask test`, which starts \
         a throw-away PostgreSQL, or give the superuser's URL of one",
    );
    let name = format!("devices_{}", uuid::Uuid::now_v7().simple());
    let (server, _) = admin.rsplit_once('/').expect("the URL names a database");
    run(&admin, &format!("CREATE DATABASE {name}")).await;
    let outcome = AssertUnwindSafe(check(format!("{server}/{name}"))).catch_unwind().await;
    run(&admin, &format!("DROP DATABASE {name} WITH (FORCE)")).await;
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

async fn run(url: &str, sql: &str) {
    sqlx::any::install_default_drivers();
    let mut admin = sqlx::AnyConnection::connect(url)
        .await
        .expect("the PostgreSQL of EDGEFORMER_TEST_POSTGRES answers");
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut admin).await.unwrap();
    admin.close().await.unwrap();
}
