//! Who a provider's subjects are in the tenant.

use std::collections::BTreeSet;

use edgeformer_proto::ids::{IdentityProviderId, UserId};
use sqlx::Row;

use super::{Conn, StoreError, Write, parse_id, parse_json, to_json};
use crate::clock::Timestamp;
use crate::scope::TenantScope;

/// The user that a subject of a provider is.
pub async fn user_of(
    conn: &mut Conn<TenantScope>,
    provider: IdentityProviderId,
    subject: &str,
) -> Result<Option<UserId>, StoreError> {
    let key = conn.key();
    let row = sqlx::query(
        "SELECT user_id FROM user_identities \
         WHERE tenant_id = $1 AND provider_id = $2 AND subject = $3",
    )
    .bind(key)
    .bind(provider.to_string())
    .bind(subject.to_owned())
    .fetch_optional(conn.db())
    .await
    .map_err(StoreError::doing("looking a subject up"))?;
    row.map(|row| parse_id("user_identities", &row.get::<String, _>("user_id"))).transpose()
}

/// Whether the user is a subject of the provider already.
pub async fn is_linked(
    conn: &mut Conn<TenantScope>,
    provider: IdentityProviderId,
    user: UserId,
) -> Result<bool, StoreError> {
    Ok(groups(conn, provider, user).await?.is_some())
}

/// The mapped groups that the provider named at the user's last log-in; none if it does not know them.
pub async fn groups(
    conn: &mut Conn<TenantScope>,
    provider: IdentityProviderId,
    user: UserId,
) -> Result<Option<BTreeSet<String>>, StoreError> {
    let key = conn.key();
    let row = sqlx::query(
        "SELECT groups FROM user_identities \
         WHERE tenant_id = $1 AND provider_id = $2 AND user_id = $3",
    )
    .bind(key)
    .bind(provider.to_string())
    .bind(user.to_string())
    .fetch_optional(conn.db())
    .await
    .map_err(StoreError::doing("reading what a provider says of a user"))?;
    let parse = |row: sqlx::any::AnyRow| {
        parse_json("user_identities", &user.to_string(), &row.get::<String, _>("groups"))
    };
    row.map(parse).transpose()
}

/// Keeps who a subject is, and its groups. A conflict means that the user is another subject of the
/// same provider.
pub async fn put(
    write: &mut Write<TenantScope>,
    provider: IdentityProviderId,
    subject: &str,
    user: UserId,
    groups: &BTreeSet<String>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let key = write.key();
    sqlx::query(
        "INSERT INTO user_identities \
         (tenant_id, provider_id, subject, user_id, groups, linked_at_us, seen_at_us) \
         VALUES ($1, $2, $3, $4, $5, $6, $6) \
         ON CONFLICT (tenant_id, provider_id, subject) DO UPDATE \
           SET groups = excluded.groups, seen_at_us = excluded.seen_at_us",
    )
    .bind(key)
    .bind(provider.to_string())
    .bind(subject.to_owned())
    .bind(user.to_string())
    .bind(to_json(groups))
    .bind(now.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("keeping who a subject is"))?;
    Ok(())
}

/// Users that a directory brought in under this name of its own; two at most.
pub async fn brought_in_as(
    conn: &mut Conn<TenantScope>,
    external_id: &str,
) -> Result<Vec<UserId>, StoreError> {
    let key = conn.key();
    let rows = sqlx::query(
        "SELECT id FROM users WHERE tenant_id = $1 AND source = 'scim' AND external_id = $2 \
         LIMIT 2",
    )
    .bind(key)
    .bind(external_id.to_owned())
    .fetch_all(conn.db())
    .await
    .map_err(StoreError::doing("looking for a user that was brought in"))?;
    rows.iter().map(|row| parse_id("users", &row.get::<String, _>("id"))).collect()
}

/// Users with this e-mail address, which is in lower case; two at most.
pub async fn with_email(
    conn: &mut Conn<TenantScope>,
    email: &str,
) -> Result<Vec<UserId>, StoreError> {
    let key = conn.key();
    let sql = "SELECT id FROM users WHERE tenant_id = $1 AND lower(email) = $2 LIMIT 2";
    let rows = sqlx::query(sql)
        .bind(key)
        .bind(email.to_owned())
        .fetch_all(conn.db())
        .await
        .map_err(StoreError::doing("looking for a user by e-mail address"))?;
    rows.iter().map(|row| parse_id("users", &row.get::<String, _>("id"))).collect()
}

/// Notes that a token of another issuer was used. False if it was used before.
pub async fn use_up(
    write: &mut Write<TenantScope>,
    use_sha256: &[u8; 32],
    expires_at: Timestamp,
) -> Result<bool, StoreError> {
    let key = write.key();
    let done = sqlx::query(
        "INSERT INTO foreign_token_uses (tenant_id, use_sha256, expires_at_us) \
         VALUES ($1, $2, $3) ON CONFLICT (tenant_id, use_sha256) DO NOTHING",
    )
    .bind(key)
    .bind(use_sha256.to_vec())
    .bind(expires_at.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("noting the use of a token"))?;
    Ok(done.rows_affected() == 1)
}

/// Forgets uses of tokens that are over at `now` anyway.
pub async fn forget_uses(
    write: &mut Write<TenantScope>,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let key = write.key();
    let sql = "DELETE FROM foreign_token_uses WHERE tenant_id = $1 AND expires_at_us <= $2";
    let done = sqlx::query(sql)
        .bind(key)
        .bind(now.0)
        .execute(write.db())
        .await
        .map_err(StoreError::doing("forgetting used tokens"))?;
    Ok(done.rows_affected())
}
