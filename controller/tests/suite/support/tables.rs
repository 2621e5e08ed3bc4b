//! The tables of a database as its schema has them, and rows that fit any of them: what tests of the
//! wall between tenants derive their list from.

use edgeformer_controller::store::Backend;
use sqlx::{AnyConnection, AssertSqlSafe, Row};

/// A table with its columns and their declared types.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) columns: Vec<(String, String)>,
}

impl Table {
    /// Whether its rows belong to tenants.
    pub(crate) fn is_tenants(&self) -> bool {
        self.has("tenant_id")
    }

    /// Whether it has this column.
    pub(crate) fn has(&self, column: &str) -> bool {
        self.columns.iter().any(|(name, _)| name == column)
    }

    /// An INSERT of a row of `tenant`, with `marker` in its other columns of text.
    pub(crate) fn insert(&self, backend: Backend, tenant: &str, marker: &str) -> String {
        let value = |(name, kind): &(String, String)| match (name.as_str(), kind.as_str()) {
            ("tenant_id", _) => format!("'{tenant}'"),
            (name, "text") => format!("'{marker}-{name}'"),
            (_, "bigint" | "integer") => "7".to_owned(),
            (_, "double precision") => "1.5".to_owned(),
            // 32 bytes, for what must be a hash.
            (_, "blob" | "bytea") if backend == Backend::Sqlite => {
                format!("X'{}'", "ab".repeat(32))
            }
            (_, "blob" | "bytea") => format!("'\\x{}'::bytea", "ab".repeat(32)),
            (name, other) => panic!("{}.{name} is of type {other}", self.name),
        };
        let names: Vec<_> = self.columns.iter().map(|(name, _)| name.as_str()).collect();
        let values: Vec<_> = self.columns.iter().map(value).collect();
        format!("INSERT INTO {} ({}) VALUES ({})", self.name, names.join(", "), values.join(", "))
    }

    /// A text of all rows of `tenant`: equal before and after if nothing changed.
    pub(crate) async fn content(&self, db: &mut AnyConnection, tenant: &str) -> Vec<String> {
        let cells: Vec<_> = self
            .columns
            .iter()
            .map(|(name, kind)| match kind.as_str() {
                "blob" => format!("coalesce(hex({name}), '')"),
                "bytea" => format!("coalesce(encode({name}, 'hex'), '')"),
                _ => format!("coalesce(CAST({name} AS TEXT), '')"),
            })
            .collect();
        let (table, row) = (&self.name, cells.join(" || '|' || "));
        let sql =
            format!("SELECT {row} AS row FROM {table} WHERE tenant_id = '{tenant}' ORDER BY 1");
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(db).await.unwrap();
        rows.iter().map(|row| row.get("row")).collect()
    }
}

/// All tables but the migration tool's.
pub(crate) async fn tables(db: &mut AnyConnection, backend: Backend) -> Vec<Table> {
    let (list, columns) = match backend {
        Backend::Sqlite => (
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' \
             AND name <> '_sqlx_migrations' ORDER BY 1",
            "SELECT name, lower(type) AS kind FROM pragma_table_info($1) ORDER BY cid",
        ),
        Backend::Postgres => (
            "SELECT CAST(table_name AS TEXT) AS name FROM information_schema.tables \
             WHERE table_schema = current_schema() AND table_name <> '_sqlx_migrations' ORDER BY 1",
            "SELECT CAST(column_name AS TEXT) AS name, CAST(data_type AS TEXT) AS kind \
             FROM information_schema.columns \
             WHERE table_schema = current_schema() AND table_name = $1 ORDER BY ordinal_position",
        ),
    };
    let mut tables = Vec::new();
    for row in sqlx::query(list).fetch_all(&mut *db).await.unwrap() {
        let name: String = row.get("name");
        let rows = sqlx::query(columns).bind(name.clone()).fetch_all(&mut *db).await.unwrap();
        let columns = rows.iter().map(|row| (row.get("name"), row.get("kind"))).collect();
        tables.push(Table { name, columns });
    }
    assert!(tables.len() > 15, "only {} tables", tables.len());
    tables
}
