//! What is known of the sessions of a device: one row, changed under its lock, so that several
//! controllers decide one after the other.

use edgeformer_proto::ids::DeviceId;
use edgeformer_proto::instance::{Instance, Ratchet, VALUE_BYTES};
use sqlx::Row;
use sqlx::any::AnyRow;

use crate::clock::Timestamp;
use crate::scope::TenantScope;
use crate::session::instances::{Instances, Seat};
use crate::store::{Backend, Conn, StoreError, Write};

const COLUMNS: &str = "kept_counter, kept_value, offered_counter, offered_value, session_id, \
    boot_id, answered, rival_session_id, rival_boot_id, rival_answered";

fn instance(row: &AnyRow, counter: &str, value: &str) -> Result<Instance, StoreError> {
    let counter = row.get::<i64, _>(counter).cast_unsigned();
    let bytes: Vec<u8> = row.get(value);
    if counter == 0 {
        return Ok(Instance::default());
    }
    let value = <[u8; VALUE_BYTES]>::try_from(bytes).map_err(|bytes| StoreError::Damaged {
        table: "device_instances",
        id: String::new(),
        what: format!("a value of {} bytes", bytes.len()),
    })?;
    Ok(Instance { counter, value })
}

fn read(row: &AnyRow) -> Result<Instances, StoreError> {
    let seat = |session, boot, answered| Seat {
        session: row.get(session),
        boot: row.get(boot),
        answered: row.get::<i64, _>(answered) != 0,
    };
    let offered = instance(row, "offered_counter", "offered_value")?;
    Ok(Instances {
        ratchet: Ratchet {
            confirmed: instance(row, "kept_counter", "kept_value")?,
            offered: (offered.counter > 0).then_some(offered),
        },
        seat: seat("session_id", "boot_id", "answered"),
        rival: seat("rival_session_id", "rival_boot_id", "rival_answered"),
    })
}

/// What is known of a device's sessions.
pub async fn get(
    conn: &mut Conn<TenantScope>,
    device: DeviceId,
) -> Result<Option<Instances>, StoreError> {
    let sql =
        format!("SELECT {COLUMNS} FROM device_instances WHERE tenant_id = $1 AND device_id = $2");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(conn.key())
        .bind(device.to_string())
        .fetch_optional(conn.db())
        .await
        .map_err(StoreError::doing("reading a device's sessions"))?;
    row.as_ref().map(read).transpose()
}

/// The same, to be changed: nobody else reads it to change it until the transaction ends.
pub async fn lock(
    write: &mut Write<TenantScope>,
    device: DeviceId,
    now: Timestamp,
) -> Result<Instances, StoreError> {
    let key = write.key();
    sqlx::query(
        "INSERT INTO device_instances (tenant_id, device_id, kept_counter, kept_value, \
         offered_counter, offered_value, session_id, boot_id, answered, rival_session_id, \
         rival_boot_id, rival_answered, updated_at_us) \
         VALUES ($1, $2, 0, $3, 0, $3, '', '', 0, '', '', 0, $4) \
         ON CONFLICT (tenant_id, device_id) DO NOTHING",
    )
    .bind(key.clone())
    .bind(device.to_string())
    .bind(Vec::<u8>::new())
    .bind(now.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("noting a device's first session"))?;
    // SQLite has one writer, who is us.
    let locked = if write.backend() == Backend::Postgres { " FOR UPDATE" } else { "" };
    let sql = format!(
        "SELECT {COLUMNS} FROM device_instances WHERE tenant_id = $1 AND device_id = $2{locked}"
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(key)
        .bind(device.to_string())
        .fetch_one(write.db())
        .await
        .map_err(StoreError::doing("locking a device's sessions"))?;
    read(&row)
}

/// Replaces what is known; the row was locked in the same transaction.
pub async fn save(
    write: &mut Write<TenantScope>,
    device: DeviceId,
    instances: &Instances,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Instances { ratchet, seat, rival } = instances;
    let offered = ratchet.offered.unwrap_or_default();
    let value = |of: Instance| if of.counter == 0 { Vec::new() } else { of.value.to_vec() };
    let key = write.key();
    sqlx::query(
        "UPDATE device_instances SET kept_counter = $3, kept_value = $4, offered_counter = $5, \
         offered_value = $6, session_id = $7, boot_id = $8, answered = $9, \
         rival_session_id = $10, rival_boot_id = $11, rival_answered = $12, updated_at_us = $13 \
         WHERE tenant_id = $1 AND device_id = $2",
    )
    .bind(key)
    .bind(device.to_string())
    .bind(ratchet.confirmed.counter.cast_signed())
    .bind(value(ratchet.confirmed))
    .bind(offered.counter.cast_signed())
    .bind(value(offered))
    .bind(seat.session.clone())
    .bind(seat.boot.clone())
    .bind(i64::from(seat.answered))
    .bind(rival.session.clone())
    .bind(rival.boot.clone())
    .bind(i64::from(rival.answered))
    .bind(now.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("noting a device's session"))?;
    Ok(())
}

/// Forgets what is known, so that whoever comes next is the device: for an operator who looked.
pub async fn forget(write: &mut Write<TenantScope>, device: DeviceId) -> Result<(), StoreError> {
    let key = write.key();
    sqlx::query("DELETE FROM device_instances WHERE tenant_id = $1 AND device_id = $2")
        .bind(key)
        .bind(device.to_string())
        .execute(write.db())
        .await
        .map_err(StoreError::doing("forgetting a device's sessions"))?;
    Ok(())
}
