//! The witnesses that the tenant's log has.

use super::{Context, audit, consent};
use crate::args::witness::Witness;
use crate::client::List;
use crate::client::endpoints::{
    ADD_WITNESS, GET_WITNESS, LIST_WITNESSES, MOVE_WITNESS, REMOVE_WITNESS,
};
use crate::client::types::{AuditWitnessCreate, AuditWitnessEdit};
use crate::failure::Failure;
use crate::view;

/// Carries out what needs the controller.
///
/// # Errors
/// The failure to be shown.
pub async fn run(context: &Context, command: Witness) -> Result<(), Failure> {
    let Context { client, screen } = context;
    match command {
        Witness::Add { address, key } => {
            let key = audit::key_of(&key)?.to_string();
            let body = AuditWitnessCreate { url: address, key };
            let made = client.call(&ADD_WITNESS).body(&body).send().await?;
            screen.one(&made, view::witness::one);
        }
        Witness::List => {
            let all = List::whole(client.call(&LIST_WITNESSES).send().await?)?;
            screen.list(&all, |all| view::witness::list(all, context.style()));
        }
        Witness::Move { id, address } => {
            let call = client.call(&MOVE_WITNESS).path(&id);
            let moved = call.body(&AuditWitnessEdit { url: address }).send().await?;
            screen.one(&moved, view::witness::one);
        }
        Witness::Remove { id, consent } => {
            let found = client.call(&GET_WITNESS).path(&id).send().await?.value;
            consent::ask(screen, consent, &view::witness::removal(&found)).await?;
            client.call(&REMOVE_WITNESS).path(&id).send().await?;
            screen.say(&format!("{} is asked no longer.", found.name));
        }
        Witness::Key { .. } | Witness::Serve { .. } => unreachable!("they need no controller"),
    }
    Ok(())
}
