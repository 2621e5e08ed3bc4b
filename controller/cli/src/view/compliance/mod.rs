//! Reports of what ran where: on a terminal, and as a page for people (`html`).

mod html;
#[cfg(test)]
mod tests;
mod timeline;

use std::collections::BTreeMap;

use edgeformer_proto::compliance::offline::Outcome;
use edgeformer_proto::compliance::{Certainty, Deployment, Report};

pub use html::html;

use super::human::{NONE, absolute};
use super::{Style, fields, table};
use crate::client::types::PrivacySettings;

/// `model@version` of each version, or its id where the log does not say.
struct Names<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Names<'a> {
    fn of(report: &'a Report) -> Self {
        let named = report.cited.versions.iter().filter_map(|version| {
            version.name.as_deref().map(|name| (version.version_id.as_str(), name))
        });
        Self(named.collect())
    }

    fn get(&self, id: &'a str) -> &'a str {
        self.0.get(id).copied().unwrap_or(id)
    }
}

/// How sure, in a word or two.
fn sure(one: &Deployment) -> String {
    match (one.certainty, one.phase.as_deref()) {
        (Certainty::Reported, Some(phase)) => format!("reported, {phase}"),
        (certainty, _) => certainty.as_str().to_owned(),
    }
}

/// What the report is about.
pub fn heading(report: &Report) -> String {
    let header = &report.header;
    fields(&[
        ("Tenant", format!("{} ({})", header.tenant, header.tenant_id)),
        ("Period", format!("{} up to {}", absolute(&header.from), absolute(&header.to))),
        ("Told", counts(report)),
    ])
}

fn counts(report: &Report) -> String {
    let count = |n: usize, one: &str| match n {
        1 => format!("1 {one}"),
        n => format!("{n} {one}s"),
    };
    let devices: std::collections::BTreeSet<&str> =
        report.deployments.iter().map(|one| one.device_id.as_str()).collect();
    format!(
        "{} of {} on {}",
        count(report.deployments.len(), "deployment"),
        count(report.cited.versions.len(), "version"),
        count(devices.len(), "device")
    )
}

/// The deployments as a table.
pub fn summary(report: &Report, style: Style) -> String {
    if report.deployments.is_empty() {
        let header = &report.header;
        return format!(
            "Nothing ran from {} up to {} that the audit log knows of.\n\
             It begins with record {}; what was before that is not known to it.",
            absolute(&header.from),
            absolute(&header.to),
            header.first
        );
    }
    let names = Names::of(report);
    let row = |one: &Deployment| {
        [
            one.device_name.clone(),
            one.slot.clone(),
            names.get(&one.version_id).to_owned(),
            absolute(&one.since),
            one.until.as_deref().map_or_else(|| NONE.to_owned(), absolute),
            sure(one),
        ]
    };
    let head = ["DEVICE", "SLOT", "VERSION", "SINCE", "UNTIL", "HOW SURE"];
    table(style, head, report.deployments.iter().map(row))
}

/// How long data is kept.
pub fn privacy(settings: &PrivacySettings) -> String {
    let names: Vec<&str> = settings.telemetry_names.iter().map(String::as_str).collect();
    let names = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
    fields(&[
        ("Telemetry", format!("{} days", settings.telemetry_days)),
        ("Answers to repeat", format!("{} hours", settings.answers_hours)),
        ("Log-ins that are over", format!("{} days", settings.log_ins_days)),
        ("Facts of revoked devices", format!("{} days", settings.device_facts_days)),
        ("Taken beyond what is declared", names),
    ])
}

/// That every line is backed.
pub fn verified(outcome: &Outcome) -> String {
    let Outcome { verified, signed, first, .. } = outcome;
    let before = match first {
        0 => String::new(),
        first => format!("; what those before {first} said is not kept any more"),
    };
    let lines = [
        ("Verified", "every line follows from the audit log".to_owned()),
        ("Log", verified.checkpoint.origin.clone()),
        ("Records", format!("{first} up to {} of the signed log{before}", verified.to)),
        ("Versions", format!("{signed} signed by the release key")),
    ];
    fields(&lines)
}
