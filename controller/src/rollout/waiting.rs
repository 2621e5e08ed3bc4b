//! What a rollout waits for, in a form that operators read: one sentence with names.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::macros::format_description;

use crate::clock::Timestamp;

/// Devices named in the sentence; the rest is a number.
pub const NAMED_DEVICES: usize = 3;

/// What a planner reports beside its actions. Stored as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Waiting {
    /// Nothing: it ended.
    Nothing,
    /// Devices that have not ended.
    Devices {
        /// How many have not ended.
        waiting: usize,
        /// How many there are in all.
        total: usize,
        /// The first of them.
        first: Vec<WaitingDevice>,
    },
}

/// A device that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingDevice {
    /// For people.
    pub name: String,
    /// What for.
    pub waits: Waits,
}

/// What a device has still to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Waits {
    /// For the holders of the targets keys to sign its version.
    Signature,
    /// To be assigned, at the next tick.
    Assignment,
    /// To come back.
    Offline {
        /// When it was last heard of, microseconds since the Unix epoch.
        since_us: Option<i64>,
    },
    /// To make the desired state durable.
    Acceptance,
    /// To begin.
    Start,
    /// To fetch its chunks.
    Fetching {
        /// Bytes fetched.
        done: u64,
        /// Bytes in all; 0 when not known yet.
        total: u64,
    },
    /// To check signature and hashes.
    Verifying,
    /// To begin its trial run.
    Trial,
    /// To pass its trial run.
    TrialResult,
    /// To confirm what serves already.
    Confirmation,
}

impl Waiting {
    /// One sentence; empty when there is nothing to wait for.
    pub fn sentence(&self, now: Timestamp) -> String {
        let Self::Devices { waiting, total, first } = self else {
            return String::new();
        };
        let mut names: Vec<String> = first
            .iter()
            .map(|device| format!("{} ({})", device.name, device.waits.phrase(now)))
            .collect();
        if *waiting > first.len() {
            names.push(format!("and {} more", waiting - first.len()));
        }
        let devices = if *total == 1 { "device" } else { "devices" };
        format!("waiting for {waiting} of {total} {devices}: {}", names.join(", "))
    }
}

impl Waits {
    fn phrase(&self, now: Timestamp) -> String {
        match self {
            Self::Signature => {
                "its version waits to be signed: edgeformer trust pending".to_owned()
            }
            Self::Assignment => "to be assigned".to_owned(),
            Self::Offline { since_us: None } => "never connected".to_owned(),
            Self::Offline { since_us: Some(at) } => format!("offline since {}", clock(*at, now)),
            Self::Acceptance => "has not accepted yet".to_owned(),
            Self::Start => "accepted, not begun yet".to_owned(),
            Self::Fetching { total: 0, .. } => "fetching".to_owned(),
            Self::Fetching { done, total } => {
                format!("fetching, {} of {} MB", done / 1_000_000, total.div_ceil(1_000_000))
            }
            Self::Verifying => "verifying".to_owned(),
            Self::Trial => "staged, its trial has not begun".to_owned(),
            Self::TrialResult => "in its trial".to_owned(),
            Self::Confirmation => "serving, not confirmed yet".to_owned(),
        }
    }
}

/// `12:03 UTC` today, with the date on other days.
fn clock(at_us: i64, now: Timestamp) -> String {
    let of = |us: i64| OffsetDateTime::from_unix_timestamp(us.div_euclid(1_000_000)).ok();
    let (Some(at), Some(today)) = (of(at_us), of(now.0)) else {
        return Timestamp(at_us).rfc3339();
    };
    let text = if at.date() == today.date() {
        at.format(format_description!("[hour]:[minute] UTC"))
    } else {
        at.format(format_description!("[year]-[month]-[day] [hour]:[minute] UTC"))
    };
    text.unwrap_or_else(|_| Timestamp(at_us).rfc3339())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-01T13:00:00Z.
    const NOW: Timestamp = Timestamp(1_767_272_400_000_000);

    fn check(waiting: usize, total: usize, waits: &[Waits], expected: &str) {
        let first = waits
            .iter()
            .enumerate()
            .map(|(n, waits)| WaitingDevice { name: format!("d{n}"), waits: waits.clone() })
            .collect();
        let report = Waiting::Devices { waiting, total, first };
        assert_eq!(report.sentence(NOW), expected);
        let stored = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Waiting>(&stored).unwrap(), report);
    }

    #[test]
    fn the_sentence_names_devices_and_what_they_do() {
        let ago = |hours: i64| Waits::Offline { since_us: Some(NOW.0 - hours * 3_600_000_000) };
        check(1, 3, &[ago(1)], "waiting for 1 of 3 devices: d0 (offline since 12:00 UTC)");
        check(
            1,
            1,
            &[ago(24)],
            "waiting for 1 of 1 device: d0 (offline since 2025-12-31 13:00 UTC)",
        );
        check(
            5,
            5,
            &[
                Waits::Fetching { done: 45_200_000, total: 97_100_000 },
                Waits::Offline { since_us: None },
                Waits::Confirmation,
            ],
            "waiting for 5 of 5 devices: d0 (fetching, 45 of 98 MB), d1 (never connected), \
             d2 (serving, not confirmed yet), and 2 more",
        );
        check(
            1,
            1,
            &[Waits::Signature],
            "waiting for 1 of 1 device: d0 (its version waits to be signed: edgeformer trust pending)",
        );
        assert_eq!(Waiting::Nothing.sentence(NOW), "");
    }
}
