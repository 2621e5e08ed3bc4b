//! Certificate authorities: shown, replaced, retired.

use super::{Context, consent};
use crate::args::ca::{Ca, Whose};
use crate::client::Answer;
use crate::client::endpoints::{
    INSTALLATION_CA, RETIRE_INSTALLATION_CA, RETIRE_TENANT_CA, ROTATE_INSTALLATION_CA,
    ROTATE_TENANT_CA, TENANT_CA,
};
use crate::client::request::List;
use crate::client::types::{Authority, Retirement, Whole};
use crate::failure::{Exit, Failure};
use crate::view;

pub async fn run(context: &Context, command: Ca) -> Result<Exit, Failure> {
    let after = match command {
        Ca::Show { whose } => all(context, whose).await?,
        Ca::Rotate { whose, consent } => {
            let preview = match whose.installation {
                true => {
                    "A new root signs from now on, and every tenant gets a new issuing CA under it. \
                     Devices learn of it when they renew; until then the old root vouches for the new."
                }
                false => {
                    "A new CA makes the devices' certificates from now on. Devices get one of it when \
                     they renew; until then those of the old CA count."
                }
            };
            consent::ask(&context.screen, consent, preview).await?;
            let rotate =
                if whose.installation { &ROTATE_INSTALLATION_CA } else { &ROTATE_TENANT_CA };
            context.client.call(rotate).send().await?
        }
        Ca::Retire { ca, whose, force, consent } => {
            let known = all(context, whose).await?.value.items;
            let found = resolve(known, &ca)?;
            if force {
                consent::ask(&context.screen, consent, &view::ca::retirement(&found)).await?;
            }
            let retire =
                if whose.installation { &RETIRE_INSTALLATION_CA } else { &RETIRE_TENANT_CA };
            let call = context.client.call(retire).path(&found.id).body(&Retirement { force });
            call.send().await.map_err(|error| Failure::from(error).about(&ca))?
        }
    };
    let after = List::whole(after)?;
    context.screen.list(&after, |all| view::ca::authorities(all, context.style()));
    Ok(Exit::Done)
}

async fn all(context: &Context, whose: Whose) -> Result<Answer<Whole<Authority>>, Failure> {
    let show = if whose.installation { &INSTALLATION_CA } else { &TENANT_CA };
    Ok(context.client.call(show).send().await?)
}

/// The authority whose id begins so.
fn resolve(known: Vec<Authority>, given: &str) -> Result<Authority, Failure> {
    let mut fits = known.into_iter().filter(|ca| !given.is_empty() && ca.id.starts_with(given));
    match (fits.next(), fits.next()) {
        (Some(found), None) => Ok(found),
        (None, _) => {
            Err(Failure::new(Exit::NotFoundOrDenied, format!("there is no authority {given:?}"))
                .next("see them with `edgeformer ca show`"))
        }
        (Some(_), Some(_)) => Err(Failure::usage(format!(
            "several authorities begin with {given:?}: give more of it"
        ))),
    }
}
