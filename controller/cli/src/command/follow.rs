//! Following a rollout to its end. What to print and when to stop is decided by a pure function;
//! the loop around it asks and sleeps. A controller that is away for a while is waited for.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::Context;
use crate::client::endpoints::{GET_ROLLOUT, LIST_ROLLOUT_DEVICES};
use crate::client::types::{Rollout, RolloutDevice, RolloutState};
use crate::client::{Answer, ClientError};
use crate::failure::{Exit, Failure};
use crate::screen::note;
use crate::view;

/// Often enough for a person, rare enough for a controller with many such persons.
const POLL: Duration = Duration::from_millis(1000);
/// Devices whose failures are looked for; more would not be read.
const MAX_DEVICES: u32 = 10_000;

/// Follows the rollout and shows how it ended.
///
/// # Errors
/// Of exit code 1 when the rollout did not succeed, 5 when the time ran out, 130 when interrupted.
pub async fn follow(context: &Context, id: &str, timeout: Duration) -> Result<Exit, Failure> {
    tokio::select! {
        ended = until_ended(context, id, timeout) => {
            let rollout = ended?;
            context.screen.one(&rollout, |r| view::rollout::rollout(r, context.style()));
            verdict(&rollout.value)
        }
        _ = tokio::signal::ctrl_c() => Err(goes_on(Exit::Interrupted, "stopped following", id)),
    }
}

fn goes_on(exit: Exit, what: &str, id: &str) -> Failure {
    Failure::new(exit, format!("{what}; the rollout goes on"))
        .next(format!("`edgeformer rollout show {id} --wait` follows it again"))
}

/// How the command ends once the rollout has.
fn verdict(r: &Rollout) -> Result<Exit, Failure> {
    if r.state == RolloutState::Succeeded {
        return Ok(Exit::Done);
    }
    let reason = match r.reason.as_str() {
        "" => String::new(),
        reason => format!(": {reason}"),
    };
    let what = format!(
        "the rollout of {} {}{reason} ({})",
        view::rollout::subject(r),
        view::rollout::state(r.state),
        view::rollout::counts(&r.counts)
    );
    Err(Failure::new(Exit::Failed, what).next(format!(
        "`edgeformer rollout devices {0}` shows each device, `edgeformer rollout rollback {0}` \
         brings them back",
        r.id
    )))
}

async fn until_ended(
    context: &Context,
    id: &str,
    timeout: Duration,
) -> Result<Answer<Rollout>, Failure> {
    let began = Instant::now();
    let mut told = Told::default();
    loop {
        let call = context.client.call(&GET_ROLLOUT).path(id);
        match call.send().await {
            Ok(answer) => {
                let troubled = match told.needs_devices(&answer.value) {
                    true => devices(context, id).await,
                    false => Vec::new(),
                };
                for line in told.lines(&answer.value, &troubled, began.elapsed().as_secs()) {
                    note(&line);
                }
                if answer.value.state != RolloutState::Running {
                    return Ok(answer);
                }
            }
            Err(ClientError::Unreachable { why, .. }) => {
                if let Some(line) = told.unreachable(&why) {
                    note(&line);
                }
            }
            Err(error) => return Err(Failure::from(error).about(&format!("rollout {id}"))),
        }
        if began.elapsed() >= timeout {
            let waited = view::human::span(timeout.as_secs());
            return Err(goes_on(Exit::StillRunning, &format!("no end within {waited}"), id));
        }
        tokio::time::sleep(POLL.min(timeout.saturating_sub(began.elapsed()))).await;
    }
}

/// Devices in trouble; an error here only costs details, the next look tries again.
async fn devices(context: &Context, id: &str) -> Vec<RolloutDevice> {
    let call = context.client.call(&LIST_ROLLOUT_DEVICES).path(id);
    call.all(MAX_DEVICES).await.map(|list| list.items).unwrap_or_default()
}

/// What the person has been told so far.
#[derive(Default)]
struct Told {
    /// The last progress line, without its time.
    progress: Option<String>,
    /// Devices whose trouble was told.
    devices: BTreeSet<String>,
    away: bool,
}

impl Told {
    /// Whether there is trouble that has not been told.
    fn needs_devices(&self, r: &Rollout) -> bool {
        r.counts.failed + r.counts.reverted > self.devices.len() as u64
    }

    /// New lines, in the order of printing; empty when nothing changed.
    fn lines(&mut self, r: &Rollout, devices: &[RolloutDevice], elapsed_s: u64) -> Vec<String> {
        let mut lines = Vec::new();
        if std::mem::take(&mut self.away) {
            lines.push("the controller is back".to_owned());
        }
        let progress = view::rollout::progress(r, 0);
        if self.progress.as_ref() != Some(&progress) {
            lines.push(view::rollout::progress(r, elapsed_s));
            self.progress = Some(progress);
        }
        for device in devices {
            let troubled = matches!(device.state.as_str(), "failed" | "reverted");
            if troubled && self.devices.insert(device.device_id.clone()) {
                lines.push(view::rollout::trouble(device));
            }
        }
        lines
    }

    fn unreachable(&mut self, why: &str) -> Option<String> {
        let first = !std::mem::replace(&mut self.away, true);
        first.then(|| format!("the controller is away ({why}); still trying"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::{sample_rollout, sample_rollout_devices};

    #[test]
    fn only_news_is_told() {
        let mut told = Told::default();
        let mut rollout = sample_rollout(RolloutState::Running);
        assert!(told.needs_devices(&rollout));
        let devices = sample_rollout_devices();
        insta::assert_snapshot!(told.lines(&rollout, &devices, 7).join("\n"));
        assert!(!told.needs_devices(&rollout));
        assert!(told.lines(&rollout, &devices, 8).is_empty());
        assert!(told.unreachable("connection refused").is_some());
        assert!(told.unreachable("connection refused").is_none());
        rollout.counts.confirmed += 1;
        assert_eq!(told.lines(&rollout, &devices, 75).len(), 2);
    }

    #[test]
    fn the_exit_follows_the_rollout() {
        assert_eq!(verdict(&sample_rollout(RolloutState::Succeeded)), Ok(Exit::Done));
        for state in [RolloutState::Failed, RolloutState::Aborted, RolloutState::Unknown] {
            assert_eq!(verdict(&sample_rollout(state)).unwrap_err().exit, Exit::Failed);
        }
        insta::assert_snapshot!(verdict(&sample_rollout(RolloutState::Failed)).unwrap_err());
    }
}
