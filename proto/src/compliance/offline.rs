//! Checks a report offline: the part of the audit log that came with it leads to the signed root, every
//! line of the report is derived from it again, and every version that ran was signed by the release
//! key. It takes the log line by line and needs the two public keys and nothing else.

use std::collections::BTreeMap;

use super::derive::{BEFORE, DELETED};
use super::{Derive, DeriveError, FORMAT, Finding, Report, Version, check, is_evidence};
use crate::artifact::{Digest, Expected, Manifest, ReleasePublic};
use crate::audit::bundle::{BundleError, Line, Verified, Verifier};
use crate::audit::checkpoint::Checkpoint;
use crate::audit::note::VerifierKey;

/// Files of a bundle: the report, canonical JSON.
pub const REPORT_FILE: &str = "report.json";
/// The part of the audit log, JSON Lines.
pub const AUDIT_FILE: &str = "audit.jsonl";
/// Folder of the signed envelopes, each named by its version: `<version id>.json`.
pub const ENVELOPES_FOLDER: &str = "versions";

/// Why a bundle cannot be checked at all.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// The report is of another format.
    #[error("the report's format is {0:?}, not {FORMAT:?}")]
    Format(String),
    /// The log does not verify.
    #[error(transparent)]
    Log(#[from] BundleError),
    /// A record cannot be followed.
    #[error(transparent)]
    Derive(#[from] DeriveError),
}

/// What was found.
#[derive(Debug)]
pub struct Outcome {
    /// About the log.
    pub verified: Verified,
    /// What is wrong; empty if every line is backed.
    pub findings: Vec<Finding>,
    /// Versions whose signed envelope was verified.
    pub signed: usize,
    /// First record that says something; what those before it said is not kept any more.
    pub first: u64,
}

/// A check that is under way.
#[derive(Debug)]
pub struct Offline {
    report: Report,
    verifier: Verifier,
    derive: Derive,
    /// First record whose text is there: what is older was deleted after its retention.
    first: Option<u64>,
    /// Records without a text after that one.
    hidden: u64,
    /// One after the last record that the log says to have lost its text to retention.
    deleted_to: u64,
}

impl Offline {
    /// From the report and the first line of the log's part. See [`Verifier::new`] for the others.
    pub fn new(
        report: Report,
        header: &str,
        log: &VerifierKey,
        witnesses: &[VerifierKey],
        older: Vec<Checkpoint>,
    ) -> Result<Self, OfflineError> {
        if report.header.format != FORMAT {
            return Err(OfflineError::Format(report.header.format.chars().take(80).collect()));
        }
        let verifier = Verifier::new(header, log, witnesses, older)?;
        let derive = Derive::new(&report.header.from, &report.header.to)?;
        Ok(Self { report, verifier, derive, first: None, hidden: 0, deleted_to: 0 })
    }

    /// Takes the next record of the log.
    pub fn record(&mut self, line: &str) -> Result<(), OfflineError> {
        // First whether it is true, then what it says.
        self.verifier.record(line)?;
        let parsed: Line = serde_json::from_str(line)
            .map_err(|error| DeriveError::Record { record: 0, why: error.to_string() })?;
        match (self.first, parsed.record.is_empty()) {
            (None, false) => self.first = Some(parsed.sequence),
            (Some(_), true) => self.hidden += 1,
            _ => {}
        }
        let values = parsed.openings.into_iter().flat_map(|one| one.values).collect();
        if let Some(to) = deleted_to(&parsed.record, &values) {
            self.deleted_to = self.deleted_to.max(to);
        }
        self.derive.record(parsed.sequence, &parsed.record, &values)?;
        Ok(())
    }

    /// After the last record. `envelopes` are the signed envelopes by version.
    pub fn finish(
        self,
        envelopes: &BTreeMap<String, Vec<u8>>,
        release: &ReleasePublic,
    ) -> Result<Outcome, OfflineError> {
        let Self { report, verifier, derive, first, hidden, deleted_to } = self;
        let verified = verifier.finish()?;
        let withheld = derive.withheld();
        let (deployments, cited) = derive.finish();
        let mut findings = check(&report, &deployments, &cited);
        findings.extend(scope_of(&report, &verified, first, hidden));
        let unexplained = first.unwrap_or(verified.to);
        if unexplained > deleted_to {
            findings.push(Finding::LeftOut(format!(
                "the texts of records {deleted_to} up to {unexplained}: no record says that they were \
                 deleted (of a deletion some seconds ago it comes with the next checkpoint: take the \
                 report again)"
            )));
        }
        if withheld > 0 {
            let records = if withheld == 1 { "1 record" } else { &format!("{withheld} records") };
            findings.push(Finding::LeftOut(format!("what {records} changed is withheld")));
        }
        let mut signed = 0;
        for version in &report.cited.versions {
            match check_envelope(&report, version, envelopes, release) {
                Ok(()) => signed += 1,
                Err(finding) => findings.push(finding),
            }
        }
        let first = first.unwrap_or(verified.to);
        Ok(Outcome { verified, findings, signed, first })
    }
}

/// One after the last text that a record says was deleted after its retention.
fn deleted_to(record: &str, values: &BTreeMap<String, String>) -> Option<u64> {
    #[derive(serde::Deserialize)]
    struct Acted {
        action: String,
        outcome: String,
    }
    #[derive(serde::Deserialize)]
    struct Deleted {
        last: u64,
    }
    let acted: Acted = serde_json::from_str(record).ok()?;
    if acted.action != DELETED || acted.outcome != "success" {
        return None;
    }
    let deleted: Deleted = serde_json::from_str(values.get(BEFORE)?).ok()?;
    deleted.last.checked_add(1)
}

/// Whether the report is about this log, and about all of it.
fn scope_of(report: &Report, verified: &Verified, first: Option<u64>, hidden: u64) -> Vec<Finding> {
    let header = &report.header;
    let mut findings = Vec::new();
    let origin = &verified.checkpoint.origin;
    if !origin.ends_with(&format!("/{}", header.tenant_id)) {
        let what = format!("the report is of tenant {}, and the log is {origin}", header.tenant_id);
        findings.push(Finding::Differs(what));
    }
    let (from, to, size) = (verified.from, verified.to, verified.checkpoint.size);
    let first = first.unwrap_or(to);
    if (header.first, header.size) != (first, to) {
        let what = format!(
            "the report is of records {} up to {}, and the bundle has {first} up to {to}",
            header.first, header.size
        );
        findings.push(Finding::Differs(what));
    }
    // Retention deletes from the beginning on; what is missing later was taken out of the bundle.
    if hidden > 0 {
        findings.push(Finding::LeftOut(format!("the texts of {hidden} records after {first}")));
    }
    if from > 0 {
        findings.push(Finding::LeftOut(format!("records 0 up to {from} of the signed log")));
    }
    if to != size {
        findings.push(Finding::LeftOut(format!("records {to} up to {size} of the signed log")));
    }
    findings
}

fn check_envelope(
    report: &Report,
    version: &Version,
    envelopes: &BTreeMap<String, Vec<u8>>,
    release: &ReleasePublic,
) -> Result<(), Finding> {
    let id = &version.version_id;
    let unsigned =
        |why: String| Finding::NotBacked(format!("the signature of version {id}: {why}"));
    let envelope =
        envelopes.get(id).ok_or_else(|| unsigned("the bundle has no envelope of it".to_owned()))?;
    let digest = Digest::of(envelope);
    if version.manifest_sha256 != Some(digest.to_string()) {
        let what = format!("the envelope of version {id} is not the one that was published");
        return Err(Finding::Differs(what));
    }
    let named = version.name.as_deref().and_then(|name| name.split_once('@'));
    let expected = named.and_then(|(model, number)| {
        Some(Expected {
            tenant: report.header.tenant_id.parse().ok()?,
            model: model.parse().ok()?,
            version: number.parse().ok()?,
            version_id: id.parse().ok()?,
        })
    });
    let expected =
        expected.ok_or_else(|| unsigned("the log does not say what it is called".to_owned()))?;
    let manifest = Manifest::verify(envelope, &digest, release, &expected)
        .map_err(|error| unsigned(error.to_string()))?;
    if version.payload_sha256 != Some(manifest.payload.sha256.to_string()) {
        let what = format!("the model file of version {id} is not the one that was signed");
        return Err(Finding::Differs(what));
    }
    Ok(())
}

/// A line of the log without what no report looks at: names, addresses and changes that are nobody's
/// business but the tenant's. It verifies all the same.
pub fn withhold(line: &str) -> Result<String, OfflineError> {
    let wrong =
        |error: serde_json::Error| DeriveError::Record { record: 0, why: error.to_string() };
    let mut line: Line = serde_json::from_str(line).map_err(wrong)?;
    #[derive(serde::Deserialize)]
    struct Acted {
        action: String,
    }
    if line.record.is_empty() {
        return Ok(serde_json::to_string(&line).expect("a line has string keys only"));
    }
    let acted: Acted = serde_json::from_str(&line.record).map_err(wrong)?;
    for opening in &mut line.openings {
        opening.values.retain(|field, _| is_evidence(&acted.action, field));
    }
    line.openings.retain(|opening| !opening.values.is_empty());
    Ok(serde_json::to_string(&line).expect("a line has string keys only"))
}
