//! Telemetry points. Written in batches as devices send them, read by device and time.

use std::collections::BTreeMap;

use edgeformer_proto::ids::DeviceId;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::{Conn, StoreError, Write, parse_id, parse_json, to_json};
use crate::clock::Timestamp;
use crate::scope::TenantScope;
use crate::telemetry::Point;

const COLUMNS: &str = "tenant_id, id, device_id, metric, slot, version_id, rollout_id, at_us, \
                       received_at_us, count, sum, min, max, buckets, attributes";
/// How many columns that is.
const WIDTH: usize = 15;
/// Rows of one statement: far below the 32,766 parameters that SQLite allows.
const ROWS_PER_INSERT: usize = 100;

/// Adds points, all or none with the transaction.
pub async fn insert(write: &mut Write<TenantScope>, points: &[Point]) -> Result<(), StoreError> {
    let key = write.key();
    for rows in points.chunks(ROWS_PER_INSERT) {
        let mut sql = format!("INSERT INTO telemetry_points ({COLUMNS}) VALUES ");
        for row in 0..rows.len() {
            let numbers = (1..=WIDTH).map(|column| format!("${}", row * WIDTH + column));
            let separator = if row == 0 { "" } else { ", " };
            sql.push_str(&format!("{separator}({})", numbers.collect::<Vec<_>>().join(", ")));
        }
        // Safe: made of constants and numbers.
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for point in rows {
            query = query
                .bind(key.clone())
                .bind(point.id.clone())
                .bind(point.device_id.to_string())
                .bind(point.metric.clone())
                .bind(point.slot.clone())
                .bind(point.version_id.clone())
                .bind(point.rollout_id.clone())
                .bind(point.at.0)
                .bind(point.received_at.0)
                .bind(i64::try_from(point.count).unwrap_or(i64::MAX))
                .bind(point.sum)
                .bind(point.min)
                .bind(point.max)
                .bind(point.buckets.as_ref().map(to_json).unwrap_or_default())
                .bind(to_json(&point.attributes));
        }
        query.execute(write.db()).await.map_err(StoreError::doing("adding telemetry points"))?;
    }
    Ok(())
}

/// Removes at most `limit` points received before `before`. Returns how many went.
pub async fn forget(
    write: &mut Write<TenantScope>,
    before: Timestamp,
    limit: i64,
) -> Result<u64, StoreError> {
    let key = write.key();
    let done = sqlx::query(
        "DELETE FROM telemetry_points WHERE tenant_id = $1 AND id IN ( \
           SELECT id FROM telemetry_points WHERE tenant_id = $1 AND received_at_us < $2 \
           ORDER BY received_at_us LIMIT $3)",
    )
    .bind(key)
    .bind(before.0)
    .bind(limit)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("removing old telemetry"))?;
    Ok(done.rows_affected())
}

fn read(row: &AnyRow) -> Result<Point, StoreError> {
    let id: String = row.get("id");
    let device_id: String = row.get("device_id");
    let buckets: String = row.get("buckets");
    let attributes: String = row.get("attributes");
    let count: i64 = row.get("count");
    Ok(Point {
        device_id: parse_id("telemetry_points", &device_id)?,
        metric: row.get("metric"),
        slot: row.get("slot"),
        version_id: row.get("version_id"),
        rollout_id: row.get("rollout_id"),
        at: Timestamp(row.get("at_us")),
        received_at: Timestamp(row.get("received_at_us")),
        count: u64::try_from(count).unwrap_or(0),
        sum: row.get("sum"),
        min: row.get("min"),
        max: row.get("max"),
        buckets: match buckets.as_str() {
            "" => None,
            text => Some(parse_json("telemetry_points", &id, text)?),
        },
        attributes: parse_json("telemetry_points", &id, &attributes)?,
        id,
    })
}

/// Which points.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this device; of all if none.
    pub device_id: Option<DeviceId>,
    /// Of this metric; of all if empty.
    pub metric: String,
    /// Received at or after this time.
    pub since: Option<Timestamp>,
}

/// Points in the order they arrived, after the point `after` ('' is the first).
pub async fn list(
    conn: &mut Conn<TenantScope>,
    filter: &Filter,
    after: &str,
    limit: i64,
) -> Result<Vec<Point>, StoreError> {
    let key = conn.key();
    let device_id = filter.device_id.map(|id| id.to_string()).unwrap_or_default();
    let rows = sqlx::query(
        "SELECT id, device_id, metric, slot, version_id, rollout_id, at_us, received_at_us, \
         count, sum, min, max, buckets, attributes FROM telemetry_points \
         WHERE tenant_id = $1 AND id > $2 AND ($3 = '' OR device_id = $3) \
         AND ($4 = '' OR metric = $4) AND received_at_us >= $5 ORDER BY id LIMIT $6",
    )
    .bind(key)
    .bind(after.to_owned())
    .bind(device_id)
    .bind(filter.metric.clone())
    .bind(filter.since.map_or(0, |since| since.0))
    .bind(limit)
    .fetch_all(conn.db())
    .await
    .map_err(StoreError::doing("listing telemetry points"))?;
    rows.iter().map(read).collect()
}

/// Names of the devices that ever sent a point, by id.
pub async fn device_names(
    conn: &mut Conn<TenantScope>,
) -> Result<BTreeMap<String, String>, StoreError> {
    names(
        conn,
        "SELECT id, name FROM devices WHERE tenant_id = $1 AND EXISTS \
         (SELECT 1 FROM telemetry_points p WHERE p.tenant_id = $1 AND p.device_id = devices.id)",
    )
    .await
}

/// Versions as published, by id.
pub async fn version_names(
    conn: &mut Conn<TenantScope>,
) -> Result<BTreeMap<String, String>, StoreError> {
    names(conn, "SELECT id, version AS name FROM versions WHERE tenant_id = $1").await
}

async fn names(
    conn: &mut Conn<TenantScope>,
    sql: &'static str,
) -> Result<BTreeMap<String, String>, StoreError> {
    let key = conn.key();
    let rows = sqlx::query(sql)
        .bind(key)
        .fetch_all(conn.db())
        .await
        .map_err(StoreError::doing("reading names"))?;
    Ok(rows.iter().map(|row| (row.get("id"), row.get("name"))).collect())
}
