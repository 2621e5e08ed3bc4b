//! Databases and controllers for tests: each test gets its own, and nothing is left behind.

pub(crate) mod db;
pub(crate) mod oidc;
pub(crate) mod provider;
pub(crate) mod rest;
pub(crate) mod syslog;
pub(crate) mod tables;
pub(crate) mod witness;

pub(crate) use db::Db;

/// Runs each test on SQLite and on PostgreSQL. A test takes its own empty, migrated [`Db`]:
///
/// ```ignore
/// on_both_databases! {
///     async fn a_name_that_says_what_holds(db: Db) { … }
/// }
/// ```
#[macro_export]
macro_rules! on_both_databases {
    ($($(#[$meta:meta])* async fn $name:ident($db:ident: Db) $body:block)*) => {$(
        $(#[$meta])*
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            async fn check($db: $crate::support::Db) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                $crate::support::db::on_sqlite(check).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                $crate::support::db::on_postgres(check).await;
            }
        }
    )*};
}
