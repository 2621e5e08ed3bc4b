//! Devices that come in without a token.

use super::{Context, consent};
use crate::args::arrivals::{ClaimCa as ClaimCommand, Enrolment};
use crate::args::value;
use crate::client::endpoints::{
    ADD_CLAIM_CA, APPROVE_REQUEST, CLOSE_DOOR, LIST_CLAIM_CAS, LIST_REQUESTS, OPEN_DOOR,
    REJECT_REQUEST, RELEASE_SERIAL, REMOVE_CLAIM_CA, REVOKE_SERIAL,
};
use crate::client::request::List;
use crate::client::types::{
    ClaimCa, ClaimCaRequest, EnrolmentApproval, EnrolmentRejection, FactorySerial,
};
use crate::failure::{Exit, Failure};
use crate::view;

/// A CA certificate has a few KiB.
const MAX_CERTIFICATE_BYTES: u64 = 64 * 1024;

pub async fn enrolment(context: &Context, command: Enrolment) -> Result<Exit, Failure> {
    match command {
        Enrolment::Open => {
            let door = context.client.call(&OPEN_DOOR).send().await?;
            context.screen.one(&door, view::arrivals::door);
        }
        Enrolment::Close => {
            context.client.call(&CLOSE_DOOR).send().await?;
            context.screen.say("Devices without a token cannot ask any more.");
        }
        Enrolment::Requests(limit) => {
            let all = context.client.call(&LIST_REQUESTS).all(limit.limit).await?;
            context.screen.list(&all, |all| view::arrivals::requests(all, context.style()));
        }
        Enrolment::Approve { id, name, labels, consent } => {
            let all = context.client.call(&LIST_REQUESTS).all(1000).await?.items;
            if let Some(request) = all.iter().find(|request| request.id == id) {
                let preview = view::arrivals::approval(request);
                consent::ask(&context.screen, consent, &preview).await?;
            }
            let labels = value::label_map(&labels).map_err(Failure::usage)?;
            let body = EnrolmentApproval { name, labels };
            let call = context.client.call(&APPROVE_REQUEST).path(&id).body(&body);
            let done = call.send().await;
            let done = done.map_err(|e| Failure::from(e).about(&format!("request {id}")))?;
            context.screen.one(&done, |request| {
                format!("Approved key {}: the device gets its certificate.", request.fingerprint)
            });
        }
        Enrolment::Reject { id, reason } => {
            let body = EnrolmentRejection { reason };
            let call = context.client.call(&REJECT_REQUEST).path(&id).body(&body);
            let done = call.send().await;
            let done = done.map_err(|e| Failure::from(e).about(&format!("request {id}")))?;
            context.screen.one(&done, |request| format!("Rejected key {}.", request.fingerprint));
        }
    }
    Ok(Exit::Done)
}

async fn resolve(context: &Context, given: &str) -> Result<ClaimCa, Failure> {
    let all = context.client.call(&LIST_CLAIM_CAS).send().await?.value.items;
    let found = all.into_iter().find(|one| one.name == given || one.id == given);
    found.ok_or_else(|| {
        Failure::new(Exit::NotFoundOrDenied, format!("there is no claim CA {given:?}"))
            .next("see them with `edgeformer claim-ca list`")
    })
}

pub async fn claim_ca(context: &Context, command: ClaimCommand) -> Result<Exit, Failure> {
    match command {
        ClaimCommand::Add { name, file, labels, names } => {
            let labels = value::label_map(&labels).map_err(Failure::usage)?;
            let certificate = read(&file)?;
            let body = ClaimCaRequest { name, certificate, labels, names };
            let made = context.client.call(&ADD_CLAIM_CA).body(&body).send().await?;
            context.screen.one(&made, view::arrivals::claim_ca);
        }
        ClaimCommand::List => {
            let all = List::whole(context.client.call(&LIST_CLAIM_CAS).send().await?)?;
            context.screen.list(&all, |all| view::arrivals::claim_cas(all, context.style()));
        }
        ClaimCommand::Remove { ca, consent } => {
            let ca = resolve(context, &ca).await?;
            let preview = format!(
                "{} let {} devices in; they stay. No other gets in by its certificates.",
                ca.name, ca.uses
            );
            consent::ask(&context.screen, consent, &preview).await?;
            context.client.call(&REMOVE_CLAIM_CA).path(&ca.id).send().await?;
            context.screen.say(&format!("{} is removed.", ca.name));
        }
        ClaimCommand::Revoke { ca, serials } => {
            let ca = resolve(context, &ca).await?;
            for serial in serials {
                let body = FactorySerial { serial: serial.clone() };
                let call = context.client.call(&REVOKE_SERIAL).path(&ca.id).body(&body);
                call.send().await.map_err(|e| Failure::from(e).about(&serial))?;
                context.screen.say(&format!("{serial} of {} lets no device in.", ca.name));
            }
        }
        ClaimCommand::Release { ca, serial } => {
            let ca = resolve(context, &ca).await?;
            let body = FactorySerial { serial: serial.clone() };
            let call = context.client.call(&RELEASE_SERIAL).path(&ca.id).body(&body);
            call.send().await.map_err(|e| Failure::from(e).about(&serial))?;
            context.screen.say(&format!("{serial} of {} lets a device in once more.", ca.name));
        }
    }
    Ok(Exit::Done)
}

fn read(file: &std::path::Path) -> Result<String, Failure> {
    let wrong = |what: String| Failure::usage(format!("{}: {what}", file.display()));
    let size = std::fs::metadata(file).map_err(|error| wrong(error.to_string()))?.len();
    if size > MAX_CERTIFICATE_BYTES {
        return Err(wrong(format!("longer than {MAX_CERTIFICATE_BYTES} bytes: no certificate")));
    }
    std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))
}
