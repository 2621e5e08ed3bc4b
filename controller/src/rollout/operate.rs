//! What operators do with rollouts: preview, create, look at, abort, roll back.

use std::collections::BTreeMap;

use edgeformer_proto::artifact::{ModelName, ModelNameError};
use edgeformer_proto::ids::{DeviceId, RolloutId, VersionId};
use semver::Version;
use serde_json::json;

use super::preview::{Payload, Preview, preview, select};
use super::types::{DeviceState, RolloutState, Selector, Settings};
use super::waiting::Waiting;
use crate::app::App;
use crate::audit::{Intent, Resource};
use crate::clock::Timestamp;
use crate::error::AppError;
use crate::policy::{Action, Facts, common_labels};
use crate::scope::TenantScope;
use crate::store::candidates::{self, Candidate};
use crate::store::rollout_devices::{self, NamedEntry, NewEntry, Target};
use crate::store::rollouts::{self, NamedRollout, Rollout};
use crate::store::{Conn, Write, versions};

/// Names as long as a model's.
const MAX_SLOT_BYTES: usize = 63;
/// Longer contexts than any model has.
const MAX_CONTEXT_TOKENS: u32 = 1 << 20;
/// Requests decoded at once; memory ends it much earlier.
const MAX_PARALLEL: u32 = 64;

/// A rollout to make.
#[derive(Debug, Clone)]
pub struct NewRollout {
    model: ModelName,
    version: Version,
    slot: String,
    selector: Selector,
    settings: Settings,
}

impl NewRollout {
    /// From a request; the slot is the model's name unless given.
    pub fn parse(
        model: String,
        version: String,
        slot: Option<String>,
        selector: Selector,
        settings: Settings,
    ) -> Result<Self, AppError> {
        let model: ModelName = model
            .parse()
            .map_err(|error: ModelNameError| AppError::invalid("model", error.to_string()))?;
        let version = Version::parse(&version).map_err(|error| {
            AppError::invalid("version", format!("it is not a semantic version: {error}"))
        })?;
        let slot = slot.unwrap_or_else(|| model.to_string());
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let good = (1..=MAX_SLOT_BYTES).contains(&slot.len())
            && plain(slot.as_bytes()[0])
            && slot.bytes().all(|b| plain(b) || matches!(b, b'.' | b'_' | b'-'));
        if !good {
            let message = "1 to 63 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit";
            return Err(AppError::invalid("slot", message));
        }
        match &selector {
            Selector::All(false) => {
                return Err(AppError::invalid("selector", "\"all\" can only be true"));
            }
            Selector::Labels(labels) if labels.is_empty() => {
                let message = "give at least one label, or {\"all\": true} for every device";
                return Err(AppError::invalid("selector", message));
            }
            _ => {}
        }
        if settings.context_tokens.is_some_and(|n| n == 0 || n > MAX_CONTEXT_TOKENS) {
            let message = format!("it must be 1 to {MAX_CONTEXT_TOKENS}");
            return Err(AppError::invalid("settings.context_tokens", message));
        }
        if settings.parallel.is_some_and(|n| n == 0 || n > MAX_PARALLEL) {
            let message = format!("it must be 1 to {MAX_PARALLEL}");
            return Err(AppError::invalid("settings.parallel", message));
        }
        Ok(Self { model, version, slot, selector, settings })
    }

    /// Version that it brings, for people.
    pub fn version(&self) -> String {
        self.version.to_string()
    }
}

/// A rollout with how many of its devices are in each state.
#[derive(Debug, Clone)]
pub struct CountedRollout {
    /// The rollout.
    pub named: NamedRollout,
    /// States without devices are absent.
    pub counts: BTreeMap<DeviceState, u64>,
}

/// What creating this rollout would do now.
pub async fn preview_new(
    app: &App,
    scope: &TenantScope,
    new: &NewRollout,
) -> Result<Preview, AppError> {
    let mut read = app.store.read(scope).await?;
    let (_, preview) = look(&mut read, new, app.now()).await?;
    Ok(preview)
}

/// Creates a rollout on the devices that match now.
pub async fn create(
    app: &App,
    scope: &TenantScope,
    new: NewRollout,
) -> Result<CountedRollout, AppError> {
    let now = app.now();
    let id = RolloutId::new();
    let intent = Intent::new(Action::RolloutCreate, Resource::new("rollout", id));
    let mut write = app.store.write(scope, intent).await?;
    rollouts::lock_planning(&mut write).await?;
    let ((version, selected), preview) = look(&mut write, &new, now).await?;
    write.decide(&Facts::Rollout {
        model: new.model.to_string(),
        version: new.version.to_string(),
        slot: new.slot.clone(),
        devices: selected.len() as u64,
        labels: common_labels(selected.iter().map(|device| &device.labels)),
    })?;
    if !preview.conflicts.is_empty() {
        return Err(AppError::conflict("slot_owned", preview.conflicts.join("; ")));
    }
    if selected.is_empty() {
        let detail = "no enrolled device matches: look at `edgeformer device list`";
        return Err(AppError::conflict("no_devices", detail));
    }
    let target = Target { version: Some(version.id), settings: new.settings.clone() };
    let entries: Vec<NewEntry> = selected
        .into_iter()
        .map(|device| NewEntry {
            device: device.id,
            target: target.clone(),
            previous: device.serving,
        })
        .collect();
    write.changes(
        json!(null),
        json!({
            "slot": new.slot,
            "model": new.model,
            "version": new.version.to_string(),
            "version_id": version.id,
            "selector": new.selector,
            "settings": new.settings,
            "devices": entries.len(),
        }),
    );
    let rollout = Rollout {
        id,
        slot: new.slot,
        version: Some(version.id),
        selector: new.selector,
        settings: new.settings,
        ..blank(id, now)
    };
    insert(&mut write, &rollout, &entries, now).await?;
    commit(app, write, now).await?;
    get(app, scope, id).await
}

/// One rollout.
pub async fn get(
    app: &App,
    scope: &TenantScope,
    id: RolloutId,
) -> Result<CountedRollout, AppError> {
    let mut read = app.store.read(scope).await?;
    let named = existing(&mut read, id).await?;
    let counts = rollouts::counts(&mut read, &[id]).await?.remove(&id).unwrap_or_default();
    Ok(CountedRollout { named, counts })
}

/// Rollouts, newest first.
pub async fn list(
    app: &App,
    scope: &TenantScope,
    state: Option<RolloutState>,
    before: Option<RolloutId>,
    limit: i64,
) -> Result<Vec<CountedRollout>, AppError> {
    let mut read = app.store.read(scope).await?;
    let rows = rollouts::list(&mut read, state, before, limit).await?;
    let ids: Vec<RolloutId> = rows.iter().map(|row| row.rollout.id).collect();
    let mut counts = rollouts::counts(&mut read, &ids).await?;
    Ok(rows
        .into_iter()
        .map(|named| CountedRollout {
            counts: counts.remove(&named.rollout.id).unwrap_or_default(),
            named,
        })
        .collect())
}

/// The devices of a rollout.
pub async fn devices(
    app: &App,
    scope: &TenantScope,
    id: RolloutId,
    after: Option<DeviceId>,
    limit: i64,
) -> Result<Vec<NamedEntry>, AppError> {
    let mut read = app.store.read(scope).await?;
    existing(&mut read, id).await?;
    Ok(rollout_devices::list(&mut read, id, after, limit).await?)
}

/// Stops assigning; what is assigned stays and goes on.
pub async fn abort(
    app: &App,
    scope: &TenantScope,
    id: RolloutId,
) -> Result<CountedRollout, AppError> {
    let now = app.now();
    let intent = Intent::new(Action::RolloutAbort, Resource::new("rollout", id));
    let mut write = app.store.write(scope, intent).await?;
    let found = existing(&mut write, id).await?;
    let facts = facts(&mut write, &found).await?;
    write.decide(&facts)?;
    let state = found.rollout.state;
    if state != RolloutState::Running || !stop(&mut write, id, "aborted", now).await? {
        let detail = format!(
            "rollout {id} is {} already: only a running one can be aborted",
            state.as_str()
        );
        return Err(AppError::conflict("not_running", detail));
    }
    write.changes(json!({"state": "running"}), json!({"state": "aborted"}));
    commit(app, write, now).await?;
    get(app, scope, id).await
}

/// Brings every device that this rollout changed back to what it served before, as a new rollout. One
/// that is still running is aborted first.
pub async fn roll_back(
    app: &App,
    scope: &TenantScope,
    undone: RolloutId,
) -> Result<CountedRollout, AppError> {
    let now = app.now();
    let id = RolloutId::new();
    let intent = Intent::new(Action::RolloutRollback, Resource::new("rollout", id));
    let mut write = app.store.write(scope, intent).await?;
    rollouts::lock_planning(&mut write).await?;
    let old = existing(&mut write, undone).await?;
    let facts = facts(&mut write, &old).await?;
    write.decide(&facts)?;
    let old = old.rollout;
    if old.state == RolloutState::Running {
        stop(&mut write, undone, &format!("rolled back by rollout {id}"), now).await?;
    }
    let entries = rollout_devices::to_undo(&mut write, undone, &old.slot).await?;
    if entries.is_empty() {
        let detail = format!(
            "rollout {undone} has nothing to roll back: it changed no device, or other rollouts own \
             its devices now"
        );
        return Err(AppError::conflict("nothing_to_roll_back", detail));
    }
    let version = common_version(&entries);
    let rollout = Rollout {
        id,
        slot: old.slot,
        version,
        selector: Selector::Devices(entries.iter().map(|entry| entry.device).collect()),
        settings: version.map(|_| entries[0].target.settings.clone()).unwrap_or_default(),
        rolls_back: Some(undone),
        ..blank(id, now)
    };
    write.changes(
        json!(null),
        json!({
            "rolls_back": undone,
            "slot": rollout.slot,
            "version_id": version,
            "devices": entries.len(),
        }),
    );
    insert(&mut write, &rollout, &entries, now).await?;
    commit(app, write, now).await?;
    get(app, scope, id).await
}

/// The version that all entries go to; `None` when they differ or the slot is to be empty.
fn common_version(entries: &[NewEntry]) -> Option<VersionId> {
    let first = entries.first()?.target.version?;
    entries.iter().all(|entry| entry.target.version == Some(first)).then_some(first)
}

fn blank(id: RolloutId, now: Timestamp) -> Rollout {
    Rollout {
        id,
        slot: String::new(),
        version: None,
        selector: Selector::All(true),
        settings: Settings::default(),
        state: RolloutState::Running,
        reason: String::new(),
        waiting: Waiting::Nothing,
        rolls_back: None,
        revision: 1,
        created_at: now,
        ended_at: None,
    }
}

async fn existing(conn: &mut Conn<TenantScope>, id: RolloutId) -> Result<NamedRollout, AppError> {
    rollouts::get(conn, id).await?.ok_or_else(|| AppError::not_found("rollout", id))
}

/// What policies see of a rollout that is there.
async fn facts(conn: &mut Conn<TenantScope>, named: &NamedRollout) -> Result<Facts, AppError> {
    let labels = rollout_devices::labels(conn, named.rollout.id).await?;
    Ok(Facts::Rollout {
        model: named.model.clone(),
        version: named.version.clone(),
        slot: named.rollout.slot.clone(),
        devices: labels.len() as u64,
        labels: common_labels(&labels),
    })
}

/// The version, the selected devices, and what the rollout would do to them.
async fn look(
    conn: &mut Conn<TenantScope>,
    new: &NewRollout,
    now: Timestamp,
) -> Result<((Payload, Vec<Candidate>), Preview), AppError> {
    let found = versions::find(conn, &new.model, &new.version).await?;
    let version = found
        .map(|found| Payload { id: found.id, payload_bytes: found.payload_bytes })
        .ok_or_else(|| {
        AppError::not_found("version", format!("{} {}", new.model, new.version))
    })?;
    let enrolled = candidates::enrolled(conn, &new.slot).await?;
    let (selected, missing) = select(enrolled, &new.selector);
    if let Some(first) = missing.first() {
        let more = match missing.len() {
            1 => String::new(),
            many => format!(" (and {} more)", many - 1),
        };
        let message = format!("there is no enrolled device {first} here{more}");
        return Err(AppError::invalid("selector", message));
    }
    let owned = candidates::owned(conn, &new.slot).await?;
    let preview = preview(&selected, &version, &owned, now);
    Ok(((version, selected), preview))
}

async fn insert(
    write: &mut Write<TenantScope>,
    rollout: &Rollout,
    entries: &[NewEntry],
    now: Timestamp,
) -> Result<(), AppError> {
    rollouts::insert(write, rollout).await?;
    for entry in entries {
        rollout_devices::insert(write, rollout.id, entry, now).await?;
    }
    Ok(())
}

async fn stop(
    write: &mut Write<TenantScope>,
    id: RolloutId,
    reason: &str,
    now: Timestamp,
) -> Result<bool, AppError> {
    let stopped = rollouts::end(write, id, RolloutState::Aborted, reason, now).await?;
    if stopped {
        let message = "the rollout was aborted before this device was assigned";
        rollout_devices::drop_pending(write, id, message, now).await?;
    }
    Ok(stopped)
}

async fn commit(app: &App, write: Write<TenantScope>, now: Timestamp) -> Result<(), AppError> {
    write.commit(now).await?;
    app.nudges.audit.notify_one();
    app.nudges.rollouts.notify_one();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_rollout_can_be_is_refused_by_field() {
        let check = |slot: Option<&str>, selector: Selector, settings: Settings, field: &str| {
            let new = NewRollout::parse(
                "chat".into(),
                "1.0.0".into(),
                slot.map(Into::into),
                selector,
                settings,
            );
            match new {
                Ok(new) => assert_eq!((field, new.slot.as_str()), ("", slot.unwrap_or("chat"))),
                Err(AppError::Invalid(errors)) => assert_eq!(errors[0].field, field),
                Err(other) => panic!("{other}"),
            }
        };
        let all = || Selector::All(true);
        let context = |n| Settings { context_tokens: Some(n), parallel: None };
        check(None, all(), Settings::default(), "");
        check(Some("a.b_c-1"), all(), context(512), "");
        check(Some(""), all(), Settings::default(), "slot");
        check(Some("Chat"), all(), Settings::default(), "slot");
        check(Some("-x"), all(), Settings::default(), "slot");
        check(None, Selector::All(false), Settings::default(), "selector");
        check(None, Selector::Labels(BTreeMap::new()), Settings::default(), "selector");
        check(None, all(), context(0), "settings.context_tokens");
        let parallel = Settings { context_tokens: None, parallel: Some(65) };
        check(None, all(), parallel, "settings.parallel");
    }
}
