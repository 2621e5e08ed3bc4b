//! Devices.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::StatusCode;

use super::{Context, consent};
use crate::args::fleet::Device as Command;
use crate::args::value::{LabelEdit, label_map};
use crate::client::endpoints::{
    DECOMMISSION_DEVICE, GET_DEVICE, LIST_DEVICES, PATCH_DEVICE, RELEASE_DEVICE, REPLACE_DEVICE,
    REVOKE_DEVICE,
};
use crate::client::types::{DecommissionRequest, Device, DevicePatch, Labels, ReplacementRequest};
use crate::client::{Answer, ClientError};
use crate::failure::{Exit, Failure};
use crate::view;

/// Times that a label change is tried again when somebody else changed the device meanwhile.
const MAX_CONFLICTS: u32 = 5;

pub async fn run(context: &Context, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::List { labels, limit } => {
            let filter = label_map(&labels).map_err(Failure::usage)?;
            let mut call = context.client.call(&LIST_DEVICES);
            for (key, value) in &filter {
                call = call.query("label", &format!("{key}={value}"));
            }
            let devices = call.all(limit.limit).await?;
            let filtered = !filter.is_empty();
            context.screen.list(&devices, |d| view::device::devices(d, filtered, context.style()));
        }
        Command::Show { device } => {
            let device = read(context, &device).await?;
            context.screen.one(&device, |d| view::device::device(d, context.style()));
        }
        Command::Label { device, edits } => {
            let device = change_labels(context, &device, &edits).await?;
            context.screen.one(&device, |d| {
                format!("Labels of {}: {}", d.name, view::human::labels(&d.labels))
            });
        }
        Command::Revoke { device, consent } => {
            let device = read(context, &device).await?.value;
            if device.state == "revoked" {
                context.screen.note(&format!("device {} is revoked already", device.name));
            }
            let preview = view::device::revocation(&device, context.style());
            consent::ask(&context.screen, consent, &preview).await?;
            let answer = context.client.call(&REVOKE_DEVICE).path(&device.id).send().await;
            let answer = answer.map_err(|e| Failure::from(e).about(&device.name))?;
            context.screen.one(&answer, |d| format!("Revoked device {} ({}).", d.name, d.id));
        }
        other => return life(context, other).await,
    }
    Ok(Exit::Done)
}

/// What ends a device's life, or follows it.
async fn life(context: &Context, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Decommission { device, wait, consent } => {
            let device = read(context, &device).await?.value;
            let preview = view::device::decommission(&device, context.style());
            consent::ask(&context.screen, consent, &preview).await?;
            let body = DecommissionRequest { wait_days: wait.map(whole_days).transpose()? };
            let call = context.client.call(&DECOMMISSION_DEVICE).path(&device.id).body(&body);
            let answer = call.send().await.map_err(|e| Failure::from(e).about(&device.name))?;
            context.screen.one(&answer, view::device::decommissioned);
        }
        Command::Release { device, consent } => {
            let device = read(context, &device).await?.value;
            let preview = view::device::release(&device, context.style());
            consent::ask(&context.screen, consent, &preview).await?;
            let call = context.client.call(&RELEASE_DEVICE).path(&device.id);
            let answer = call.send().await.map_err(|e| Failure::from(e).about(&device.name))?;
            context.screen.one(&answer, |d| format!("Released device {} ({}).", d.name, d.id));
        }
        Command::Replace { device, expires_in } => {
            let device = read(context, &device).await?.value;
            let body = ReplacementRequest { expires_in_s: expires_in.map(|life| life.as_secs()) };
            let call = context.client.call(&REPLACE_DEVICE).path(&device.id).body(&body);
            let answer = call.send().await.map_err(|e| Failure::from(e).about(&device.name))?;
            context.screen.one(&answer, |r| view::device::replacement(r, context.style()));
        }
        Command::List { .. }
        | Command::Show { .. }
        | Command::Label { .. }
        | Command::Revoke { .. } => {}
    }
    Ok(Exit::Done)
}

fn whole_days(wait: Duration) -> Result<u32, Failure> {
    let days = wait.as_secs().div_ceil(86_400);
    u32::try_from(days).map_err(|_| Failure::usage("--wait is longer than a year".to_owned()))
}

/// The id of a device given by id or unique name.
///
/// # Errors
/// When no device has the name, or several have it.
pub async fn resolve(context: &Context, given: &str) -> Result<String, Failure> {
    if uuid::Uuid::try_parse(given).is_ok() {
        return Ok(given.to_owned());
    }
    // Two are enough to know that the name is not unique; ten help to choose.
    let mut found = context.client.call(&LIST_DEVICES).query("name", given).all(10).await?;
    // A device and the one that took its place have one name: what is over is meant by its id alone.
    let is_over = |d: &Device| matches!(d.state.as_str(), "revoked" | "erased");
    if found.items.iter().any(|d| !is_over(d)) {
        found.items.retain(|d| !is_over(d));
    }
    match found.items.as_slice() {
        [device] => Ok(device.id.clone()),
        [] => {
            let what = format!("there is no device with the id or name {given:?}");
            Err(Failure::new(Exit::NotFoundOrDenied, what)
                .next("see names and ids with `edgeformer device list`"))
        }
        several => {
            let mut failure = Failure::usage(format!("several devices have the name {given:?}"))
                .next("give the id of the one that you mean");
            failure.facts = several
                .iter()
                .map(|d| format!("{}  {}  {}", d.id, view::device::state(d), d.facts.hostname))
                .collect();
            Err(failure)
        }
    }
}

async fn read(context: &Context, given: &str) -> Result<Answer<Device>, Failure> {
    let id = resolve(context, given).await?;
    let answer = context.client.call(&GET_DEVICE).path(&id).send().await;
    answer.map_err(|e| Failure::from(e).about(&format!("device {given:?}")))
}

async fn change_labels(
    context: &Context,
    given: &str,
    edits: &[LabelEdit],
) -> Result<Answer<Device>, Failure> {
    let mut conflicts = 0;
    loop {
        let device = read(context, given).await?;
        let labels = edited(&device.value.labels, edits);
        let call = context.client.call(&PATCH_DEVICE).path(&device.value.id);
        let call = call.if_match(device.etag).body(&DevicePatch { labels: Some(labels) });
        match call.send().await {
            Err(ClientError::Refused { status: StatusCode::PRECONDITION_FAILED, .. })
                if conflicts < MAX_CONFLICTS =>
            {
                conflicts += 1;
            }
            done => return done.map_err(|e| Failure::from(e).about(&format!("device {given:?}"))),
        }
    }
}

/// Labels after the edits, in the order they were typed.
fn edited(labels: &Labels, edits: &[LabelEdit]) -> Labels {
    let mut labels: BTreeMap<String, String> = labels.clone();
    for edit in edits {
        match edit {
            LabelEdit::Set(key, value) => labels.insert(key.clone(), value.clone()),
            LabelEdit::Remove(key) => labels.remove(key),
        };
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_apply_in_order() {
        let before = Labels::from([("a".into(), "1".into()), ("b".into(), "2".into())]);
        let edits = [
            LabelEdit::Set("c".into(), "3".into()),
            LabelEdit::Remove("a".into()),
            LabelEdit::Remove("absent".into()),
            LabelEdit::Set("b".into(), "9".into()),
        ];
        let after = Labels::from([("b".into(), "9".into()), ("c".into(), "3".into())]);
        assert_eq!(edited(&before, &edits), after);
    }
}
