//! A device takes another's place: it is to run what the other was to run, and each knows of the other.

use edgeformer_proto::Generation;
use edgeformer_proto::ids::DeviceId;

use crate::clock::Timestamp;
use crate::scope::TenantScope;
use crate::store::{StoreError, Write, installation};

/// Gives `new` what `old` is to run, and its part in rollouts that are not over for it.
pub async fn take_over(
    write: &mut Write<TenantScope>,
    old: DeviceId,
    new: DeviceId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Generation { epoch, counter } =
        Generation { epoch: 0, counter: 0 }.next(installation::epoch(write).await?);
    let (key, old, new) = (write.key(), old.to_string(), new.to_string());
    let generation = (epoch.cast_signed(), counter.cast_signed());
    let copied = sqlx::query(
        "INSERT INTO assignments (tenant_id, device_id, slot, version_id, rollout_id, settings) \
         SELECT tenant_id, $3, slot, version_id, rollout_id, settings FROM assignments \
         WHERE tenant_id = $1 AND device_id = $2",
    )
    .bind(key.clone())
    .bind(old.clone())
    .bind(new.clone())
    .execute(write.db())
    .await
    .map_err(StoreError::doing("giving a replacement its assignments"))?;
    if copied.rows_affected() > 0 {
        sqlx::query(
            "UPDATE devices SET desired_epoch = $3, desired_counter = $4 \
             WHERE tenant_id = $1 AND id = $2",
        )
        .bind(key.clone())
        .bind(new.clone())
        .bind(generation.0)
        .bind(generation.1)
        .execute(write.db())
        .await
        .map_err(StoreError::doing("raising a replacement's generation"))?;
    }
    take_rollouts(write, &old, &new, generation, now).await?;
    for (device, column, other) in [(&old, "replaced_by", &new), (&new, "replaces", &old)] {
        // Safe: made of constants.
        let sql = sqlx::AssertSqlSafe(format!(
            "UPDATE devices SET {column} = $3 WHERE tenant_id = $1 AND id = $2"
        ));
        sqlx::query(sql)
            .bind(key.clone())
            .bind(device.clone())
            .bind(other.clone())
            .execute(write.db())
            .await
            .map_err(StoreError::doing("linking a device and its replacement"))?;
    }
    Ok(())
}

async fn take_rollouts(
    write: &mut Write<TenantScope>,
    old: &str,
    new: &str,
    generation: (i64, i64),
    now: Timestamp,
) -> Result<(), StoreError> {
    let key = write.key();
    // What waits for its turn waits on; what owns a slot is followed to its end, if the rollout runs, and
    // is on record otherwise: it is what entitles the device to the version.
    sqlx::query(
        "INSERT INTO rollout_devices (tenant_id, rollout_id, device_id, version_id, settings, \
           previous_version_id, previous_settings, assigned_epoch, assigned_counter, state, \
           reason, message, updated_at_us) \
         SELECT rd.tenant_id, rd.rollout_id, $3, rd.version_id, rd.settings, \
           rd.previous_version_id, rd.previous_settings, \
           CASE WHEN rd.state = 'pending' THEN 0 ELSE $4 END, \
           CASE WHEN rd.state = 'pending' THEN 0 ELSE $5 END, \
           CASE WHEN rd.state = 'pending' THEN 'pending' \
                WHEN r.state = 'running' THEN 'assigned' ELSE 'superseded' END, \
           CASE WHEN r.state = 'running' THEN '' ELSE 'replacement' END, \
           CASE WHEN r.state = 'running' THEN '' \
                ELSE 'given to the device that took the place of one of this rollout' END, $6 \
         FROM rollout_devices rd \
         JOIN rollouts r ON r.tenant_id = rd.tenant_id AND r.id = rd.rollout_id \
         LEFT JOIN assignments a ON a.tenant_id = rd.tenant_id AND a.device_id = rd.device_id \
           AND a.slot = r.slot AND a.rollout_id = rd.rollout_id \
         WHERE rd.tenant_id = $1 AND rd.device_id = $2 \
           AND (a.slot IS NOT NULL OR (r.state = 'running' AND rd.state = 'pending'))",
    )
    .bind(key)
    .bind(old.to_owned())
    .bind(new.to_owned())
    .bind(generation.0)
    .bind(generation.1)
    .bind(now.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("giving a replacement its part in rollouts"))?;
    Ok(())
}
