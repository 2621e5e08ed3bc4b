//! When devices were last heard of. Written in batches: one statement for many devices, never one
//! for each heartbeat.

use edgeformer_proto::ids::DeviceId;
use sqlx::AssertSqlSafe;

use super::{StoreError, Write};
use crate::clock::Timestamp;
use crate::scope::TenantScope;

/// Rows of one statement; six parameters each stay far below the limits of both databases.
const ROWS_PER_STATEMENT: usize = 200;

/// One device's newest sign of life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// The device.
    pub device: DeviceId,
    /// When its message arrived.
    pub at: Timestamp,
    /// As it reported; 0 when not known.
    pub memory_available_bytes: u64,
    /// As it reported; 0 when not known.
    pub disk_free_bytes: u64,
    /// Version of its agent.
    pub agent_version: String,
}

/// Writes the newest sign of life of many devices; an older one never replaces a newer.
pub async fn upsert(write: &mut Write<TenantScope>, batch: &[Presence]) -> Result<(), StoreError> {
    let key = write.key();
    for rows in batch.chunks(ROWS_PER_STATEMENT) {
        let values: Vec<String> = (0..rows.len())
            .map(|row| {
                let first = row * 5 + 2;
                let [a, b, c, d, e] = [0, 1, 2, 3, 4].map(|n| first + n);
                format!("($1, ${a}, ${b}, ${c}, ${d}, ${e})")
            })
            .collect();
        let statement = format!(
            "INSERT INTO device_presence (tenant_id, device_id, last_seen_at_us, \
             memory_available_bytes, disk_free_bytes, agent_version) VALUES {} \
             ON CONFLICT (tenant_id, device_id) DO UPDATE SET \
             last_seen_at_us = excluded.last_seen_at_us, \
             memory_available_bytes = excluded.memory_available_bytes, \
             disk_free_bytes = excluded.disk_free_bytes, agent_version = excluded.agent_version \
             WHERE excluded.last_seen_at_us >= device_presence.last_seen_at_us",
            values.join(", ")
        );
        let mut query = sqlx::query(AssertSqlSafe(statement)).bind(key.clone());
        for row in rows {
            query = query
                .bind(row.device.to_string())
                .bind(row.at.0)
                .bind(i64::try_from(row.memory_available_bytes).unwrap_or(i64::MAX))
                .bind(i64::try_from(row.disk_free_bytes).unwrap_or(i64::MAX))
                .bind(row.agent_version.clone());
        }
        query.execute(write.db()).await.map_err(StoreError::doing("noting who was heard of"))?;
    }
    Ok(())
}
