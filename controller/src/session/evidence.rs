//! Which version ran where, kept for those who ask years later: a device's report that says something
//! new about what a slot serves becomes a record of the audit log. A heartbeat or progress never does.

use std::collections::BTreeMap;

use edgeformer_proto::Generation;
use edgeformer_proto::ids::VersionId;
use serde_json::{Value, json};

use super::report::{Phase, SlotReport};
use crate::app::App;
use crate::audit::{Intent, Resource};
use crate::clock::Timestamp;
use crate::device_listener::DeviceIdentity;
use crate::policy::Action;
use crate::quota::bucket::{Bucket, Rate};
use crate::store::{StoreError, sessions};

/// Records that one session may make: each of its slots anew and once more, then one a second. A
/// device that changes faster is recorded as it is when its turn comes.
const RATE: Rate = Rate { per_second: 1, burst: 128 };

/// What the log says last of one slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evident {
    /// Where an update ended; none while one is under way.
    settled: Option<String>,
    /// The desired state that this answered to.
    generation: Generation,
    /// What answered requests.
    serving: Option<VersionId>,
}

impl Evident {
    fn of(report: &SlotReport) -> Self {
        let settled = match report.phase {
            Phase::Fetching | Phase::Verifying | Phase::Staged | Phase::Trial => None,
            settled => Some(settled.as_str().to_owned()),
        };
        Self { settled, generation: report.generation, serving: report.serving }
    }

    /// From a row; none if nothing was recorded.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(' ');
        let (settled, generation, serving) = (parts.next()?, parts.next()?, parts.next()?);
        let (epoch, counter) = generation.split_once('.')?;
        Some(Self {
            settled: (settled != "-").then(|| settled.to_owned()),
            generation: Generation { epoch: epoch.parse().ok()?, counter: counter.parse().ok()? },
            serving: (serving != "-").then(|| serving.parse().ok()).flatten(),
        })
    }

    /// As stored.
    pub fn text(&self) -> String {
        let serving = self.serving.map_or_else(|| "-".to_owned(), |id| id.to_string());
        format!("{} {} {serving}", self.settled.as_deref().unwrap_or("-"), self.generation)
    }

    fn json(&self) -> Value {
        json!({ "phase": self.settled, "serving_version_id": self.serving })
    }
}

/// Whether `report` says something that the log does not.
pub fn is_news(known: Option<&Evident>, report: &SlotReport) -> bool {
    let now = Evident::of(report);
    match known {
        None => now.settled.is_some() || now.serving.is_some(),
        Some(known) if now.settled.is_some() => now != *known,
        Some(known) => now.serving != known.serving,
    }
}

/// What the log says of one device's slots.
#[derive(Debug, Default)]
pub struct Evidence {
    known: BTreeMap<String, Option<Evident>>,
    bucket: Bucket,
}

impl Evidence {
    /// From the rows that the store has of the device's slots.
    pub fn new(rows: BTreeMap<String, String>) -> Self {
        let known = rows.into_iter().map(|(slot, text)| (slot, Evident::parse(&text))).collect();
        Self { known, bucket: Bucket::default() }
    }

    /// Slots that the store knows and the device does not speak of.
    pub fn unspoken<'a>(&'a self, has: &'a [String]) -> impl Iterator<Item = &'a String> {
        self.known.keys().filter(|slot| !has.contains(slot))
    }

    /// Records what is new in a report. False when it has to wait for its turn.
    pub async fn note(
        &mut self,
        app: &App,
        device: &DeviceIdentity,
        report: &SlotReport,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let known = self.known.get(&report.slot).cloned().flatten();
        if !is_news(known.as_ref(), report) {
            return Ok(true);
        }
        if self.bucket.take(RATE, now).is_err() {
            return Ok(false);
        }
        let next = Evident::of(report);
        let after = json!({
            "slot": report.slot,
            "phase": report.phase.as_str(),
            "generation": report.generation.to_string(),
            "serving_version_id": report.serving,
            "target_version_id": report.target,
            "rollout_id": report.rollout,
            "reason": report.reason,
            "device_time_us": report.device_time_us,
        });
        let resource = Resource::new("device", device.device_id).named(device.device_name.clone());
        let intent = Intent::new(Action::DeploymentReport, resource)
            .because("reported by the device")
            .changes(known.as_ref().map_or(Value::Null, Evident::json), after);
        let mut write = app.store.write(&device.scope(), intent).await?;
        let was = known.map(|known| known.text()).unwrap_or_default();
        let slot = &report.slot;
        if sessions::set_evident(&mut write, device.device_id, slot, &was, &next.text()).await? {
            write.commit(now).await?;
            app.nudges.audit.notify_one();
        } else {
            // Another stream of the same device was faster; this one is about to be superseded.
            write.rollback().await?;
        }
        self.known.insert(report.slot.clone(), Some(next));
        Ok(true)
    }

    /// Records that a slot that served is not spoken of any more.
    pub async fn note_unspoken(
        &mut self,
        app: &App,
        device: &DeviceIdentity,
        slot: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(known) = self.known.get(slot).cloned().flatten() else { return Ok(()) };
        if known.serving.is_none() {
            return Ok(());
        }
        let gone = SlotReport {
            slot: slot.to_owned(),
            generation: known.generation,
            phase: Phase::Removed,
            target: None,
            serving: None,
            rollout: None,
            reason: "not_reported".to_owned(),
            message: String::new(),
            bytes_total: 0,
            bytes_done: 0,
            device_time_us: 0,
        };
        self.note(app, device, &gone, now).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(phase: Phase, serving: Option<VersionId>, counter: u64) -> SlotReport {
        SlotReport {
            slot: "chat".to_owned(),
            generation: Generation { epoch: 1, counter },
            phase,
            target: None,
            serving,
            rollout: None,
            reason: String::new(),
            message: String::new(),
            bytes_total: 0,
            bytes_done: 0,
            device_time_us: 0,
        }
    }

    #[test]
    fn what_serves_and_where_an_update_ended_is_news_and_progress_is_not() {
        let (old, new) = (VersionId::new(), VersionId::new());
        let known = Evident::of(&report(Phase::Confirmed, Some(old), 1));
        let check = |known: Option<&Evident>, report: SlotReport, expected: bool| {
            assert_eq!(is_news(known, &report), expected, "{known:?} {report:?}");
        };
        check(None, report(Phase::Fetching, None, 1), false);
        check(None, report(Phase::Confirmed, Some(old), 1), true);
        check(Some(&known), report(Phase::Confirmed, Some(old), 1), false);
        check(Some(&known), report(Phase::Fetching, Some(old), 2), false);
        check(Some(&known), report(Phase::Trial, None, 2), true);
        check(Some(&known), report(Phase::Active, Some(new), 2), true);
        check(Some(&known), report(Phase::Failed, Some(old), 2), true);
        check(Some(&known), report(Phase::Confirmed, Some(old), 2), true);
        check(Some(&known), report(Phase::Removed, None, 2), true);
    }

    #[test]
    fn what_the_log_says_reads_back() {
        for known in [
            Evident::of(&report(Phase::Confirmed, Some(VersionId::new()), 7)),
            Evident::of(&report(Phase::Trial, None, 1)),
        ] {
            assert_eq!(Evident::parse(&known.text()), Some(known));
        }
        assert_eq!(Evident::parse(""), None);
        assert_eq!(Evident::parse("confirmed 1 x"), None);
    }
}
