//! Who one is, and the tokens that let devices enrol.

use super::Context;
use crate::args::access::EnrolmentToken;
use crate::args::value;
use crate::client::endpoints::{
    CREATE_ENROLMENT_TOKEN, LIST_ENROLMENT_TOKENS, REVOKE_ENROLMENT_TOKEN, WHOAMI,
};
use crate::client::types::EnrolmentTokenCreate;
use crate::failure::{Exit, Failure};
use crate::view;

pub async fn whoami(context: &Context) -> Result<Exit, Failure> {
    let me = context.client.call(&WHOAMI).send().await?;
    context.screen.one(&me, |me| view::access::whoami(me, context.client.url()));
    Ok(Exit::Done)
}

pub async fn enrolment_token(context: &Context, command: EnrolmentToken) -> Result<Exit, Failure> {
    match command {
        EnrolmentToken::Create { uses, expires_in, labels } => {
            let labels = value::label_map(&labels).map_err(Failure::usage)?;
            let body = EnrolmentTokenCreate { uses, expires_in_s: expires_in.as_secs(), labels };
            let answer = context.client.call(&CREATE_ENROLMENT_TOKEN).body(&body).send().await?;
            context
                .screen
                .one(&answer, |t| view::access::enrolment_token_created(t, context.style()));
        }
        EnrolmentToken::List(limit) => {
            let tokens = context.client.call(&LIST_ENROLMENT_TOKENS).all(limit.limit).await?;
            context.screen.list(&tokens, |t| view::access::enrolment_tokens(t, context.style()));
        }
        EnrolmentToken::Revoke { id } => {
            let answer = context.client.call(&REVOKE_ENROLMENT_TOKEN).path(&id).send().await;
            answer.map_err(|e| Failure::from(e).about(&format!("enrolment token {id}")))?;
            context.screen.say(&format!("Revoked enrolment token {id}; enrolled devices stay."));
        }
    }
    Ok(Exit::Done)
}
