//! How long data is kept, and everything that is held about one person or device.

use super::{Context, audit};
use crate::args::evidence::{Privacy, PrivacySet};
use crate::client::endpoints::{PRIVACY_EXPORT, PRIVACY_SETTINGS, SET_PRIVACY_SETTINGS};
use crate::client::types::PrivacySettings;
use crate::failure::{Exit, Failure};
use crate::view;

/// Carries out one command.
///
/// # Errors
/// The failure to be shown.
pub async fn run(context: &Context, command: Privacy) -> Result<Exit, Failure> {
    match command {
        Privacy::Settings => {
            let settings = context.client.call(&PRIVACY_SETTINGS).send().await?;
            context.screen.one(&settings, view::compliance::privacy);
        }
        Privacy::Set(change) => {
            let mut settings = context.client.call(&PRIVACY_SETTINGS).send().await?.value;
            apply(&mut settings, change);
            let call = context.client.call(&SET_PRIVACY_SETTINGS).body(&settings);
            context.screen.one(&call.send().await?, view::compliance::privacy);
        }
        Privacy::Export { subject, file } => {
            let call = context.client.call(&PRIVACY_EXPORT).query("subject", &subject);
            match file {
                Some(path) => audit::to_file(call, &path).await?,
                None => call.stream(crate::screen::raw).await?,
            }
        }
    }
    Ok(Exit::Done)
}

fn apply(settings: &mut PrivacySettings, change: PrivacySet) {
    let PrivacySet {
        telemetry_days,
        answers_hours,
        log_ins_days,
        device_facts_days,
        allow,
        disallow,
    } = change;
    settings.telemetry_days = telemetry_days.unwrap_or(settings.telemetry_days);
    settings.answers_hours = answers_hours.unwrap_or(settings.answers_hours);
    settings.log_ins_days = log_ins_days.unwrap_or(settings.log_ins_days);
    settings.device_facts_days = device_facts_days.unwrap_or(settings.device_facts_days);
    settings.telemetry_names.extend(allow);
    settings.telemetry_names.retain(|name| !disallow.contains(name));
}
