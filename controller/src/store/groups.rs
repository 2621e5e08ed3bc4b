//! Groups of people. Being in one gives its roles.

use std::collections::BTreeSet;

use edgeformer_proto::ids::{GroupId, UserId};
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::users::{Source, role_names, roles};
use super::{Conn, StoreError, Write, parse_id};
use crate::clock::Timestamp;
use crate::policy::Role;
use crate::scope::TenantScope;

/// A group.
#[derive(Debug, Clone)]
pub struct Group {
    /// Its id.
    pub id: GroupId,
    /// Unique in the tenant.
    pub name: String,
    /// What an identity provider calls it; empty if it does not.
    pub external_id: String,
    /// Where it comes from.
    pub source: Source,
    /// What its members may be.
    pub roles: BTreeSet<Role>,
    /// Grows with each change.
    pub revision: u64,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A person in a group.
#[derive(Debug, Clone)]
pub struct Member {
    /// Who.
    pub id: UserId,
    /// Its name.
    pub user_name: String,
}

const COLUMNS: &str = "id, name, external_id, source, roles, revision, created_at_us";

fn read(row: &AnyRow) -> Result<Group, StoreError> {
    let id: String = row.get("id");
    let source: String = row.get("source");
    Ok(Group {
        name: row.get("name"),
        external_id: row.get("external_id"),
        source: Source::parse(&source).ok_or_else(|| StoreError::Damaged {
            table: "groups",
            id: id.clone(),
            what: format!("source {source:?}"),
        })?,
        roles: roles("groups", &id, &row.get::<String, _>("roles"))?,
        revision: row.get::<i64, _>("revision").unsigned_abs(),
        created_at: Timestamp(row.get("created_at_us")),
        id: parse_id("groups", &id)?,
    })
}

/// Adds a group. A conflict means that the name is taken.
pub async fn insert(write: &mut Write<TenantScope>, group: &Group) -> Result<(), StoreError> {
    let key = write.key();
    sqlx::query(
        "INSERT INTO groups (tenant_id, id, name, external_id, source, roles, revision, \
         created_at_us) VALUES ($1, $2, $3, $4, $5, $6, 1, $7)",
    )
    .bind(key)
    .bind(group.id.to_string())
    .bind(group.name.clone())
    .bind(group.external_id.clone())
    .bind(group.source.as_str())
    .bind(role_names(&group.roles))
    .bind(group.created_at.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("adding a group"))?;
    Ok(())
}

/// The group of this id.
pub async fn get(conn: &mut Conn<TenantScope>, id: GroupId) -> Result<Option<Group>, StoreError> {
    let key = conn.key();
    let sql = format!("SELECT {COLUMNS} FROM groups WHERE tenant_id = $1 AND id = $2");
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(key)
        .bind(id.to_string())
        .fetch_optional(conn.db())
        .await
        .map_err(StoreError::doing("reading a group"))?;
    row.as_ref().map(read).transpose()
}

/// Groups in the order they were made, after `after`.
pub async fn list(
    conn: &mut Conn<TenantScope>,
    after: Option<GroupId>,
    limit: i64,
) -> Result<Vec<Group>, StoreError> {
    let key = conn.key();
    let sql = format!(
        "SELECT {COLUMNS} FROM groups WHERE tenant_id = $1 AND id > $2 ORDER BY id LIMIT $3"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(key)
        .bind(after.map(|id| id.to_string()).unwrap_or_default())
        .bind(limit)
        .fetch_all(conn.db())
        .await
        .map_err(StoreError::doing("listing groups"))?;
    rows.iter().map(read).collect()
}

/// Changes a group that is still at `revision`. Returns whether it was; a conflict means that the
/// name is taken.
pub async fn update(
    write: &mut Write<TenantScope>,
    group: &Group,
    revision: u64,
) -> Result<bool, StoreError> {
    let key = write.key();
    let done = sqlx::query(
        "UPDATE groups SET name = $4, external_id = $5, roles = $6, revision = revision + 1 \
         WHERE tenant_id = $1 AND id = $2 AND revision = $3",
    )
    .bind(key)
    .bind(group.id.to_string())
    .bind(i64::try_from(revision).unwrap_or(i64::MAX))
    .bind(group.name.clone())
    .bind(group.external_id.clone())
    .bind(role_names(&group.roles))
    .execute(write.db())
    .await
    .map_err(StoreError::doing("changing a group"))?;
    Ok(done.rows_affected() == 1)
}

/// Removes a group and who is in it.
pub async fn delete(write: &mut Write<TenantScope>, id: GroupId) -> Result<(), StoreError> {
    let key = write.key();
    for sql in [
        "DELETE FROM group_members WHERE tenant_id = $1 AND group_id = $2",
        "DELETE FROM groups WHERE tenant_id = $1 AND id = $2",
    ] {
        sqlx::query(sql)
            .bind(key.clone())
            .bind(id.to_string())
            .execute(write.db())
            .await
            .map_err(StoreError::doing("removing a group"))?;
    }
    Ok(())
}

/// Puts a person into a group. False if it was in before.
pub async fn add(
    write: &mut Write<TenantScope>,
    id: GroupId,
    user: UserId,
) -> Result<bool, StoreError> {
    let sql = "INSERT INTO group_members (tenant_id, group_id, user_id) VALUES ($1, $2, $3) \
        ON CONFLICT DO NOTHING";
    membership(write, sql, id, user).await
}

/// Takes a person out of a group. False if it was not in.
pub async fn remove(
    write: &mut Write<TenantScope>,
    id: GroupId,
    user: UserId,
) -> Result<bool, StoreError> {
    let sql = "DELETE FROM group_members WHERE tenant_id = $1 AND group_id = $2 AND user_id = $3";
    membership(write, sql, id, user).await
}

async fn membership(
    write: &mut Write<TenantScope>,
    sql: &'static str,
    id: GroupId,
    user: UserId,
) -> Result<bool, StoreError> {
    let key = write.key();
    let done = sqlx::query(sql)
        .bind(key)
        .bind(id.to_string())
        .bind(user.to_string())
        .execute(write.db())
        .await
        .map_err(StoreError::doing("changing who is in a group"))?;
    Ok(done.rows_affected() == 1)
}

/// Who is in a group, in the order they were made, after `after`.
pub async fn members(
    conn: &mut Conn<TenantScope>,
    id: GroupId,
    after: Option<UserId>,
    limit: i64,
) -> Result<Vec<Member>, StoreError> {
    let key = conn.key();
    let rows = sqlx::query(
        "SELECT u.id, u.user_name FROM group_members m JOIN users u \
           ON u.tenant_id = m.tenant_id AND u.id = m.user_id \
         WHERE m.tenant_id = $1 AND m.group_id = $2 AND m.user_id > $3 \
         ORDER BY m.user_id LIMIT $4",
    )
    .bind(key)
    .bind(id.to_string())
    .bind(after.map(|id| id.to_string()).unwrap_or_default())
    .bind(limit)
    .fetch_all(conn.db())
    .await
    .map_err(StoreError::doing("reading who is in a group"))?;
    let member = |row: &AnyRow| {
        let id = parse_id("group_members", &row.get::<String, _>("id"))?;
        Ok(Member { id, user_name: row.get("user_name") })
    };
    rows.iter().map(member).collect()
}

/// Whether a person is in a group.
pub async fn has(
    conn: &mut Conn<TenantScope>,
    id: GroupId,
    user: UserId,
) -> Result<bool, StoreError> {
    let key = conn.key();
    let row = sqlx::query(
        "SELECT 1 AS one FROM group_members \
         WHERE tenant_id = $1 AND group_id = $2 AND user_id = $3",
    )
    .bind(key)
    .bind(id.to_string())
    .bind(user.to_string())
    .fetch_optional(conn.db())
    .await
    .map_err(StoreError::doing("looking for a person in a group"))?;
    Ok(row.is_some())
}
