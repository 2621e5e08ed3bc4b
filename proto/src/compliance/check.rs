//! A report against what the audit log says. Every line of it must be derived again, word for word;
//! what is not is named, and so is what the report leaves out.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Cited, Deployment, Report, canonical};

/// Something that a report says and the log does not, or the other way round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Finding {
    /// The log does not say it.
    NotBacked(String),
    /// The log says it, and the report does not.
    LeftOut(String),
    /// Both speak of it, and differ.
    Differs(String),
}

impl Finding {
    /// For people.
    pub fn words(&self) -> String {
        match self {
            Self::NotBacked(what) => format!("not backed by the audit log: {what}"),
            Self::LeftOut(what) => format!("left out, although the audit log has it: {what}"),
            Self::Differs(what) => format!("not what the audit log says: {what}"),
        }
    }
}

/// Compares a report with the deployments and what they refer to, as derived from the log.
pub fn check(report: &Report, derived: &[Deployment], cited: &Cited) -> Vec<Finding> {
    let mut findings = Vec::new();
    let keyed = |all: &[Deployment]| -> BTreeMap<String, String> {
        all.iter().map(|one| (describe(one), canonical(one))).collect()
    };
    compare(&mut findings, &keyed(&report.deployments), &keyed(derived));
    let twice = report.deployments.len().saturating_sub(keyed(&report.deployments).len());
    if twice > 0 {
        findings.push(Finding::NotBacked(format!("{twice} deployments are told twice")));
    }
    let (said, known) = (&report.cited, cited);
    compare(
        &mut findings,
        &by_id("version", &said.versions, |one| &one.version_id),
        &by_id("version", &known.versions, |one| &one.version_id),
    );
    compare(
        &mut findings,
        &by_id("rollout", &said.rollouts, |one| &one.rollout_id),
        &by_id("rollout", &known.rollouts, |one| &one.rollout_id),
    );
    compare(
        &mut findings,
        &by_id("approval", &said.approvals, |one| &one.approval_id),
        &by_id("approval", &known.approvals, |one| &one.approval_id),
    );
    findings
}

fn describe(one: &Deployment) -> String {
    let Deployment { device_id, slot, since, version_id, records, .. } = one;
    let record = records.first().map_or_else(|| "no".to_owned(), u64::to_string);
    format!(
        "version {version_id} in slot {slot} of device {device_id} since {since} (record {record})"
    )
}

fn by_id<T: Serialize>(
    kind: &str,
    all: &[T],
    id: impl Fn(&T) -> &String,
) -> BTreeMap<String, String> {
    all.iter().map(|one| (format!("{kind} {}", id(one)), canonical(one))).collect()
}

fn compare(
    findings: &mut Vec<Finding>,
    said: &BTreeMap<String, String>,
    known: &BTreeMap<String, String>,
) {
    for (what, text) in said {
        match known.get(what) {
            None => findings.push(Finding::NotBacked(what.clone())),
            Some(other) if other != text => findings.push(Finding::Differs(what.clone())),
            Some(_) => {}
        }
    }
    let missing = known.keys().filter(|what| !said.contains_key(*what));
    findings.extend(missing.map(|what| Finding::LeftOut(what.clone())));
}
