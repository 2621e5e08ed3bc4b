//! What a tenant decides about data: how long which kind is kept, and what its devices' applications
//! may send beyond what is declared in `proto/src/privacy.rs`.

use std::collections::BTreeSet;
use std::time::Duration;

use edgeformer_proto::privacy::{Place, find};
use serde::{Deserialize, Serialize};

use crate::error::AppError;

/// Names that a tenant may allow beyond those declared: what needs more is no telemetry any more.
const MAX_NAMES: usize = 64;
/// As long as a metric's name may be in OTLP here.
const MAX_NAME_BYTES: usize = 128;
const DAY_S: u64 = 86_400;

/// Shortest and longest life of each kind of data.
mod range {
    use std::ops::RangeInclusive;
    /// Ten years.
    pub(super) const TELEMETRY_DAYS: RangeInclusive<u32> = 1..=3650;
    /// Clients repeat within minutes; a day is when a key may be used anew.
    pub(super) const ANSWERS_HOURS: RangeInclusive<u32> = 1..=24;
    /// A stolen token that turns up is known as used for that long.
    pub(super) const LOG_INS_DAYS: RangeInclusive<u32> = 7..=365;
    /// Of revoked devices.
    pub(super) const DEVICE_FACTS_DAYS: RangeInclusive<u32> = 1..=3650;
}

/// The tenant's choices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Telemetry, from its receipt on.
    pub telemetry_days: u32,
    /// Answers kept for those who repeat a request.
    pub answers_hours: u32,
    /// Log-ins that are over.
    pub log_ins_days: u32,
    /// What revoked devices said of themselves, since they were seen last.
    pub device_facts_days: u32,
    /// Metrics and attributes that are taken although they are not declared.
    pub telemetry_names: BTreeSet<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            telemetry_days: 30,
            answers_hours: 24,
            log_ins_days: 30,
            device_facts_days: 90,
            telemetry_names: BTreeSet::new(),
        }
    }
}

impl Settings {
    /// The same, if every number is in its range and every name could be one.
    pub fn checked(self) -> Result<Self, AppError> {
        let numbers = [
            ("telemetry_days", self.telemetry_days, range::TELEMETRY_DAYS),
            ("answers_hours", self.answers_hours, range::ANSWERS_HOURS),
            ("log_ins_days", self.log_ins_days, range::LOG_INS_DAYS),
            ("device_facts_days", self.device_facts_days, range::DEVICE_FACTS_DAYS),
        ];
        for (field, value, range) in numbers {
            if !range.contains(&value) {
                let message = format!("it must be {} to {}", range.start(), range.end());
                return Err(AppError::invalid(field, message));
            }
        }
        let is_name = |name: &String| {
            (1..=MAX_NAME_BYTES).contains(&name.len()) && name.chars().all(|c| c.is_ascii_graphic())
        };
        if self.telemetry_names.len() > MAX_NAMES || !self.telemetry_names.iter().all(is_name) {
            let message = format!(
                "at most {MAX_NAMES} names of 1 to {MAX_NAME_BYTES} printable characters without \
                 spaces"
            );
            return Err(AppError::invalid("telemetry_names", message));
        }
        Ok(self)
    }

    /// How long telemetry is kept.
    pub fn telemetry(&self) -> Duration {
        Duration::from_secs(u64::from(self.telemetry_days) * DAY_S)
    }

    /// How long answers are kept.
    pub fn answers(&self) -> Duration {
        Duration::from_secs(u64::from(self.answers_hours) * 3600)
    }

    /// How long log-ins are kept that are over.
    pub fn log_ins(&self) -> Duration {
        Duration::from_secs(u64::from(self.log_ins_days) * DAY_S)
    }

    /// How long facts of revoked devices are kept.
    pub fn device_facts(&self) -> Duration {
        Duration::from_secs(u64::from(self.device_facts_days) * DAY_S)
    }

    /// Whether a metric is taken.
    pub fn takes_metric(&self, name: &str) -> bool {
        find(Place::Metric, name).is_some() || self.telemetry_names.contains(name)
    }

    /// The value of an attribute as it is taken: in the form that was declared for it, as it is if the
    /// tenant allows the name, or not at all.
    pub fn take_attribute(&self, name: &str, value: &str) -> Option<String> {
        match find(Place::Attribute, name) {
            Some(item) => Some(item.value(value).into_owned()),
            None => self.telemetry_names.contains(name).then(|| value.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_stay_in_their_ranges_and_missing_ones_are_the_defaults() {
        let read: Settings = serde_json::from_str(r#"{"telemetry_days":7}"#).unwrap();
        assert_eq!(read, Settings { telemetry_days: 7, ..Settings::default() });
        let refused = |settings: Settings| match settings.checked() {
            Err(AppError::Invalid(fields)) => fields[0].field.clone(),
            other => panic!("{other:?}"),
        };
        let ours = Settings::default;
        assert_eq!(refused(Settings { telemetry_days: 0, ..ours() }), "telemetry_days");
        assert_eq!(refused(Settings { answers_hours: 25, ..ours() }), "answers_hours");
        assert_eq!(refused(Settings { log_ins_days: 6, ..ours() }), "log_ins_days");
        assert_eq!(refused(Settings { device_facts_days: 4000, ..ours() }), "device_facts_days");
        let names = (0..=MAX_NAMES).map(|n| format!("n{n}")).collect();
        assert_eq!(refused(Settings { telemetry_names: names, ..ours() }), "telemetry_names");
        let names = [String::from("a b")].into();
        assert_eq!(refused(Settings { telemetry_names: names, ..ours() }), "telemetry_names");
        assert!(ours().checked().is_ok());
    }

    #[test]
    fn what_is_not_declared_is_taken_by_name_only() {
        let mut settings = Settings::default();
        assert!(settings.takes_metric("process.memory.usage") && !settings.takes_metric("app.x"));
        assert_eq!(settings.take_attribute("app.user", "ada"), None);
        assert_eq!(
            settings.take_attribute("gen_ai.operation.name", "tell me").as_deref(),
            Some("redacted")
        );
        settings.telemetry_names = ["app.x".to_owned(), "app.user".to_owned()].into();
        assert!(settings.takes_metric("app.x"));
        assert_eq!(settings.take_attribute("app.user", "ada").as_deref(), Some("ada"));
    }
}
