//! The wall in PostgreSQL: what SQL of our own making, or of an attacker's, meets when the store's
//! functions do not stand in front of it.

use edgeformer_controller::clock::Timestamp;
use edgeformer_controller::scope::{InstallationScope, TenantScope};
use edgeformer_controller::store::{Backend, Store, StoreError, tenants};
use edgeformer_proto::ids::TenantId;
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Row};

use crate::support::db::{PostgresDatabase, on_postgres_at};
use crate::support::tables::tables;

/// Runs one statement as the application does, for `tenant`. Rows that it touched or showed.
async fn run(db: &mut AnyConnection, tenant: Option<&str>, sql: &str) -> Result<u64, sqlx::Error> {
    let mut tx = db.begin().await?;
    sqlx::raw_sql("SET LOCAL ROLE edgeformer_app").execute(&mut *tx).await?;
    if let Some(tenant) = tenant {
        let enter = format!("SET LOCAL edgeformer.tenant = '{tenant}'");
        sqlx::raw_sql(AssertSqlSafe(enter)).execute(&mut *tx).await?;
    }
    let touched = match sql.starts_with("SELECT") {
        true => sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_all(&mut *tx).await?.len() as u64,
        false => {
            sqlx::query(AssertSqlSafe(sql.to_owned())).execute(&mut *tx).await?.rows_affected()
        }
    };
    tx.commit().await?;
    Ok(touched)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_table_of_the_schema_shows_and_takes_only_the_tenants_own_rows() {
    on_postgres_at(|_, url| async move {
        let mut db = AnyConnection::connect(&url).await.unwrap();
        let (a, b) = (TenantId::new().to_string(), TenantId::new().to_string());
        let mut walled = 0;
        for table in tables(&mut db, Backend::Postgres).await {
            let name = &table.name;
            if !table.is_tenants() {
                assert!(["installation", "tenants"].contains(&name.as_str()), "whose is {name}?");
                continue;
            }
            walled += 1;
            let row = table.insert(Backend::Postgres, &a, "secret");
            let refused = run(&mut db, Some(&b), &row).await.unwrap_err().to_string();
            assert!(refused.contains("row-level security"), "{name}: {refused}");
            assert_eq!(run(&mut db, Some(&a), &row).await.unwrap(), 1, "{name}");
            let see = format!("SELECT tenant_id FROM {name}");
            let change = format!("UPDATE {name} SET tenant_id = tenant_id");
            let remove = format!("DELETE FROM {name}");
            for stranger in [Some(b.as_str()), Some("installation"), Some(""), None] {
                for sql in [&see, &change, &remove] {
                    let touched = run(&mut db, stranger, sql).await.unwrap();
                    assert_eq!(touched, 0, "{name} as {stranger:?}: {sql}");
                }
            }
            let steal = format!("UPDATE {name} SET tenant_id = '{b}'");
            let refused = run(&mut db, Some(&a), &steal).await.unwrap_err().to_string();
            assert!(refused.contains("row-level security"), "{name}: {refused}");
            assert_eq!(run(&mut db, Some(&a), &see).await.unwrap(), 1, "{name}");
            assert_eq!(run(&mut db, Some(&a), &remove).await.unwrap(), 1, "{name}");
        }
        assert!(walled > 15, "only {walled} tables");
        db.close().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_application_cannot_lift_the_wall() {
    on_postgres_at(|_, url| async move {
        let mut db = AnyConnection::connect(&url).await.unwrap();
        for sql in [
            "ALTER TABLE devices DISABLE ROW LEVEL SECURITY",
            "ALTER TABLE devices NO FORCE ROW LEVEL SECURITY",
            "DROP POLICY tenant_sees ON devices",
            "CREATE POLICY open ON devices USING (true)",
            "TRUNCATE devices",
            "DROP TABLE devices",
            "CREATE OR REPLACE FUNCTION edgeformer_tenant() RETURNS TEXT LANGUAGE sql AS 'SELECT 1'",
        ] {
            let refused = run(&mut db, Some("installation"), sql).await.unwrap_err().to_string();
            assert!(refused.contains("must be owner") || refused.contains("permission denied"), "{sql}: {refused}");
        }
        db.close().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wall_with_a_hole_is_noticed_and_mended_by_migrating() {
    on_postgres_at(|db, url| async move {
        db.store.check_wall().await.unwrap();
        let mut admin = AnyConnection::connect(&url).await.unwrap();
        let hole = "ALTER TABLE devices NO FORCE ROW LEVEL SECURITY; \
                    ALTER TABLE audit_log DISABLE ROW LEVEL SECURITY";
        sqlx::raw_sql(hole).execute(&mut admin).await.unwrap();
        let error = db.store.check_wall().await.unwrap_err().to_string();
        for part in ["audit_log", "devices", "edgeformer-controller migrate"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        db.store.migrate().await.unwrap();
        db.store.check_wall().await.unwrap();
        let owned = "ALTER TABLE devices OWNER TO edgeformer_app";
        sqlx::raw_sql(owned).execute(&mut admin).await.unwrap();
        let error = db.store.check_wall().await.unwrap_err().to_string();
        assert!(error.contains("owns the tables devices"), "{error}");
        sqlx::raw_sql("ALTER TABLE devices OWNER TO current_user")
            .execute(&mut admin)
            .await
            .unwrap();

        // A table that a later version brings is walled if it says whose its rows are.
        sqlx::raw_sql("CREATE TABLE later (tenant_id TEXT, x TEXT)")
            .execute(&mut admin)
            .await
            .unwrap();
        assert!(matches!(db.store.check_wall().await, Err(StoreError::Wall(_))));
        db.store.migrate().await.unwrap();
        db.store.check_wall().await.unwrap();
        sqlx::raw_sql("CREATE TABLE nobodys (x TEXT)").execute(&mut admin).await.unwrap();
        let error = db.store.migrate().await.unwrap_err().to_string();
        assert!(error.contains("whose the rows of table nobodys are"), "{error}");
        admin.close().await.unwrap();
    })
    .await;
}

/// As in production: a login that is no superuser owns the database, migrates and serves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_login_is_enough_and_sees_nothing_past_the_wall_itself() {
    // The roles are made by whoever comes first; here an administrator made them.
    let first = PostgresDatabase::create().await;
    let store = Store::connect(&first.url).await.unwrap();
    store.migrate().await.unwrap();
    store.close().await;
    let login = format!("login_{}", uuid::Uuid::now_v7().simple());
    let (server, name) = first.url.rsplit_once('/').unwrap();
    let host = server.rsplit_once('@').unwrap().1;
    first
        .run_inside(&format!(
            "CREATE ROLE {login} LOGIN PASSWORD 'x'; GRANT edgeformer_app, edgeformer_backup TO {login}; \
             CREATE SCHEMA plain AUTHORIZATION {login}; ALTER ROLE {login} SET search_path = plain"
        ))
        .await;
    let url = format!("postgres://{login}:x@{host}/{name}");
    let store = Store::connect(&url).await.unwrap();
    store.migrate().await.unwrap();
    store.check_wall().await.unwrap();
    let top = InstallationScope::system("test");
    let id = TenantId::new();
    let tenant = tenants::Tenant {
        id,
        name: "a".to_owned(),
        ca_cert_der: vec![1],
        wrapped_ca_key: vec![1],
        release_public: vec![1],
        wrapped_release_key: vec![1],
        wrapped_chunk_secret: vec![1],
        wrapped_kek: vec![1],
        created_at: Timestamp(0),
    };
    let mut write = store.write_observation(&top).await.unwrap();
    tenants::insert(&mut write, &tenant).await.unwrap();
    write.commit(Timestamp(0)).await.unwrap();
    let scope = TenantScope::system(id, "test");
    let own = tenants::own(&mut store.read(&scope).await.unwrap()).await.unwrap();
    assert_eq!(own.unwrap().id, id);
    let other = TenantScope::system(TenantId::new(), "test");
    assert!(tenants::own(&mut store.read(&other).await.unwrap()).await.unwrap().is_none());

    // The login owns the tables, and the wall is forced on it too.
    let mut plain = AnyConnection::connect(&url).await.unwrap();
    let row = sqlx::query("SELECT CAST(count(*) AS BIGINT) AS n FROM tenants");
    assert_eq!(row.fetch_one(&mut plain).await.unwrap().get::<i64, _>("n"), 0);
    plain.close().await.unwrap();
    store.close().await;

    // One that only serves needs the application's role and nothing else.
    let serving = format!("serving_{}", uuid::Uuid::now_v7().simple());
    first
        .run_inside(&format!(
            "CREATE ROLE {serving} LOGIN PASSWORD 'x'; GRANT edgeformer_app TO {serving}; \
             ALTER ROLE {serving} SET search_path = plain"
        ))
        .await;
    let store = Store::connect(&format!("postgres://{serving}:x@{host}/{name}")).await.unwrap();
    store.check_schema().await.unwrap();
    store.check_wall().await.unwrap();
    assert!(tenants::own(&mut store.read(&scope).await.unwrap()).await.unwrap().is_some());
    assert!(store.read_everything(&top).await.is_err(), "it may not take a backup's role");
    store.close().await;
    first.run_inside(&format!("DROP ROLE {serving}")).await;
    first.run_inside(&format!("DROP OWNED BY {login} CASCADE; DROP ROLE {login}")).await;
    first.drop_it().await;
}
