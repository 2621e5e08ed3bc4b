//! People and groups that an identity provider looks after. Nothing here reads or writes one that it
//! does not.

use edgeformer_proto::ids::{GroupId, UserId};
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::{Conn, StoreError, Write, parse_id};
use crate::clock::Timestamp;
use crate::scope::TenantScope;

/// A person as the provider knows it.
#[derive(Debug, Clone)]
pub struct Person {
    /// Its id.
    pub id: UserId,
    /// What the provider says, as JSON.
    pub profile: String,
    /// Whether it may log in.
    pub active: bool,
    /// Grows with each change.
    pub revision: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub modified_at: Timestamp,
}

/// What is kept of a person beside the profile, to find it and log it in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Derived {
    /// Lower case.
    pub user_name: String,
    /// For people.
    pub display_name: String,
    /// Empty without one.
    pub email: String,
    /// Empty without one.
    pub external_id: String,
    /// Whether it may log in.
    pub active: bool,
}

/// A group as the provider knows it.
#[derive(Debug, Clone)]
pub struct ProvidedGroup {
    /// Its id.
    pub id: GroupId,
    /// Its name.
    pub name: String,
    /// Empty without one.
    pub external_id: String,
    /// Grows with each change.
    pub revision: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub modified_at: Timestamp,
}

/// A condition on rows, with its values from `$2` on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Condition {
    /// SQL, made of literals of this program only.
    pub sql: String,
    /// The values.
    pub values: Vec<Bound>,
}

/// A value of a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    /// A text.
    Text(String),
    /// A flag.
    Flag(i64),
}

impl Condition {
    fn and(&self) -> String {
        if self.sql.is_empty() { String::new() } else { format!("AND ({})", self.sql) }
    }
}

const PERSON: &str = "id, profile, active, revision, created_at_us, modified_at_us";
const GROUP: &str = "id, name, external_id, revision, created_at_us, modified_at_us";

fn modified(row: &AnyRow) -> (Timestamp, Timestamp) {
    let (created, modified): (i64, i64) = (row.get("created_at_us"), row.get("modified_at_us"));
    (Timestamp(created), Timestamp(modified.max(created)))
}

fn person(row: &AnyRow) -> Result<Person, StoreError> {
    let (created_at, modified_at) = modified(row);
    Ok(Person {
        id: parse_id("users", &row.get::<String, _>("id"))?,
        profile: row.get("profile"),
        active: row.get::<i64, _>("active") != 0,
        revision: row.get::<i64, _>("revision").unsigned_abs(),
        created_at,
        modified_at,
    })
}

fn group(row: &AnyRow) -> Result<ProvidedGroup, StoreError> {
    let (created_at, modified_at) = modified(row);
    Ok(ProvidedGroup {
        id: parse_id("groups", &row.get::<String, _>("id"))?,
        name: row.get("name"),
        external_id: row.get("external_id"),
        revision: row.get::<i64, _>("revision").unsigned_abs(),
        created_at,
        modified_at,
    })
}

/// Rows of `table` that satisfy the condition: how many there are, and a part of them.
async fn select(
    conn: &mut Conn<TenantScope>,
    (table, columns): (&str, &str),
    condition: &Condition,
    (limit, offset): (i64, i64),
) -> Result<(i64, Vec<AnyRow>), StoreError> {
    let key = conn.key();
    let from = format!("FROM {table} WHERE tenant_id = $1 AND source = 'scim' {}", condition.and());
    let count = format!("SELECT CAST(count(*) AS BIGINT) AS n {from}");
    let at = condition.values.len() + 2;
    let page = format!("SELECT {columns} {from} ORDER BY id LIMIT ${at} OFFSET ${}", at + 1);
    let mut counting = sqlx::query(AssertSqlSafe(count)).bind(key.clone());
    let mut paging = sqlx::query(AssertSqlSafe(page)).bind(key);
    for value in &condition.values {
        (counting, paging) = match value {
            Bound::Text(text) => (counting.bind(text.clone()), paging.bind(text.clone())),
            Bound::Flag(flag) => (counting.bind(*flag), paging.bind(*flag)),
        };
    }
    let doing = || StoreError::doing("listing what an identity provider looks after");
    let row = counting.fetch_one(conn.db()).await.map_err(doing())?;
    let paging = paging.bind(limit).bind(offset);
    let rows = paging.fetch_all(conn.db()).await.map_err(doing())?;
    Ok((row.get("n"), rows))
}

fn by_id(id: impl ToString) -> Condition {
    Condition { sql: "id = $2".to_owned(), values: vec![Bound::Text(id.to_string())] }
}

/// People that satisfy the condition: how many, and a part of them.
pub async fn people(
    conn: &mut Conn<TenantScope>,
    condition: &Condition,
    part: (i64, i64),
) -> Result<(i64, Vec<Person>), StoreError> {
    let (count, rows) = select(conn, ("users", PERSON), condition, part).await?;
    Ok((count, rows.iter().map(person).collect::<Result<_, _>>()?))
}

/// The person of this id.
pub async fn get_person(
    conn: &mut Conn<TenantScope>,
    id: UserId,
) -> Result<Option<Person>, StoreError> {
    Ok(people(conn, &by_id(id), (1, 0)).await?.1.pop())
}

/// Groups that satisfy the condition: how many, and a part of them.
pub async fn groups(
    conn: &mut Conn<TenantScope>,
    condition: &Condition,
    part: (i64, i64),
) -> Result<(i64, Vec<ProvidedGroup>), StoreError> {
    let (count, rows) = select(conn, ("groups", GROUP), condition, part).await?;
    Ok((count, rows.iter().map(group).collect::<Result<_, _>>()?))
}

/// The group of this id.
pub async fn get_group(
    conn: &mut Conn<TenantScope>,
    id: GroupId,
) -> Result<Option<ProvidedGroup>, StoreError> {
    Ok(groups(conn, &by_id(id), (1, 0)).await?.1.pop())
}

/// The groups of the provider that a person is in.
pub async fn groups_of(
    conn: &mut Conn<TenantScope>,
    id: UserId,
) -> Result<Vec<(String, String)>, StoreError> {
    let key = conn.key();
    let rows = sqlx::query(
        "SELECT g.id, g.name FROM groups g JOIN group_members m \
           ON m.tenant_id = g.tenant_id AND m.group_id = g.id \
         WHERE g.tenant_id = $1 AND m.user_id = $2 AND g.source = 'scim' ORDER BY g.id",
    )
    .bind(key)
    .bind(id.to_string())
    .fetch_all(conn.db())
    .await
    .map_err(StoreError::doing("reading a person's groups"))?;
    Ok(rows.iter().map(|row| (row.get("id"), row.get("name"))).collect())
}

/// Sets what the provider says of a person who is still at `revision`, and returns whether it was. A
/// conflict means that the name is taken.
pub async fn set_person(
    write: &mut Write<TenantScope>,
    (id, revision): (UserId, u64),
    derived: &Derived,
    profile: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let key = write.key();
    let done = sqlx::query(
        "UPDATE users SET user_name = $4, display_name = $5, email = $6, external_id = $7, \
         active = $8, profile = $9, modified_at_us = $10, revision = revision + 1 \
         WHERE tenant_id = $1 AND id = $2 AND revision = $3 AND source = 'scim'",
    )
    .bind(key)
    .bind(id.to_string())
    .bind(i64::try_from(revision).unwrap_or(i64::MAX))
    .bind(derived.user_name.clone())
    .bind(derived.display_name.clone())
    .bind(derived.email.clone())
    .bind(derived.external_id.clone())
    .bind(i64::from(derived.active))
    .bind(profile.to_owned())
    .bind(now.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("changing a person"))?;
    Ok(done.rows_affected() == 1)
}

/// Sets name and external id of a group that is still at `revision`, and returns whether it was. A
/// conflict means that the name is taken.
pub async fn set_group(
    write: &mut Write<TenantScope>,
    group: &ProvidedGroup,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let key = write.key();
    let done = sqlx::query(
        "UPDATE groups SET name = $4, external_id = $5, modified_at_us = $6, \
         revision = revision + 1 \
         WHERE tenant_id = $1 AND id = $2 AND revision = $3 AND source = 'scim'",
    )
    .bind(key)
    .bind(group.id.to_string())
    .bind(i64::try_from(group.revision).unwrap_or(i64::MAX))
    .bind(group.name.clone())
    .bind(group.external_id.clone())
    .bind(now.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("changing a group"))?;
    Ok(done.rows_affected() == 1)
}

/// Puts a person of the provider into a group. False if it was in, or is not there.
pub async fn add_member(
    write: &mut Write<TenantScope>,
    id: GroupId,
    member: &str,
) -> Result<bool, StoreError> {
    let key = write.key();
    let done = sqlx::query(
        "INSERT INTO group_members (tenant_id, group_id, user_id) \
         SELECT tenant_id, $2, id FROM users \
         WHERE tenant_id = $1 AND id = $3 AND source = 'scim' ON CONFLICT DO NOTHING",
    )
    .bind(key)
    .bind(id.to_string())
    .bind(member.to_owned())
    .execute(write.db())
    .await
    .map_err(StoreError::doing("putting a person into a group"))?;
    Ok(done.rows_affected() == 1)
}

/// How many people are in a group.
pub async fn count_members(conn: &mut Conn<TenantScope>, id: GroupId) -> Result<i64, StoreError> {
    let key = conn.key();
    let row = sqlx::query(
        "SELECT CAST(count(*) AS BIGINT) AS n FROM group_members \
         WHERE tenant_id = $1 AND group_id = $2",
    )
    .bind(key)
    .bind(id.to_string())
    .fetch_one(conn.db())
    .await
    .map_err(StoreError::doing("counting who is in a group"))?;
    Ok(row.get("n"))
}
