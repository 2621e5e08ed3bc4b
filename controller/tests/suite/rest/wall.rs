//! Every route, as the owner of another tenant, against every table that the schema has: nothing of
//! the first tenant is shown, and nothing of it changes. On both databases.

use std::collections::BTreeMap;

use edgeformer_controller::audit::{checkpointer, sequencer};
use edgeformer_controller::clock::Clock;
use edgeformer_controller::store::Backend;
use http::Method;
use serde_json::Value;
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Row};

use super::access;
use super::isolation::{Things, one_of_everything};
use crate::support::db::PostgresDatabase;
use crate::support::rest::Rest;
use crate::support::tables::{Table, tables};

/// What is in columns of text of rows that no part of the program made here.
const MARKER: &str = "unmistakable";

type Content = BTreeMap<String, Vec<String>>;

async fn content(db: &mut AnyConnection, all: &[Table], tenant: &str) -> Content {
    let mut content = Content::new();
    for table in all.iter().filter(|table| table.is_tenants()) {
        content.insert(table.name.clone(), table.content(db, tenant).await);
    }
    content
}

/// Every table has a row of the tenant: what its own acts did not make is put there.
async fn fill(db: &mut AnyConnection, all: &[Table], backend: Backend, tenant: &str) {
    for table in all.iter().filter(|table| table.is_tenants()) {
        if table.content(db, tenant).await.is_empty() {
            let row = table.insert(backend, tenant, MARKER);
            sqlx::raw_sql(AssertSqlSafe(row)).execute(&mut *db).await.unwrap();
        }
    }
}

async fn ids(db: &mut AnyConnection, all: &[Table], tenant: &str) -> Vec<String> {
    let mut ids = Vec::new();
    for table in all.iter().filter(|table| table.is_tenants() && table.has("id")) {
        let sql = format!("SELECT id FROM {} WHERE tenant_id = '{tenant}'", table.name);
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut *db).await.unwrap();
        ids.extend(rows.iter().map(|row| row.get::<String, _>("id")));
    }
    ids
}

/// Every route of the document with what the tenant has in its place, and the others as they are.
fn routes(things: &Things) -> Vec<(Method, String)> {
    let mut routes = things.routes();
    let named: Vec<String> = routes.iter().map(|(_, path)| path.clone()).collect();
    let rest = access::routes().into_iter().map(|(method, path, _)| (method, path));
    routes.extend(rest.filter(|(_, path)| !named.contains(path)));
    routes
}

async fn walk(rest: &Rest, url: &str, backend: Backend) {
    let (tenant, owner) = rest.tenant("a").await;
    let (_, stranger) = rest.tenant("b").await;
    let things = one_of_everything(rest, &tenant, &owner).await;
    sequencer::sequence_all(&rest.app.store, rest.clock.now()).await.unwrap();
    checkpointer::sign_all(&rest.app).await.unwrap();
    let mut db = AnyConnection::connect(url).await.unwrap();
    let all = tables(&mut db, backend).await;
    fill(&mut db, &all, backend, &tenant).await;
    let before = content(&mut db, &all, &tenant).await;
    for (table, rows) in &before {
        assert!(!rows.is_empty(), "{table} has nothing of the tenant");
    }
    // Everything that tells the tenant's rows apart: all ids there are.
    let mut hidden: Vec<String> = vec!["secret-".to_owned(), MARKER.to_owned(), tenant.clone()];
    hidden.extend(ids(&mut db, &all, &tenant).await);
    assert!(hidden.len() > 10, "{hidden:?}");
    for role in ["owner", "viewer"] {
        let token = rest.token(&stranger, role).await;
        for (method, path) in routes(&things) {
            let answer = access::call(rest, Some(&token), &method, &path).await;
            let shown = format!("{:?} {}", answer.headers, Value::to_string(&answer.body));
            for hidden in &hidden {
                // What was asked for by its id may be echoed in the refusal.
                let echoed = path.contains(hidden.as_str()) && answer.status.is_client_error();
                assert!(
                    echoed || !shown.contains(hidden.as_str()),
                    "{method} {path} shows {hidden}: {shown}"
                );
            }
            assert!(!answer.status.is_server_error(), "{method} {path}: {answer:?}");
        }
    }
    let after = content(&mut db, &all, &tenant).await;
    for (table, rows) in &before {
        assert_eq!(rows, &after[table], "{table} was changed by another tenant");
    }
    db.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_route_shows_or_changes_another_tenants_rows_on_sqlite() {
    let rest = Rest::start().await;
    walk(&rest, &rest.database_url(), Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_route_shows_or_changes_another_tenants_rows_on_postgres() {
    let database = PostgresDatabase::create().await;
    let rest = Rest::start_on(Some(database.url.clone())).await;
    walk(&rest, &database.url, Backend::Postgres).await;
    rest.app.store.close().await;
    database.drop_it().await;
}
