//! What stands beside the audit log: clear values of records, and the salts of those whose data they
//! are. Erasing a subject is done here and cannot be undone.

use std::collections::BTreeMap;
use std::sync::Arc;

use ring::rand::{SecureRandom, SystemRandom};
use sqlx::{AssertSqlSafe, Row};

use super::audit_log::{Waiting, placeholders};
use super::{Conn, StoreError, Write, parse_json, to_json};
use crate::audit::seal::{Beside, SALT_BYTES, Salt, Subject};
use crate::clock::Timestamp;
use crate::kept::{Asking, Kept};
use crate::scope::Scope;

/// Salts as they were a moment ago, by log and subject. A record that is sealed with one that was erased
/// within that moment is opened by nobody, and what stands beside it goes when it is sequenced.
pub(super) type KeptSalts = Kept<(String, Subject), Salt>;

/// Salts for one transaction: those that are kept, and those it reads, to be kept once it is committed.
pub(super) struct KnownSalts {
    kept: Arc<KeptSalts>,
    read: Vec<(Asking, (String, Subject), Salt)>,
}

impl std::fmt::Debug for KnownSalts {
    /// How many, and none of them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KnownSalts").field("read", &self.read.len()).finish_non_exhaustive()
    }
}

impl KnownSalts {
    pub(super) fn new(kept: &Arc<KeptSalts>) -> Self {
        Self { kept: Arc::clone(kept), read: Vec::new() }
    }

    /// After the commit: before, a salt may be one that is undone.
    pub(super) fn keep(self, now: Timestamp) {
        for (asking, subject, salt) in self.read {
            self.kept.put(asking, subject, salt, now);
        }
    }
}

/// The salts of subjects, made where there are none yet; an erased subject has none.
pub(crate) async fn salts_for<S: Scope>(
    write: &mut Write<S>,
    subjects: &[Subject],
    now: Timestamp,
) -> Result<BTreeMap<Subject, Salt>, StoreError> {
    let key = write.key();
    let kept = Arc::clone(&write.salts().kept);
    let (mut salts, mut asked) = (BTreeMap::new(), BTreeMap::new());
    for subject in subjects {
        match kept.fresh(&(key.clone(), subject.clone()), now) {
            Ok(salt) => _ = salts.insert(subject.clone(), salt),
            Err(asking) => _ = asked.insert(subject.clone(), asking),
        }
    }
    let wanted: Vec<_> = asked.keys().cloned().collect();
    let mut known = find_salts(write, &wanted).await?;
    let missing: Vec<_> = wanted.into_iter().filter(|one| !known.contains_key(one)).collect();
    for subject in &missing {
        make_salt(write, subject, now).await?;
    }
    // Somebody else may have been faster.
    known.extend(find_salts(write, &missing).await?);
    for (subject, salt) in known {
        let (Some(salt), Some(asking)) = (salt, asked.get(&subject)) else { continue };
        write.salts().read.push((*asking, (key.clone(), subject.clone()), salt));
        salts.insert(subject, salt);
    }
    Ok(salts)
}

async fn make_salt<S: Scope>(
    write: &mut Write<S>,
    subject: &Subject,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut fresh: Salt = [0; SALT_BYTES];
    let random = SystemRandom::new().fill(&mut fresh);
    random.map_err(|_| damaged(subject, "the operating system gave no random bytes"))?;
    let key = write.key();
    sqlx::query(
        "INSERT INTO audit_subjects (tenant_id, subject, salt, created_at_us) \
         VALUES ($1, $2, $3, $4) ON CONFLICT (tenant_id, subject) DO NOTHING",
    )
    .bind(key)
    .bind(subject.as_str().to_owned())
    .bind(fresh.to_vec())
    .bind(now.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing("keeping the salt of an audit subject"))?;
    Ok(())
}

/// Those that are known; none: erased.
async fn find_salts<S: Scope>(
    conn: &mut Conn<S>,
    subjects: &[Subject],
) -> Result<BTreeMap<Subject, Option<Salt>>, StoreError> {
    if subjects.is_empty() {
        return Ok(BTreeMap::new());
    }
    let places: Vec<String> = (2..subjects.len() + 2).map(|n| format!("${n}")).collect();
    let sql = format!(
        "SELECT subject, salt FROM audit_subjects WHERE tenant_id = $1 AND subject IN ({})",
        places.join(", ")
    );
    let mut query = sqlx::query(AssertSqlSafe(sql)).bind(conn.key());
    for subject in subjects {
        query = query.bind(subject.as_str().to_owned());
    }
    let doing = StoreError::doing("reading the salts of audit subjects");
    let rows = query.fetch_all(conn.db()).await.map_err(doing)?;
    let mut found = BTreeMap::new();
    for row in &rows {
        let name: String = row.get("subject");
        let Some(subject) = subjects.iter().find(|one| one.as_str() == name) else { continue };
        let salt: Option<Vec<u8>> = row.get("salt");
        let salt = salt.map(|bytes| {
            Salt::try_from(bytes.as_slice()).map_err(|_| damaged(subject, "a salt's length"))
        });
        found.insert(subject.clone(), salt.transpose()?);
    }
    Ok(found)
}

fn damaged(subject: &Subject, what: &str) -> StoreError {
    let id = subject.as_str().to_owned();
    StoreError::Damaged { table: "audit_subjects", id, what: what.to_owned() }
}

/// Keeps what stands beside records, but for subjects that were erased meanwhile.
pub(crate) async fn keep<'r, S: Scope>(
    write: &mut Write<S>,
    records: impl Iterator<Item = &'r Waiting>,
) -> Result<(), StoreError> {
    let all: Vec<_> = records
        .flat_map(|record| record.beside.iter().map(|one| (record.id.clone(), one)))
        .collect();
    // One record has few subjects, and the caller brings some records at a time.
    for some in all.chunks(500) {
        let rows = placeholders(some.len(), 3);
        let sql = format!(
            "WITH v (id, subject, clear_values) AS (VALUES {rows}) \
             INSERT INTO audit_beside (tenant_id, id, subject, clear_values) \
             SELECT $1, id, subject, clear_values FROM v WHERE NOT EXISTS ( \
               SELECT 1 FROM audit_subjects s \
               WHERE s.tenant_id = $1 AND s.subject = v.subject AND s.salt IS NULL)"
        );
        let mut insert = sqlx::query(AssertSqlSafe(sql)).bind(write.key());
        for (id, one) in some {
            insert = insert.bind(id.clone()).bind(one.subject.as_str().to_owned());
            insert = insert.bind(to_json(&one.values));
        }
        let doing = StoreError::doing("keeping what stands beside audit records");
        insert.execute(write.db()).await.map_err(doing)?;
    }
    Ok(())
}

/// What stands beside the records from `first` to `last`, by record.
pub(crate) async fn beside<S: Scope>(
    conn: &mut Conn<S>,
    first: &str,
    last: &str,
) -> Result<BTreeMap<String, Vec<Beside>>, StoreError> {
    let key = conn.key();
    let rows = sqlx::query(
        "SELECT id, subject, clear_values FROM audit_beside \
         WHERE tenant_id = $1 AND id >= $2 AND id <= $3",
    )
    .bind(key)
    .bind(first.to_owned())
    .bind(last.to_owned())
    .fetch_all(conn.db())
    .await
    .map_err(StoreError::doing("reading what stands beside the audit log"))?;
    let mut all: BTreeMap<String, Vec<Beside>> = BTreeMap::new();
    for row in rows {
        let id: String = row.get("id");
        let subject: String = row.get("subject");
        let subject = Subject::parse(&subject).ok_or_else(|| StoreError::Damaged {
            table: "audit_beside",
            id: id.clone(),
            what: format!("subject {subject:?}"),
        })?;
        let values = parse_json("audit_beside", &id, &row.get::<String, _>("clear_values"))?;
        all.entry(id).or_default().push(Beside { subject, values });
    }
    Ok(all)
}

/// The salts of some subjects, for somebody who is to check commitments.
pub async fn salts<S: Scope>(
    conn: &mut Conn<S>,
    subjects: impl IntoIterator<Item = Subject>,
) -> Result<BTreeMap<Subject, Salt>, StoreError> {
    let subjects: Vec<Subject> = subjects.into_iter().collect();
    let mut all = BTreeMap::new();
    // A page of records has a few hundred at most; the database takes more, but not any number.
    for some in subjects.chunks(500) {
        let found = find_salts(conn, some).await?;
        all.extend(found.into_iter().filter_map(|(subject, salt)| Some((subject, salt?))));
    }
    Ok(all)
}

/// What erasing a subject takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Erasure {
    /// Records whose values about the subject go.
    pub records: u64,
    /// When it was erased before.
    pub erased_at: Option<Timestamp>,
}

/// What erasing would take; nothing is changed.
pub async fn erasure<S: Scope>(
    conn: &mut Conn<S>,
    subject: &Subject,
) -> Result<Option<Erasure>, StoreError> {
    let key = conn.key();
    let row = sqlx::query(
        "SELECT s.erased_at_us, (SELECT CAST(count(*) AS BIGINT) FROM audit_beside b \
           WHERE b.tenant_id = s.tenant_id AND b.subject = s.subject) AS records \
         FROM audit_subjects s WHERE s.tenant_id = $1 AND s.subject = $2",
    )
    .bind(key)
    .bind(subject.as_str().to_owned())
    .fetch_optional(conn.db())
    .await
    .map_err(StoreError::doing("looking at what an erasure takes"))?;
    Ok(row.map(|row| Erasure {
        records: row.get::<i64, _>("records").unsigned_abs(),
        erased_at: row.get::<Option<i64>, _>("erased_at_us").map(Timestamp),
    }))
}

/// Erases a subject: its salt and every value that stands beside the log, waiting records included.
/// The leaves stay. False if there is no such subject or it was erased before.
pub async fn erase<S: Scope>(
    write: &mut Write<S>,
    subject: &Subject,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let doing = "erasing an audit subject";
    let key = write.key();
    write.salts().kept.forget(&(key.clone(), subject.clone()));
    let done = sqlx::query(
        "UPDATE audit_subjects SET salt = NULL, erased_at_us = $3 \
         WHERE tenant_id = $1 AND subject = $2 AND salt IS NOT NULL",
    )
    .bind(key.clone())
    .bind(subject.as_str().to_owned())
    .bind(now.0)
    .execute(write.db())
    .await
    .map_err(StoreError::doing(doing))?;
    sqlx::query("DELETE FROM audit_beside WHERE tenant_id = $1 AND subject = $2")
        .bind(key.clone())
        .bind(subject.as_str().to_owned())
        .execute(write.db())
        .await
        .map_err(StoreError::doing(doing))?;
    let mut after = String::new();
    while let Some(last) = erase_waiting(write, subject, &after).await? {
        after = last;
    }
    Ok(done.rows_affected() == 1)
}

/// Outbox rows read at a time while erasing.
const WAITING_AT_ONCE: i64 = 500;

/// Takes a subject out of the waiting records that follow the id `after`, some at a time. Returns the
/// last id of those; none after the last.
async fn erase_waiting<S: Scope>(
    write: &mut Write<S>,
    subject: &Subject,
    after: &str,
) -> Result<Option<String>, StoreError> {
    let doing = "erasing an audit subject from waiting records";
    let key = write.key();
    let waiting: Vec<(String, String)> = sqlx::query_as(
        "SELECT id, beside FROM audit_outbox WHERE tenant_id = $1 AND id > $2 ORDER BY id LIMIT $3",
    )
    .bind(key.clone())
    .bind(after.to_owned())
    .bind(WAITING_AT_ONCE)
    .fetch_all(write.db())
    .await
    .map_err(StoreError::doing(doing))?;
    for (id, text) in &waiting {
        let mut beside: Vec<Beside> = parse_json("audit_outbox", id, text)?;
        let before = beside.len();
        beside.retain(|one| one.subject != *subject);
        if beside.len() == before {
            continue;
        }
        sqlx::query("UPDATE audit_outbox SET beside = $3 WHERE tenant_id = $1 AND id = $2")
            .bind(key.clone())
            .bind(id.clone())
            .bind(to_json(&beside))
            .execute(write.db())
            .await
            .map_err(StoreError::doing(doing))?;
    }
    Ok(waiting.into_iter().next_back().map(|(id, _)| id))
}
