//! Erases a person or a device from what stands beside the audit log and from every other table. The
//! log itself never changes: its leaves hold commitments that say nothing once the salt is gone.

use std::collections::BTreeMap;

use edgeformer_proto::ids::UserId;
use serde_json::json;

use super::privacy::id_of;
use super::validate::check_person;
use crate::app::App;
use crate::audit::retention::refuse_under_hold;
use crate::audit::seal::Subject;
use crate::audit::{Intent, Resource};
use crate::clock::Timestamp;
use crate::error::AppError;
use crate::policy::Action;
use crate::scope::TenantScope;
use crate::store::{Conn, audit_subjects, erasures, privacy, users};

/// What erasing takes, or took.
#[derive(Debug, Clone)]
pub struct Erased {
    /// Whose data.
    pub subject: Subject,
    /// Records with values of the subject.
    pub records: u64,
    /// Rows of other tables, by table.
    pub rows: BTreeMap<String, u64>,
    /// Electronic signatures that stay as they were signed.
    pub signatures_kept: u64,
    /// When; none before.
    pub erased_at: Option<Timestamp>,
}

/// From a request.
pub fn parse(text: &str) -> Result<Subject, AppError> {
    Subject::parse(text).filter(|subject| !subject.is_nobody()).ok_or_else(|| {
        AppError::invalid("subject", "it must be a kind and an id, like user:0198c0de-…")
    })
}

/// What there is of a subject.
struct Found {
    erased: Erased,
    /// Patterns of names in telemetry.
    names: Vec<String>,
}

async fn find(conn: &mut Conn<TenantScope>, subject: &Subject) -> Result<Found, AppError> {
    let (kind, id) = (kind_of(subject), id_of(subject)?);
    let known = audit_subjects::erasure(conn, subject).await?;
    let names = match kind {
        "user" => privacy::names_of(conn, id).await?,
        _ => Vec::new(),
    };
    let mut rows = erasures::rows(conn, kind, id).await?;
    let named = erasures::named(conn, &names).await?;
    if named > 0 {
        *rows.entry("telemetry_points".to_owned()).or_default() += named;
    }
    if known.is_none() && rows.is_empty() {
        return Err(AppError::not_found("audit subject", subject.as_str()));
    }
    let known = known.unwrap_or_default();
    let erased = Erased {
        subject: subject.clone(),
        records: known.records,
        rows,
        signatures_kept: erasures::signatures(conn, id).await?,
        erased_at: known.erased_at,
    };
    Ok(Found { erased, names })
}

fn kind_of(subject: &Subject) -> &str {
    subject.as_str().split_once(':').map(|(kind, _)| kind).unwrap_or_default()
}

/// What erasing would take.
pub async fn preview(app: &App, scope: &TenantScope, subject: Subject) -> Result<Erased, AppError> {
    let mut read = app.store.read(scope).await?;
    Ok(find(&mut read, &subject).await?.erased)
}

/// Erases. Doing it again changes nothing and is no error.
pub async fn erase(app: &App, scope: &TenantScope, subject: Subject) -> Result<Erased, AppError> {
    let now = app.now();
    let (kind, id) = (kind_of(&subject), id_of(&subject)?);
    let intent =
        Intent::new(Action::ErasureCreate, Resource::new("audit_subject", subject.as_str()));
    let mut write = app.store.write(scope, intent).await?;
    refuse_under_hold(&mut write).await?;
    let Found { mut erased, names } = find(&mut write, &subject).await?;
    check(&mut write, scope, kind, id).await?;
    let from_log = audit_subjects::erase(&mut write, &subject, now).await?;
    let named = erasures::erase_named(&mut write, &names).await?;
    let rows = erasures::erase(&mut write, kind, id).await?;
    if from_log || named > 0 || !rows.is_empty() {
        let after = json!({"erased": true, "rows": erased.rows});
        write.changes(json!({"erased": false}), after);
        write.commit(now).await?;
        app.nudges.audit.notify_one();
        erased.erased_at = Some(now);
    }
    Ok(erased)
}

/// Nobody erases whom they may not change, and no device that is still let in.
async fn check(
    conn: &mut Conn<TenantScope>,
    scope: &TenantScope,
    kind: &str,
    id: &str,
) -> Result<(), AppError> {
    if kind == "device" && erasures::is_enrolled(conn, id).await? {
        let detail = format!(
            "device {id} is enrolled and would report itself again: revoke it first with \
             `edgeformer device revoke {id}`"
        );
        return Err(AppError::conflict("device_enrolled", detail));
    }
    if let ("user", Ok(user)) = (kind, id.parse::<UserId>())
        && let Some(user) = users::get(conn, user).await?
    {
        check_person(conn, scope, &user).await?;
    }
    Ok(())
}
