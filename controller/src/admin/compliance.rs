//! Reports of which version ran where, who published and approved it, and what proves it. They are
//! read off the audit log, record by record, with the code that checks them offline; nothing that a
//! table says gets into a report without a record that says the same.

use std::collections::{BTreeMap, VecDeque};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use edgeformer_proto::artifact::ReleasePublic;
use edgeformer_proto::compliance::{Derive, DeriveError, Entry, FORMAT, Header};
use edgeformer_proto::ids::VersionId;

use super::audit_proofs;
use crate::app::App;
use crate::audit::{Intent, Outcome, Resource};
use crate::clock::Timestamp;
use crate::error::AppError;
use crate::policy::Action;
use crate::scope::TenantScope;
use crate::store::{audit_log, audit_retention, audit_subjects, tenants, versions};

/// Records read at a time, and lines written at a time: about a MiB of text.
const PAGE: usize = 500;

impl From<DeriveError> for AppError {
    fn from(error: DeriveError) -> Self {
        Self::Internal(format!("the audit log cannot be reported on: {error}"))
    }
}

fn time(field: &str, text: &str) -> Result<Timestamp, AppError> {
    Timestamp::parse_rfc3339(text).ok_or_else(|| {
        AppError::invalid(field, "it must be a time as RFC 3339 has it, like 2026-07-01T00:00:00Z")
    })
}

/// Begins a report; that somebody takes it is on record before its first line.
pub async fn report(
    app: &App,
    scope: &TenantScope,
    from: &str,
    to: &str,
    size: Option<u64>,
) -> Result<Reader, AppError> {
    let (from, to, now) = (time("from", from)?, time("to", to)?, app.now());
    if from >= to {
        return Err(AppError::invalid("to", "it must be later than the begin of the period"));
    }
    let (signed, _) = audit_proofs::checkpoint(app, scope, 0).await?;
    let size = size.unwrap_or(signed);
    if size > signed {
        let message = format!("the log has signed {signed} records so far");
        return Err(AppError::invalid("size", message));
    }
    let mut read = app.store.read(scope).await?;
    // What the records before it said was deleted after its retention.
    let first = audit_retention::get(&mut read).await?.deleted_to.min(size);
    let tenant = tenants::own(&mut read).await?;
    drop(read);
    let header = Header {
        format: FORMAT.to_owned(),
        tenant_id: scope.tenant().to_string(),
        tenant: tenant.map(|tenant| tenant.name).unwrap_or_default(),
        from: from.rfc3339(),
        to: to.rfc3339(),
        first,
        size,
        made_at: now.rfc3339(),
    };
    let period = format!("{}/{}", header.from, header.to);
    let intent = Intent::new(Action::ComplianceReport, Resource::new("compliance_report", period));
    app.store.record(scope, intent, Outcome::Success, now).await?;
    app.nudges.audit.notify_one();
    Ok(Reader {
        app: app.clone(),
        scope: scope.clone(),
        next: first,
        size,
        derive: Some(Derive::new(&header.from, &header.to)?),
        waiting: VecDeque::from([Entry::Header(header)]),
        envelopes: VecDeque::new(),
        lines: 0,
        ended: false,
    })
}

/// The public half of the key that signs the tenant's versions.
pub async fn release_key(app: &App, scope: &TenantScope) -> Result<ReleasePublic, AppError> {
    let mut read = app.store.read(scope).await?;
    let own = tenants::own(&mut read).await?;
    let own = own.ok_or_else(|| AppError::not_found("tenant", scope.tenant()))?;
    ReleasePublic::try_from(&own.release_public[..])
        .map_err(|error| AppError::Internal(error.to_string()))
}

/// Reads the log page by page and gives lines as they are known.
pub struct Reader {
    app: App,
    scope: TenantScope,
    next: u64,
    size: u64,
    /// While the log is being read.
    derive: Option<Derive>,
    waiting: VecDeque<Entry>,
    /// Versions whose envelopes are still to be sent.
    envelopes: VecDeque<String>,
    lines: u64,
    ended: bool,
}

impl Reader {
    /// The next lines. An error cuts the stream before its last line, so that half a report never
    /// looks whole.
    pub async fn page(mut self) -> Result<Option<(Bytes, Self)>, AppError> {
        while self.waiting.is_empty() {
            if self.ended {
                return Ok(None);
            }
            self.read_on().await?;
        }
        let count = self.waiting.len().min(PAGE);
        let mut text = String::new();
        for entry in self.waiting.drain(..count) {
            text.push_str(&serde_json::to_string(&entry).expect("lines have string keys only"));
            text.push('\n');
            self.lines += 1;
        }
        Ok(Some((Bytes::from(text), self)))
    }

    /// One step: a page of records, what they lead to, an envelope, or the end.
    async fn read_on(&mut self) -> Result<(), AppError> {
        if let Some(mut derive) = self.derive.take() {
            if self.next < self.size {
                self.read_records(&mut derive).await?;
                self.waiting.extend(derive.take().into_iter().map(Entry::Deployment));
                self.derive = Some(derive);
                return Ok(());
            }
            let (deployments, cited) = derive.finish();
            self.envelopes = cited.versions.iter().map(|one| one.version_id.clone()).collect();
            self.waiting.extend(deployments.into_iter().map(Entry::Deployment));
            self.waiting.extend(cited.versions.into_iter().map(Entry::Version));
            self.waiting.extend(cited.rollouts.into_iter().map(Entry::Rollout));
            self.waiting.extend(cited.approvals.into_iter().map(Entry::Approval));
        } else if let Some(version_id) = self.envelopes.pop_front() {
            self.read_envelope(version_id).await?;
        } else {
            self.ended = true;
            // The first and the last line are not counted.
            self.waiting.push_back(Entry::End { lines: self.lines.saturating_sub(1) });
        }
        Ok(())
    }

    async fn read_records(&mut self, derive: &mut Derive) -> Result<(), AppError> {
        let mut read = self.app.store.read(&self.scope).await?;
        let count = (self.size - self.next).min(PAGE as u64);
        let rows = audit_log::raw(&mut read, self.next, count).await?;
        let ids = || rows.iter().map(|row| &row.id);
        let (Some(first), Some(last)) = (ids().min(), ids().max()) else {
            return Err(AppError::Internal(format!("the audit log lacks record {}", self.next)));
        };
        let mut beside = audit_subjects::beside(&mut read, first, last).await?;
        drop(read);
        for row in rows {
            let values: BTreeMap<String, String> = beside
                .remove(&row.id)
                .unwrap_or_default()
                .into_iter()
                .flat_map(|one| one.values)
                .collect();
            derive.record(row.sequence, &row.record, &values)?;
            self.next = row.sequence + 1;
        }
        Ok(())
    }

    async fn read_envelope(&mut self, version_id: String) -> Result<(), AppError> {
        let Ok(id) = version_id.parse::<VersionId>() else { return Ok(()) };
        let mut read = self.app.store.read(&self.scope).await?;
        if let Some(version) = versions::get(&mut read, id).await? {
            let envelope = BASE64.encode(&version.manifest_envelope);
            self.waiting.push_back(Entry::Envelope { version_id, envelope });
        }
        Ok(())
    }
}
