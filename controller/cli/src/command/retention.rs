//! How long the tenant's log keeps its texts, and legal holds on it.

use super::{Context, consent};
use crate::args::retention::{Hold, Retention};
use crate::client::endpoints::{
    GET_RETENTION, HOLD_AUDIT, LIFT_HOLD, PREVIEW_RETENTION, SET_RETENTION,
};
use crate::client::types::{AuditRetentionEdit, LegalHoldCreate};
use crate::failure::Failure;
use crate::view;

/// Carries out a command about the period.
///
/// # Errors
/// The failure to be shown.
pub async fn run(context: &Context, command: Retention) -> Result<(), Failure> {
    let Context { client, screen } = context;
    match command {
        Retention::Show => {
            let found = client.call(&GET_RETENTION).send().await?;
            screen.one(&found, view::retention::one);
        }
        Retention::Set { days, for_ever: _, consent } => {
            if let Some(days) = days {
                let call = client.call(&PREVIEW_RETENTION).query("keep_days", &days.to_string());
                let preview = call.send().await?.value;
                consent::ask(screen, consent, &view::retention::preview(&preview)).await?;
            }
            let edit = AuditRetentionEdit { keep_days: days };
            let done = client.call(&SET_RETENTION).body(&edit).send().await?;
            screen.one(&done, view::retention::one);
        }
    }
    Ok(())
}

/// Carries out a command about the hold.
///
/// # Errors
/// The failure to be shown.
pub async fn hold(context: &Context, command: Hold) -> Result<(), Failure> {
    let Context { client, screen } = context;
    let done = match command {
        Hold::Set { reason } => {
            client.call(&HOLD_AUDIT).body(&LegalHoldCreate { reason }).send().await?
        }
        Hold::Lift { consent } => {
            let found = client.call(&GET_RETENTION).send().await?.value;
            consent::ask(screen, consent, &view::retention::lifting(&found)).await?;
            client.call(&LIFT_HOLD).send().await?
        }
    };
    screen.one(&done, view::retention::one);
    Ok(())
}
