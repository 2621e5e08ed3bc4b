//! Erases a person from what stands beside the audit log. The log itself never changes: its leaves
//! hold commitments that say nothing once the salt is gone.

use serde_json::json;

use crate::app::App;
use crate::audit::seal::Subject;
use crate::audit::{Intent, Resource};
use crate::clock::Timestamp;
use crate::error::AppError;
use crate::policy::Action;
use crate::scope::TenantScope;
use crate::store::audit_subjects::{self, Erasure};

/// What erasing takes, or took.
#[derive(Debug, Clone)]
pub struct Erased {
    /// Whose data.
    pub subject: Subject,
    /// Records with values of the subject.
    pub records: u64,
    /// When; none before.
    pub erased_at: Option<Timestamp>,
}

impl Erased {
    fn of(subject: Subject, found: Erasure) -> Self {
        Self { subject, records: found.records, erased_at: found.erased_at }
    }
}

/// From a request.
pub fn parse(text: &str) -> Result<Subject, AppError> {
    Subject::parse(text).filter(|subject| !subject.is_nobody()).ok_or_else(|| {
        AppError::invalid("subject", "it must be a kind and an id, like user:0198c0de-…")
    })
}

/// What erasing would take.
pub async fn preview(app: &App, scope: &TenantScope, subject: Subject) -> Result<Erased, AppError> {
    let mut read = app.store.read(scope).await?;
    let found = audit_subjects::erasure(&mut read, &subject).await?;
    let found = found.ok_or_else(|| AppError::not_found("audit subject", subject.as_str()))?;
    Ok(Erased::of(subject, found))
}

/// Erases. Doing it again changes nothing and is no error.
pub async fn erase(app: &App, scope: &TenantScope, subject: Subject) -> Result<Erased, AppError> {
    let now = app.now();
    let intent =
        Intent::new(Action::ErasureCreate, Resource::new("audit_subject", subject.as_str()));
    let mut write = app.store.write(scope, intent).await?;
    let found = audit_subjects::erasure(&mut write, &subject).await?;
    let found = found.ok_or_else(|| AppError::not_found("audit subject", subject.as_str()))?;
    if audit_subjects::erase(&mut write, &subject, now).await? {
        write.changes(json!({"erased": false}), json!({"erased": true}));
        write.commit(now).await?;
        app.nudges.audit.notify_one();
        return Ok(Erased { subject, records: found.records, erased_at: Some(now) });
    }
    Ok(Erased::of(subject, found))
}
