//! All rows of all tables as lines of JSON, and back: what a backup is made of. It works on rows
//! without knowing what they mean, so a table that a later migration adds is part of it by itself.
//!
//! The only store module that looks past tenants; it takes the installation's scope.

use std::io::BufRead;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::{AssertSqlSafe, Row};

use super::{Backend, Conn, StoreError, Write};
use crate::scope::{InstallationScope, Scope};

/// Tables that belong to the migration tool.
const NOT_OURS: &str = "_sqlx_migrations";
/// One row as a line: the largest column is a signed manifest or a JSON document of some kilobytes.
const MAX_LINE_BYTES: u64 = 16 << 20;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// 64-bit integer.
    Integer,
    /// 64-bit float.
    Float,
    /// UTF-8.
    Text,
    /// Bytes, base64 in the dump.
    Bytes,
}

/// One table of a dump.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its columns in the order of the lines.
    pub columns: Vec<(String, Kind)>,
    /// How many lines.
    pub rows: u64,
}

/// A dump that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file failed.
    #[error("table {table}: {source}")]
    Io {
        /// Which table.
        table: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A line is not what the table holds.
    #[error("table {table}, row {row}: {why}")]
    Line {
        /// Which table.
        table: String,
        /// Which row, from 1.
        row: u64,
        /// What is wrong.
        why: String,
    },
    /// The schema here has no such table or column.
    #[error("this schema has no {0}: restore with the version that made the backup, then update")]
    Unknown(String),
}

/// Names of all tables, in alphabetical order.
pub async fn tables<S: Scope>(conn: &mut Conn<S>) -> Result<Vec<String>, StoreError> {
    let sql = match conn.backend() {
        Backend::Sqlite => {
            "SELECT name FROM sqlite_master WHERE type = 'table' \
             AND name NOT LIKE 'sqlite!_%' ESCAPE '!' AND name <> $1 ORDER BY name"
        }
        Backend::Postgres => {
            "SELECT CAST(table_name AS TEXT) AS name FROM information_schema.tables \
             WHERE table_schema = current_schema() AND table_name <> $1 ORDER BY 1"
        }
    };
    let rows = sqlx::query(sql)
        .bind(NOT_OURS)
        .fetch_all(conn.db())
        .await
        .map_err(StoreError::doing("listing tables"))?;
    Ok(rows.iter().map(|row| row.get("name")).collect())
}

/// Names and kinds of a table's columns.
pub async fn columns<S: Scope>(
    conn: &mut Conn<S>,
    table: &str,
) -> Result<Vec<(String, Kind)>, StoreError> {
    let sql = match conn.backend() {
        Backend::Sqlite => "SELECT name, type AS kind FROM pragma_table_info($1) ORDER BY cid",
        Backend::Postgres => {
            "SELECT CAST(column_name AS TEXT) AS name, CAST(data_type AS TEXT) AS kind \
             FROM information_schema.columns \
             WHERE table_schema = current_schema() AND table_name = $1 ORDER BY ordinal_position"
        }
    };
    let rows = sqlx::query(sql)
        .bind(table.to_owned())
        .fetch_all(conn.db())
        .await
        .map_err(StoreError::doing("listing columns"))?;
    rows.iter()
        .map(|row| {
            let (name, declared): (String, String) = (row.get("name"), row.get("kind"));
            let kind = match declared.to_ascii_lowercase().as_str() {
                "bigint" | "integer" => Kind::Integer,
                "double precision" => Kind::Float,
                "text" => Kind::Text,
                "blob" | "bytea" => Kind::Bytes,
                other => {
                    return Err(StoreError::Damaged {
                        table: "schema",
                        id: format!("{table}.{name}"),
                        what: format!("type {other} is not one that backups know"),
                    });
                }
            };
            Ok((name, kind))
        })
        .collect()
}

/// Writes all rows of a table, a line each.
pub async fn export(
    conn: &mut Conn<InstallationScope>,
    name: &str,
    out: &mut impl std::io::Write,
) -> Result<Table, DumpError> {
    let columns = columns(conn, name).await?;
    let list = column_list(&columns);
    // Safe: names come from the schema.
    let sql = AssertSqlSafe(format!("SELECT {list} FROM \"{name}\""));
    let mut stream = sqlx::query(sql).fetch(conn.db());
    let mut rows = 0;
    while let Some(row) =
        stream.try_next().await.map_err(StoreError::doing("reading rows for a backup"))?
    {
        let cells: Vec<Value> =
            columns.iter().enumerate().map(|(at, (_, kind))| cell(&row, at, *kind)).collect();
        let line = Value::Array(cells).to_string();
        writeln!(out, "{line}")
            .map_err(|source| DumpError::Io { table: name.to_owned(), source })?;
        rows += 1;
    }
    Ok(Table { name: name.to_owned(), columns, rows })
}

fn column_list(columns: &[(String, Kind)]) -> String {
    columns.iter().map(|(name, _)| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

pub(super) fn cell(row: &AnyRow, at: usize, kind: Kind) -> Value {
    match kind {
        Kind::Integer => json!(row.get::<Option<i64>, _>(at)),
        Kind::Float => json!(row.get::<Option<f64>, _>(at)),
        Kind::Text => json!(row.get::<Option<String>, _>(at)),
        Kind::Bytes => json!(row.get::<Option<Vec<u8>>, _>(at).map(|b| BASE64.encode(b))),
    }
}

/// Adds the rows of a dump to an empty table of the same shape.
pub async fn import(
    write: &mut Write<InstallationScope>,
    table: &Table,
    input: impl BufRead,
) -> Result<(), DumpError> {
    let here = columns(write, &table.name).await?;
    if here.is_empty() {
        return Err(DumpError::Unknown(format!("table {}", table.name)));
    }
    for column in &table.columns {
        if !here.contains(column) {
            return Err(DumpError::Unknown(format!("column {}.{}", table.name, column.0)));
        }
    }
    let places: Vec<String> = (1..=table.columns.len()).map(|at| format!("${at}")).collect();
    // The names are those of this schema: they were looked up above.
    let sql = format!(
        "INSERT INTO \"{}\" ({}) VALUES ({})",
        table.name,
        column_list(&table.columns),
        places.join(", ")
    );
    let mut input = input;
    for row in 1..=table.rows {
        let wrong = |why: String| DumpError::Line { table: table.name.clone(), row, why };
        let mut line = String::new();
        std::io::Read::take(&mut input, MAX_LINE_BYTES)
            .read_line(&mut line)
            .map_err(|source| DumpError::Io { table: table.name.clone(), source })?;
        let cells: Vec<Value> =
            serde_json::from_str(&line).map_err(|error| wrong(error.to_string()))?;
        if cells.len() != table.columns.len() {
            return Err(wrong(format!(
                "{} columns instead of {}",
                cells.len(),
                table.columns.len()
            )));
        }
        let mut query = sqlx::query(AssertSqlSafe(sql.clone()));
        for ((name, kind), cell) in table.columns.iter().zip(cells) {
            query = bind(query, *kind, cell)
                .ok_or_else(|| wrong(format!("{name} does not hold {kind:?}")))?;
        }
        query.execute(write.db()).await.map_err(StoreError::doing("restoring a row"))?;
    }
    Ok(())
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Any, AnyArguments>;

fn bind(query: Query<'_>, kind: Kind, cell: Value) -> Option<Query<'_>> {
    Some(match (kind, cell) {
        (Kind::Integer, Value::Null) => query.bind(None::<i64>),
        (Kind::Float, Value::Null) => query.bind(None::<f64>),
        (Kind::Text, Value::Null) => query.bind(None::<String>),
        (Kind::Bytes, Value::Null) => query.bind(None::<Vec<u8>>),
        (Kind::Integer, Value::Number(number)) => query.bind(number.as_i64()?),
        (Kind::Float, Value::Number(number)) => query.bind(number.as_f64()?),
        (Kind::Text, Value::String(text)) => query.bind(text),
        (Kind::Bytes, Value::String(text)) => query.bind(BASE64.decode(text).ok()?),
        _ => return None,
    })
}
